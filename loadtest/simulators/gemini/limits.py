"""How long a connection and a session may last; pure.

A connection ends at its limit and is announced by goAway; the session behind it can go on over
another. A session without context compression ends for good at the audio limit, or when its
context no longer fits the model.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from loadtest.simulators.gemini.session import Session
from loadtest.simulators.gemini.setup import CLOSE_INTERNAL, CLOSE_POLICY, SetupError

CONTEXT_TOKENS = 131_072
DEADLINE_REASON = "Deadline expired before operation could complete."
SESSION_EXPIRED_REASON = "BidiGenerateContent session expired"


@dataclass(frozen=True, kw_only=True)
class Deadline:
    """When to send goAway and when to close, on the caller's clock, and how."""

    away_at_s: float
    ends_at_s: float
    code: int
    reason: str
    announced: bool = False

    @property
    def next_at_s(self) -> float:
        return self.ends_at_s if self.announced else self.away_at_s

    def left_s(self, now_s: float) -> float:
        return round(max(0.0, self.ends_at_s - now_s), 3)

    def announce(self) -> Deadline:
        return replace(self, announced=True)


@dataclass(frozen=True, kw_only=True)
class Limits:
    connection_s: float = 600.0
    go_away_before_s: float = 60.0
    audio_s: float = 900.0
    context_tokens: int = CONTEXT_TOKENS

    def deadline(self, session: Session, *, now_s: float) -> Deadline:
        """For a connection that opens now. Raises SetupError for a session that is over."""
        session_ends_s = session.started_at_s + self.audio_s
        if session.setup.compression is None:
            if session_ends_s <= now_s:
                raise SetupError(CLOSE_POLICY, SESSION_EXPIRED_REASON)
            if session_ends_s <= now_s + self.connection_s:
                return self._ending(session_ends_s, CLOSE_POLICY, SESSION_EXPIRED_REASON)
        return self._ending(now_s + self.connection_s, CLOSE_INTERNAL, DEADLINE_REASON)

    def soon(self, *, now_s: float, left_s: float | None = None) -> Deadline:
        """A connection that is asked to go away now, with so much time left."""
        left = self.go_away_before_s if left_s is None else left_s
        return Deadline(
            away_at_s=now_s, ends_at_s=now_s + left, code=CLOSE_INTERNAL, reason=DEADLINE_REASON
        )

    def _ending(self, ends_at_s: float, code: int, reason: str) -> Deadline:
        away_at_s = ends_at_s - self.go_away_before_s
        return Deadline(away_at_s=away_at_s, ends_at_s=ends_at_s, code=code, reason=reason)
