"""When interviews are asked for, and which. Pure: seconds since the run's start.

Without a rate an interview is asked for whenever a user is free (a closed loop: as many at once
as there are users). With one they come at random moments of that rate, whatever the fleet does
(an open loop), as long as a user is free.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from random import Random


@dataclass(frozen=True, kw_only=True)
class Share:
    """Of the interviews that one process asks for: every `of`-th, from `index`."""

    index: int = 0
    of: int = 1

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.of:
            raise ValueError("there are more workers than --workers says")


@dataclass(frozen=True, kw_only=True)
class Arrival:
    number: int
    due_s: float
    """Since the run's start."""


def arrivals(
    *, seed: int, rate: float, first: int = 0, limit: int | None = None, share: Share | None = None
) -> Iterator[Arrival]:
    """Those numbers below `limit` (None: without end) that are `share`'s, in order.

    The moments are a Poisson process of `rate` a second over all processes together; with rate 0
    all are due at once.
    """
    share = share or Share()
    rng = Random(f"{seed}/arrivals")
    due_s = 0.0
    for number in itertools.count() if limit is None else range(limit):
        due_s += rng.expovariate(rate) if rate and number >= first else 0.0
        if number >= first and number % share.of == share.index:
            yield Arrival(number=number, due_s=due_s)
