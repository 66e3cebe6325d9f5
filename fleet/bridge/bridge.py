"""LiveKit's jobs as sessions of this fleet. Knows no Ray.

A job's way, each in one task:

    offered    its contract is checked and a slot taken: yes. Else no, and LiveKit asks others
    assigned   the dispatcher begins its session, and claims the room for it
    over       LiveKit is told how it ended

A yes takes a slot and nothing more, so it comes at once however long an actor takes. Without an
assignment the slot is free again by itself. It goes by the job: when another bridge is asked, as
this one was lost, it finds the slot that the job has.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, Protocol

import structlog

from agent_actor.contract import AgentError, EndReason, SessionId
from agent_actor.messages import StopMode
from agent_actor.owned_tasks import OwnedTasks
from fleet.bridge.contracts import Profiles, contract_of
from fleet.bridge.load import Books, LoadReports
from fleet.bridge.lost_jobs import Claims, LostJobs, Rooms
from fleet.bridge.protocol import (
    Answer,
    Assigned,
    Event,
    JobOffer,
    JobStatus,
    JobUpdate,
    Offered,
    Registered,
    Resumed,
    Terminated,
    ToServer,
)
from fleet.dispatch_plan import DispatchRequest
from fleet.endings import Sleep
from fleet.errors import (
    ControlPlaneUnavailable,
    FleetDraining,
    FleetError,
    IdempotencyConflict,
    NoAnswer,
    RoomTaken,
    SessionExists,
    SessionNotFound,
)
from fleet.metrics import Metrics
from fleet.parts import agent_identity
from fleet.records import SessionRecord
from fleet.stopping import first_of

AGENT_NAME = "Interviewer"
RETRY_S = 0.1
WATCH_S = 30.0
TERMINATION_TRIES = 3
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

    def check(self, request: DispatchRequest) -> None: ...

    async def dispatch(self, request: DispatchRequest) -> Any: ...

    async def stop(
        self, session_id: str, *, reason: EndReason = ..., mode: StopMode = ...
    ) -> None: ...


class Roster(Books, Protocol):
    async def admit(self, session_id: SessionId, within_s: float) -> None: ...

    async def release(self, session_id: SessionId) -> None: ...


class Supervisor(Protocol):
    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool: ...


class Records(Claims, Protocol):
    async def get(self, session_id: str) -> SessionRecord: ...


@dataclass(frozen=True, kw_only=True)
class BridgeParts:
    """``fleet``: what tells it from others that use the same LiveKit server. ``send`` says whether
    the server is there to hear it."""

    fleet: str
    agent_name: str
    sessions: Sessions
    roster: Roster
    supervisor: Supervisor
    records: Records
    rooms: Rooms
    profiles: Profiles
    send: Callable[[ToServer], bool]
    metrics: Metrics = field(default_factory=Metrics)
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, kw_only=True)
class BridgeTiming:
    answer_s: float = 1.0
    """For an answer to an offer."""
    assignment_s: float = 5.0
    """From our yes to the assignment."""
    status_s: float = 2.5
    """Between two looks at how many slots are free."""
    full_status_s: float = 0.5
    """While none is: nobody is asked who says so, and a job that nobody is asked about is lost."""

    @property
    def slot_s(self) -> float:
        """How long an offered job has its slot."""
        return self.answer_s + self.assignment_s


@dataclass(kw_only=True)
class _Job:
    offer: JobOffer
    session_id: SessionId
    answer: Answer | None = None
    """None while it is being decided."""
    assigned: asyncio.Event = field(default_factory=asyncio.Event)


class Bridge:
    """Use: ``open``, then ``on_event`` and ``on_lost`` as the connection calls them, then
    ``aclose``. All in one event loop."""

    def __init__(self, parts: BridgeParts, timing: BridgeTiming = BridgeTiming()) -> None:
        self._parts = parts
        self._timing = timing
        self._jobs: dict[str, _Job] = {}
        self._work = OwnedTasks("bridge-jobs")
        self._keeping = OwnedTasks("bridge")
        self._load = LoadReports(
            parts.roster,
            send=parts.send,
            jobs=lambda: self.running,
            every_s=timing.status_s,
            full_every_s=timing.full_status_s,
        )
        self._lost_jobs = LostJobs(
            parts.rooms,
            parts.records,
            agent_name=parts.agent_name,
            session_of=self._session_of,
            identity_of=lambda job_id, room: agent_identity(self._session_of(job_id), room),
            is_run=self._is_run,
            take_up=self._take_up,
            sleep=parts.sleep,
        )

    async def open(self) -> None:
        self._keeping.start(self._load.run())
        self._keeping.start(self._lost_jobs.run())

    async def aclose(self, *, settle_s: float = 0.0) -> None:
        """Takes no job any more. Sessions under way go on; for ``settle_s`` the server is still
        told how they end."""
        self.drain()
        await self._work.settle(settle_s)
        await self._keeping.aclose()
        await self._work.aclose()

    def drain(self) -> None:
        """From now on it says that it is full, and declines."""
        self._load.drain()

    @property
    def running(self) -> int:
        return sum(job.assigned.is_set() for job in self._jobs.values())

    def on_event(self, event: Event) -> None:
        match event:
            case Registered():
                self._registered()
            case Offered(job=offer):
                self._offered(offer)
            case Assigned(job_id=job_id):
                self._assigned(job_id)
            case Terminated(job_id=job_id):
                self._terminated(job_id)

    def on_lost(self) -> None:
        self._parts.metrics.gauge("fleet_bridge_registered").set(0)

    def _session_of(self, job_id: str) -> SessionId:
        return session_of(self._parts.fleet, job_id)

    async def _is_run(self, session_id: SessionId) -> bool:
        return not await self._parts.supervisor.wait_over(session_id, 0.0)

    def _registered(self) -> None:
        metrics = self._parts.metrics
        metrics.gauge("fleet_bridge_registered").set(1)
        metrics.counter("fleet_bridge_registrations_total").inc()
        under_way = tuple(i for i, job in self._jobs.items() if job.assigned.is_set())
        if under_way:
            self._parts.send(Resumed(job_ids=under_way))
        self._load.changed()

    def _take_up(self, offer: JobOffer) -> None:
        """A job that another bridge was given, and lost."""
        if offer.job_id not in self._jobs and not self._load.draining:
            self._start(offer, self._has_slot)

    def _start(self, offer: JobOffer, is_ours: Callable[[_Job], Awaitable[bool]]) -> None:
        self._jobs[offer.job_id] = job = _Job(
            offer=offer, session_id=self._session_of(offer.job_id)
        )
        self._work.start(self._serve(job, is_ours))

    # One job

    def _offered(self, offer: JobOffer) -> None:
        known = self._jobs.get(offer.job_id)
        if known is None:
            self._start(offer, self._is_given)
        elif known.answer is not None:
            # Its first answer was lost with a connection.
            self._parts.send(known.answer)

    def _assigned(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is None:
            log.warning("assignment_of_no_use", job_id=job_id)
            return
        job.assigned.set()

    async def _serve(self, job: _Job, is_ours: Callable[[_Job], Awaitable[bool]]) -> None:
        """From its offer to its end."""
        try:
            if await is_ours(job):
                await self._hold_interview(job)
        finally:
            del self._jobs[job.offer.job_id]
            self._load.changed()

    async def _has_slot(self, job: _Job) -> bool:
        """Whether one that another bridge lost can be taken; if not, the next look finds it."""
        if await self._reason_to_decline(job) is not None:
            return False
        log.warning("lost_job_taken_up", job_id=job.offer.job_id, room=job.offer.room)
        self._parts.metrics.counter("fleet_bridge_lost_jobs_total").inc()
        job.assigned.set()
        return True

    async def _is_given(self, job: _Job) -> bool:
        """Whether it could be taken, and was given to us."""
        began, metrics = self._parts.clock(), self._parts.metrics
        code = await self._reason_to_decline(job)
        identity = agent_identity(job.session_id, job.offer.room)
        job.answer = Answer(
            job_id=job.offer.job_id, available=code is None, identity=identity, name=AGENT_NAME
        )
        told = self._parts.send(job.answer)
        metrics.counter("fleet_bridge_offers_total", answer=code or "accepted").inc()
        metrics.histogram("fleet_bridge_answer_seconds").observe(self._parts.clock() - began)
        if code is not None or not told:
            return False
        if await first_of(job.assigned, timeout_s=self._timing.assignment_s):
            return True
        log.warning("job_not_assigned", job_id=job.offer.job_id, room=job.offer.room)
        return False

    async def _reason_to_decline(self, job: _Job) -> str | None:
        """A code; None: it is taken, and has a slot."""
        offer, session_id = job.offer, job.session_id
        try:
            if self._load.draining:
                raise FleetDraining
            self._parts.sessions.check(self._request(offer))
            async with asyncio.timeout(self._timing.answer_s):
                await self._parts.roster.admit(session_id, self._timing.slot_s)
        except TimeoutError:
            error: Exception = NoAnswer("roster", self._timing.answer_s)
        except (FleetError, AgentError) as refusal:
            error = refusal
        except Exception as unforeseen:
            log.exception("offer_failed", job_id=offer.job_id)
            error = unforeseen
        else:
            log.info("job_accepted", job_id=offer.job_id, room=offer.room, session_id=session_id)
            return None
        code = _code(error)
        log.warning("job_declined", job_id=offer.job_id, room=offer.room, code=code, why=str(error))
        return code

    def _request(self, offer: JobOffer) -> DispatchRequest:
        """Raises JobConfigInvalid."""
        contract = contract_of(offer, self._parts.profiles)
        return DispatchRequest(
            config=contract.config,
            session_id=self._session_of(offer.job_id),
            room=offer.room,
            room_sid=offer.room_sid,
            first_comer=contract.first_comer,
        )

    async def _hold_interview(self, job: _Job) -> None:
        job_id, session_id = job.offer.job_id, job.session_id
        status, error = JobStatus.FAILED, "internal_error"
        try:
            await self._begin(job)
            self._update(job_id, JobStatus.RUNNING)
            status, error = await self._ended(session_id)
        except (RoomTaken, IdempotencyConflict) as taken:
            # Dispatched twice: the room has what this job was to bring.
            log.warning("room_taken", job_id=job_id, room=job.offer.room, by=taken.session_id)
            self._parts.metrics.counter("fleet_bridge_claims_refused_total").inc()
            status, error = JobStatus.SUCCESS, ""
            await self._parts.roster.release(session_id)
        except (FleetError, AgentError) as failure:
            error = failure.code
            log.warning("job_failed", job_id=job_id, session_id=session_id, code=error)
        except Exception:
            log.exception("job_failed", job_id=job_id, session_id=session_id)
        self._update(job_id, status, error)

    async def _begin(self, job: _Job) -> None:
        """Returns with the agent in its room. Raises FleetError, AgentError."""
        try:
            await self._parts.sessions.dispatch(self._request(job.offer))
        except SessionExists:
            # Another bridge was given the job too, and was first. It is followed here all the same.
            log.info("job_begun_elsewhere", job_id=job.offer.job_id, session_id=job.session_id)
            return
        self._parts.metrics.counter("fleet_bridge_sessions_begun_total").inc()

    async def _ended(self, session_id: SessionId) -> tuple[JobStatus, str]:
        while True:
            try:
                if await self._parts.supervisor.wait_over(session_id, WATCH_S):
                    break
            except ControlPlaneUnavailable as error:
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

    # Ended by the server

    def _terminated(self, job_id: str) -> None:
        job = self._jobs.get(job_id)
        if job is not None and job.assigned.is_set():
            self._work.start(self._terminate(job))

    async def _terminate(self, job: _Job) -> None:
        """The server says the same when an agent has left the room, be it to make place for its
        successor; then the dispatch still stands, and the session is its supervisor's matter."""
        job_id, session_id = job.offer.job_id, job.session_id
        if await self._still_wanted(job.offer):
            log.info("agent_left_room", job_id=job_id, room=job.offer.room)
            return
        log.info("job_terminated", job_id=job_id, session_id=session_id)
        try:
            # Not a goodbye: the server puts the agent out three seconds later.
            await self._parts.sessions.stop(
                session_id, reason=EndReason.OPERATOR, mode=StopMode.NOW
            )
        except SessionNotFound:
            pass
        except FleetError as error:
            log.warning("job_not_stopped", job_id=job_id, code=error.code)

    async def _still_wanted(self, offer: JobOffer) -> bool:
        """False too if that cannot be learned: whoever ends a dispatch must not be ignored."""
        for _ in range(TERMINATION_TRIES):
            try:
                found = await self._parts.rooms.dispatches(offer.room)
                return offer.dispatch_id in {dispatch.id for dispatch in found}
            except FleetError as error:
                log.info("dispatch_not_seen", job_id=offer.job_id, code=error.code)
                await self._parts.sleep(RETRY_S)
        return False


def session_of(fleet: str, job_id: str) -> SessionId:
    """The same at every bridge of a fleet that is asked for the job."""
    return SessionId(f"s-{hashlib.sha256(f'{fleet}/{job_id}'.encode()).hexdigest()[:24]}")


def _code(error: Exception) -> str:
    if isinstance(error, (FleetError, AgentError)):
        return error.code
    return "internal_error"
