"""Days of interviews, drawn from a seed: when each is asked for and how long it lasts. Pure but for
the generator that it is given.

The shapes are those of a research panel's days, made up and not recorded: there is no public record
of one. What matters is in them: Poisson arrivals, a launch that is foreseeable only to some
minutes, sessions whose length nobody knows.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

DAY_S = 86_400.0
HOUR_S = 3_600.0
NO_SHOWS = 0.15
NO_SHOW_S = 60.0
SHORTEST_S, LONGEST_S = 600.0, 3_600.0

STEADY_HOUR = 400.0
LAUNCHED = 590
"""Asked for in a launch: with the no-shows gone, 500 of them are live at its height."""
LAUNCH_AT_S = 10 * HOUR_S
LAUNCH_JITTER_S = 120.0
LAUNCH_SPREAD_S = 150.0
"""Arrivals after it are gamma distributed, shape 2: they rise for so long, then fall off."""
PEAK_HOUR, NIGHT_HOUR = 600.0, 2.0


class Shape(StrEnum):
    STEADY = "steady"
    LAUNCH = "launch"
    LULL = "lull"
    SURPRISE = "surprise"


MEANING = {
    Shape.STEADY: f"{STEADY_HOUR:.0f} sessions an hour around the clock",
    Shape.LAUNCH: f"about {LAUNCHED} at about 10:00, within minutes; the same on each day before",
    Shape.LULL: f"{PEAK_HOUR:.0f} an hour from 9 to 17, {NIGHT_HOUR:.0f} an hour at night",
    Shape.SURPRISE: "the launch, on a day after days without one",
}


@dataclass(frozen=True, kw_only=True, order=True)
class Visit:
    """``at``: seconds since the day began. ``lasts_s``: how long it holds its actor."""

    at: float
    lasts_s: float


def visits(shape: Shape, rng: Random) -> list[Visit]:
    """One day's, in order."""
    times = sorted(_times(shape, rng))
    return [Visit(at=at, lasts_s=_length(rng)) for at in times]


def before(shape: Shape, rng: Random) -> list[Visit]:
    """A day as those before the one that is judged were."""
    return [] if shape is Shape.SURPRISE else visits(shape, rng)


def _length(rng: Random) -> float:
    if rng.random() < NO_SHOWS:
        return NO_SHOW_S
    return rng.uniform(SHORTEST_S, LONGEST_S)


def _times(shape: Shape, rng: Random) -> Iterator[float]:
    match shape:
        case Shape.STEADY:
            yield from _poisson(lambda at: STEADY_HOUR, STEADY_HOUR, rng)
        case Shape.LULL:
            yield from _poisson(_working_day, PEAK_HOUR, rng)
        case Shape.LAUNCH | Shape.SURPRISE:
            yield from _launch(rng)


def _launch(rng: Random) -> Iterator[float]:
    launched_at = LAUNCH_AT_S + rng.gauss(0.0, LAUNCH_JITTER_S)
    for _ in range(round(LAUNCHED * rng.uniform(0.9, 1.1))):
        yield launched_at + rng.gammavariate(2.0, LAUNCH_SPREAD_S)


def _working_day(at: float) -> float:
    """From 7 to 9 it rises, from 17 to 22 it falls."""
    hour = at / HOUR_S
    rise = min(1.0, max(0.0, (hour - 7) / 2))
    fall = min(1.0, max(0.0, (22 - hour) / 5))
    share = 0.5 - 0.5 * math.cos(math.pi * min(rise, fall))
    return NIGHT_HOUR + (PEAK_HOUR - NIGHT_HOUR) * share


def _poisson(hourly: Callable[[float], float], most: float, rng: Random) -> Iterator[float]:
    at = 0.0
    while (at := at + rng.expovariate(most / HOUR_S)) < DAY_S:
        if rng.random() * most < hourly(at):
            yield at
