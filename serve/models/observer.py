"""Those who watch a session, as they are answered."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict

from fleet.observers import ObserverPass
from serve.models.base import View, rfc3339


class ObserverView(View):
    """What one observer needs to join the room: unseen, hearing everything, sending nothing."""

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "s-8f3b21c07a9d4e6612f0ab34",
                "identity": "observer-5c0de1f2a3b49786",
                "room": "interview-s-8f3b21c07a9d4e6612f0ab34",
                "livekit_url": "wss://livekit.example.org",
                "token": "eyJhbGciOiJIUzI1NiJ9.e30.c2lnbmF0dXJl",
                "expires_at": "2026-11-23T10:30:00.120Z",
                "told": True,
            }
        }
    )

    session_id: str
    identity: str
    room: str
    livekit_url: str
    token: str
    """For this room and one connection at a time."""
    expires_at: str
    """Of the token and of the place; who is in the room by then stays."""
    told: bool
    """The interviewer has them in its list. If not, it gets them in about ten seconds."""

    @classmethod
    def of(cls, session_id: str, given: ObserverPass) -> Self:
        return cls(
            session_id=session_id,
            identity=given.identity,
            room=given.room,
            livekit_url=given.livekit_url,
            token=given.token,
            expires_at=rfc3339(given.expires_at) or "",
            told=given.told,
        )
