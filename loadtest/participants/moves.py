"""The words of a participant's behaviour: its state, what happens to it, what it wants done."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from loadtest.participants.script import Script


class Rng(Protocol):
    """The part of random.Random that is used: every draw comes from the caller's seed."""

    def uniform(self, a: float, b: float) -> float: ...


class Mode(StrEnum):
    OUTSIDE = "outside"
    LISTENING = "listening"
    THINKING = "thinking"
    SPEAKING = "speaking"
    PAUSING = "pausing"
    AWAY = "away"
    GONE = "gone"


class TurnKind(StrEnum):
    ANSWER = "answer"
    BARGE_IN = "barge_in"


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What the participant is saying now."""

    kind: TurnKind
    number: int
    """Answers and barge-ins are each counted from 1."""
    began_s: float
    pause_s: float = 0.0
    rest_s: float = 0.0
    """Speech still to come after the pause; 0: this is the last part."""


@dataclass(frozen=True, kw_only=True)
class State:
    script: Script
    mode: Mode = Mode.OUTSIDE
    wake_at_s: float | None = None
    """When thinking, pausing or being away ends."""
    barge_at_s: float | None = None
    quiet_since_s: float | None = None
    """Since when nobody speaks; None while somebody does."""
    first_joined_s: float | None = None
    agent_speaking: bool = False
    utterances: int = 0
    answers: int = 0
    barge_ins: int = 0
    barged_until_s: float | None = None
    """When the barge-in into the agent's present utterance ended; None: there was none."""
    departed: int = 0
    turn: Turn | None = None


# -- events ----------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Joined:
    """The participant is in the room and its microphone is published."""


@dataclass(frozen=True, kw_only=True)
class AgentStarted:
    """The agent has become audible."""


@dataclass(frozen=True, kw_only=True)
class AgentEnded:
    """The agent has been silent for the script's turn gap, or its track is gone."""


@dataclass(frozen=True, kw_only=True)
class SpeechEnded:
    """The last sample of the commanded speech has been sent."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """Time has passed."""


Event = Joined | AgentStarted | AgentEnded | SpeechEnded | Tick


# -- commands --------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Speak:
    """Send this much speech, then report SpeechEnded."""

    speech_s: float


@dataclass(frozen=True, kw_only=True)
class Leave:
    """Leave the room. `for_good`: nothing more will be asked."""

    for_good: bool


@dataclass(frozen=True, kw_only=True)
class Rejoin:
    """Join the same room again, then report Joined."""


@dataclass(frozen=True, kw_only=True)
class TurnBegan:
    kind: TurnKind
    number: int
    over_agent: bool
    """The agent was speaking when the turn began."""


@dataclass(frozen=True, kw_only=True)
class TurnPaused:
    number: int
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class TurnResumed:
    number: int


@dataclass(frozen=True, kw_only=True)
class TurnEnded:
    kind: TurnKind
    number: int


@dataclass(frozen=True, kw_only=True)
class SpokenOver:
    """The agent became audible while the participant was in the middle of an answer."""

    answer: int
    into_answer_s: float
    in_pause: bool


Note = TurnBegan | TurnPaused | TurnResumed | TurnEnded | SpokenOver
Command = Speak | Leave | Rejoin | Note
Step = tuple[State, tuple[Command, ...]]
