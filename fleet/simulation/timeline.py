"""What happens when, in virtual seconds. Pure."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable

Happening = Callable[[], None]


class Timeline:
    """Events of the same moment happen in the order in which they were put in."""

    def __init__(self, start_s: float = 0.0) -> None:
        self.now_s = start_s
        self._events: list[tuple[float, int, Happening]] = []
        self._order = itertools.count()

    def at(self, when_s: float, happening: Happening) -> None:
        """What is due already happens next."""
        when_s = max(when_s, self.now_s)
        heapq.heappush(self._events, (when_s, next(self._order), happening))

    def after(self, seconds: float, happening: Happening) -> None:
        self.at(self.now_s + seconds, happening)

    def step(self) -> bool:
        """The next event. False: there is none."""
        if not self._events:
            return False
        self.now_s, _, happening = heapq.heappop(self._events)
        happening()
        return True
