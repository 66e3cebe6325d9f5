"""The warm pool: executes what the roster decides, and answers when it has decided.

``Pool`` is everything but Ray; ``fleet.roster_actor`` is the named actor around it. Its one
event loop makes every decision in turn, so a reservation is atomic.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Set
from dataclasses import dataclass, field
from functools import partial

import structlog

from agent_actor.contract import ActorId, SessionId
from agent_actor.messages import WarmReport
from agent_actor.owned_tasks import OwnedTasks
from fleet.crew import Crew
from fleet.endings import Sleep
from fleet.errors import ActorLost, FleetDraining, FleetError, FleetFull
from fleet.metrics import Metrics
from fleet.preopened import PulseTally, counted
from fleet.roster import Roster
from fleet.roster_model import (
    ActorState,
    Arrangement,
    Command,
    Grant,
    Handover,
    KillActor,
    NodeId,
    RosterLimits,
    RosterSnapshot,
    StartActor,
    TurnAway,
    Wait,
    Why,
)

CHECK_INTERVAL_S = 5.0
"""How often warm actors are asked whether they live. One that died in between is found when it
is reserved, and its session gets another."""
CHECK_PING_S = 5.0
RESERVED_PING_S = 2.0
"""For an idle actor to answer; one that takes longer is no use to an interview either."""
MISSED_PINGS = 3
"""Pings in a row without an answer, after which a warm actor counts as lost."""

NOTHING_KNOWN = Handover()

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Reservation:
    session_id: SessionId
    actor_id: ActorId
    waited_s: float


@dataclass(frozen=True, kw_only=True)
class PoolSnapshot:
    books: RosterSnapshot
    nodes: Mapping[ActorId, str]
    """The Ray node of each actor that has been warm."""
    pids: Mapping[ActorId, int]
    warm_s: tuple[float, ...]
    """How long the last starts took, oldest first."""
    last_start_error: str | None
    preopened_open: int = 0
    """Connections that warm actors hold open ahead."""
    preopened: Mapping[str, int] = field(default_factory=dict)
    """What became of others, see ``fleet.preopened``."""


class Pool:
    """Use: ``open``, then anything, then ``aclose``. All in one event loop."""

    def __init__(
        self,
        limits: RosterLimits,
        crew: Crew,
        *,
        prefix: str,
        clock: Callable[[], float] = time.monotonic,
        check_interval_s: float = CHECK_INTERVAL_S,
        sleep: Sleep = asyncio.sleep,
        metrics: Metrics | None = None,
    ) -> None:
        self._roster = Roster(limits, prefix=prefix)
        self._crew = crew
        self._sleep = sleep
        self._metrics = metrics or Metrics()
        self._ahead = PulseTally(self._metrics)
        self._clock = clock
        self._check_interval_s = check_interval_s
        self._waiters: dict[SessionId, asyncio.Future[ActorId]] = {}
        self._tasks = OwnedTasks("pool")
        self._wake = asyncio.Event()
        self._warm_reports: dict[ActorId, WarmReport] = {}
        self._recent_warm_s: list[float] = []
        self._missed: Counter[ActorId] = Counter()
        self._last_start_error: str | None = None

    async def open(
        self,
        adopted: Mapping[ActorId, SessionId | None] | None = None,
        known: Handover = NOTHING_KNOWN,
    ) -> None:
        """Begin to keep the pool. ``adopted``: actors of an earlier roster, with their sessions.
        ``known``: what is draining."""
        self._roster.drain(known.fleet_drains)
        # Nothing is warm yet, so there is nothing to do for it.
        self._roster.drain_nodes(known.draining_nodes, self._clock())
        for actor_id, session_id in (adopted or {}).items():
            self._roster.adopt(actor_id, session_id, self._clock())
            if session_id is None:
                self._tasks.start(self._get_warm(actor_id, self._crew.rejoin))
            else:
                self._tasks.start(self._find(actor_id))
        self._tasks.start(self._keep())
        self._tasks.start(self._keep_checking())

    async def aclose(self) -> None:
        """Ends every actor, turns away whoever waits. Returns when nothing is left."""
        self._execute(self._roster.dismiss_all(self._clock()))
        await self._tasks.aclose()

    # Sessions

    def admit(self, session_id: SessionId, within_s: float) -> None:
        """A slot for a session that will ``reserve`` within ``within_s``; asking again is the same.

        Raises FleetFull or FleetDraining at once: it never waits.
        """
        answer = self._roster.admit(session_id, self._clock(), within_s)
        self._apply([])
        if answer is not None:
            raise _refusal(answer)

    async def reserve(self, session_id: SessionId, wait_s: float) -> Reservation:
        """A permit and a warm actor, waiting for one if need be; asking again is the same.

        Raises FleetFull or FleetDraining; the session holds no permit then.
        """
        answer = self._roster.reserve(session_id, self._clock(), wait_s)
        if isinstance(answer, Wait) and session_id not in self._waiters:
            self._metrics.counter("fleet_cold_starts_total").inc()
        return await self._settled(session_id, [answer], wait_s)

    async def reassign(self, session_id: SessionId, wait_s: float) -> Reservation:
        """Another actor for a session whose own failed; raises like ``reserve``."""
        commands = self._roster.reassign(session_id, self._clock(), wait_s)
        return await self._settled(session_id, commands, wait_s)

    def begin(self, session_id: SessionId) -> ActorId | None:
        """The session's actor, its own from now on. None: not reserved (any more)."""
        actor_id = self._roster.begin(session_id, self._clock())
        if actor_id is not None:
            self._ahead.begun(actor_id)
        return actor_id

    def release(self, session_id: SessionId) -> None:
        """The session is over, or was never begun. Repeating it is fine."""
        self._apply(self._roster.release(session_id, self._clock()))

    def report_lost(self, actor_id: ActorId) -> None:
        self._apply(self._roster.actor_lost(actor_id, self._clock()))

    def prepare_move(self, session_id: SessionId) -> bool:
        """See the roster's; the actor that it answers for was warm at its last pulse."""
        ready = self._roster.prepare_move(session_id, self._clock())
        self._apply([])
        return ready

    def arrange(self, arrangement: Arrangement) -> None:
        self._roster.arrange(arrangement)
        self._apply([])

    def drain(self, on: bool, nodes: Set[NodeId] = frozenset()) -> None:
        """``on``: the whole fleet. Both are as they are to be from now on."""
        self._roster.drain(on)
        self._apply(self._roster.drain_nodes(nodes, self._clock()))

    def snapshot(self) -> PoolSnapshot:
        books = self._roster.snapshot(self._clock())
        return PoolSnapshot(
            books=books,
            nodes={a.actor_id: a.node_id for a in books.actors if a.node_id},
            pids={actor: report.pid for actor, report in self._warm_reports.items()},
            warm_s=tuple(self._recent_warm_s),
            last_start_error=self._last_start_error,
            preopened_open=self._ahead.open,
            preopened=counted(self._metrics),
        )

    # Inside

    async def _settled(
        self, session_id: SessionId, commands: list[Command | Wait], wait_s: float
    ) -> Reservation:
        began = self._clock()
        while True:
            waiter = self._waiters.get(session_id)
            if waiter is None:
                waiter = asyncio.get_running_loop().create_future()
                self._waiters[session_id] = waiter
            self._apply([c for c in commands if not isinstance(c, Wait)])
            # Shielded: another caller may wait for the same session.
            actor_id = await asyncio.shield(waiter)
            waited_s = self._clock() - began
            if await self._answers(actor_id):
                return Reservation(session_id=session_id, actor_id=actor_id, waited_s=waited_s)
            self._apply(self._roster.actor_lost(actor_id, self._clock()))
            left_s = max(0.0, wait_s - waited_s)
            commands = [self._roster.reserve(session_id, self._clock(), left_s)]

    async def _answers(self, actor_id: ActorId) -> bool:
        """Whether it is there for its session: a node that went takes many warm actors along,
        and each would cost its session an attempt."""
        try:
            pulse = await self._crew.ping(actor_id, RESERVED_PING_S)
        except FleetError as error:
            log.warning("reserved_actor_lost", actor_id=actor_id, error=str(error))
            return False
        self._ahead.pulse(actor_id, pulse)
        return True

    def _apply(self, commands: list[Command]) -> None:
        self._execute(commands)
        while due := self._roster.tick(self._clock()):
            self._execute(due)
        self._wake.set()

    def _execute(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StartActor(actor_id=actor_id, on=node, not_on=others):
                    start = partial(self._crew.start, on=node, not_on=others)
                    self._tasks.start(self._get_warm(actor_id, start))
                case KillActor(actor_id=actor_id):
                    self._end_actor(actor_id)
                case Grant(session_id=session_id, actor_id=actor_id):
                    if waiter := self._waiters.pop(session_id, None):
                        waiter.set_result(actor_id)
                case TurnAway():
                    self._turn_away(command)

    def _turn_away(self, answer: TurnAway) -> None:
        log.info("session_turned_away", session_id=answer.session_id, why=answer.why.value)
        self._metrics.counter("fleet_turned_away_total", why=answer.why.value).inc()
        waiter = self._waiters.pop(answer.session_id, None)
        if waiter is None:
            return
        waiter.set_exception(_refusal(answer))
        # Whoever asked may have gone; nobody else needs to hear of it.
        waiter.exception()

    def _end_actor(self, actor_id: ActorId) -> None:
        self._crew.kill(actor_id)
        self._warm_reports.pop(actor_id, None)
        self._missed.pop(actor_id, None)
        self._ahead.gone(actor_id)
        self._roster.actor_gone(actor_id)

    async def _get_warm(
        self, actor_id: ActorId, start: Callable[[ActorId], Awaitable[WarmReport]]
    ) -> None:
        try:
            report = await start(actor_id)
        except Exception as error:
            self._last_start_error = str(error)
            log.warning("actor_start_failed", actor_id=actor_id, error=str(error))
            self._apply(self._roster.start_failed(actor_id, self._clock()))
            return
        log.info("actor_warm", actor_id=actor_id, warm_s=round(report.warm_s, 3))
        self._metrics.histogram("fleet_actor_warm_seconds").observe(report.warm_s)
        self._warm_reports[actor_id] = report
        self._recent_warm_s = [*self._recent_warm_s[-99:], report.warm_s]
        node_id = NodeId(report.node_id)
        self._apply(self._roster.actor_warm(actor_id, self._clock(), node_id))
        try:
            await self._crew.introduce(actor_id)
        except FleetError as error:
            # Whoever needs it finds it, in more time.
            log.info("actor_not_introduced", actor_id=actor_id, error=str(error))

    async def _find(self, actor_id: ActorId) -> None:
        """On which node an adopted actor is: it says so with its pulse."""
        while self._roster.state_of(actor_id) is ActorState.LIVE:
            try:
                pulse = await self._crew.look(actor_id, CHECK_PING_S)
            except ActorLost:
                return
            except FleetError:
                await self._sleep(self._check_interval_s)
                continue
            if pulse is not None and pulse.node_id:
                self._roster.actor_is_on(actor_id, NodeId(pulse.node_id))
            return

    async def _keep(self) -> None:
        """Ticks when something is due and nothing else has happened before."""
        self._apply([])
        while True:
            self._wake.clear()
            due = self._roster.next_due(self._clock())
            try:
                async with asyncio.timeout(None if due is None else max(0, due - self._clock())):
                    await self._wake.wait()
            except TimeoutError:
                self._apply([])

    async def _keep_checking(self) -> None:
        while True:
            await self._sleep(self._check_interval_s)
            await asyncio.gather(*(self._check(a) for a in self._roster.warm_actors()))

    async def _check(self, actor_id: ActorId) -> None:
        try:
            self._ahead.pulse(actor_id, await self._crew.ping(actor_id, CHECK_PING_S))
            self._missed.pop(actor_id, None)
        except ActorLost:
            self._found_lost(actor_id)
        except FleetError:
            self._missed[actor_id] += 1
            if self._missed[actor_id] >= MISSED_PINGS:
                self._found_lost(actor_id)

    def _found_lost(self, actor_id: ActorId) -> None:
        # It may have been given to a session meanwhile, whose supervisor then sees to it.
        if actor_id in self._roster.warm_actors():
            log.warning("warm_actor_lost", actor_id=actor_id)
            self.report_lost(actor_id)


def _refusal(answer: TurnAway) -> FleetFull | FleetDraining:
    retry_after_s = float(math.ceil(answer.retry_after_s))
    if answer.why is Why.DRAINING:
        return FleetDraining(retry_after_s=retry_after_s)
    return FleetFull(retry_after_s=retry_after_s, estimated_wait_s=answer.estimate_s)
