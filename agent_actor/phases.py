"""The protocol's phases as a state machine. Pure: the caller brings the clock.

Phases are entered, advanced and ended by the model's function calls. Their time limits first
nudge (at ``NUDGE_AT`` of the duration), then force: the next phase begins, or, after the last,
the interview closes. ``step`` returns the new state and what to do about it.

Times are seconds on the interview's own clock (0 = it began), so that a state restored from a
checkpoint by another process goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import Any

NUDGE_AT = 0.8
"""Fraction of a phase's duration after which the interviewer is told to come to an end."""


class Cause(StrEnum):
    STARTED = "started"
    ADVANCED = "advanced"
    FORCED = "forced"
    ENDED = "ended"
    """The model ended the interview before its last phase was through."""


@dataclass(frozen=True, kw_only=True)
class PhaseLimit:
    """What the machine needs of a phase: its id and its limit in seconds."""

    id: str
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Visit:
    phase_id: str
    cause: Cause
    entered_s: float
    left_s: float | None = None


@dataclass(frozen=True, kw_only=True)
class PhaseState:
    """``index`` is -1 before the first phase. ``closed`` is final."""

    index: int = -1
    nudged: bool = False
    closed: bool = False
    visits: tuple[Visit, ...] = ()

    @property
    def entered_s(self) -> float:
        return self.visits[-1].entered_s if self.visits else 0.0


# Events


@dataclass(frozen=True, kw_only=True)
class Begin:
    pass


@dataclass(frozen=True, kw_only=True)
class Advance:
    """The model says that it is through with a phase. ``completed`` names it, where it said
    which: a second call for a phase that is already over must not skip the next one."""

    completed: str | None = None


@dataclass(frozen=True, kw_only=True)
class End:
    """The model ends the interview."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time has passed."""


Event = Begin | Advance | End | Tick


# Commands


@dataclass(frozen=True, kw_only=True)
class Enter:
    """Swap the instructions to phase ``index`` and carry on in it."""

    index: int
    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Nudge:
    """Tell the interviewer that ``remaining_s`` are left in phase ``index``."""

    index: int
    remaining_s: float


@dataclass(frozen=True, kw_only=True)
class Close:
    """Say goodbye and end the interview."""

    cause: Cause


@dataclass(frozen=True, kw_only=True)
class Refuse:
    """Answer the function call with ``reason``; nothing has changed."""

    reason: str


Command = Enter | Nudge | Close | Refuse


def step(
    plan: Sequence[PhaseLimit], state: PhaseState, event: Event, now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    """Apply one event. ``plan`` has at least one phase; ``now_s`` never goes back."""
    if state.closed:
        return state, _refusal(event, "the interview is already closing")
    match event:
        case Begin():
            return _begin(state, plan, now_s)
        case Advance(completed=completed):
            return _advance(plan, state, completed, now_s)
        case End():
            return _close(state, Cause.ENDED, now_s)
        case Tick():
            return _tick(plan, state, now_s)


def next_deadline_s(plan: Sequence[PhaseLimit], state: PhaseState) -> float | None:
    """When ``Tick`` next has something to do, on the interview's clock; None for never."""
    if state.closed or state.index < 0:
        return None
    duration_s = plan[state.index].duration_s
    return state.entered_s + (duration_s if state.nudged else duration_s * NUDGE_AT)


def to_json(state: PhaseState) -> dict[str, Any]:
    """A checkpoint: plain JSON values."""
    return asdict(state)


def from_json(data: dict[str, Any]) -> PhaseState:
    """Read a checkpoint back. Raises KeyError, TypeError or ValueError if it is not one."""
    visits = tuple(Visit(**{**v, "cause": Cause(v["cause"])}) for v in data["visits"])
    return PhaseState(
        index=int(data["index"]),
        nudged=bool(data["nudged"]),
        closed=bool(data["closed"]),
        visits=visits,
    )


def _begin(
    state: PhaseState, plan: Sequence[PhaseLimit], now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    if state.index >= 0:
        return state, ()
    return _enter(plan, state, 0, Cause.STARTED, now_s)


def _advance(
    plan: Sequence[PhaseLimit], state: PhaseState, completed: str | None, now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    if state.index < 0:
        return state, _refusal(Advance(), "the interview has not begun")
    current = plan[state.index].id
    if completed is not None and completed != current:
        return state, _refusal(Advance(), f"the current phase is {current!r}, not {completed!r}")
    return _leave(plan, state, Cause.ADVANCED, now_s)


def _tick(
    plan: Sequence[PhaseLimit], state: PhaseState, now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    if state.index < 0:
        return state, ()
    limit_s = plan[state.index].duration_s
    elapsed_s = now_s - state.entered_s
    if elapsed_s >= limit_s:
        return _leave(plan, state, Cause.FORCED, now_s)
    if not state.nudged and elapsed_s >= limit_s * NUDGE_AT:
        nudge = Nudge(index=state.index, remaining_s=limit_s - elapsed_s)
        return replace(state, nudged=True), (nudge,)
    return state, ()


def _leave(
    plan: Sequence[PhaseLimit], state: PhaseState, cause: Cause, now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    if state.index + 1 < len(plan):
        return _enter(plan, state, state.index + 1, cause, now_s)
    return _close(state, cause, now_s)


def _enter(
    plan: Sequence[PhaseLimit], state: PhaseState, index: int, cause: Cause, now_s: float
) -> tuple[PhaseState, tuple[Command, ...]]:
    visit = Visit(phase_id=plan[index].id, cause=cause, entered_s=now_s)
    visits = (*_left(state.visits, now_s), visit)
    return PhaseState(index=index, visits=visits), (Enter(index=index, cause=cause),)


def _close(state: PhaseState, cause: Cause, now_s: float) -> tuple[PhaseState, tuple[Command, ...]]:
    closed = replace(state, closed=True, visits=_left(state.visits, now_s))
    return closed, (Close(cause=cause),)


def _left(visits: tuple[Visit, ...], now_s: float) -> tuple[Visit, ...]:
    if not visits or visits[-1].left_s is not None:
        return visits
    return (*visits[:-1], replace(visits[-1], left_s=now_s))


def _refusal(event: Event, reason: str) -> tuple[Command, ...]:
    # Only a function call has somebody waiting for an answer.
    return (Refuse(reason=reason),) if isinstance(event, Advance | End) else ()
