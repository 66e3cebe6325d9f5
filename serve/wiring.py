"""The ports over the real parts: registry and journal in Redis, control actors in Ray, LiveKit."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Mapping
from typing import Any, TypeVar
from urllib.parse import urlsplit

from agent_actor.contract import EndReason, Provider, SessionId
from fleet.budget.client import open_cost_export
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost
from fleet.budget.export import CostExport, CostRow
from fleet.changes import Changes
from fleet.clients import BUDGET, CALL_DEADLINE_S
from fleet.control import ControlPlane, control_plane, open_dispatcher, start_control_plane
from fleet.dispatch_plan import DispatchRequest, session_of_room
from fleet.dispatcher import Dispatcher, StopMode
from fleet.errors import (
    BudgetUnavailable,
    ControlPlaneUnavailable,
    FleetError,
    SettingsInvalid,
)
from fleet.journal import Journal
from fleet.limits import LimitChange, LimitChanger
from fleet.livekit_client import LiveKitClient
from fleet.nodes import NodeDesk
from fleet.observers import ObserverDesk
from fleet.pool import PoolSnapshot
from fleet.preopened import wasted
from fleet.ray_calls import RemoteActor
from fleet.registry import Registry
from fleet.settings import FleetSettings
from fleet.supervisor import SupervisorSnapshot
from fleet.telemetry import open_tracer
from serve.ports import Crew, NewSession, Ports, Preopened, ProviderInfo, Started

T = TypeVar("T")
GONE_POLL_S = 0.25
FIRST_ACTOR_S = 300.0
"""For a new cluster's first node, its image, and an actor there to be warm."""
_LOOK_S = 0.5
INGRESS = "ingress"

_BASE_URLS = {
    Provider.OPENAI_REALTIME: ("FLEET_OPENAI_BASE_URL", ".openai.com"),
    Provider.GEMINI_LIVE: ("FLEET_GEMINI_BASE_URL", ".googleapis.com"),
}


class RealStarter:
    """The dispatcher, as the routes see it."""

    def __init__(self, dispatcher: Dispatcher, plane: ControlPlane, registry: Registry) -> None:
        self._dispatcher = dispatcher
        self._plane = plane
        self._registry = registry

    async def start(self, request: NewSession) -> Started:
        dispatched = await self._dispatcher.dispatch(
            DispatchRequest(
                config=request.config,
                split=request.split,
                participant_name=request.participant_name,
                idempotency_key=request.idempotency_key,
                body_hash=request.body_hash,
                respond_async=request.respond_async,
                traceparent=request.traceparent,
            )
        )
        return Started(
            record=dispatched.record,
            livekit_url=dispatched.livekit_url,
            participant_token=dispatched.participant_token,
            token_expires_at=dispatched.token_expires_at,
            existing=dispatched.existing,
        )

    async def stop(
        self, session_id: str, *, reason: EndReason = EndReason.OPERATOR, at_once: bool = False
    ) -> None:
        mode = StopMode.NOW if at_once else StopMode.GOODBYE
        await self._dispatcher.stop(session_id, reason=reason, mode=mode)

    async def wait_gone(self, session_id: str, *, timeout_s: float) -> bool:
        ends = time.monotonic() + timeout_s
        await self._plane.supervisor.wait_over(SessionId(session_id), timeout_s)
        # One that another cluster runs is over for our supervisor, and not yet gone.
        while not (gone := (await self._registry.get(session_id)).is_gone):
            if time.monotonic() >= ends:
                break
            await asyncio.sleep(GONE_POLL_S)
        return gone


class RealMoney:
    """The budget actor's answers about money. Raises BudgetUnavailable."""

    def __init__(
        self, namespace: str, plane: ControlPlane, registry: Registry, export: CostExport
    ) -> None:
        self._actor = RemoteActor(BUDGET, namespace)
        self._export = export
        self._limits = LimitChanger(plane.budget, plane.supervisor, registry)

    async def set_limit(self, session_id: str, micro_usd: int) -> LimitChange | None:
        return await self._limits.of_session(session_id, micro_usd)

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> LimitChange:
        return await self._limits.of_study(study_id, micro_usd)

    async def cost(self, session_id: str) -> SessionCost | None:
        cost: SessionCost | None = await self._call("cost", session_id)
        return cost

    async def study_cost(self, study_id: str) -> StudyCost | None:
        cost: StudyCost | None = await self._call("study_cost", study_id)
        return cost

    async def totals(self) -> BudgetTotals:
        totals: BudgetTotals = await self._call("totals")
        return totals

    def study_rows(self, study_id: str) -> AsyncIterator[tuple[CostRow, ...]]:
        return self._export.of_study(study_id)

    async def session_rows(self, session_id: str) -> tuple[CostRow, ...]:
        return await self._export.of_session(session_id)

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            return await self._actor.call(method, *args, deadline_s=CALL_DEADLINE_S)
        except ControlPlaneUnavailable as error:
            raise BudgetUnavailable(str(error)) from error


class RealRoster:
    def __init__(self, plane: ControlPlane) -> None:
        self._plane = plane

    async def crew(self) -> Crew:
        pool, sessions = await asyncio.gather(
            self._plane.roster.snapshot(), _or_none(self._plane.supervisor.snapshot())
        )
        books = pool.books
        return Crew(
            warm=books.warm,
            reserved=books.reserved,
            live=books.live,
            starting=books.starting,
            slots=books.max_sessions,
            free=0 if books.draining else max(0, books.max_sessions - books.permits),
            queue=books.waiting,
            estimated_wait_s=books.estimated_wait_s,
            preopened=None if sessions is None else _preopened(pool, sessions),
        )


class Readiness:
    """Whether a session asked for now would find all it needs."""

    def __init__(self, roster: RealRoster, registry: Registry, livekit: LiveKitClient) -> None:
        self._roster = roster
        self._registry = registry
        self._livekit = livekit

    async def roster(self) -> str | None:
        await self._roster.crew()
        return None

    async def redis(self) -> str | None:
        await self._registry.ping()
        return None

    async def livekit(self) -> str | None:
        await self._livekit.ping()
        return None

    async def warm(self) -> str | None:
        crew = await self._roster.crew()
        return None if crew.warm else f"no warm actor, {crew.starting} starting"


async def open_ports(settings: FleetSettings, providers: tuple[ProviderInfo, ...]) -> Ports:
    """Everything opened for one process of the ingress; ``Ports.aclose`` closes it. Nothing is
    asked yet: whether the parts answer is for /readyz to say.
    """
    plane = control_plane(settings)
    roster = RealRoster(plane)
    registry, journal = Registry.from_settings(settings), Journal.from_settings(settings)
    changes = Changes.from_settings(settings)
    livekit, export = LiveKitClient.from_settings(settings), open_cost_export(settings)
    tracer = open_tracer(INGRESS)
    dispatcher, close_dispatcher = await open_dispatcher(settings, tracer=tracer)
    ready = Readiness(roster, registry, livekit)
    observers = ObserverDesk(
        book=registry,
        tokens=livekit,
        sessions=plane.supervisor,
        livekit_url=settings.participant_livekit_url,
        ttl_s=settings.observer_token_ttl_s,
    )

    async def aclose() -> None:
        await close_dispatcher()
        for part in (registry, journal, changes, livekit, export):
            await part.aclose()

    async def expositions() -> list[bytes]:
        texts = await asyncio.gather(
            _or_none(plane.roster.exposition()),
            _or_none(plane.supervisor.exposition()),
            *(_or_none(bridge.exposition()) for bridge in plane.bridges),
        )
        return [text for text in texts if text is not None]

    return Ports(
        starter=RealStarter(dispatcher, plane, registry),
        sessions=registry,
        journal=journal,
        changes=changes,
        money=RealMoney(settings.ray_namespace, plane, registry, export),
        observers=observers,
        roster=roster,
        nodes=NodeDesk(plane.roster, plane.supervisor),
        passes=livekit,
        livekit_url=settings.participant_livekit_url,
        public_url=settings.public_url,
        drain_deadline_s=settings.drain_deadline_s,
        webhooks=livekit,
        checks={
            "roster": ready.roster,
            "redis": ready.redis,
            "livekit": ready.livekit,
            "warm": ready.warm,
        },
        providers=providers,
        clock=time.time,
        session_of_room=session_of_room,
        expositions=expositions,
        aclose=aclose,
        tracer=tracer,
    )


def providers_of(environment: Mapping[str, str]) -> tuple[ProviderInfo, ...]:
    """Who speaks, by the addresses that session actors are given: whatever stands at an address
    that is not the provider's own is called a simulator. Userinfo and path are not shown.
    """
    return tuple(
        _provider(provider, environment.get(variable, ""), own)
        for provider, (variable, own) in _BASE_URLS.items()
    )


def on_a_cluster(settings: FleetSettings) -> FleetSettings:
    """Where it listens is Serve's to say then, whatever FLEET_API_HOST is. Raises SettingsInvalid
    without a key."""
    if not settings.api_keys:
        raise SettingsInvalid({"FLEET_API_KEY": "required where Serve's configuration deploys it"})
    return settings


async def start_fleet(settings: FleetSettings) -> None:
    """The control plane, where nobody has started it yet; returns when a session could begin, or
    after ``FIRST_ACTOR_S``. KubeRay sends new sessions to a new cluster as soon as its replicas are
    up. Raises ControlPlaneUnavailable, SettingsInvalid.
    """
    plane = await start_control_plane(settings)
    deadline = time.monotonic() + FIRST_ACTOR_S
    while settings.warm_actors and time.monotonic() < deadline:
        pool = await _or_none(plane.roster.snapshot())
        if pool is not None and (pool.books.draining or pool.books.warm + pool.books.permits):
            return
        await asyncio.sleep(_LOOK_S)


def _provider(provider: Provider, base_url: str, own: str) -> ProviderInfo:
    if not base_url:
        return ProviderInfo(provider=provider, simulated=False)
    parts = urlsplit(base_url)
    host = parts.hostname or ""
    endpoint = f"{parts.scheme}://{host}" + (f":{parts.port}" if parts.port else "")
    return ProviderInfo(
        provider=provider, simulated=not f".{host}".endswith(own), endpoint=endpoint
    )


def _preopened(pool: PoolSnapshot, sessions: SupervisorSnapshot) -> Preopened:
    return Preopened(
        open=pool.preopened_open,
        opened=pool.preopened.get("opened", 0),
        wasted=wasted(pool.preopened, sessions.preopened),
    )


async def _or_none(look: Awaitable[T]) -> T | None:
    try:
        return await look
    except FleetError:
        return None
