"""How one attempt at a session ended, and what follows from it. Pure.

An attempt is one actor's try. Before the session is live another actor may do better, and the
participant notices nothing; after that an actor's death ends the session.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from agent_actor.contract import EndReason
from agent_actor.messages import SessionResult, StopOrder

JOIN_TIMEOUT = "join_timeout"
"""Error code: the agent was not in the room in time, and its actor did not say why."""

_BEFORE_LIVE = frozenset({"metadata_timeout", "room_unreachable"})
"""Errors that an actor can only report before its session is live, and another may not have."""
_BEFORE_JOINED = frozenset(
    {"actor_lost", "actor_missing", "actor_busy", "actor_no_answer", JOIN_TIMEOUT}
)
"""Failures of the actor itself; after joining they end the session."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """``result`` is None where the actor could not give one: it is dead or was killed."""

    end_reason: EndReason
    joined: bool
    error_code: str | None = None
    error: str | None = None
    result: SessionResult | None = None


class Next(StrEnum):
    """What follows an attempt's end. Recovery into the room, when a live session loses its
    actor, will be a third: everything around it goes by this decision alone."""

    RETRY = "retry"
    END = "end"


def end_of_result(result: SessionResult, *, joined: bool) -> AttemptEnd:
    return AttemptEnd(
        end_reason=result.end_reason,
        joined=joined,
        error_code=result.error_code,
        error=result.error,
        result=result,
    )


def end_of_loss(code: str, error: str, *, joined: bool, ordered: StopOrder | None) -> AttemptEnd:
    """The actor gave no result. If it had been told to stop, that is why the session ended."""
    if ordered is not None:
        return AttemptEnd(end_reason=ordered.reason, joined=joined)
    reason = EndReason.ROOM_FAILED if code == JOIN_TIMEOUT else EndReason.ACTOR_LOST
    return AttemptEnd(end_reason=reason, joined=joined, error_code=code, error=error)


def next_step(end: AttemptEnd, *, attempt: int, max_attempts: int, stopping: bool) -> Next:
    if stopping or attempt >= max_attempts:
        return Next.END
    if end.error_code in _BEFORE_LIVE and _never_spoke(end.result):
        return Next.RETRY
    if end.error_code in _BEFORE_JOINED and not end.joined:
        return Next.RETRY
    return Next.END


def is_retryable(end: AttemptEnd) -> bool:
    """Whether the same request may succeed later."""
    if end.result is not None:
        return end.result.retryable
    return end.error_code is not None


def _never_spoke(result: SessionResult | None) -> bool:
    return result is None or result.first_audio_s is None
