"""What the registry keeps of one session, and which steps its life may take. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pydantic import TypeAdapter
from typing_extensions import TypedDict

from agent_actor.contract import EndReason, SessionState
from agent_actor.messages import PhaseTiming

LIFE = (
    SessionState.QUEUED,
    SessionState.ASSIGNED,
    SessionState.JOINED,
    SessionState.CONFIGURED,
    SessionState.LIVE,
    SessionState.ENDING,
    SessionState.GONE,
)
RANK: Mapping[str, int] = {state.value: rank for rank, state in enumerate(LIFE)}


@dataclass(frozen=True, kw_only=True)
class SessionRecord:
    """One session as the control plane knows it. Times are epoch seconds, money micro-dollars.

    No instructions and no transcript: the contract stands in the room, the words in the journal.
    """

    session_id: str
    study_id: str
    participant_identity: str
    room: str
    provider: str
    limit_micro_usd: int
    created_at: float
    model: str | None = None
    language: str = "en"
    idempotency_key: str | None = None
    state: SessionState = SessionState.QUEUED
    attempt: int = 1
    """Of the actor that has it or had it last; the first is 1."""
    actor_id: str | None = None
    node_id: str | None = None
    joined_at: float | None = None
    """When the agent of this attempt was in the room."""
    first_joined_at: float | None = None
    """The same of the first of the attempts that carry on from each other: the session's time
    limit counts from here."""
    ended_at: float | None = None
    end_reason: EndReason | None = None
    """Set together with ``gone`` and never changed after."""
    error_code: str | None = None
    error: str | None = None
    spent_micro_usd: int = 0
    """All attempts; never goes down. The ledger is the authority, this is for listings."""
    timings_s: dict[str, float] = field(default_factory=dict)
    """Step → seconds it took (validate, claim, reserve, budget, room, join, first_audio, …)."""
    provider_sessions: tuple[str, ...] = ()
    unmapped: tuple[str, ...] = ()
    """Settings that the provider could not take, in words."""
    phases: tuple[PhaseTiming, ...] = ()
    erased_at: float | None = None
    """When the participant's data was erased on request."""
    cluster: str | None = None
    """Whose supervisor looks after it, see ``fleet.clusters``; None: it is not said."""
    first_comer: bool = False
    """Whoever comes first is interviewed, under ``participant_identity``."""
    session_timeout_s: float | None = None
    no_show_s: float | None = None
    reconnect_grace_s: float | None = None
    """What its contract says, for those who cannot ask its actor; None: not written down."""
    traceparent: str | None = None
    """Of its dispatch: whatever is done for it later belongs to the same trace. None: no trace."""

    @property
    def is_gone(self) -> bool:
        return self.state is SessionState.GONE


class RecordFacts(TypedDict, total=False):
    """What may be learned at any time, also after the end."""

    model: str
    limit_micro_usd: int
    """The one in force: it may have been changed since the session was asked for."""
    spent_micro_usd: int
    timings_s: Mapping[str, float]
    """Merged step by step into what is there."""
    provider_sessions: tuple[str, ...]
    unmapped: tuple[str, ...]
    phases: tuple[PhaseTiming, ...]


class RecordChanges(RecordFacts, total=False):
    """What may change while the session lives."""

    room: str
    cluster: str
    actor_id: str | None
    node_id: str | None
    joined_at: float
    first_joined_at: float
    ended_at: float
    end_reason: EndReason
    error_code: str | None
    error: str | None


@dataclass(frozen=True, kw_only=True)
class Created:
    """``existing``: the idempotency key was known with the same body; nothing was written.
    ``after``: whose exclusive claim it was before."""

    record: SessionRecord
    existing: bool
    after: str | None = None


@dataclass(frozen=True, kw_only=True)
class Page:
    """Newest first. ``next_cursor`` is None on the last page."""

    records: tuple[SessionRecord, ...]
    next_cursor: str | None


@dataclass(frozen=True, kw_only=True)
class Step:
    """Where a session stands: its state under one attempt."""

    state: SessionState
    attempt: int


def may_move(here: Step, there: Step) -> bool:
    """Whether a session may go from ``here`` to ``there``.

    Within an attempt the order only goes forward (staying is allowed: a repeated message). A
    higher attempt may start again from ``assigned``, also where the one before was lost as it said
    goodbye. A lower attempt is an actor that was replaced and does not know it. ``gone`` is final.
    """
    if here.state is SessionState.GONE or there.attempt < here.attempt:
        return False
    if there.attempt > here.attempt:
        return there.state is not SessionState.QUEUED
    return RANK[there.state] >= RANK[here.state]


TIMING_PREFIX = "timing:"
_RECORD = TypeAdapter(SessionRecord)
_CHANGES = TypeAdapter(RecordChanges)


def to_fields(record: SessionRecord) -> dict[str, str]:
    """A record as the hash in Redis: field → JSON value; each timing is a field of its own,
    so that two writers can add steps without reading first.
    """
    return _encode(_RECORD.dump_python(record, mode="json"))


def changes_to_fields(changes: RecordChanges) -> dict[str, str]:
    """Raises pydantic.ValidationError on an unknown field or a wrong type."""
    checked = _CHANGES.validate_python(changes, extra="forbid")
    return _encode(_CHANGES.dump_python(checked, mode="json"))


def from_fields(fields: Mapping[str, str]) -> SessionRecord:
    """The reverse of ``to_fields``. Unknown fields are ignored: a newer writer may add some."""
    values: dict[str, Any] = {}
    timings: dict[str, float] = {}
    for name, text in fields.items():
        if name.startswith(TIMING_PREFIX):
            timings[name.removeprefix(TIMING_PREFIX)] = float(text)
        elif name in SessionRecord.__dataclass_fields__:
            values[name] = _loads(text)
    return _RECORD.validate_python({**values, "timings_s": timings})


def _encode(values: dict[str, Any]) -> dict[str, str]:
    timings = values.pop("timings_s", {})
    fields = {name: _dumps(value) for name, value in values.items()}
    return fields | {f"{TIMING_PREFIX}{step}": repr(float(s)) for step, s in timings.items()}


def _dumps(value: Any) -> str:
    return _ANY.dump_json(value).decode()


def _loads(text: str) -> Any:
    return _ANY.validate_json(text)


_ANY: TypeAdapter[Any] = TypeAdapter(Any)
