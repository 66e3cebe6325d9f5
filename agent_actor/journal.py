"""What a session writes down while it runs: its journal, and the few fields of its live state.

The journal is a Redis stream per session, the live state a hash per session. The actor is the
only writer of both (the control plane writes the session's record elsewhere), so nothing has
to be locked. Transcript text goes into the journal and nowhere else; a deletion request erases
journal and live state and leaves the money alone.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

from agent_actor.contract import SessionId


class EventKind(StrEnum):
    STATE = "state"  # {state, reason?, report?: a final UsageReport that was not delivered}
    METADATA = "metadata"  # {wait_s, problem?}
    PARTICIPANT = "participant"  # {change: joined|left|returned, identity, reason?}
    # {phase_id, name, cause, index, elapsed_s} | {change: nudged|closing|goodbye|goodbye_over}
    PHASE = "phase"
    TURN = "turn"  # {speaker: participant|interviewer, text, interrupted?, started_s?}
    TOOL = "tool"  # {name, outcome}
    PROVIDER = "provider"  # {change: connected|reconnected|error|going_away|closed, ...}
    USAGE = "usage"  # a UsageReport's figures
    BUDGET = "budget"  # {verdict, spent_micro_usd, up_to_micro_usd}
    AUDIO = "audio"  # {first_audio_s} | Voice.statistics()
    # {from_attempt, gap_s, resumption, phase_id, elapsed_s, utterances} | {silence_s}
    # | {change: handed_over, resumption}
    RECOVERY = "recovery"
    NOTE = "note"  # {text: settings not mapped, degraded modes}


@dataclass(frozen=True, kw_only=True)
class JournalEvent:
    """One entry. ``at`` is epoch seconds; ``data`` is JSON-serialisable."""

    kind: EventKind
    at: float
    attempt: int = 1
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class LiveState:
    """A session as it is this second, for tables and pages."""

    state: str
    phase_id: str | None = None
    phase_index: int | None = None
    phase_count: int = 0
    participant_present: bool = False
    away_s: float | None = None
    """How long a participant who was there has been away, at ``updated_at``; None: is not away."""
    speaking: str | None = None
    """"interviewer", "participant" or None."""
    tokens_in: int = 0
    tokens_out: int = 0
    spent_micro_usd: int = 0
    estimate_micro_usd: int = 0
    updated_at: float = 0.0
    handed_over: bool = False
    """Its actor has left it to another, which has not begun yet."""
    attempt: int = 0
    """Whose it is; 0: it is not said."""


def journal_key(namespace: str, session_id: SessionId) -> str:
    return f"{namespace}:journal:{session_id}"


def live_key(namespace: str, session_id: SessionId) -> str:
    return f"{namespace}:live:{session_id}"


def erased_key(namespace: str, session_id: SessionId) -> str:
    """A tombstone: while it stands, nothing is written to this session's journal any more."""
    return f"{namespace}:erased:{session_id}"


def event_to_fields(event: JournalEvent) -> dict[str, str]:
    """As the stream holds it. What JSON does not know is written as its ``str``: an interview
    must not fail over its journal.
    """
    data = json.dumps(event.data, ensure_ascii=False, separators=(",", ":"), default=str)
    return {
        "kind": event.kind.value,
        "at": repr(event.at),
        "attempt": str(event.attempt),
        "data": data,
    }


def event_from_fields(fields: Mapping[str, str]) -> JournalEvent:
    """The reverse. A kind that a newer writer knows and we do not becomes a note of that kind."""
    kind, data = fields["kind"], json.loads(fields["data"])
    if kind not in {known.value for known in EventKind}:
        kind, data = EventKind.NOTE.value, {**data, "kind": kind}
    return JournalEvent(
        kind=EventKind(kind),
        at=float(fields["at"]),
        attempt=int(fields["attempt"]),
        data=data,
    )


def live_to_fields(live: LiveState) -> dict[str, str]:
    """As the hash holds it: field → JSON value."""
    return {name: json.dumps(value) for name, value in asdict(live).items()}


def live_from_fields(fields: Mapping[str, str]) -> LiveState | None:
    """None where a session has said nothing yet. Unknown fields are ignored."""
    known = {n: json.loads(v) for n, v in fields.items() if n in LiveState.__dataclass_fields__}
    return LiveState(**known) if "state" in known else None
