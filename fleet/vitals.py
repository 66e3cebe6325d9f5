"""What a session's live state says of its health, as often as the supervisor reads it. Pure.

Ages are kept by the reader's own clock, up to the latest reading that was answered: nothing ages
while nobody looks. Only what a new reader finds is as old as the session says, by its machine's
clock: until it writes again, or is asked whether it lives.
"""

from __future__ import annotations

from agent_actor.contract import SessionState
from agent_actor.journal import LiveState

_PUBLISHES = frozenset({SessionState.CONFIGURED.value, SessionState.LIVE.value})
"""In which a session whose loop runs writes its live state anew every few seconds."""


class Vitals:
    """Of one attempt. ``clock``: seconds of any steady clock; ``now``: epoch seconds."""

    def __init__(self, *, found: bool = False) -> None:
        """``found``: by a reader that was not there from its beginning."""
        self._live: LiveState | None = None
        self._found = found
        self._new_at = 0.0
        self._read_at = 0.0

    def read(self, live: LiveState | None, clock: float, now: float) -> None:
        """What the store holds now."""
        if live is None:
            return
        if self._live is None or live.updated_at != self._live.updated_at:
            old_s = max(0.0, now - live.updated_at) if self._found else 0.0
            self._live, self._new_at, self._found = live, clock - old_s, False
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
