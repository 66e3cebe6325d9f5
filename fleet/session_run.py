"""One session as the control plane runs it: attempts on actors, stopping, and clearing up after it
(``fleet.clearing_up``).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import replace
from functools import partial
from typing import Any, TypeVar

import structlog

from agent_actor.contract import ActorId, EndReason, SessionState
from agent_actor.logs import scrub
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    SessionResult,
    StopMode,
    Verdict,
)
from agent_actor.span_names import SPENT_MICRO_USD
from fleet import adoption, attempts
from fleet.attempt_run import AttemptRun
from fleet.attempts import AttemptEnd, Next, Standing
from fleet.clearing_up import ClearingUp, Ended
from fleet.errors import (
    BudgetUnavailable,
    ControlPlaneUnavailable,
    DispatchFailed,
    FleetError,
    StateConflict,
    StoreUnavailable,
)
from fleet.observers import ObserverList
from fleet.parts import StartRequest
from fleet.preopened import count_result
from fleet.records import LIFE, RANK, RecordChanges, SessionRecord
from fleet.run_parts import RunLimits, RunParts, RunView
from fleet.run_trace import RunTrace
from fleet.stopping import StopSwitch, cancelled, first_of
from fleet.vitals import Vitals

STALE_S = 5.0
"""An allowance that has waited so long for an actor is asked for anew: it runs out."""
AGAIN_S = 0.5

_AWAY = (BudgetUnavailable, ControlPlaneUnavailable, StoreUnavailable)

T = TypeVar("T")

log = structlog.get_logger(__name__)


class SessionRun:
    """Use once. ``first_join`` is the POST's answer; the run itself goes on to the end."""

    def __init__(
        self,
        request: StartRequest,
        parts: RunParts,
        limits: RunLimits,
        *,
        adopted: SessionRecord | None = None,
    ) -> None:
        """``adopted``: the record of a session that an earlier supervisor began."""
        self.request = request
        self._adopted = adopted
        self._parts = parts
        self._limits = limits
        self._began = time.monotonic()
        self._switch = StopSwitch()
        self._observers = ObserverList(request.session_id, parts.records, parts.actors)
        self._claim = adopted.idempotency_key if adopted else None
        """Of one whose dispatcher is gone, which would give it free."""
        self._attempt = adopted.attempt if adopted else 1
        known = adopted.actor_id if adopted else None
        self._actor_id = ActorId(known) if known else None
        self._has_joined = bool(adopted and adopted.joined_at)
        self._clock_runs = self._has_joined
        """The session's time limit counts already."""
        self._mirrored_rank = 0
        self.vitals = Vitals(found=adopted is not None)
        self._tries = 1
        self._wait_for_actor_s = (
            limits.recover_wait_s if self._has_joined else request.wait_for_actor_s
        )
        self._renewed: Allowance | None = None
        """For the next attempt, already answered by the budget."""
        self._lost_at: float | None = None
        self._moved = False
        """The attempt under way carries on what was handed over to it."""
        self._fallen_over = False
        """To the provider that its contract names for that."""
        self._results: list[SessionResult] = []
        self._trace = RunTrace(parts.tracer, request)
        self.first_join: asyncio.Future[JoinReport] = asyncio.get_running_loop().create_future()
        # Known from the record too: nobody has to wait for it.
        self.first_join.add_done_callback(lambda f: f.cancelled() or f.exception())
        self.over = asyncio.Event()
        """Set by whoever ran it, once it is out of the books."""
        self.retries = 0
        self.recoveries = 0
        self.kills = 0
        self.end: AttemptEnd | None = None

    @property
    def actor_id(self) -> ActorId | None:
        return self._actor_id

    def stop(self, reason: EndReason, mode: StopMode) -> None:
        """Ask it to end. Asking again changes nothing, except that NOW hurries."""
        self._switch.throw(reason, mode)

    async def restrain(self, allowance: Allowance) -> bool:
        """Whether the session has taken the new allowance. One that no actor has yet begins
        with it."""
        if self.request.allowance is not None:
            self.request = replace(self.request, allowance=allowance)
        if self._actor_id is None:
            return False
        try:
            await self._parts.actors.restrain(self._actor_id, allowance)
        except FleetError as error:
            log.info("allowance_not_delivered", session_id=allowance.session_id, error=str(error))
            return False
        return True

    async def move(self, patience_s: float) -> bool:
        """Have another actor carry it on, once one is set aside for it; whether its own has been
        asked to leave. Asking again is how one learns, and changes nothing."""
        actor_id = self._actor_id
        if not self._has_joined or self._switch.asked.is_set():
            return False
        try:
            if not await self._parts.roster.prepare_move(self.request.session_id):
                return False
            if actor_id is None or actor_id != self._actor_id:
                return False
            await self._parts.actors.hand_over(actor_id, patience_s)
        except FleetError as error:
            log.info("session_not_moved", session_id=self.request.session_id, error=str(error))
            return False
        return True

    async def observe(self) -> bool:
        """Tell the actor who observes, by the registry. False: not now. An actor that has yet to
        join is told then."""
        if self._actor_id is None or not self._has_joined:
            return False
        return await self._observers.hand_to(self._actor_id)

    def view(self) -> RunView:
        return RunView(
            session_id=self.request.session_id,
            study_id=self.request.study_id,
            provider=self.request.provider,
            room=self.request.room,
            actor_id=self._actor_id,
            attempt=self._attempt,
            joined=self._has_joined,
            stopping=self._switch.reason,
            running_s=time.monotonic() - self._began,
            silent_s=self.vitals.silent_s,
            away_s=self.vitals.away_s,
        )

    async def mirror(self) -> None:
        """Bring the record up to the state that the actor says it is in, for listings."""
        attempt = self._attempt
        if not self._has_joined or self._switch.asked.is_set():
            return
        live = await self._parts.journal.live(self.request.session_id)
        if attempt != self._attempt or (live is not None and live.attempt not in (0, attempt)):
            # What the one before it wrote last stands until its successor writes.
            return
        self.vitals.read(live, time.monotonic(), self._parts.now())
        rank = RANK.get(live.state, 0) if live else 0
        if self._mirrored_rank < rank < RANK[SessionState.GONE]:
            self._mirrored_rank = rank
            await self._record(state=LIFE[rank])

    async def run(self) -> None:
        """To the very end. Never raises but for cancellation, which is cleared up after too."""
        end = attempts.end_of_loss(
            "actor_lost", "the supervisor was closed", joined=False, ordered=None
        )
        try:
            end = await self._run_attempts()
        except FleetError as error:
            end = self._failed(error.code, str(error))
        except Exception as error:
            log.exception("session_run_failed", session_id=self.request.session_id)
            end = self._failed("internal_error", f"{type(error).__name__}: {error}")
        finally:
            # It is shown: a provider, or a library, may have quoted a key.
            end = replace(end, error=scrub(end.error) if end.error else end.error)
            self.end = end
            await self._clear_up(end)
            self._tell_joined(end)

    # Attempts

    async def _run_attempts(self) -> AttemptEnd:
        session_id = self.request.session_id
        adopted, self._adopted = self._adopted, None
        while True:
            end = await (self._follow_adopted(adopted) if adopted else self._run_attempt())
            adopted = None
            if end.result is not None:
                self._results.append(end.result)
                self._fallen_over = self._fallen_over or end.result.falls_over
                self._parts.metrics.session_ended(end.result, self.request.provider)
                count_result(self._parts.metrics, end.result)
            self._trace.failed(end.error_code or end.end_reason.value)
            standing = Standing(
                tries=self._tries,
                recoveries=self.recoveries,
                stopping=self._switch.asked.is_set(),
            )
            step = attempts.next_step(end, standing, self._limits.bounds)
            if step is Next.END:
                handed_over = end.result is not None and end.result.handed_over
                return self._stopped_meanwhile(end) if handed_over else end
            self._trace.begin_another(step, end)
            try:
                with self._trace.guard():
                    await self._prepare(step)
            except FleetError as error:
                # Why the session failed is the attempt's error, not that there was no second.
                log.warning("session_not_retried", session_id=session_id, code=error.code)
                return self._stopped_meanwhile(end)
            if self._renewed is not None and self._renewed.verdict is Verdict.END:
                self._trace.failed(EndReason.BUDGET_EXCEEDED.value)
                return AttemptEnd(end_reason=EndReason.BUDGET_EXCEEDED, joined=True)
            self._begin_another(step, end)

    async def _prepare(self, step: Next) -> None:
        """An actor for the next attempt and, to carry on at once, its allowance meanwhile."""
        if step is Next.RETRY:
            await self._another_actor()
            return
        self._lost_at = time.monotonic()
        self._wait_for_actor_s = self._limits.recover_wait_s
        asked = asyncio.ensure_future(self._patiently(self._allowance))
        try:
            await self._another_actor()
            # Now: the wait for the budget may be longer than a reservation is held.
            await self._patiently(partial(self._parts.roster.begin, self.request.session_id))
            self._renewed = await asked
        finally:
            await cancelled(asked)
        if time.monotonic() - self._lost_at > STALE_S:
            self._renewed = await self._patiently(self._allowance)

    def _begin_another(self, step: Next, end: AttemptEnd) -> None:
        metrics, session_id = self._parts.metrics, self.request.session_id
        if self._actor_id is not None:
            self._parts.actors.forget(self._actor_id)
        if step is Next.MOVE:
            log.info("session_moving", session_id=session_id, actor_id=self._actor_id)
            metrics.counter("fleet_moves_total").inc()
            self._tries = 1
        elif step is Next.RECOVER:
            cause = attempts.loss_cause(end)
            log.warning("session_recovering", session_id=session_id, cause=cause, error=end.error)
            metrics.counter("fleet_recoveries_total", cause=cause).inc()
            self.recoveries += 1
            self._tries = 1
        else:
            cause = end.error_code or "unknown"
            log.info("session_retried", session_id=session_id, cause=cause)
            metrics.counter("fleet_dispatch_retries_total", cause=cause).inc()
            self.retries += 1
            # Nothing was begun by any attempt so far, so its successor begins at 0.
            self._clock_runs = self._clock_runs and self._attempt != self._tries
            self._tries += 1
        self._attempt += 1
        self._moved = step is Next.MOVE
        self._has_joined = False
        self._mirrored_rank = 0
        self.vitals = Vitals()

    def _stopped_meanwhile(self, end: AttemptEnd) -> AttemptEnd:
        """An actor lost is not why a session ended that was told to stop before it had another."""
        reason = self._switch.reason
        return AttemptEnd(end_reason=reason, joined=end.joined) if reason else end

    async def _run_attempt(self) -> AttemptEnd:
        if self._attempt == 1:
            self._trace.begin()
        with self._trace.guard():
            actor_id = await self._take_actor()
            assignment = await self._assignment()
        self._trace.assigned(actor_id, self._attempt)
        await self._patiently(
            lambda: self._parts.records.update(
                self.request.session_id,
                state=SessionState.ASSIGNED,
                attempt=self._attempt,
                actor_id=actor_id,
                # It may have been one that is gone.
                cluster=self._parts.clusters.own,
            )
        )
        return await self._follow(actor_id, self._parts.actors.run(actor_id, assignment))

    async def _follow(
        self, actor_id: ActorId, work: Coroutine[Any, Any, SessionResult]
    ) -> AttemptEnd:
        run = AttemptRun(
            actor_id=actor_id,
            session_id=self.request.session_id,
            work=work,
            actors=self._parts.actors,
            limits=self._limits.for_attempt(self.request, time.monotonic() - self._began),
            switch=self._switch,
            on_joined=self._note_joined,
            on_stopping=lambda: self._record(state=SessionState.ENDING),
        )
        try:
            return await run.run()
        finally:
            if run.killed_for is not None:
                self.kills += 1
                kills = self._parts.metrics.counter(
                    "fleet_session_actor_kills_total", cause=run.killed_for
                )
                kills.inc()

    async def _follow_adopted(self, record: SessionRecord) -> AttemptEnd:
        if self._actor_id is None:
            return attempts.end_of_loss(
                "dispatcher_lost", "nobody is at work on it", joined=False, ordered=None
            )
        watching = adoption.watch(
            record, self._parts.actors, self._parts.journal, self._parts.sleep
        )
        end = await self._follow(self._actor_id, watching)
        return attempts.end_of_adopted(end, had_joined=record.joined_at is not None)

    async def _take_actor(self) -> ActorId:
        """The reserved actor; another one if the reservation was lost meanwhile."""
        session_id = self.request.session_id
        begin = partial(self._parts.roster.begin, session_id)
        actor_id = await self._patiently(begin)
        if actor_id is None:
            await self._another_actor()
            actor_id = await self._patiently(begin)
        if actor_id is None:
            raise DispatchFailed(
                session_id=session_id,
                step="reserve",
                cause_code="actor_lost",
                reason="two reserved actors were lost",
                retryable=True,
            )
        self._actor_id = actor_id
        return actor_id

    async def _another_actor(self) -> None:
        """Raises FleetFull. Gives up the wait when the session is told to stop."""
        request = self.request
        reassign = partial(self._parts.roster.reassign, request.session_id, self._wait_for_actor_s)
        other = asyncio.ensure_future(self._patiently(reassign))
        try:
            await first_of(other, self._switch.asked)
            if not other.done():
                raise DispatchFailed(
                    session_id=request.session_id,
                    step="reserve",
                    cause_code="stopped",
                    reason="stopped while it waited for an actor",
                )
            other.result()
        finally:
            await cancelled(other)

    async def _assignment(self) -> Assignment:
        request = self.request
        allowance, self._renewed = self._renewed, None
        if allowance is None:
            allowance = request.allowance if self._attempt == 1 else None
        if allowance is None:
            # What the attempt before spent counts, and its lease may have run out.
            allowance = await self._patiently(self._allowance)
        token = self._parts.rooms.agent_token(
            room=request.room,
            identity=request.agent_identity,
            ttl_s=self._limits.agent_token_ttl_s,
        )
        return Assignment(
            session_id=request.session_id,
            attempt=self._attempt,
            livekit_url=self._limits.livekit_url,
            room=request.room,
            token=token,
            agent_identity=request.agent_identity,
            allowance=allowance,
            assigned_at=self._parts.now(),
            provider=request.provider,
            model=request.model,
            traceparent=self._trace.traceparent,
            metadata=await self._contract(),
            first_comer_as=request.first_comer_as,
            observers=await self._observers.for_assignment(),
            fallen_over=self._fallen_over,
        )

    async def _contract(self) -> str | None:
        """None: it stands in the room. A supervisor that took the session over has it from the
        attempt before."""
        if self.request.metadata is not None or self._attempt == 1:
            return self.request.metadata
        ask = partial(self._parts.journal.contract, self.request.session_id)
        return await self._patiently(ask)

    async def _allowance(self) -> Allowance:
        request = self.request
        return await self._parts.budget.open(
            request.session_id, request.study_id, request.provider, request.limit_micro_usd
        )

    async def _patiently(self, ask: Callable[[], Awaitable[T]]) -> T:
        """For an interview under way: its node may have carried the part that is asked too, which
        is not there again at once. One that has yet to begin is not waited for."""
        ends = time.monotonic() + self._limits.recover_wait_s
        while True:
            try:
                return await ask()
            except _AWAY:
                stopping = self._switch.asked.is_set()
                if self._lost_at is None or stopping or time.monotonic() >= ends:
                    raise
            await self._parts.sleep(AGAIN_S)

    async def _note_joined(self, report: JoinReport) -> None:
        self._has_joined = True
        self._trace.joined()
        request = self.request
        self._parts.metrics.histogram("fleet_join_seconds", provider=request.provider).observe(
            report.connect_s
        )
        lost_at, self._lost_at = self._lost_at, None
        if lost_at is not None:
            name = "fleet_move_rejoin_seconds" if self._moved else "fleet_recovery_rejoin_seconds"
            self._parts.metrics.histogram(name).observe(time.monotonic() - lost_at)
        if not self.first_join.done():
            self.first_join.set_result(report)
        now = self._parts.now()
        changes: RecordChanges = {"joined_at": now, "actor_id": report.actor_id}
        if not self._clock_runs:
            self._clock_runs = True
            changes["first_joined_at"] = now
        await self._record(state=SessionState.JOINED, **changes)
        # Some may have come since it was assigned, or while no supervisor was there.
        await self.observe()

    # The end

    def _failed(self, code: str, error: str) -> AttemptEnd:
        reason = self._switch.reason or EndReason.ACTOR_LOST
        return AttemptEnd(end_reason=reason, joined=self._has_joined, error_code=code, error=error)

    async def _clear_up(self, end: AttemptEnd) -> None:
        may_be_asked_again = not end.joined and attempts.is_retryable(end)
        ended = Ended(
            end=end,
            attempt=self._attempt,
            actor_id=self._actor_id,
            results=self._results,
            claim=self._claim if may_be_asked_again else None,
        )
        clearing = ClearingUp(self.request, self._parts, ended)
        with self._trace.ending(end, self._attempt) as span:
            await clearing.run()
            if clearing.spent_micro_usd is not None:
                span.note({SPENT_MICRO_USD: clearing.spent_micro_usd})

    def _tell_joined(self, end: AttemptEnd) -> None:
        if not self.first_join.done():
            self.first_join.set_exception(
                DispatchFailed(
                    session_id=self.request.session_id,
                    step="join",
                    cause_code=end.error_code or end.end_reason.value,
                    reason=end.error or f"ended: {end.end_reason.value}",
                    retryable=attempts.is_retryable(end),
                )
            )

    async def _record(self, **changes: Any) -> None:
        """For a session under way: the interview matters more than its record being on time."""
        try:
            await self._parts.records.update(
                self.request.session_id, attempt=self._attempt, **changes
            )
        except StateConflict as error:
            log.warning("record_moved_on", session_id=self.request.session_id, state=error.state)
        except FleetError as error:
            log.warning("record_not_written", session_id=self.request.session_id, error=str(error))
            self._parts.endings.failures["record_update"] += 1
