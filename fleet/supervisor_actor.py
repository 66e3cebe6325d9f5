"""The named Ray actor "supervisor": every session under way behind remote methods. Restarted, it
takes over the sessions that it finds in the registry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import structlog

from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.messages import Allowance, JoinReport, StopMode
from agent_actor.owned_tasks import OwnedTasks
from fleet import ray_calls
from fleet.arrival_book import RedisArrivalBook
from fleet.clients import RayBudgetClient, RayRosterClient
from fleet.cluster_watch import ClusterBook, ClusterWatch
from fleet.clusters import Clusters
from fleet.drain_book import DrainBook
from fleet.drainer import Drainer, DrainParts
from fleet.draining import WHOLE_FLEET, Drain
from fleet.endings import Endings
from fleet.errors import FleetDraining, RegistryUnavailable
from fleet.journal import Journal
from fleet.livekit_client import LiveKitClient
from fleet.logs import configure_logs
from fleet.metrics import Metrics
from fleet.nodes import alive_nodes
from fleet.parts import StartRequest
from fleet.reaper import Reaper, ReapParts
from fleet.reaping import ReapLimits
from fleet.registry import Registry
from fleet.roster_actor import SUPERVISOR
from fleet.roster_model import Handover, NodeId
from fleet.run_parts import RunLimits, RunParts
from fleet.scaler import ScaleLimits, ScaleParts, Scaler
from fleet.session_actors import RaySessionActors
from fleet.settings import BudgetRelays, FleetSettings
from fleet.stop_book import StopBook
from fleet.supervisor import Supervisor, SupervisorSnapshot, SupervisorTiming
from fleet.telemetry import keep_sending_metrics, of_registry, open_tracer

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class SupervisorConfig:
    settings: FleetSettings
    limits: RunLimits
    timing: SupervisorTiming = field(default_factory=SupervisorTiming)
    reaping: ReapLimits = field(default_factory=ReapLimits)
    scaling: ScaleLimits | None = None
    """None: nodes are what they are."""


class SupervisorActor:
    """Restarts without limit. See ``fleet.supervisor`` for what the methods promise."""

    def __init__(self, config: SupervisorConfig) -> None:
        configure_logs(SUPERVISOR)
        self._config = config
        self._metrics = Metrics()
        self._tracer = open_tracer(SUPERVISOR, on_lost=self._metrics.spans_lost)
        self._supervisor: Supervisor | None = None
        self._beside = OwnedTasks(SUPERVISOR)
        """Reaper, drainer, scaler, telemetry, and the watch over other clusters."""
        self._opening = asyncio.Lock()
        self._closed = False
        # A restarted supervisor has no caller yet, but sessions to look after.
        ray_calls.myself().open.remote()

    async def open(self) -> None:
        await self._ready()

    async def start(self, request: StartRequest) -> JoinReport:
        return await (await self._ready()).start(request)

    async def meet(self, actor_id: ActorId, handle: Any) -> None:
        await (await self._ready()).meet(actor_id, handle)

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        await (await self._ready()).stop(session_id, reason, mode)

    async def restrain(self, allowances: Sequence[Allowance], stop: bool) -> int:
        return await (await self._ready()).restrain(allowances, stop=stop)

    async def observe(self, session_id: SessionId) -> bool:
        return await (await self._ready()).observe(session_id)

    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool:
        return await (await self._ready()).wait_over(session_id, timeout_s)

    async def stop_all(self, reason: EndReason, mode: StopMode) -> int:
        return (await self._ready()).stop_all(reason, mode)

    async def idle(self, timeout_s: float) -> bool:
        return await (await self._ready()).idle(timeout_s)

    async def handover(self) -> Handover:
        """For a roster that rebuilds itself."""
        supervisor = await self._ready()
        assignments, drains = await asyncio.gather(supervisor.assignments(), self._drainer.drains())
        return Handover(
            assignments=assignments,
            fleet_drains=WHOLE_FLEET in drains,
            draining_nodes=frozenset(drains) - {WHOLE_FLEET},
        )

    async def drain_node(self, node_id: NodeId, deadline_s: float) -> Drain:
        """``draining.WHOLE_FLEET`` too. See ``Drainer``."""
        await self._ready()
        return await self._drainer.drain(node_id, deadline_s)

    async def undrain_node(self, node_id: NodeId) -> bool:
        await self._ready()
        return await self._drainer.undrain(node_id)

    async def drains(self) -> dict[NodeId, Drain]:
        await self._ready()
        return await self._drainer.drains()

    async def snapshot(self) -> SupervisorSnapshot:
        return (await self._ready()).snapshot()

    async def exposition(self) -> bytes:
        """Its metrics, as Prometheus reads them."""
        return self._metrics.exposition()

    async def shutdown(self, goodbye_s: float) -> None:
        """Ends every session, see ``Supervisor.aclose``. New ones are refused for good."""
        supervisor = await self._ready()
        # Nothing is taken over or moved any more.
        await self._beside.aclose()
        await supervisor.aclose(goodbye_s=goodbye_s)
        self._closed = True
        try:
            # It has come to its end; the next fleet is to begin.
            await self._drain_book.drop(WHOLE_FLEET)
            await self._watch.leave()
        except RegistryUnavailable as error:
            log.warning("fleet_not_forgotten", error=str(error))
        await asyncio.gather(
            self._registry.aclose(),
            self._journal.aclose(),
            self._livekit.aclose(),
            self._drain_book.aclose(),
            self._arrival_book.aclose(),
            self._cluster_book.aclose(),
            self._stop_book.aclose(),
            self._tracer.aclose(),
        )

    async def _ready(self) -> Supervisor:
        if self._closed:
            raise FleetDraining
        async with self._opening:
            if self._supervisor is None:
                self._supervisor = self._build()
                await self._supervisor.open()
                self._beside.start(self._reaper(self._supervisor).keep_reaping())
                self._beside.start(self._drainer.keep_draining())
                self._beside.start(self._watch.keep_watching())
                self._beside.start(
                    keep_sending_metrics(SUPERVISOR, of_registry(self._metrics.registry))
                )
                if self._config.scaling is not None:
                    self._beside.start(self._scaler(self._config.scaling).keep_scaling())
        return self._supervisor

    def _build(self) -> Supervisor:
        settings = self._config.settings
        namespace = settings.ray_namespace
        self._registry = Registry.from_settings(settings)
        self._journal = Journal.from_settings(settings)
        self._livekit = LiveKitClient.from_settings(settings)
        self._budget, self._roster = RayBudgetClient(namespace), RayRosterClient(namespace)
        self._clusters = Clusters(settings.cluster)
        self._cluster_book = ClusterBook.from_settings(settings)
        self._watch = ClusterWatch(self._clusters, self._cluster_book, sleep=asyncio.sleep)
        self._stop_book = StopBook.from_settings(settings)
        relayed = settings.budget_relay is BudgetRelays.PER_NODE
        self._actors = RaySessionActors(namespace, self._budget.actor, relayed=relayed)
        parts = RunParts(
            roster=self._roster,
            records=self._registry,
            budget=self._budget,
            rooms=self._livekit,
            actors=self._actors,
            journal=self._journal,
            endings=Endings(),
            metrics=self._metrics,
            clusters=self._clusters,
            tracer=self._tracer,
        )
        supervisor = Supervisor(
            parts, self._config.limits, self._config.timing, self._watch, self._stop_book
        )
        self._drain_book = DrainBook.from_settings(settings)
        self._arrival_book = RedisArrivalBook.from_settings(settings)
        drain_parts = DrainParts(
            book=self._drain_book,
            roster=self._roster,
            sessions=supervisor,
            nodes=alive_nodes,
        )
        self._drainer = Drainer(drain_parts, patience_s=settings.handover_patience_s)
        return supervisor

    def _scaler(self, limits: ScaleLimits) -> Scaler:
        parts = ScaleParts(
            books=self._roster,
            nodes=partial(ray_calls.nodes_soon, deadline_s=limits.deadline_s),
            ask=ray_calls.ask_for_nodes,
            arrivals=self._arrival_book,
            metrics=self._metrics,
            sleep=asyncio.sleep,
        )
        return Scaler(parts, limits)

    def _reaper(self, supervisor: Supervisor) -> Reaper:
        parts = ReapParts(
            rooms=self._livekit,
            actors=self._actors,
            accounts=self._budget,
            books=self._roster,
            records=self._registry,
            sessions=supervisor,
            journal=self._journal,
            metrics=self._metrics,
            sleep=asyncio.sleep,
            clusters=self._clusters,
        )
        every_s = self._config.settings.reap_every_s
        return Reaper(parts, self._config.reaping, every_s=every_s)
