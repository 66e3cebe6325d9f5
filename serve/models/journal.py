"""A session's journal: its events and what was said."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict

from agent_actor.contract import SessionState
from fleet.journal import EventKind, JournalEntry, Turn
from serve.models.base import View, rfc3339


class EventView(View):
    """One entry of a session's journal; the shape of ``data`` goes with ``kind``."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "id": "1795426200120-0",
                "kind": "phase",
                "at": "2026-11-23T09:30:12.001Z",
                "attempt": 1,
                "data": {"phase_id": "core", "name": "Core questions", "cause": "advanced"},
            }
        }
    )

    id: str
    kind: EventKind
    at: str
    attempt: int
    data: dict[str, Any]

    @classmethod
    def of(cls, entry: JournalEntry) -> Self:
        event = entry.event
        return cls(
            id=entry.id,
            kind=event.kind,
            at=rfc3339(event.at) or "",
            attempt=event.attempt,
            data=event.data,
        )


class EventPage(View):
    """Oldest first. ``next_after`` goes into ``after`` for what follows. ``complete``: the
    session is gone and this page reached its end.
    """

    events: list[EventView]
    next_after: str
    complete: bool


class TurnView(View):
    at: str
    speaker: str
    text: str
    interrupted: bool
    phase_id: str | None

    @classmethod
    def of(cls, turn: Turn) -> Self:
        return cls(
            at=rfc3339(turn.at) or "",
            speaker=turn.speaker,
            text=turn.text,
            interrupted=turn.interrupted,
            phase_id=turn.phase_id,
        )


class TranscriptView(View):
    session_id: str
    state: SessionState
    turns: list[TurnView]
