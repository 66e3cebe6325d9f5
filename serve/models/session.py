"""Sessions, as they are answered."""

from __future__ import annotations

from typing import Any, Self

from pydantic import ConfigDict, Field

from agent_actor.contract import EndReason, Provider, SessionState
from fleet.journal import LiveState
from fleet.records import SessionRecord
from serve.models.base import View, rfc3339, timings_ms, usd
from serve.models.join import join_url
from serve.ports import Started


class SessionLinks(View):
    self: str
    cost: str
    events: str
    transcript: str

    @classmethod
    def of(cls, session_id: str) -> Self:
        here = f"/v1/sessions/{session_id}"
        return cls(
            self=here, cost=f"{here}/cost", events=f"{here}/events", transcript=f"{here}/transcript"
        )


class ErrorView(View):
    """What went wrong in a session; ``code`` is stable."""

    code: str
    detail: str | None


class PhaseView(View):
    phase_id: str
    entered_s: float
    left_s: float | None
    cause: str


class LiveView(View):
    """The session this second; only while it runs."""

    state: str
    phase_id: str | None
    phase_index: int | None
    phase_count: int
    participant_present: bool
    speaking: str | None
    tokens_in: int
    tokens_out: int
    spent_micro_usd: int
    spent_usd: str
    estimate_micro_usd: int
    updated_at: str | None

    @classmethod
    def of(cls, live: LiveState) -> Self:
        return cls(
            state=live.state,
            phase_id=live.phase_id,
            phase_index=live.phase_index,
            phase_count=live.phase_count,
            participant_present=live.participant_present,
            speaking=live.speaking,
            tokens_in=live.tokens_in,
            tokens_out=live.tokens_out,
            spent_micro_usd=live.spent_micro_usd,
            spent_usd=usd(live.spent_micro_usd),
            estimate_micro_usd=live.estimate_micro_usd,
            updated_at=rfc3339(live.updated_at),
        )


_SESSION_EXAMPLE: dict[str, Any] = {
    "session_id": "s-8f3b21c07a9d4e6612f0ab34",
    "study_id": "study-7",
    "participant_identity": "p-0042",
    "room": "interview-s-8f3b21c07a9d4e6612f0ab34",
    "provider": "openai_realtime",
    "model": "gpt-realtime",
    "language": "en",
    "state": "joined",
    "end_reason": None,
    "error": None,
    "created_at": "2026-11-23T09:30:00.120Z",
    "joined_at": "2026-11-23T09:30:00.391Z",
    "ended_at": None,
    "erased_at": None,
    "attempt": 1,
    "timings_ms": {"validate": 0.4, "claim": 1.1, "reserve": 1.9, "budget": 2.2, "join": 251.0},
    "limit_micro_usd": 4000000,
    "limit_usd": "4.000000",
    "spent_micro_usd": 0,
    "spent_usd": "0.000000",
    "provider_sessions": [],
    "unmapped": [],
    "phases": [],
    "links": SessionLinks.of("s-8f3b21c07a9d4e6612f0ab34").model_dump(),
}


class SessionView(View):
    """A session as its record has it."""

    model_config = ConfigDict(json_schema_extra={"example": _SESSION_EXAMPLE})

    session_id: str
    study_id: str
    participant_identity: str
    room: str
    provider: Provider
    model: str | None
    language: str
    state: SessionState
    end_reason: EndReason | None
    error: ErrorView | None
    created_at: str
    joined_at: str | None
    ended_at: str | None
    erased_at: str | None
    attempt: int
    """Actors that have had it, so far."""
    timings_ms: dict[str, float]
    limit_micro_usd: int
    limit_usd: str
    spent_micro_usd: int
    spent_usd: str
    provider_sessions: list[str]
    unmapped: list[str]
    """Settings that the provider could not take, in words."""
    phases: list[PhaseView]
    links: SessionLinks

    @staticmethod
    def fields_of(record: SessionRecord) -> dict[str, Any]:
        error = None
        if record.error_code:
            error = ErrorView(code=record.error_code, detail=record.error)
        return {
            "session_id": record.session_id,
            "study_id": record.study_id,
            "participant_identity": record.participant_identity,
            "room": record.room,
            "provider": record.provider,
            "model": record.model,
            "language": record.language,
            "state": record.state,
            "end_reason": record.end_reason,
            "error": error,
            "created_at": rfc3339(record.created_at),
            "joined_at": rfc3339(record.joined_at),
            "ended_at": rfc3339(record.ended_at),
            "erased_at": rfc3339(record.erased_at),
            "attempt": record.attempt,
            "timings_ms": timings_ms(record.timings_s),
            "limit_micro_usd": record.limit_micro_usd,
            "limit_usd": usd(record.limit_micro_usd),
            "spent_micro_usd": record.spent_micro_usd,
            "spent_usd": usd(record.spent_micro_usd),
            "provider_sessions": list(record.provider_sessions),
            "unmapped": list(record.unmapped),
            "phases": [
                PhaseView(
                    phase_id=p.phase_id, entered_s=p.entered_s, left_s=p.left_s, cause=p.cause
                )
                for p in record.phases
            ],
            "links": SessionLinks.of(record.session_id),
        }

    @classmethod
    def of(cls, record: SessionRecord) -> Self:
        return cls(**cls.fields_of(record))


class SessionDetail(SessionView):
    """One session, with what it is doing this second."""

    live: LiveView | None = None

    @classmethod
    def with_live(cls, record: SessionRecord, live: LiveState | None) -> Self:
        running = live is not None and not record.is_gone
        return cls(**cls.fields_of(record), live=LiveView.of(live) if running and live else None)


class CreatedSession(SessionView):
    """A session just asked for, with what its participant needs to join the room."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                **_SESSION_EXAMPLE,
                "livekit_url": "wss://livekit.example.org",
                "participant_token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
                "participant_token_expires_at": "2026-11-23T10:30:00.120Z",
                "join_url": "https://interviews.example.org/join/s-8f3b21c07a9d4e6612f0ab34"
                "#eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
            }
        }
    )

    livekit_url: str
    participant_token: str | None
    """For this room and this participant alone: publish a microphone, hear the interviewer."""
    participant_token_expires_at: str | None
    join_url: str | None
    """The participant's page. Whoever has it can take part; the token in its fragment reaches no
    server's log."""

    @classmethod
    def of_started(cls, started: Started, *, base_url: str) -> Self:
        token, session_id = started.participant_token, started.record.session_id
        return cls(
            **cls.fields_of(started.record),
            livekit_url=started.livekit_url,
            participant_token=token,
            participant_token_expires_at=rfc3339(started.token_expires_at),
            join_url=None if token is None else join_url(base_url, session_id, token),
        )


class SessionPage(View):
    """Newest first; ``next_cursor`` is null on the last page."""

    sessions: list[SessionDetail]
    """`live` is null where it was not asked for."""
    next_cursor: str | None


class ErasedView(View):
    """What a deletion request left: no journal, transcript or checkpoint; the money stays."""

    session: SessionView
    erased: list[str] = Field(examples=[["journal", "transcript", "checkpoints"]])
