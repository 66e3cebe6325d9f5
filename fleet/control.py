"""Starting and stopping the control plane: the named actors "budget", "supervisor", "roster".

They start in that order, each needed by the next, and each survives whoever started it. The one
order of stopping:

1. new sessions are refused (the roster drains);
2. with ``drain_s``, sessions under way may end by themselves for so long;
3. the supervisor asks the rest to end: goodbye, then now, then their actors are killed; records
   are ended, accounts closed, rooms deleted, permits freed; the bridges tell LiveKit and go;
4. the roster ends the warm actors;
5. supervisor, roster and budget actor are killed, the budget actor last: it has written
   everything before it answered; and the relays to it;
6. whatever session actor is left is killed, and no name of ours is taken any more.

Both ways may be gone twice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import structlog

from autoscaler.scaling import ScalingBounds, ScalingTuning
from fleet import ray_calls
from fleet.bridge.actor import BRIDGE_PREFIX, BridgeActor, BridgeConfig, bridge_names
from fleet.bridge.profiles import load_profiles
from fleet.budget.client import get_or_create_budget_actor
from fleet.budget.relay import RELAY_PREFIX
from fleet.clients import (
    BUDGET,
    RayBridgeClient,
    RayBudgetClient,
    RayRosterClient,
    RaySupervisorClient,
)
from fleet.crew import ACTOR_PREFIX, ActorSpec
from fleet.dispatcher import Dispatcher, DispatchLimits, DispatchParts
from fleet.draining import WHOLE_FLEET
from fleet.errors import ActorMissing, ControlPlaneUnavailable, FleetError
from fleet.escalation import EscalationTiming
from fleet.forked import control_env
from fleet.livekit_client import LiveKitClient
from fleet.models import model_resolver
from fleet.pool import PoolSnapshot
from fleet.ray_calls import ActorOptions, RemoteActor
from fleet.reaping import ReapLimits
from fleet.registry import Registry
from fleet.roster_actor import ROSTER, SUPERVISOR, RosterActor, RosterConfig
from fleet.roster_model import RosterLimits
from fleet.run_parts import RunLimits
from fleet.scaler import ScaleLimits
from fleet.settings import FleetSettings
from fleet.stop_book import StopBook
from fleet.supervisor import SupervisorSnapshot, SupervisorTiming
from fleet.supervisor_actor import SupervisorActor, SupervisorConfig
from fleet.telemetry import Tracer, open_tracer

START_DEADLINE_S = 60.0
"""For a control actor to answer: a worker process has to be started for each."""
SHUTDOWN_DEADLINE_S = 60.0
GONE_DEADLINE_S = 15.0
GOODBYE_S = 20.0
"""Longer than an actor takes for its own goodbye, AgentSettings.goodbye_timeout_s."""
UNDO_S = 30.0
"""For a dispatcher to take back what it had begun: each step has a deadline of 5 s."""
QUEUE_LIMIT = 100
EXPECTED_WARM_S = 6.0
"""Before any actor has started: what one took that imports everything by itself, 5.9 s."""
BRIDGE_SETTLE_S = 3.0
DISPATCHER = "dispatcher"
JOB_DEADLINE_S = 60.0
"""A job that LiveKit has given us nobody else gets: its session may wait longer for an actor."""
_MANY = (BRIDGE_PREFIX, RELAY_PREFIX, ACTOR_PREFIX)
"""How actors of which there are several are called, in the order in which they are killed."""
_POLL_S = 0.05
_CONTROL_CONCURRENCY = 10_000
"""Each session holds a call or two open at its supervisor, each waiting one at the roster."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ControlPlane:
    """Handles on a running control plane; holding them owns nothing."""

    roster: RayRosterClient
    supervisor: RaySupervisorClient
    budget: RayBudgetClient
    bridges: tuple[RayBridgeClient, ...]


@dataclass(frozen=True, kw_only=True)
class FleetSnapshot:
    pool: PoolSnapshot
    supervisor: SupervisorSnapshot


async def start_control_plane(
    settings: FleetSettings,
    *,
    actor: ActorSpec | None = None,
    goodbye_grace_s: float = GOODBYE_S,
) -> ControlPlane:
    """Returns when all three answer, and the bridges to LiveKit's dispatch where there are any;
    warm actors come after. Ray must be connected.

    ``goodbye_grace_s``: between asking a session for its goodbye and stopping it at once.

    One that runs already keeps the settings that it was started with.
    Raises ControlPlaneUnavailable, and SettingsInvalid for profiles that cannot be used.
    """
    bridge = BridgeConfig(
        settings=settings,
        profiles=load_profiles(settings),
        open_dispatcher=partial(open_dispatcher, least_deadline_s=JOB_DEADLINE_S),
    )
    get_or_create_budget_actor(settings)
    namespace = settings.ray_namespace
    _create(SUPERVISOR, settings, SupervisorActor, supervisor_config(settings, goodbye_grace_s))
    await _open(SUPERVISOR, namespace)
    _create(ROSTER, settings, RosterActor, roster_config(settings, actor))
    await _open(ROSTER, namespace)
    for name in bridge_names(settings):
        _create(name, settings, BridgeActor, bridge)
        await _open(name, namespace)
    log.info("control_plane_started", namespace=namespace)
    return control_plane(settings)


def control_plane(settings: FleetSettings) -> ControlPlane:
    """For those who did not start it. Asks nothing yet."""
    namespace = settings.ray_namespace
    return ControlPlane(
        roster=RayRosterClient(namespace),
        supervisor=RaySupervisorClient(namespace),
        budget=RayBudgetClient(namespace),
        bridges=tuple(RayBridgeClient(name, namespace) for name in bridge_names(settings)),
    )


async def drain_control_plane(settings: FleetSettings, *, deadline_s: float) -> None:
    """Refuse new sessions from now on. Those under way, and those that already wait for an actor,
    go on; what is live at the deadline is ended, reason ``drained``. Raises
    ControlPlaneUnavailable, RegistryUnavailable.
    """
    await control_plane(settings).supervisor.drain(WHOLE_FLEET, deadline_s)


async def undrain_control_plane(settings: FleetSettings) -> None:
    """Take new sessions again. Raises like ``drain_control_plane``."""
    await control_plane(settings).supervisor.undrain(WHOLE_FLEET)


async def fleet_snapshot(settings: FleetSettings) -> FleetSnapshot:
    """Raises ControlPlaneUnavailable."""
    plane = control_plane(settings)
    pool, supervisor = await asyncio.gather(plane.roster.snapshot(), plane.supervisor.snapshot())
    return FleetSnapshot(pool=pool, supervisor=supervisor)


async def stop_control_plane(
    settings: FleetSettings, *, drain_s: float = 0.0, goodbye_s: float = 5.0
) -> None:
    """See the module for the order. Nothing is left after it, also when parts of it failed.

    ``goodbye_s``: how long interviewers have for their goodbye.
    """
    namespace = settings.ray_namespace
    roster, supervisor = RemoteActor(ROSTER, namespace), RemoteActor(SUPERVISOR, namespace)
    await _try("drain", roster.call, "drain", True, deadline_s=5.0)
    if drain_s > 0:
        await _try("drain", supervisor.call, "drain_node", WHOLE_FLEET, drain_s, deadline_s=5.0)
        await _try("idle", supervisor.call, "idle", drain_s, deadline_s=drain_s + 5.0)
    deadline_s = goodbye_s + SHUTDOWN_DEADLINE_S
    await _try("supervisor", supervisor.call, "shutdown", goodbye_s, deadline_s=deadline_s)
    for name in ray_calls.names(namespace, BRIDGE_PREFIX):
        bridge = RemoteActor(name, namespace)
        await _try(name, bridge.call, "shutdown", BRIDGE_SETTLE_S, deadline_s=SHUTDOWN_DEADLINE_S)
    await _try("roster", roster.call, "shutdown", deadline_s=SHUTDOWN_DEADLINE_S)
    for name in (SUPERVISOR, ROSTER, BUDGET):
        ray_calls.kill_named(name, namespace)
    for prefix in _MANY:
        for name in ray_calls.names(namespace, prefix):
            ray_calls.kill_named(name, namespace)
    await _until_gone(namespace)
    log.info("control_plane_stopped", namespace=namespace)


async def open_dispatcher(
    settings: FleetSettings, *, least_deadline_s: float = 0.0, tracer: Tracer | None = None
) -> tuple[Dispatcher, Callable[[], Awaitable[None]]]:
    """A dispatcher for one process of the ingress, and what closes it with all it opened.

    ``tracer``: the process's own, if it has one already; it is closed too.
    """
    registry, livekit = Registry.from_settings(settings), LiveKitClient.from_settings(settings)
    plane, stops = control_plane(settings), StopBook.from_settings(settings)
    tracer = tracer or open_tracer(DISPATCHER)
    parts = DispatchParts(
        roster=plane.roster,
        supervisor=plane.supervisor,
        budget=plane.budget,
        records=registry,
        rooms=livekit,
        stops=stops,
        tracer=tracer,
        resolve_model=model_resolver(settings, lambda: datetime.now(UTC).date()),
    )
    limits = dispatch_limits(settings)
    deadline_s = max(least_deadline_s, limits.deadline_s)
    dispatcher = Dispatcher(parts, replace(limits, deadline_s=deadline_s))
    await dispatcher.open()

    async def aclose() -> None:
        await dispatcher.aclose()
        await asyncio.gather(registry.aclose(), livekit.aclose(), stops.aclose(), tracer.aclose())

    return dispatcher, aclose


def roster_config(settings: FleetSettings, actor: ActorSpec | None = None) -> RosterConfig:
    return RosterConfig(
        namespace=settings.ray_namespace,
        limits=RosterLimits(
            warm_target=settings.warm_actors,
            max_sessions=settings.max_sessions,
            max_starting=settings.max_starting_actors,
            queue_limit=QUEUE_LIMIT,
            # A dispatch that has not begun its session by its deadline never will.
            lease_s=settings.dispatch_deadline_s + 5.0,
            expected_warm_s=EXPECTED_WARM_S,
            full_retry_after_s=settings.full_retry_after_s,
            refill_calm_s=settings.refill_calm_s,
            scaled=settings.autoscale,
        ),
        actor=actor
        or ActorSpec(
            num_cpus=settings.actor_cpus,
            warm_timeout_s=settings.actor_warm_timeout_s,
            fork_server=settings.fork_server,
            needs_slot=settings.autoscale,
        ),
    )


def supervisor_config(
    settings: FleetSettings, goodbye_grace_s: float = GOODBYE_S
) -> SupervisorConfig:
    return SupervisorConfig(
        settings=settings,
        limits=RunLimits(
            livekit_url=settings.livekit_url,
            agent_token_ttl_s=settings.agent_token_ttl_s,
            join_timeout_s=settings.join_timeout_s,
            max_attempts=settings.max_attempts,
            max_recoveries=settings.max_recoveries,
            goodbye_grace_s=goodbye_grace_s,
            stop_grace_s=settings.stop_grace_s,
        ),
        timing=SupervisorTiming(escalation=EscalationTiming(grace_s=settings.overdue_grace_s)),
        reaping=ReapLimits(
            dispatch_s=settings.dispatch_deadline_s + UNDO_S,
            missing_room_s=settings.reap_missing_room_s,
            settle_s=0.8 * settings.reap_every_s,
            most_apart_s=max(20.0, 4 * settings.reap_every_s),
            follows_rooms=not settings.rehearses,
        ),
        scaling=scale_limits(settings),
    )


def scale_limits(settings: FleetSettings) -> ScaleLimits | None:
    if not settings.autoscale:
        return None
    return ScaleLimits(
        bounds=ScalingBounds(
            min_nodes=settings.min_nodes,
            max_nodes=settings.max_nodes,
            min_warm=settings.warm_actors,
            max_warm=max(settings.warm_actors, settings.max_sessions),
        ),
        node_slots=settings.node_slots,
        node_start_s=settings.node_start_s,
        every_s=settings.scale_every_s,
        tuning=ScalingTuning(calm_s=settings.scale_calm_s),
    )


def dispatch_limits(settings: FleetSettings) -> DispatchLimits:
    return DispatchLimits(
        livekit_url=settings.participant_livekit_url,
        deadline_s=settings.dispatch_deadline_s,
        join_timeout_s=settings.join_timeout_s,
        token_ttl_s=settings.participant_token_ttl_s,
        room_empty_timeout_s=settings.room_empty_timeout_s,
        rehearses=settings.rehearses,
        contract_in_room=settings.contract_in_room,
        cluster=settings.cluster,
    )


def _create(name: str, settings: FleetSettings, cls: type[Any], config: Any) -> None:
    options = ActorOptions(
        name=name,
        namespace=settings.ray_namespace,
        runtime_env=control_env(fork_server=settings.fork_server),
        num_cpus=0,
        resources=settings.control_resources,
        max_restarts=-1,
        # Every method may run twice, so what was under way at a restart is simply asked again.
        max_task_retries=-1,
        max_concurrency=_CONTROL_CONCURRENCY,
    )
    ray_calls.get_or_create(cls, options, config)


async def _open(name: str, namespace: str) -> None:
    await RemoteActor(name, namespace).call("open", deadline_s=START_DEADLINE_S)


async def _try(part: str, call: Callable[..., Awaitable[Any]], *args: Any, **kwargs: Any) -> None:
    """Stopping goes on whatever fails: the kills at its end work on whoever does not answer."""
    try:
        await call(*args, **kwargs)
    except ActorMissing:
        pass
    except FleetError as error:
        log.warning("stop_step_failed", part=part, error=str(error))


async def _until_gone(namespace: str) -> None:
    deadline = time.monotonic() + GONE_DEADLINE_S
    while left := _ours(namespace):
        if time.monotonic() >= deadline:
            raise ControlPlaneUnavailable("stop", f"still there: {', '.join(left)}")
        await asyncio.sleep(_POLL_S)


def _ours(namespace: str) -> list[str]:
    control = {ROSTER, SUPERVISOR, BUDGET}
    names = ray_calls.names(namespace)
    return [name for name in names if name in control or name.startswith(_MANY)]
