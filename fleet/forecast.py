"""How long a session will have to wait, learned from how long starts and sessions took. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

_LEARNING_RATE = 0.3
"""Weight of the newest in the expectation of the next."""


@dataclass(kw_only=True)
class Forecast:
    """``warm_s``: how long an actor takes to get warm. ``session_s``: how long a session lasts;
    None until one has ended. ``lanes``: how many actors may start at once."""

    warm_s: float
    lanes: int
    session_s: float | None = None

    def started(self, took_s: float) -> None:
        self.warm_s += _LEARNING_RATE * (took_s - self.warm_s)

    def ended(self, lasted_s: float) -> None:
        before_s = lasted_s if self.session_s is None else self.session_s
        self.session_s = before_s + _LEARNING_RATE * (lasted_s - before_s)

    def for_slot_s(self, missing: int, slots: int) -> float | None:
        """Until the last of ``missing`` sessions out of ``slots`` under way has ended and another
        actor is warm: one ends every n-th part of how long one lasts, and its actor with it.
        """
        if self.session_s is None:
            return None
        return missing * self.session_s / max(1, slots) + self.warm_s

    def for_actor_s(self, place: int, starting_for_s: Sequence[float], pause_s: float) -> float:
        """Until ``place`` of a queue gets an actor: starts run side by side, ``lanes`` at a time,
        and those after them begin as the earlier ones end, none of them before ``pause_s``.
        """
        ends = sorted(max(0.0, self.warm_s - age_s) for age_s in starting_for_s)
        if place < len(ends):
            return ends[place]
        behind = place - len(ends)
        free_at_s = [0.0] * max(0, self.lanes - len(ends)) + ends[: self.lanes]
        first_s = max(pause_s, free_at_s[behind % self.lanes])
        return first_s + self.warm_s * (1 + behind // self.lanes)
