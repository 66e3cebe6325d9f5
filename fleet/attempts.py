"""How one attempt at a session ended, and what follows from it. Pure.

An attempt is one actor's try. Before the agent has joined another actor may do better, and the
participant notices nothing. When an actor is lost after that, another takes its place in the room
and carries on from its checkpoint (or begins, where there is none yet): a recovery; it is the same
when a provider failed and the contract names another one. When it was asked to hand over and did,
that is a move: planned, so it counts against no bound.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from agent_actor.contract import EndReason
from agent_actor.messages import SessionResult, StopOrder

JOIN_TIMEOUT = "join_timeout"
"""Error code: the agent was not in the room in time, and its actor did not say why."""

OUT_OF_MEMORY, NODE_LOST = "out_of_memory", "node_lost"
"""What is known of a lost actor's end beyond its code, see ``loss_cause``."""

_BEFORE_LIVE = frozenset({"metadata_timeout", "room_unreachable", "checkpoint_unavailable"})
"""Errors that an actor can only report before its session is live, and another may not have."""
_BEFORE_JOINED = frozenset(
    {"actor_lost", "actor_missing", "actor_busy", "actor_no_answer", JOIN_TIMEOUT, "internal_error"}
)
"""Failures of the actor itself."""
_LOST = frozenset({"actor_lost", "actor_missing", "control_plane_unavailable"})
"""What a run's own reference says of an actor that is dead, or cannot be reached any more."""


@dataclass(frozen=True, kw_only=True)
class AttemptEnd:
    """``result`` is None where the actor could not give one: it is dead or was killed."""

    end_reason: EndReason
    joined: bool
    error_code: str | None = None
    error: str | None = None
    result: SessionResult | None = None


class Next(StrEnum):
    """What follows an attempt's end: everything around it goes by this decision alone."""

    RETRY = "retry"
    """Another actor, as nothing has happened yet."""
    RECOVER = "recover"
    """Another actor into the same room, to carry on there."""
    MOVE = "move"
    """The same, and the actor before has left of its own accord."""
    END = "end"


@dataclass(frozen=True, kw_only=True)
class Standing:
    """What a session has been through. ``tries``: actors since it began or was last recovered,
    this one included."""

    tries: int
    recoveries: int
    stopping: bool


@dataclass(frozen=True, kw_only=True)
class Bounds:
    max_attempts: int
    """Of ``tries``."""
    max_recoveries: int


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


def end_of_adopted(end: AttemptEnd, *, had_joined: bool) -> AttemptEnd:
    """Of one that an earlier supervisor began. Lost along with that supervisor, its actor could not
    be asked any more whether it had joined: ``had_joined`` is what its record says."""
    lost = end.result is None and end.error_code in _LOST
    return replace(end, joined=end.joined or (lost and had_joined))


def next_step(end: AttemptEnd, standing: Standing, bounds: Bounds) -> Next:
    if standing.stopping:
        return Next.END
    if end.result is not None and end.result.handed_over:
        return Next.MOVE
    if end.joined and end.result is None and end.error_code in _LOST:
        return Next.RECOVER if standing.recoveries < bounds.max_recoveries else Next.END
    if end.result is not None and end.result.falls_over:
        return Next.RECOVER
    if standing.tries >= bounds.max_attempts:
        return Next.END
    if end.error_code in _BEFORE_LIVE and _never_spoke(end.result):
        return Next.RETRY
    if end.error_code in _BEFORE_JOINED and not end.joined:
        return Next.RETRY
    return Next.END


def loss_cause(end: AttemptEnd) -> str:
    """For counting: why an actor was lost, from a closed set."""
    text = (end.error or "").lower()
    if "outofmemory" in text or "out of memory" in text:
        return OUT_OF_MEMORY
    if "nodedied" in text or "node died" in text or "node was terminated" in text:
        return NODE_LOST
    # One that was dead already when it was looked for.
    return "actor_lost" if end.error_code == "actor_missing" else end.error_code or "unknown"


def is_retryable(end: AttemptEnd) -> bool:
    """Whether the same request may succeed later."""
    if end.result is not None:
        return end.result.retryable
    return end.error_code is not None


def _never_spoke(result: SessionResult | None) -> bool:
    return result is None or result.first_audio_s is None
