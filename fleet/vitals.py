"""What a session's live state says of its health, as often as the supervisor reads it. Pure.

Ages are kept by the reader's own clock, up to the latest reading that was answered: nothing ages
while nobody looks, and no other machine's clock is believed.
"""

from __future__ import annotations

from agent_actor.contract import SessionState
from agent_actor.journal import LiveState

_PUBLISHES = frozenset({SessionState.CONFIGURED.value, SessionState.LIVE.value})
"""In which a session whose loop runs writes its live state anew every few seconds."""


class Vitals:
    """Of one attempt. ``clock``: seconds of any steady clock."""

    def __init__(self) -> None:
        self._live: LiveState | None = None
        self._new_at = 0.0
        self._read_at = 0.0

    def read(self, live: LiveState | None, clock: float) -> None:
        """What the store holds now."""
        if live is None:
            return
        if self._live is None or live.updated_at != self._live.updated_at:
            self._live, self._new_at = live, clock
        self._read_at = clock

    def unread(self) -> None:
        """The store did not answer: it may not have answered the session either."""
        self._live = None

    @property
    def silent_s(self) -> float | None:
        """How long it has written nothing although it should. None: it need not."""
        if self._live is None or self._live.state not in _PUBLISHES:
            return None
        return self._read_at - self._new_at

    @property
    def away_s(self) -> float | None:
        """How long its participant has been away, by its own word. None: not away, or unknown."""
        if self._live is None or self._live.away_s is None:
            return None
        return self._live.away_s + self._read_at - self._new_at
