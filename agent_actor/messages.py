"""What crosses the boundary of a session actor. All frozen, all picklable, all plain data.

Control plane → actor: Assignment, StopOrder. Actor → control plane: WarmReport, JoinReport,
UsageReport, SessionResult. Budget actor → session: Allowance.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, NewType

from agent_actor.contract import ActorId, EndReason, SessionId

MicroUsd = NewType("MicroUsd", int)
PicoUsd = NewType("PicoUsd", int)
PICO_PER_MICRO = 1_000_000


def to_micro_usd(pico: int) -> MicroUsd:
    """Pico-dollars as micro-dollars, rounded up: we never state less than was spent."""
    return MicroUsd(-(-pico // PICO_PER_MICRO))


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """One session for one warm actor. ``token`` is the agent's, for this room alone."""

    session_id: SessionId
    attempt: int
    """1 for the first actor of a session; a recovery or retry counts up."""
    livekit_url: str
    room: str
    token: str = field(repr=False)
    agent_identity: str
    allowance: Allowance
    assigned_at: float
    """Epoch seconds, by the control plane's clock."""
    provider: str | None = None
    model: str | None = None
    """Whom it is going to talk to, by what the contract says: a connection can be opened before the
    contract has been read. What the room says counts."""
    traceparent: str | None = None
    """Of the attempt, in the session's trace (W3C Trace Context). None: nothing is traced."""
    metadata: str | None = field(default=None, repr=False)
    """The contract, where it is not to be read from the room: there is none (a rehearsal), or it
    is not ours."""
    first_comer_as: str | None = None
    """Whoever comes first is interviewed, and told by this identity. None: whom the contract
    names."""
    observers: tuple[str, ...] = ()
    """Hidden in the room, by identity: who is told what the session costs."""
    fallen_over: bool = False
    """An earlier attempt gave the contract's provider up: its fallback is to be used."""


@dataclass(frozen=True, kw_only=True)
class WarmReport:
    """An actor is ready: ``warm_s`` seconds after its process began to construct it."""

    actor_id: ActorId
    pid: int
    node_id: str
    warm_s: float
    pss_bytes: int | None = None


@dataclass(frozen=True, kw_only=True)
class Pulse:
    """An actor lives. ``age_s``: since its process began to construct it."""

    age_s: float
    node_id: str = ""
    """The Ray node that it is on."""
    ahead_open: bool = False
    """It holds a connection that was opened ahead."""
    ahead: Mapping[str, int] = field(default_factory=dict)
    """What has become of such connections, by ``Fate``. Cumulative."""


@dataclass(frozen=True, kw_only=True)
class JoinReport:
    """The agent is in the room. Seconds are since the actor took the assignment."""

    session_id: SessionId
    actor_id: ActorId
    connect_s: float


class StopMode(StrEnum):
    GOODBYE = "goodbye"
    """Say goodbye first, within the reserve."""
    NOW = "now"


@dataclass(frozen=True, kw_only=True)
class StopOrder:
    reason: EndReason
    mode: StopMode = StopMode.GOODBYE


@dataclass(frozen=True, kw_only=True)
class TokenCounts:
    """Billed tokens by kind, cumulative. ``cached_*`` are part of ``input_*``, not beside."""

    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0

    def __add__(self, other: TokenCounts) -> TokenCounts:
        return TokenCounts(
            input_text=self.input_text + other.input_text,
            input_audio=self.input_audio + other.input_audio,
            cached_text=self.cached_text + other.cached_text,
            cached_audio=self.cached_audio + other.cached_audio,
            output_text=self.output_text + other.output_text,
            output_audio=self.output_audio + other.output_audio,
        )

    def __sub__(self, other: TokenCounts) -> TokenCounts:
        return TokenCounts(
            input_text=self.input_text - other.input_text,
            input_audio=self.input_audio - other.input_audio,
            cached_text=self.cached_text - other.cached_text,
            cached_audio=self.cached_audio - other.cached_audio,
            output_text=self.output_text - other.output_text,
            output_audio=self.output_audio - other.output_audio,
        )

    @property
    def input_total(self) -> int:
        return self.input_text + self.input_audio

    @property
    def output_total(self) -> int:
        return self.output_text + self.output_audio


@dataclass(frozen=True, kw_only=True)
class UsageReport:
    """All that one attempt of a session has used so far. Cumulative: sending it twice, late or
    out of order changes nothing, because only the highest ``seq`` of an ``attempt`` counts and
    a session's total is the sum over its attempts.
    """

    session_id: SessionId
    attempt: int
    seq: int
    at: float
    provider: str
    model: str
    tokens: TokenCounts
    spent_pico_usd: int
    """Billed by usage events, plus upper bounds charged for responses without usage."""
    estimate_pico_usd: int = 0
    """What the response under way has cost so far beyond ``spent``; not cumulative."""
    at_risk_pico_usd: int = 0
    """The most that responses under way can still be billed; charged if the session is lost."""
    goodbye_pico_usd: int = 0
    """The most that a goodbye could cost if it were said now: what to keep in reserve."""
    response_pico_usd: int = 0
    """The most that one more response could cost if it were created now, with all it may say."""
    minute_pico_usd: int = 0
    """The most that a minute from now on could cost."""
    responses: int = 0
    unpriced_responses: int = 0
    unpriced_pico_usd: int = 0
    """The part of ``spent`` that is upper bounds, for what ended without saying its usage."""
    transcription_pico_usd: int = 0
    """The part of ``spent`` that input transcription is."""
    final: bool = False

    def to_dict(self) -> dict[str, Any]:
        """As JSON can hold it."""
        return {**self.__dict__, "tokens": self.tokens.__dict__}

    @classmethod
    def from_dict(cls, state: Mapping[str, Any]) -> UsageReport:
        """The reverse. Raises KeyError or TypeError."""
        return cls(**{**state, "tokens": TokenCounts(**state["tokens"])})


class Verdict(StrEnum):
    GO_ON = "go_on"
    WRAP_UP = "wrap_up"
    """Near the limit: tell the interviewer to close."""
    END = "end"
    """No more money: goodbye out of the reserve if it still fits, then end."""


@dataclass(frozen=True, kw_only=True)
class Allowance:
    """A lease: the session may have spent up to ``up_to_micro_usd`` in total (all attempts)
    until ``expires_at`` (epoch seconds). Without a renewal by then it stops itself.
    """

    session_id: SessionId
    up_to_micro_usd: int
    limit_micro_usd: int
    spent_before_micro_usd: int = 0
    """Spent by earlier attempts, as the ledger knows it."""
    goodbye_micro_usd: int = 0
    """Beyond ``up_to``, for a goodbye and nothing else."""
    expires_at: float
    verdict: Verdict = Verdict.GO_ON
    epoch: int = 0
    revoked: bool = False
    """Whoever reported holds nothing any more: its account is closed, or its successor has the
    money."""


@dataclass(frozen=True, kw_only=True)
class PhaseTiming:
    phase_id: str
    entered_s: float
    """Seconds since the interview began."""
    left_s: float | None
    cause: str
    """How it was entered: started, advanced (by the model), forced (by its time limit)."""


@dataclass(frozen=True, kw_only=True)
class SessionResult:
    """How an attempt ended. ``error_code``/``error`` only where something went wrong."""

    session_id: SessionId
    attempt: int
    end_reason: EndReason
    error_code: str | None = None
    error: str | None = None
    retryable: bool = False
    usage: UsageReport | None
    """None if the session ended before anything could be spent."""
    phases: tuple[PhaseTiming, ...] = ()
    metadata_wait_s: float | None = None
    first_audio_s: float | None = None
    """Assignment → first audio frame handed to the room."""
    duration_s: float
    provider_sessions: tuple[str, ...] = ()
    """The provider's own session ids, in order: one per connection."""
    unmapped: tuple[str, ...] = ()
    """Settings that the provider could not take, in words."""
    silence_s: float | None = None
    """Of one that carried on in mid-sentence: from its predecessor's last checkpoint to its own
    first audio frame."""
    falls_over: bool = False
    """The session is not over: its provider failed, and the contract names another one."""
    silences_s: tuple[float, ...] = ()
    """From the end of each of the participant's turns to the first audio of its answer."""
    preopened: Mapping[str, int] = field(default_factory=dict)
    """What became of connections that its actor opened ahead, by ``Fate``."""
    spans_lost: int = 0
    """Of its trace, spans that no collector took."""
    handed_over: bool = False
    """The interview is not over: another actor is to carry it on. ``end_reason`` is for the case
    that none does."""
