"""What a participant's page is told."""

from __future__ import annotations

from enum import StrEnum

from pydantic import ConfigDict

from serve.models.base import View


class JoinStage(StrEnum):
    STARTING = "starting"
    """It has no room yet: ask again."""
    OPEN = "open"
    """The participant may come in."""
    ENDING = "ending"
    """It is being closed: who is in the room hears the goodbye, nobody comes in any more."""
    OVER = "over"


class Outcome(StrEnum):
    """How it ended, as far as it concerns the participant."""

    COMPLETED = "completed"
    TIME_UP = "time_up"
    CLOSED = "closed"
    """By the study: it wanted to, or its means were used up."""
    NO_SHOW = "no_show"
    LEFT = "left"
    INTERRUPTED = "interrupted"
    """By a fault, or for maintenance."""


class JoinState(View):
    """An interview, for its participant."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "stage": "open",
                "outcome": None,
                "language": "en",
                "livekit_url": "wss://livekit.example.org",
                "expired": False,
                "elapsed_s": 4.2,
                "limit_s": 3600.0,
            }
        }
    )

    stage: JoinStage
    outcome: Outcome | None
    """Once it is over."""
    language: str
    livekit_url: str | None
    """Null where the token opens no room: it is over, or the token has expired."""
    expired: bool
    """The token's time is over."""
    elapsed_s: float | None
    """Since the interviewer came; null before. At the end, how long it took in all."""
    limit_s: float | None
    """At which it ends whatever is being said."""


def join_url(base_url: str, session_id: str, token: str) -> str:
    """The participant's link. What follows the # is the browser's alone."""
    return f"{base_url.rstrip('/')}/join/{session_id}#{token}"
