"""The named Ray actor "roster": the warm pool behind remote methods, which rebuilds itself."""

from __future__ import annotations

import asyncio
import secrets
from dataclasses import dataclass

import structlog

from agent_actor.contract import ActorId, SessionId
from agent_actor.owned_tasks import OwnedTasks
from fleet import ray_calls
from fleet.crew import ActorSpec, RayCrew
from fleet.errors import ActorMissing, FleetDraining
from fleet.logs import configure_logs
from fleet.metrics import Metrics
from fleet.pool import Pool, PoolSnapshot, Reservation
from fleet.ray_calls import RemoteActor
from fleet.roster_model import Arrangement, Handover, NodeId, RosterLimits
from fleet.telemetry import keep_sending_metrics, of_registry

ROSTER = "roster"
SUPERVISOR = "supervisor"
_ASK_SUPERVISOR_S = 10.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class RosterConfig:
    namespace: str
    limits: RosterLimits
    actor: ActorSpec


class RosterActor:
    """Restarts without limit and may be asked again after any failure: see ``fleet.roster``."""

    def __init__(self, config: RosterConfig) -> None:
        configure_logs(ROSTER)
        self._config = config
        self._metrics = Metrics()
        self._pool: Pool | None = None
        self._beside = OwnedTasks(ROSTER)
        """Telemetry."""
        self._opening = asyncio.Lock()
        self._closed = False
        # A restarted roster has no caller yet, but actors to keep.
        ray_calls.myself().open.remote()

    async def open(self) -> None:
        await self._ready()

    async def admit(self, session_id: SessionId, within_s: float) -> None:
        (await self._ready()).admit(session_id, within_s)

    async def reserve(self, session_id: SessionId, wait_s: float) -> Reservation:
        return await (await self._ready()).reserve(session_id, wait_s)

    async def reassign(self, session_id: SessionId, wait_s: float) -> Reservation:
        return await (await self._ready()).reassign(session_id, wait_s)

    async def prepare_move(self, session_id: SessionId) -> bool:
        return (await self._ready()).prepare_move(session_id)

    async def begin(self, session_id: SessionId) -> ActorId | None:
        return (await self._ready()).begin(session_id)

    async def release(self, session_id: SessionId) -> None:
        (await self._ready()).release(session_id)

    async def report_lost(self, actor_id: ActorId) -> None:
        (await self._ready()).report_lost(actor_id)

    async def drain(self, on: bool, nodes: frozenset[NodeId] = frozenset()) -> None:
        (await self._ready()).drain(on, nodes)

    async def arrange(self, arrangement: Arrangement) -> None:
        (await self._ready()).arrange(arrangement)

    async def snapshot(self) -> PoolSnapshot:
        return (await self._ready()).snapshot()

    async def exposition(self) -> bytes:
        """Its metrics, as Prometheus reads them."""
        return self._metrics.exposition()

    async def shutdown(self) -> None:
        """Ends every session actor, live ones too. New sessions are refused for good."""
        pool = await self._ready()
        self._closed = True
        await self._beside.aclose()
        await pool.aclose()

    async def _ready(self) -> Pool:
        if self._closed:
            raise FleetDraining
        async with self._opening:
            if self._pool is None:
                self._pool = await self._opened()
                self._beside.start(
                    keep_sending_metrics(ROSTER, of_registry(self._metrics.registry))
                )
        return self._pool

    async def _opened(self) -> Pool:
        namespace = self._config.namespace
        crew = RayCrew(self._config.actor, namespace, RemoteActor(SUPERVISOR, namespace))
        # Its own prefix: ids must differ from those that an earlier roster gave out.
        pool = Pool(self._config.limits, crew, prefix=secrets.token_hex(3), metrics=self._metrics)
        existing = crew.existing()
        known = await self._ask_supervisor()
        sessions = {actor_id: session_id for session_id, actor_id in known.assignments.items()}
        await pool.open({actor_id: sessions.get(actor_id) for actor_id in existing}, known)
        log.info("roster_open", adopted=len(existing), live=len(sessions))
        return pool

    async def _ask_supervisor(self) -> Handover:
        """Which actors are busy, and what drains. While it does not answer nothing is opened: an
        actor taken for idle that is not would be ended with the interview on it."""
        supervisor = RemoteActor(SUPERVISOR, self._config.namespace)
        try:
            known: Handover = await supervisor.call("handover", deadline_s=_ASK_SUPERVISOR_S)
        except ActorMissing:
            return Handover()
        return known
