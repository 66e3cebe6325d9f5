"""From a request to an agent in its room, in timed steps, each undone if a later one fails.

    validate   the contract of this one session: ids, provider, model, size
    claim      its record, and its place under the Idempotency-Key
    reserve    a permit and a warm actor
    budget     its account and first allowance, and beside it
    room       the LiveKit room with the contract in it
    join       an agent at work on it; from here on the session is the supervisor's

A session for a room that somebody else has made was admitted before: it has its slot, and waits for
its actor at the supervisor. It claims the room; the room is neither made, written to nor deleted.

A request that was refused (full, draining) leaves no record. One that failed leaves a record
that says why, and its Idempotency-Key may be used again if trying again can help.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field, replace
from math import ceil
from typing import Any, TypeVar

import structlog

from agent_actor import span_names
from agent_actor.contract import (
    ContractInvalid,
    EndReason,
    FieldProblem,
    SessionConfig,
    SessionId,
    SessionState,
    StudyId,
)
from agent_actor.messages import JoinReport, Verdict
from agent_actor.messages import StopMode as StopMode
from agent_actor.owned_tasks import OwnedTasks
from agent_actor.span_names import Attributes
from agent_actor.telemetry import NO_TRACER, Span, Tracer
from fleet.dispatch_plan import DispatchRequest, Plan, make_plan, own_room
from fleet.endings import Endings, EndStep, Sleep
from fleet.errors import (
    BudgetExhausted,
    ControlPlaneUnavailable,
    DispatchFailed,
    DispatchTimeout,
    FleetDraining,
    FleetError,
    FleetFull,
    IdempotencyConflict,
    LiveKitError,
    RoomTaken,
    SessionExists,
    SessionNotFound,
    StateConflict,
)
from fleet.parts import (
    BudgetClient,
    Records,
    Rooms,
    RosterClient,
    StartRequest,
    StopOrders,
    StopWanted,
    SupervisorClient,
)
from fleet.records import RANK, Created, SessionRecord
from fleet.registry import new_session_id
from fleet.steps import StepTimer
from fleet.stopping import first_of

REPLAY_POLL_S = 0.1
REFUSED_AGAIN_S = 2.0
HANDOVER_S = 10.0
"""For the session that was in a room before to be over and cleared up."""
ROOM_OUTLIVES_S = 30
"""An agent that waits for its participant does not keep the room open: to the server a room with
agents alone is empty. So it has to outlast the wait, and an agent that is late with it."""

log = structlog.get_logger(__name__)

T = TypeVar("T")
U = TypeVar("U")


@dataclass(frozen=True, kw_only=True)
class Dispatched:
    """``existing``: the Idempotency-Key was known, this is the session it first made."""

    record: SessionRecord
    livekit_url: str
    participant_token: str | None = field(repr=False)
    """None once the session is gone."""
    token_expires_at: float | None
    existing: bool = False


@dataclass(frozen=True, kw_only=True)
class DispatchLimits:
    livekit_url: str
    """As participants reach it."""
    cluster: str = "main"
    """Whose supervisor is asked, see ``fleet.clusters``."""
    deadline_s: float = 25.0
    join_timeout_s: float = 10.0
    token_ttl_s: int = 3600
    room_empty_timeout_s: int = 120
    refusal_wait_s: float = 0.5
    """How long an answer that is to come at once waits for the session to be accepted or refused:
    one that has to wait for an actor is neither."""
    contract_in_room: bool = False
    """Whether the contract stands in the room's metadata, where the participant can read it too;
    else it goes with the assignment, as a rehearsal's does."""
    rehearses: bool = False
    """Sessions are rehearsals: nobody enters their rooms, and the contract comes with the
    assignment."""

    @property
    def wait_for_actor_s(self) -> float:
        """What of the deadline may be spent waiting, so that joining still fits."""
        return max(0.0, self.deadline_s - self.join_timeout_s)


@dataclass(frozen=True, kw_only=True)
class DispatchParts:
    roster: RosterClient
    supervisor: SupervisorClient
    budget: BudgetClient
    records: Records
    rooms: Rooms
    stops: StopOrders
    tracer: Tracer = NO_TRACER
    resolve_model: Callable[[SessionConfig], SessionConfig] = lambda config: config
    """Aliases and defaults; raises ModelUnpriced or ModelRetired."""
    new_id: Callable[[], str] = new_session_id
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    sleep: Sleep = asyncio.sleep


@dataclass(kw_only=True)
class _Dispatch:
    """One request on its way. ``done`` is what there is to undo; ``accepted`` when it has an actor,
    an allowance and a room, so that its participant may come."""

    request: DispatchRequest
    plan: Plan
    steps: StepTimer
    span: Span
    done: list[EndStep] = field(default_factory=list)
    accepted: asyncio.Event = field(default_factory=asyncio.Event)
    handed_over: bool = False
    after: str | None = None
    """The session that was in its room before."""

    @property
    def session_id(self) -> SessionId:
        return SessionId(self.plan.record.session_id)


class Dispatcher:
    """Use: ``open``, then anything, then ``aclose``. All in one event loop."""

    def __init__(self, parts: DispatchParts, limits: DispatchLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._endings = Endings()
        self._tasks = OwnedTasks("dispatcher", awaited=True)
        self._background = OwnedTasks("dispatcher")
        self._closed = False

    async def open(self) -> None:
        self._background.start(self._endings.keep_paying())

    async def aclose(self, *, timeout_s: float = 5.0) -> None:
        """Refuses new requests, lets those on their way end, and undoes what does not in time."""
        self._closed = True
        await self._tasks.settle(timeout_s)
        await self._tasks.aclose()
        await self._endings.pay()
        await self._background.aclose()

    async def dispatch(self, request: DispatchRequest) -> Dispatched:
        """Answers when the agent is in the room, or with ``respond_async`` as soon as there is a
        room for it and for the participant, who may then come in beside it.

        Once the record is written the dispatch is completed or undone even if the caller is
        cancelled. Raises agent_actor's ContractError or ProviderError, and FleetError.
        """
        span = self._parts.tracer.start(span_names.DISPATCH, parent=request.traceparent)
        with span.guard():
            dispatch = self._validated(request, span)
        return await asyncio.shield(self._tasks.start(self._claim(dispatch)))

    def check(self, request: DispatchRequest) -> None:
        """Raises what ``dispatch`` would raise for its contract, and begins nothing."""
        self._validated(request, NO_TRACER.start(span_names.DISPATCH))

    async def stop(
        self,
        session_id: str,
        *,
        reason: EndReason = EndReason.OPERATOR,
        mode: StopMode = StopMode.GOODBYE,
    ) -> None:
        """Ask a session to end; one that is ending or gone stays as it is. One that another cluster
        runs is told within a second or so. Raises SessionNotFound."""
        known, parts = SessionId(session_id), self._parts
        try:
            await parts.supervisor.stop(known, reason, mode)
        except SessionNotFound:
            record = await parts.records.get(session_id)
            if record.is_gone:
                return
            if record.cluster not in (None, self._limits.cluster):
                wanted = StopWanted(session_id=known, reason=reason, mode=mode, at=parts.now())
                await parts.stops.put(wanted)
                return
            # Not begun yet: now that its record is gone it never will be.
            await parts.records.end(session_id, reason)
            await self._endings.run(known, self._giving_back(known, record.room))

    # Steps

    def _validated(self, request: DispatchRequest, span: Span) -> _Dispatch:
        if self._closed:
            raise FleetDraining
        if request.config.rehearsal is not None and not self._limits.rehearses:
            problem = "this fleet does not rehearse (FLEET_TRANSPORT=memory)"
            raise ContractInvalid([FieldProblem(field="rehearsal", problem=problem)])
        steps = StepTimer(self._parts.clock, span.step)
        request = replace(request, traceparent=span.traceparent)
        with steps("validate"):
            session_id, now = request.session_id or self._parts.new_id(), self._parts.now()
            plan = make_plan(request, session_id, now, self._parts.resolve_model)
        span.note(_told(plan.record))
        return _Dispatch(request=request, plan=plan, steps=steps, span=span)

    async def _claim(self, dispatch: _Dispatch) -> Dispatched:
        with dispatch.span.guard(), dispatch.steps("claim"):
            created = await self._claimed(dispatch)
        if created.existing:
            dispatch.span.note(
                {span_names.EXISTING: True, span_names.SESSION_ID: created.record.session_id}
            )
            dispatch.span.end()
            return await self._replay(created.record, dispatch.request)
        dispatch.after = created.after
        if not dispatch.request.respond_async:
            return self._dispatched(await self._start(dispatch), dispatch.request)
        start = self._tasks.start(self._start(dispatch))
        await first_of(start, dispatch.accepted, timeout_s=self._limits.refusal_wait_s)
        if start.done():
            return self._dispatched(start.result(), dispatch.request)
        return self._dispatched(dispatch.plan.record, dispatch.request)

    async def _claimed(self, dispatch: _Dispatch) -> Created:
        request, records = dispatch.request, self._parts.records
        if request.room is None:
            return await records.create(dispatch.plan.record, body_hash=request.body_hash)
        try:
            created = await self._claim_room(dispatch)
        except IdempotencyConflict as other:
            # An earlier room by this name: closed, so that its session is about to end, or made
            # anew by a restarted server, and then its session goes on in this one.
            if not await self._is_over(other.session_id):
                raise RoomTaken(other.session_id) from None
            created = await self._claim_room(dispatch)
        if created.existing:
            raise RoomTaken(created.record.session_id)
        return created

    async def _claim_room(self, dispatch: _Dispatch) -> Created:
        """Until its session is over nobody else gets into the room. Raises IdempotencyConflict: a
        session has another room by this name; SessionExists: it was handed over before."""
        record = dispatch.plan.record
        try:
            return await self._parts.records.create(
                record, body_hash=dispatch.request.room_sid, exclusive=True
            )
        except SessionExists:
            known = await self._parts.records.get(record.session_id)
            if known.state is not SessionState.QUEUED:
                raise
            # Whoever claimed the room for it was lost before it had handed it over. No step that
            # follows does more the second time than the first.
            return Created(record=known, existing=False)

    async def _is_over(self, session_id: str) -> bool:
        return await self._parts.supervisor.wait_over(SessionId(session_id), HANDOVER_S)

    async def _start(self, dispatch: _Dispatch) -> SessionRecord:
        with dispatch.span.guard():
            steps = self._take_steps(dispatch)
            report = await self._whole(dispatch, steps, self._limits.deadline_s)
        dispatch.span.end()
        return await self._joined(dispatch, report)

    async def _whole(
        self, dispatch: _Dispatch, steps: Coroutine[Any, Any, T], within_s: float
    ) -> T:
        """What ``steps`` return; everything is undone if they fail or take too long."""
        try:
            async with asyncio.timeout(within_s):
                return await steps
        except TimeoutError:
            error = DispatchTimeout(
                session_id=dispatch.session_id, step=dispatch.steps.current, waited_s=within_s
            )
            await self._undo(dispatch, error)
            raise error from None
        except asyncio.CancelledError:
            # One that was handed over is the supervisor's, with or without us: it is in its room,
            # or about to be, and whoever asks again by the same key is told of it.
            if not dispatch.handed_over:
                await asyncio.shield(self._background.start(self._undo(dispatch, FleetDraining())))
            raise
        except Exception as error:
            await self._undo(dispatch, error)
            raise

    async def _take_steps(self, dispatch: _Dispatch) -> JoinReport:
        if dispatch.after is not None:
            # Its record has ended; its agent may be in the room for a moment still.
            await self._is_over(dispatch.after)
        request = await self._secure(dispatch, self._limits.wait_for_actor_s)
        return await self._join(dispatch, request)

    async def _secure(self, dispatch: _Dispatch, wait_for_actor_s: float) -> StartRequest:
        """An actor, an account and a room."""
        parts, session_id = self._parts, dispatch.session_id
        dispatch.done.append(EndStep(name="permit", work=lambda: parts.roster.release(session_id)))
        if dispatch.request.room is None:
            with dispatch.steps("reserve"):
                await parts.roster.reserve(session_id, wait_for_actor_s)
        dispatch.done.append(EndStep(name="budget", work=lambda: parts.budget.close(session_id)))
        if dispatch.request.room is not None:
            return await self._opened(dispatch)
        room = dispatch.plan.record.room
        dispatch.done.append(EndStep(name="room", work=lambda: parts.rooms.delete_room(room)))
        # Neither needs the other. Not beside the reservation: whoever is turned away for want of
        # an actor would have had a room made and deleted, just when there is most to do.
        request, _ = await _both(self._opened(dispatch), self._furnish(dispatch))
        return request

    async def _join(self, dispatch: _Dispatch, request: StartRequest) -> JoinReport:
        with dispatch.steps("join"):
            dispatch.handed_over = True
            dispatch.accepted.set()
            return await self._parts.supervisor.start(request, self._limits.deadline_s)

    async def _furnish(self, dispatch: _Dispatch) -> None:
        with dispatch.steps("room"):
            await self._parts.rooms.create_room(
                dispatch.plan.record.room,
                metadata=dispatch.plan.metadata if self._limits.contract_in_room else "",
                empty_timeout_s=self._empty_timeout_s(dispatch.plan),
                departure_timeout_s=ceil(dispatch.plan.config.reconnect_grace_seconds)
                + ROOM_OUTLIVES_S,
            )

    async def _opened(self, dispatch: _Dispatch) -> StartRequest:
        session_id, record = dispatch.session_id, dispatch.plan.record
        study_id, limit = StudyId(record.study_id), record.limit_micro_usd
        provider = record.provider
        limits = self._limits
        own_room = dispatch.request.room is None
        in_room = own_room and limits.contract_in_room and not limits.rehearses
        someone = record.participant_identity if dispatch.request.first_comer else None
        with dispatch.steps("budget"):
            allowance = await self._parts.budget.open(session_id, study_id, provider, limit)
            if allowance.verdict is Verdict.END:
                raise BudgetExhausted(study_id)
        return StartRequest(
            session_id=session_id,
            study_id=study_id,
            provider=provider,
            room=record.room,
            allowance=allowance,
            limit_micro_usd=limit,
            session_timeout_s=dispatch.plan.config.session_timeout_seconds,
            model=record.model,
            wait_for_actor_s=limits.wait_for_actor_s,
            traceparent=dispatch.request.traceparent,
            metadata=None if in_room else dispatch.plan.metadata,
            first_comer_as=someone,
        )

    def _empty_timeout_s(self, plan: Plan) -> int:
        """Beside the agent's own wait. A rehearsal's room stays empty; its end must not be taken
        for the session's."""
        config = plan.config
        wait_s = (
            config.session_timeout_seconds if self._limits.rehearses else config.no_show_seconds
        )
        return self._limits.room_empty_timeout_s + ceil(wait_s)

    async def _joined(self, dispatch: _Dispatch, report: JoinReport) -> SessionRecord:
        timings_s = {**dispatch.steps.timings_s, "connect": report.connect_s}
        try:
            return await self._parts.records.add_facts(dispatch.session_id, timings_s=timings_s)
        except FleetError as error:
            # The interview is under way; that its timings are not written down is no failure.
            log.warning("timings_not_written", session_id=dispatch.session_id, error=str(error))
            return replace(
                dispatch.plan.record,
                state=SessionState.JOINED,
                actor_id=report.actor_id,
                timings_s=timings_s,
            )

    # Failing

    async def _undo(self, dispatch: _Dispatch, error: Exception) -> None:
        code = getattr(error, "code", "internal_error")
        session_id = dispatch.session_id
        log.warning(
            "dispatch_failed", session_id=session_id, step=dispatch.steps.current, code=code
        )
        if dispatch.handed_over and await self._is_the_supervisors(dispatch, error):
            await self._endings.run(session_id, [self._unclaiming(dispatch, error)])
            return
        steps = [
            EndStep(name="record", work=lambda: self._end_record(dispatch, error, code)),
            *reversed(dispatch.done),
            self._unclaiming(dispatch, error),
        ]
        await self._endings.run(session_id, steps)

    async def _is_the_supervisors(self, dispatch: _Dispatch, error: Exception) -> bool:
        """Whether the session is in the supervisor's hands, who clears up after it."""
        if isinstance(error, DispatchFailed) and not isinstance(error, DispatchTimeout):
            return True
        if isinstance(error, FleetDraining):
            return False
        try:
            await self._parts.supervisor.stop(
                dispatch.session_id, EndReason.ACTOR_LOST, StopMode.NOW
            )
        except (SessionNotFound, ControlPlaneUnavailable):
            return False
        return True

    async def _end_record(self, dispatch: _Dispatch, error: Exception, code: str) -> None:
        """A refusal leaves no trace, unless the caller was told the session's id already."""
        refused = isinstance(error, (FleetFull, FleetDraining))
        try:
            if refused and not dispatch.request.respond_async:
                return await self._parts.records.withdraw(dispatch.session_id)
            await self._parts.records.end(
                dispatch.session_id,
                _reason_for(error),
                error_code=code,
                error=str(error),
                timings_s=dispatch.steps.timings_s,
            )
        except (SessionNotFound, StateConflict):
            log.info("record_ended_by_others", session_id=dispatch.session_id)

    def _giving_back(self, session_id: SessionId, room: str) -> list[EndStep]:
        parts = self._parts
        ours = room == own_room(session_id)
        leave = [EndStep(name="room", work=lambda: parts.rooms.delete_room(room))] if ours else []
        return [
            *leave,
            EndStep(name="budget", work=lambda: parts.budget.close(session_id)),
            EndStep(name="permit", work=lambda: parts.roster.release(session_id)),
        ]

    def _unclaiming(self, dispatch: _Dispatch, error: Exception) -> EndStep:
        key = dispatch.request.claim

        async def unclaim() -> None:
            if key is not None and getattr(error, "retryable", False):
                await self._parts.records.release_claim(dispatch.session_id, key)

        return EndStep(name="claim", work=unclaim)

    # Answering

    async def _replay(self, record: SessionRecord, request: DispatchRequest) -> Dispatched:
        """The answer to a repeated request: the session as it is once its agent has joined."""
        joined = RANK[SessionState.JOINED]
        deadline = self._parts.clock() + self._limits.deadline_s
        while not request.respond_async and RANK[record.state] < joined:
            if self._parts.clock() >= deadline:
                break
            await self._parts.sleep(REPLAY_POLL_S)
            record = await self._followed(record.session_id)
        return self._dispatched(record, request, existing=True)

    async def _followed(self, session_id: str) -> SessionRecord:
        """As it is now. Raises what the request that is repeated is answered: FleetFull,
        DispatchFailed; both say that it may be asked for again."""
        try:
            record = await self._parts.records.get(session_id)
        except SessionNotFound:
            # Refused, and so withdrawn.
            raise FleetFull(retry_after_s=REFUSED_AGAIN_S) from None
        if record.is_gone and record.joined_at is None and record.error_code is not None:
            raise DispatchFailed(
                session_id=session_id,
                step="join",
                cause_code=record.error_code,
                reason=record.error or record.error_code,
                retryable=True,
            )
        return record

    def _dispatched(
        self, record: SessionRecord, request: DispatchRequest, *, existing: bool = False
    ) -> Dispatched:
        token: str | None = None
        ttl_s = self._limits.token_ttl_s
        if not record.is_gone:
            token = self._parts.rooms.participant_token(
                room=record.room,
                identity=record.participant_identity,
                ttl_s=ttl_s,
                name=request.participant_name,
            )
        return Dispatched(
            record=record,
            livekit_url=self._limits.livekit_url,
            participant_token=token,
            token_expires_at=self._parts.now() + ttl_s if token else None,
            existing=existing,
        )


async def _both(first: Coroutine[Any, Any, T], second: Coroutine[Any, Any, U]) -> tuple[T, U]:
    """Both at once. Ends when neither is under way any more, so that what they did can be undone;
    then raises what ``first`` raised, or else ``second``."""
    one, other = asyncio.ensure_future(first), asyncio.ensure_future(second)
    try:
        await asyncio.wait({one, other})
    finally:
        one.cancel()
        other.cancel()
        await asyncio.gather(one, other, return_exceptions=True)
    return one.result(), other.result()


def _told(record: SessionRecord) -> Attributes:
    said = {
        span_names.SESSION_ID: record.session_id,
        span_names.STUDY_ID: record.study_id,
        span_names.GEN_AI_REQUEST_MODEL: record.model,
    }
    return {name: value for name, value in said.items() if value is not None}


def _reason_for(error: Exception) -> EndReason:
    if isinstance(error, LiveKitError):
        return EndReason.ROOM_FAILED
    if isinstance(error, BudgetExhausted):
        return EndReason.BUDGET_EXCEEDED
    return EndReason.ACTOR_LOST
