"""LiveKit's jobs as sessions of this fleet. Knows no Ray.

A job that is offered becomes a session that is held (permit, warm actor, account) before it is
answered with yes; when it is assigned that session begins. A hold that nothing comes of is given
back: no assignment in time, or the connection lost over it, as the server then asks others.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_actor.contract import AgentError, EndReason, SessionId
from agent_actor.messages import StopMode
from fleet.bridge.contracts import Profiles, contract_of
from fleet.bridge.jobs import JobBook, JobState
from fleet.bridge.protocol import (
    Answer,
    Assigned,
    Event,
    JobOffer,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Registered,
    Resumed,
    Terminated,
    ToServer,
    load_of,
)
from fleet.dispatch_plan import DispatchRequest
from fleet.dispatcher import Held
from fleet.endings import Sleep
from fleet.errors import FleetError, RoomTaken, SessionNotFound
from fleet.owned_tasks import OwnedTasks
from fleet.pool import PoolSnapshot
from fleet.records import SessionRecord
from fleet.stopping import first_of

AGENT_NAME = "Interviewer"
RETRY_S = 0.1
WATCH_S = 30.0
_FAILURES = frozenset(
    {
        EndReason.ACTOR_LOST,
        EndReason.METADATA_TIMEOUT,
        EndReason.PROVIDER_FAILED,
        EndReason.ROOM_FAILED,
    }
)

log = structlog.get_logger(__name__)


class Sessions(Protocol):
    """The part of fleet.dispatcher.Dispatcher that is used here."""

    async def hold(self, request: DispatchRequest, *, within_s: float) -> Held: ...

    async def begin(self, held: Held) -> SessionRecord: ...

    async def give_up(self, held: Held) -> None: ...

    async def stop(
        self, session_id: str, *, reason: EndReason = ..., mode: StopMode = ...
    ) -> None: ...


class Roster(Protocol):
    async def snapshot(self) -> PoolSnapshot: ...


class Endings(Protocol):
    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool: ...


class Records(Protocol):
    async def get(self, session_id: str) -> SessionRecord: ...


class Dispatches(Protocol):
    async def has_dispatch(self, room: str, dispatch_id: str) -> bool: ...


@dataclass(frozen=True, kw_only=True)
class BridgeParts:
    """``send`` says whether the server is there to hear it."""

    sessions: Sessions
    roster: Roster
    supervisor: Endings
    records: Records
    dispatches: Dispatches
    profiles: Profiles
    send: Callable[[ToServer], bool]
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, kw_only=True)
class BridgeTiming:
    answer_s: float = 1.0
    """For an answer to an offer, an actor included."""
    assignment_s: float = 5.0
    """From our yes to the assignment."""
    status_s: float = 2.5
    """Between two looks at how many slots are free."""
    termination_tries: int = 3


class Bridge:
    """Use: ``open``, then ``on_event`` and ``on_lost`` as the connection calls them, then
    ``aclose``. All in one event loop."""

    def __init__(self, parts: BridgeParts, timing: BridgeTiming) -> None:
        self._parts = parts
        self._timing = timing
        self._book = JobBook()
        self._held: dict[str, Held] = {}
        self._assigned: dict[str, asyncio.Event] = {}
        self._tasks = OwnedTasks("bridge")
        self._look = asyncio.Event()
        self._draining = False
        self.counts: Counter[str] = Counter()
        """What became of offers: held, declined by code, not_assigned; and of jobs that began."""

    async def open(self) -> None:
        self._tasks.start(self._keep_telling_load())

    async def aclose(self, *, settle_s: float = 0.0) -> None:
        """Takes no job any more and gives back what is held. Sessions under way go on."""
        self.drain()
        for job in self._book.in_state(JobState.HELD):
            await self._give_up(job.offer.job_id)
        if settle_s and self._book.in_state(JobState.RUNNING):
            await self._tasks.settle(settle_s)
        await self._tasks.aclose()

    def drain(self) -> None:
        """From now on it says that it is full, and declines."""
        self._draining = True
        self._look.set()

    @property
    def running(self) -> int:
        return len(self._book.in_state(JobState.RUNNING))

    def on_event(self, event: Event) -> None:
        match event:
            case Registered():
                self._resume()
            case Offered(job=offer):
                self._offered(offer)
            case Assigned(job_id=job_id):
                self._on_assigned(job_id)
            case Terminated(job_id=job_id):
                self._on_terminated(job_id)

    def on_lost(self) -> None:
        """The server asks others for what it has not assigned to us."""
        for job in self._book.in_state(JobState.HELD):
            self._tasks.start(self._give_up(job.offer.job_id))

    # Offers

    def _offered(self, offer: JobOffer) -> None:
        known = self._book.offered(offer)
        if known is None:
            self._tasks.start(self._decide(offer))
        elif known.answer is not None:
            self._parts.send(known.answer)

    async def _decide(self, offer: JobOffer) -> None:
        try:
            held = await self._hold(offer)
        except (FleetError, AgentError) as error:
            self._decline(offer, error.code, settled=_settles(error), why=str(error))
        except Exception as error:
            log.exception("offer_failed", job_id=offer.job_id)
            self._decline(offer, "internal_error", why=type(error).__name__)
        else:
            await self._accept(offer, held)
        self._look.set()

    async def _hold(self, offer: JobOffer) -> Held:
        """Tries again while the room is held for a job that may not come of anything."""
        contract = contract_of(offer, self._parts.profiles)
        request = DispatchRequest(
            config=contract.config,
            idempotency_key=f"livekit-room:{offer.room_sid or offer.room}",
            room=offer.room,
            first_comer=contract.first_comer,
        )
        until = self._parts.clock() + self._timing.answer_s
        while True:
            left_s = until - self._parts.clock()
            try:
                return await self._parts.sessions.hold(request, within_s=max(left_s, RETRY_S))
            except RoomTaken as error:
                if error.begun or self._parts.clock() + RETRY_S >= until:
                    raise
            await self._parts.sleep(RETRY_S)

    async def _accept(self, offer: JobOffer, held: Held) -> None:
        job_id = offer.job_id
        answer = Answer(
            job_id=job_id, available=True, identity=held.agent_identity, name=AGENT_NAME
        )
        self._held[job_id] = held
        self._assigned[job_id] = asyncio.Event()
        self._book.held(answer)
        self.counts["held"] += 1
        log.info("job_held", job_id=job_id, room=offer.room, session_id=held.session_id)
        told = not self._draining and self._parts.send(answer)
        came = told and await first_of(self._assigned[job_id], timeout_s=self._timing.assignment_s)
        if not came:
            await self._give_up(job_id)

    def _decline(self, offer: JobOffer, code: str, *, why: str, settled: bool = False) -> None:
        answer = Answer(job_id=offer.job_id, available=False, settled=settled)
        self._book.declined(answer)
        self._parts.send(answer)
        self.counts[f"declined:{code}"] += 1
        log.warning("job_declined", job_id=offer.job_id, room=offer.room, code=code, why=why)

    async def _give_up(self, job_id: str) -> None:
        if not self._book.not_assigned(job_id):
            return
        held = self._forget(job_id)
        self.counts["not_assigned"] += 1
        log.warning("job_not_assigned", job_id=job_id, session_id=held.session_id)
        await self._parts.sessions.give_up(held)
        self._look.set()

    def _forget(self, job_id: str) -> Held:
        # Whoever waits for the assignment need not any more.
        self._assigned.pop(job_id).set()
        return self._held.pop(job_id)

    # Jobs that are ours

    def _on_assigned(self, job_id: str) -> None:
        if not self._book.assigned(job_id):
            log.info("assignment_of_no_use", job_id=job_id)
            return
        self._assigned[job_id].set()
        self._tasks.start(self._live(job_id))

    async def _live(self, job_id: str) -> None:
        """From its assignment to its end, which the server is told."""
        held = self._held[job_id]
        status, error = JobStatus.FAILED, "internal_error"
        try:
            await self._parts.sessions.begin(held)
            self._update(job_id, JobStatus.RUNNING)
            self.counts["begun"] += 1
            status, error = await self._ended(held.session_id)
        except (FleetError, AgentError) as failure:
            error = failure.code
            log.warning("job_failed", job_id=job_id, session_id=held.session_id, code=error)
        finally:
            self._book.over(job_id)
            self._forget(job_id)
        self.counts[status.value] += 1
        self._update(job_id, status, error)
        self._look.set()

    async def _ended(self, session_id: SessionId) -> tuple[JobStatus, str]:
        while True:
            try:
                if await self._parts.supervisor.wait_over(session_id, WATCH_S):
                    break
            except FleetError as error:
                # It restarts, and takes the session over.
                log.info("supervisor_away", session_id=session_id, code=error.code)
                await self._parts.sleep(1.0)
        record = await self._parts.records.get(session_id)
        reason = record.end_reason
        if reason is None or reason in _FAILURES:
            return JobStatus.FAILED, record.error_code or (reason.value if reason else "unknown")
        return JobStatus.SUCCESS, ""

    def _update(self, job_id: str, status: JobStatus, error: str = "") -> None:
        self._parts.send(JobUpdate(job_id=job_id, status=status, error=error))

    def _on_terminated(self, job_id: str) -> None:
        job = self._book.get(job_id)
        if job is not None and job.state is JobState.RUNNING:
            self._tasks.start(self._terminate(job.offer))

    async def _terminate(self, offer: JobOffer) -> None:
        """The server says the same when an agent has left the room, be it to make place for its
        successor; then the dispatch still stands, and the session is its supervisor's matter."""
        if await self._still_wanted(offer):
            log.info("agent_left_room", job_id=offer.job_id, room=offer.room)
            return
        held = self._held.get(offer.job_id)
        if held is None:
            return
        log.info("job_terminated", job_id=offer.job_id, session_id=held.session_id)
        try:
            # Not a goodbye: the server puts the agent out three seconds later.
            await self._parts.sessions.stop(
                held.session_id, reason=EndReason.OPERATOR, mode=StopMode.NOW
            )
        except SessionNotFound:
            pass
        except FleetError as error:
            log.warning("job_not_stopped", job_id=offer.job_id, code=error.code)

    async def _still_wanted(self, offer: JobOffer) -> bool:
        """False too if that cannot be learned: whoever ends a dispatch must not be ignored."""
        for _ in range(self._timing.termination_tries):
            try:
                return await self._parts.dispatches.has_dispatch(offer.room, offer.dispatch_id)
            except FleetError as error:
                log.info("dispatch_not_seen", job_id=offer.job_id, code=error.code)
                await self._parts.sleep(RETRY_S)
        return False

    def _resume(self) -> None:
        running = tuple(job.offer.job_id for job in self._book.in_state(JobState.RUNNING))
        if running:
            self._parts.send(Resumed(job_ids=running))
        self._look.set()

    # How busy

    async def _keep_telling_load(self) -> None:
        while True:
            self._look.clear()
            self._parts.send(await self._load())
            await first_of(self._look, timeout_s=self._timing.status_s)

    async def _load(self) -> Load:
        jobs = self.running
        try:
            books = (await self._parts.roster.snapshot()).books
        except FleetError as error:
            # Nobody could be given an actor now.
            log.info("roster_away", code=error.code)
            return load_of(taken=0, slots=0, draining=True, jobs=jobs)
        return load_of(
            taken=books.permits,
            slots=books.max_sessions,
            draining=books.draining or self._draining,
            jobs=jobs,
        )


def _settles(error: Exception) -> bool:
    """Whether nobody else is to be asked either: the room has its interviewer."""
    return isinstance(error, RoomTaken) and error.begun
