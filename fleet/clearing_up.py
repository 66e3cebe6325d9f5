"""What a session's end leaves to be done.

The order is fixed: the actor's result → the record is gone → the account is closed → the room is
deleted → the actor is killed → the permit is free, and so is the Idempotency-Key of one that never
began and has no dispatcher any more. Each step is tried though one before it failed (see
``fleet.endings``).

The room is deleted too when the actor had to be killed: whatever is left of it is cut off. A room
that is not ours stays; our agent is put out of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from agent_actor.contract import ActorId
from agent_actor.messages import SessionResult
from fleet.attempts import AttemptEnd
from fleet.endings import EndStep
from fleet.errors import SessionNotFound, StateConflict
from fleet.outcomes import learned
from fleet.parts import StartRequest
from fleet.records import RecordChanges
from fleet.run_parts import RunParts

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Ended:
    """``attempt``: the last one, on ``actor_id``; ``results``: those of all of them; ``claim``: the
    Idempotency-Key that may be used again."""

    end: AttemptEnd
    attempt: int
    actor_id: ActorId | None
    results: Sequence[SessionResult]
    claim: str | None = None


class ClearingUp:
    """Use once. ``spent_micro_usd`` is known once the account is closed."""

    def __init__(self, request: StartRequest, parts: RunParts, ended: Ended) -> None:
        self._request = request
        self._parts = parts
        self._ended = ended
        self._taken_from_us = False
        """By another cluster, which has its room and account now."""
        self.spent_micro_usd: int | None = None

    async def run(self) -> None:
        """To its end, even if it is cancelled meanwhile. Steps that fail go on being tried."""
        session_id, parts, ended = self._request.session_id, self._parts, self._ended
        log.info(
            "session_over",
            session_id=session_id,
            reason=ended.end.end_reason.value,
            error_code=ended.end.error_code,
            attempt=ended.attempt,
        )
        ended_at = parts.now()
        steps = (
            EndStep(name="record", work=lambda: self._end_record(ended_at)),
            EndStep(name="budget", work=self._close_account),
            EndStep(name="room", work=self._leave_room),
            EndStep(name="actor", work=self._end_actor),
            EndStep(name="permit", work=lambda: parts.roster.release(session_id)),
            EndStep(name="claim", work=self._release_claim),
        )
        await _uninterrupted(parts.endings.run(session_id, steps))

    async def _end_record(self, ended_at: float) -> None:
        end = self._ended.end
        changes: RecordChanges = {
            "ended_at": ended_at,
            "error_code": end.error_code,
            "error": end.error,
            **learned(self._ended.results),
        }
        session_id = self._request.session_id
        try:
            await self._parts.records.end(
                session_id, end.end_reason, attempt=self._ended.attempt, **changes
            )
        except (SessionNotFound, StateConflict) as error:
            # Erased, or another attempt's by now: not ours to write any more. That one is another
            # cluster's, which took this one for gone: account and room are its own.
            self._taken_from_us = isinstance(error, StateConflict)
            log.warning("record_not_ours_to_end", session_id=session_id, code=error.code)

    async def _close_account(self) -> None:
        if self._taken_from_us:
            return
        reports = [r.usage for r in self._ended.results if r.usage is not None]
        session_id, parts = self._request.session_id, self._parts
        spent = await parts.budget.close(session_id, reports)
        if spent is not None:
            limit = self._request.limit_micro_usd
            try:
                record = await parts.records.add_facts(session_id, spent_micro_usd=spent)
                # A limit that was lowered to less than had been spent is not overspent.
                limit = max(limit, record.limit_micro_usd)
            except SessionNotFound:
                # Withdrawn by its dispatcher, or expired: there is nobody to tell.
                log.warning("record_gone_before_its_account", session_id=session_id)
            if self.spent_micro_usd is None:
                parts.metrics.account_closed(spent_micro_usd=spent, limit_micro_usd=limit)
            self.spent_micro_usd = spent

    async def _leave_room(self) -> None:
        """Whatever is left in the room is cut off; from somebody else's, only our agent is."""
        request, rooms = self._request, self._parts.rooms
        if self._taken_from_us:
            return
        if request.owns_room:
            await rooms.delete_room(request.room)
        else:
            await rooms.remove_participant(request.room, request.agent_identity)

    async def _release_claim(self) -> None:
        claim = self._ended.claim
        if claim is not None:
            await self._parts.records.release_claim(self._request.session_id, claim)

    async def _end_actor(self) -> None:
        actor_id = self._ended.actor_id
        if actor_id is not None:
            self._parts.actors.kill(actor_id)
            self._parts.actors.forget(actor_id)


async def _uninterrupted(work: Awaitable[Any]) -> None:
    """Finish ``work`` even if this task is cancelled meanwhile; the cancellation then goes on."""
    task = asyncio.ensure_future(work)
    try:
        await asyncio.shield(task)
    except asyncio.CancelledError:
        await asyncio.wait({task})
        raise
