"""Every session under way, and the few things one can ask of all of them. Knows no Ray."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import structlog

from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.messages import Allowance, JoinReport, StopMode
from agent_actor.owned_tasks import OwnedTasks
from fleet.adoption import request_of
from fleet.cluster_watch import ClusterWatch
from fleet.errors import FleetDraining, FleetError, SessionNotFound
from fleet.escalation import Escalation, EscalationTiming
from fleet.parts import StartRequest, StopOrders
from fleet.preopened import counted
from fleet.reaping import RunSeen
from fleet.records import SessionRecord
from fleet.run_parts import RunLimits, RunParts, RunView
from fleet.session_run import SessionRun
from fleet.stopping import first_of

ADOPT_DEADLINE_S = 5.0
STOPS_LAST_S = 86_400.0
"""Longer than any session: then whose stop is still in the book was never heard of."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class SupervisorTiming:
    mirror_s: float = 1.0
    stops_s: float = 1.0
    """Between two looks for sessions that are to end by another cluster's word."""
    observers_s: float = 10.0
    """A list of observers that was not delivered, or in which places expired, is after this."""
    escalation: EscalationTiming = field(default_factory=EscalationTiming)


@dataclass(frozen=True, kw_only=True)
class SupervisorSnapshot:
    """``*_total`` count since this supervisor began."""

    sessions: tuple[RunView, ...]
    started_total: int
    ended_total: dict[str, int]
    """By end reason."""
    retries_total: int
    kills_total: int
    end_step_failures_total: dict[str, int]
    owed: int
    """End steps that failed and are tried again."""
    draining: bool
    preopened: dict[str, int] = field(default_factory=dict)
    """What sessions made of connections opened ahead, see ``fleet.preopened``."""


class Supervisor:
    """Use: ``open``, then anything, then ``aclose``. All in one event loop."""

    def __init__(
        self,
        parts: RunParts,
        limits: RunLimits,
        timing: SupervisorTiming = SupervisorTiming(),
        watch: ClusterWatch | None = None,
        stops: StopOrders | None = None,
    ) -> None:
        """``watch``, ``stops``: which other clusters use the registry, and what they want ended;
        None: there are none."""
        self._parts = parts
        self._watch = watch
        self._stops = stops
        self._told_to_stop: set[SessionId] = set()
        self._limits = limits
        self._timing = timing
        self._runs: dict[SessionId, SessionRun] = {}
        self._tasks = OwnedTasks("supervisor")
        self._adopted = asyncio.Event()
        self._draining = False
        self._started = 0
        self._retries = 0
        self._kills = 0
        self._ended: Counter[str] = Counter()
        self._escalation = Escalation(
            budget=parts.budget,
            records=parts.records,
            metrics=parts.metrics,
            stop=self._stop_overdue,
            timing=timing.escalation,
            sleep=parts.sleep,
        )

    async def open(self) -> None:
        self._tasks.start(self._parts.endings.keep_paying())
        self._tasks.start(self._keep_mirroring())
        self._tasks.start(self._keep_observers_told())
        self._tasks.start(self._keep_stops_heard())
        self._tasks.start(self._adopt())
        self._tasks.start(self._keep_escalating())

    async def aclose(self, *, goodbye_s: float = 0.0) -> None:
        """The one order: refuse new sessions → ask those under way to end → after ``goodbye_s``
        to end at once → kill what is left → pay what is owed. Returns when it is over.
        """
        self.drain(True)
        # Just restarted, it does not know its sessions yet.
        await first_of(self._adopted, timeout_s=ADOPT_DEADLINE_S)
        self.stop_all(EndReason.DRAINED, StopMode.GOODBYE if goodbye_s else StopMode.NOW)
        if goodbye_s and not await self.idle(goodbye_s):
            self.stop_all(EndReason.DRAINED, StopMode.NOW)
        # Killing is the last step of every stop; this much longer is only for its clearing up.
        await self.idle(self._limits.stop_grace_s + 30.0)
        await self._parts.endings.pay()
        await self._tasks.aclose()

    async def start(self, request: StartRequest) -> JoinReport:
        """Answers when the agent of the first attempt that gets so far is in the room.

        Asking again answers the same. Raises FleetDraining before anything is begun, and
        DispatchFailed when the session is over, with everything of it given back.
        """
        # Asked again of a restarted supervisor, the session is among those it takes over.
        await self._adopted.wait()
        run = self._runs.get(request.session_id)
        if run is None:
            if self._draining:
                raise FleetDraining
            run = self._begin(SessionRun(request, self._parts, self._limits))
        return await asyncio.shield(run.first_join)

    async def meet(self, actor_id: ActorId, handle: Any) -> None:
        """A warm actor introduces itself: the first session it gets then finds it known."""
        await self._parts.actors.meet(actor_id, handle)

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        """Does not wait for it; ``wait_over`` tells when it has worked. Raises SessionNotFound."""
        await self._adopted.wait()
        self._run(session_id).stop(reason, mode)

    async def move(self, session_id: SessionId, patience_s: float) -> bool:
        """See SessionRun.move. Raises SessionNotFound."""
        await self._adopted.wait()
        return await self._run(session_id).move(patience_s)

    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool:
        """Whether the session is over and cleared up. One that is not under way is."""
        await self._adopted.wait()
        run = self._runs.get(session_id)
        if run is None:
            return True
        try:
            async with asyncio.timeout(timeout_s):
                await run.over.wait()
        except TimeoutError:
            return False
        return True

    async def restrain(self, allowances: Sequence[Allowance], *, stop: bool) -> int:
        """Hand sessions new allowances at once; ``stop`` ends them at once, out of money. How
        many took theirs: one that did not hears it with its next report.
        """
        await self._adopted.wait()
        runs = [(self._runs[a.session_id], a) for a in allowances if a.session_id in self._runs]
        if stop:
            for run, _ in runs:
                run.stop(EndReason.BUDGET_EXCEEDED, StopMode.NOW)
        return sum(await asyncio.gather(*(run.restrain(a) for run, a in runs)))

    async def observe(self, session_id: SessionId) -> bool:
        """Whether its actor knows who observes it, as the registry has it now. One that has yet to
        join is told when it does."""
        await self._adopted.wait()
        run = self._runs.get(session_id)
        return run is not None and await run.observe()

    def stop_all(self, reason: EndReason, mode: StopMode) -> int:
        """How many were told."""
        for run in self._runs.values():
            run.stop(reason, mode)
        return len(self._runs)

    async def idle(self, timeout_s: float) -> bool:
        """Wait until no session is under way; False if some still are."""
        try:
            async with asyncio.timeout(timeout_s):
                while self._runs:
                    await next(iter(self._runs.values())).over.wait()
        except TimeoutError:
            return False
        return True

    def drain(self, on: bool) -> None:
        self._draining = on

    async def assignments(self) -> dict[SessionId, ActorId]:
        """Which actor has which session, for a roster that rebuilds itself. Answers once the
        sessions of an earlier supervisor are known: before, it would be wrong."""
        await self._adopted.wait()
        return {s: r.actor_id for s, r in self._runs.items() if r.actor_id is not None}

    async def under_way(self) -> dict[SessionId, RunSeen]:
        """For the reaper. Answers once the sessions of an earlier supervisor are known."""
        await self._adopted.wait()
        views = [run.view() for run in self._runs.values()]
        return {
            v.session_id: RunSeen(
                room=v.room,
                actor_id=v.actor_id,
                stopping=v.stopping is not None,
                silent_s=v.silent_s,
                away_s=v.away_s,
            )
            for v in views
        }

    def owed(self) -> frozenset[SessionId]:
        """Sessions that are over, with end steps that are tried again."""
        return self._parts.endings.debtors

    def take_over(self, record: SessionRecord) -> None:
        """A session that is not gone and that nobody runs. Repeating it is fine."""
        if SessionId(record.session_id) in self._runs:
            return
        log.info("session_adopted", session_id=record.session_id, state=record.state.value)
        request = request_of(record)
        self._begin(SessionRun(request, self._parts, self._limits, adopted=record))

    def snapshot(self) -> SupervisorSnapshot:
        endings = self._parts.endings
        return SupervisorSnapshot(
            sessions=tuple(run.view() for run in self._runs.values()),
            started_total=self._started,
            ended_total=dict(self._ended),
            retries_total=self._retries + sum(r.retries for r in self._runs.values()),
            kills_total=self._kills + sum(r.kills for r in self._runs.values()),
            end_step_failures_total=dict(endings.failures),
            owed=endings.owed,
            draining=self._draining,
            preopened=counted(self._parts.metrics),
        )

    # Inside

    def _run(self, session_id: SessionId) -> SessionRun:
        run = self._runs.get(session_id)
        if run is None:
            raise SessionNotFound(session_id)
        return run

    def _begin(self, run: SessionRun) -> SessionRun:
        self._runs[run.request.session_id] = run
        self._started += 1
        self._tasks.start(self._see_through(run))
        return run

    async def _see_through(self, run: SessionRun) -> None:
        try:
            await run.run()
        finally:
            del self._runs[run.request.session_id]
            self._retries += run.retries
            self._kills += run.kills
            self._ended[run.end.end_reason.value if run.end else "unknown"] += 1
            run.over.set()

    async def _keep_escalating(self) -> None:
        # Before, it would take every session for one that nobody runs.
        await self._adopted.wait()
        await self._escalation.keep_looking()

    def _stop_overdue(self, session_id: SessionId) -> bool:
        run = self._runs.get(session_id)
        if run is not None:
            run.stop(EndReason.BUDGET_EXCEEDED, StopMode.NOW)
        return run is not None

    async def _keep_mirroring(self) -> None:
        """Sessions write their states down themselves; listings go by the records."""
        while True:
            await self._parts.sleep(self._timing.mirror_s)
            await self._mirror()

    async def _mirror(self) -> None:
        try:
            for run in tuple(self._runs.values()):
                await run.mirror()
        except FleetError as error:
            log.warning("states_not_mirrored", error=str(error))
            for run in self._runs.values():
                run.vitals.unread()

    async def _keep_observers_told(self) -> None:
        while True:
            await self._parts.sleep(self._timing.observers_s)
            for run in tuple(self._runs.values()):
                await run.observe()

    async def _keep_stops_heard(self) -> None:
        await self._adopted.wait()
        while self._stops is not None:
            try:
                await self._hear_stops(self._stops)
            except FleetError as error:
                log.warning("stops_not_heard", error=str(error))
            await self._parts.sleep(self._timing.stops_s)

    async def _hear_stops(self, stops: StopOrders) -> None:
        """An order stands until its session is out of the books: whoever takes it over meanwhile is
        to hear of it too."""
        oldest = self._parts.now() - STOPS_LAST_S
        done = []
        for wanted in await stops.all():
            run = self._runs.get(wanted.session_id)
            if run is not None:
                run.stop(wanted.reason, wanted.mode)
                self._told_to_stop.add(wanted.session_id)
            elif wanted.session_id in self._told_to_stop or wanted.at < oldest:
                done.append(wanted.session_id)
        await stops.drop(done)
        self._told_to_stop.difference_update(done)

    async def _adopt(self) -> None:
        """At the beginning: what an earlier supervisor of this cluster ran. A record without an
        actor may still have a dispatcher; those, and whatever nobody runs later on, are for the
        reaper to find."""
        while not self._adopted.is_set():
            try:
                if self._watch is not None:
                    await self._watch.look()
                async for record in self._parts.records.active():
                    if record.actor_id is not None and self._parts.clusters.cares_for(record):
                        self.take_over(record)
                # Whoever asks after them is to know how they are.
                await self._mirror()
                self._adopted.set()
            except FleetError as error:
                log.warning("records_not_adopted", error=str(error))
                await self._parts.sleep(self._timing.mirror_s)
