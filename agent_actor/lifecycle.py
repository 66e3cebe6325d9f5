"""Who is there, how long to wait for them, and why a session ends. Pure: the caller's clock.

    joined ──participant──▶ live ◀──back── away
      │ no-show               │              │ grace over
      ▼                       ▼              ▼
    closing (a goodbye is being said) ──▶ ended

``step`` takes one event and returns the new state and what to do. Times are seconds on any one
monotonic clock. The first reason to end wins, with one exception: an order to stop at once cuts
a goodbye short.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

from agent_actor.contract import EndReason


class Stage(StrEnum):
    JOINED = "joined"
    LIVE = "live"
    AWAY = "away"
    CLOSING = "closing"
    ENDED = "ended"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """All in seconds. ``goodbye_s`` bounds how long a goodbye may take to be spoken."""

    no_show_s: float
    reconnect_grace_s: float
    session_timeout_s: float
    goodbye_s: float = 15.0


@dataclass(frozen=True, kw_only=True)
class LifeState:
    stage: Stage = Stage.JOINED
    joined_at: float
    since: float
    """When ``stage`` was entered."""
    met: bool = False
    """A participant has been here at least once."""
    reason: EndReason | None = None


def joined(now: float) -> LifeState:
    return LifeState(joined_at=now, since=now)


@dataclass(frozen=True, kw_only=True)
class LifeAges:
    """A state whose times are ages, to be taken up on another clock."""

    stage: Stage
    joined_s: float
    """Since the session's first agent had joined."""
    since_s: float
    """Since ``stage`` was entered."""
    met: bool = False
    reason: EndReason | None = None

    def aged(self, seconds: float) -> LifeAges:
        return replace(self, joined_s=self.joined_s + seconds, since_s=self.since_s + seconds)


def ages(state: LifeState, now: float) -> LifeAges:
    return LifeAges(
        stage=state.stage,
        joined_s=now - state.joined_at,
        since_s=now - state.since,
        met=state.met,
        reason=state.reason,
    )


def resumed(ages: LifeAges, now: float) -> LifeState:
    """With what a successor begins, before it has looked who is there.

    A participant whom nobody saw leave is away from now on: it has the whole grace to be seen
    again, and never counts as a no-show. All other times go on.
    """
    stage, since = ages.stage, now - ages.since_s
    if stage in (Stage.LIVE, Stage.CLOSING):
        stage, since = Stage.AWAY, now
    reason = ages.reason if stage is Stage.ENDED else None
    return LifeState(
        stage=stage, joined_at=now - ages.joined_s, since=since, met=ages.met, reason=reason
    )


# Events


@dataclass(frozen=True, kw_only=True)
class ParticipantJoined:
    pass


@dataclass(frozen=True, kw_only=True)
class ParticipantLeft:
    pass


@dataclass(frozen=True, kw_only=True)
class EndWanted:
    """Somebody wants the session to end: the protocol, the budget, an operator, a drain."""

    reason: EndReason
    goodbye: bool


@dataclass(frozen=True, kw_only=True)
class GoodbyeSaid:
    pass


@dataclass(frozen=True, kw_only=True)
class Lost:
    """The provider or the room is gone: nothing can be said any more."""

    reason: EndReason


@dataclass(frozen=True, kw_only=True)
class Tick:
    pass


Event = ParticipantJoined | ParticipantLeft | EndWanted | GoodbyeSaid | Lost | Tick


class Command(StrEnum):
    BEGIN = "begin"
    """The participant is here for the first time: greet and start the first phase."""
    PAUSE = "pause"
    """The participant is away: fall silent, send nothing to the provider."""
    RESUME = "resume"
    SAY_GOODBYE = "say_goodbye"
    FINISH = "finish"


def step(
    limits: Limits, state: LifeState, event: Event, now: float
) -> tuple[LifeState, tuple[Command, ...]]:
    """Apply one event at ``now``. An ended state never changes again."""
    if state.stage is Stage.ENDED:
        return state, ()
    match event:
        case ParticipantJoined():
            return _participant_joined(state, now)
        case ParticipantLeft():
            return _participant_left(state, now)
        case EndWanted(reason=reason, goodbye=goodbye):
            return _end(state, reason, now, goodbye=goodbye)
        case GoodbyeSaid():
            return _finish(state, now) if state.stage is Stage.CLOSING else (state, ())
        case Lost(reason=reason):
            return _end(state, reason, now, goodbye=False)
        case Tick():
            return _tick(limits, state, now)


def next_deadline(limits: Limits, state: LifeState) -> float | None:
    """When ``Tick`` next has something to do; None once ended."""
    match state.stage:
        case Stage.ENDED:
            return None
        case Stage.CLOSING:
            return state.since + limits.goodbye_s
        case Stage.JOINED:
            own = state.since + limits.no_show_s
        case Stage.AWAY:
            own = state.since + limits.reconnect_grace_s
        case Stage.LIVE:
            own = float("inf")
    return min(own, state.joined_at + limits.session_timeout_s)


def _participant_joined(state: LifeState, now: float) -> tuple[LifeState, tuple[Command, ...]]:
    if state.stage not in (Stage.JOINED, Stage.AWAY):
        return state, ()
    command = Command.RESUME if state.met else Command.BEGIN
    return replace(state, stage=Stage.LIVE, since=now, met=True), (command,)


def _participant_left(state: LifeState, now: float) -> tuple[LifeState, tuple[Command, ...]]:
    match state.stage:
        case Stage.LIVE:
            return replace(state, stage=Stage.AWAY, since=now), (Command.PAUSE,)
        case Stage.CLOSING:
            # Nobody is left to hear the goodbye.
            return _finish(state, now)
        case _:
            return state, ()


def _end(
    state: LifeState, reason: EndReason, now: float, *, goodbye: bool
) -> tuple[LifeState, tuple[Command, ...]]:
    if state.stage is Stage.CLOSING:
        return (state, ()) if goodbye else _finish(state, now)
    ending = replace(state, reason=reason)
    if goodbye and state.stage is Stage.LIVE:
        return replace(ending, stage=Stage.CLOSING, since=now), (Command.SAY_GOODBYE,)
    return _finish(ending, now)


def _tick(limits: Limits, state: LifeState, now: float) -> tuple[LifeState, tuple[Command, ...]]:
    deadline = next_deadline(limits, state)
    if deadline is None or now < deadline:
        return state, ()
    if state.stage is Stage.CLOSING:
        return _finish(state, now)
    if now >= state.joined_at + limits.session_timeout_s:
        return _end(state, EndReason.SESSION_TIMEOUT, now, goodbye=True)
    reason = EndReason.NO_SHOW if state.stage is Stage.JOINED else EndReason.PARTICIPANT_LEFT
    return _end(state, reason, now, goodbye=False)


def _finish(state: LifeState, now: float) -> tuple[LifeState, tuple[Command, ...]]:
    return replace(state, stage=Stage.ENDED, since=now), (Command.FINISH,)
