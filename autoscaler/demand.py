"""How many sessions will be asked for soon: by what comes now and by what came at this time of day.

Pure. A *rate* is per second. ``Arrivals`` is what is remembered; ``watched`` takes in what has come
since, and ``expected`` answers for the next so many seconds.
"""

from __future__ import annotations

import math
import operator
import statistics
from collections.abc import Sequence
from dataclasses import dataclass, replace

MINUTES = 1440
"""Of a day, which begins at midnight UTC."""
_MINUTE_S = 60.0
_DAY_S = MINUTES * _MINUTE_S
_AROUND_MINUTES = (0, 2, 5, 10)
_ENOUGH = 50
"""Arrivals, for their average to be within a seventh of what it would be over many more."""


@dataclass(frozen=True, kw_only=True)
class DemandTuning:
    """How far memory reaches. None of it is about one day's shape."""

    slow_s: float = 300.0
    """Over how long the usual rate is averaged (the time constant of an EWMA)."""
    fast_s: float = 20.0
    """The same for a burst, which counts as far as it cannot be chance."""
    history_days: int = 7
    shift_minutes: int = 4
    """How much earlier or later than on other days a burst may come."""
    sureness: float = 2.0
    """Standard deviations by which a count must stand out to be no chance."""

    def __post_init__(self) -> None:
        if min(self.slow_s, self.fast_s) <= 0:
            raise ValueError("slow_s and fast_s must be positive")
        if min(self.history_days, self.shift_minutes, self.sureness) < 0:
            raise ValueError("history_days, shift_minutes and sureness must not be negative")


@dataclass(frozen=True, kw_only=True)
class DayCount:
    """One day's arrivals. ``sums[i]``: those before minute ``first + i``, counted from minute
    ``first``, at which watching began."""

    number: int
    """Days since 1970."""
    first: int = 0
    sums: tuple[float, ...] = (0.0,)

    def before(self, first: int, last: int) -> Sequence[float]:
        """Arrivals before each minute from ``first`` to ``last``, of which differences mean
        something. What lies outside of this day is another one that was like it."""
        begin, end = first - self.first, last - self.first + 1
        if begin >= 0 and end <= len(self.sums):
            return self.sums[begin:end]
        return [self._before(minute) for minute in range(first, last + 1)]

    def count(self, minute: int, minutes: int) -> float:
        """Arrivals in the ``minutes`` from ``minute`` on."""
        return self._before(minute + minutes) - self._before(minute)

    def _before(self, minute: int) -> float:
        days, minute = divmod(minute, MINUTES)
        known = min(max(0, minute - self.first), len(self.sums) - 1)
        return days * self.sums[-1] + self.sums[known]

    def saw(self, minute: int) -> bool:
        """Whether it was watched from ``minute`` on."""
        return self.first <= minute


@dataclass(frozen=True, kw_only=True)
class Arrivals:
    """``days``: past ones, oldest first. ``at``: until when everything has been taken in."""

    at: float | None = None
    slow: float = 0.0
    fast: float = 0.0
    leaving: float = 0.0
    """The rate at which sessions end, averaged like ``slow``."""
    days: tuple[DayCount, ...] = ()
    today: DayCount | None = None
    open_minute: float = 0.0
    """Arrivals in the minute that is not over."""


def watched(
    before: Arrivals, now: float, arrived: int, left: int, tuning: DemandTuning
) -> Arrivals:
    """``arrived`` and ``left`` sessions since ``before``. The first call, and one after the clock
    went back, only begin to watch."""
    if before.at is None or now < before.at:
        return _begun(before, now)
    elapsed_s = now - before.at
    if elapsed_s == 0:
        return replace(before, open_minute=before.open_minute + arrived)
    counted = _counted(before, now, max(0, arrived), tuning)
    return replace(
        counted,
        at=now,
        slow=_averaged(before.slow, arrived, elapsed_s, tuning.slow_s),
        fast=_averaged(before.fast, arrived, elapsed_s, tuning.fast_s),
        leaving=_averaged(before.leaving, left, elapsed_s, tuning.slow_s),
    )


def expected(arrivals: Arrivals, within_s: float, tuning: DemandTuning) -> float:
    """Arrivals in the next ``within_s``: the most of what comes now, what came at this time of
    day on average, and a burst that came about now on most days."""
    now_rate = max(arrivals.slow, _surely(arrivals.fast, tuning))
    if arrivals.at is None or within_s <= 0:
        return now_rate * within_s
    _, minute = _minute(arrivals.at)
    days = [day for day in arrivals.days if day.saw(max(0, minute - tuning.shift_minutes))]
    if not days:
        return now_rate * within_s
    minutes = min(MINUTES, max(1, round(within_s / _MINUTE_S)))
    burst_rate = _burst(days, minute, minutes, tuning) / (minutes * _MINUTE_S)
    return max(now_rate, _usual_rate(days, minute, minutes), burst_rate) * within_s


def _usual_rate(days: Sequence[DayCount], minute: int, minutes: int) -> float:
    """Of the ``minutes`` from ``minute`` on, and as many more around them as it takes for the
    average to mean something."""
    count, width = 0.0, 1
    for around in _AROUND_MINUTES:
        width = 2 * around + minutes
        count = sum(day.count(minute - around, width) for day in days)
        if count >= _ENOUGH:
            break
    return count / (len(days) * width * _MINUTE_S)


def _burst(days: Sequence[DayCount], minute: int, minutes: int, tuning: DemandTuning) -> float:
    """What came at the least in the busiest ``minutes`` about then of most days."""
    shift = tuning.shift_minutes
    bursts: list[float] = []
    for day in days:
        sums = day.before(minute - shift, minute + shift + minutes)
        most = max(map(operator.sub, sums[minutes:], sums))
        bursts.append(most - tuning.sureness * math.sqrt(most))
    return float(statistics.median(bursts))


def _begun(before: Arrivals, now: float) -> Arrivals:
    number, minute = _minute(now)
    return Arrivals(
        at=now,
        days=tuple(day for day in before.days if day.number < number),
        today=DayCount(number=number, first=minute),
    )


def _counted(before: Arrivals, now: float, arrived: int, tuning: DemandTuning) -> Arrivals:
    """The arrivals in their minutes, spread evenly if several have passed."""
    began, open_minute = before.at or now, before.open_minute
    today, days = before.today, before.days
    rate = arrived / (now - began)
    if now - began > _DAY_S:  # whoever was away for so long has seen nothing of any day
        return _begun(before, now)
    while today is not None:
        number, minute = _minute(began)
        ends = (number * MINUTES + minute + 1) * _MINUTE_S
        if ends > now:
            break
        closed = today.sums[-1] + open_minute + rate * (ends - began)
        today = replace(today, sums=(*today.sums, closed))
        open_minute, began = 0.0, ends
        if minute == MINUTES - 1:
            days = (*days, today)[-tuning.history_days :] if tuning.history_days else ()
            today = DayCount(number=number + 1)
    open_minute += rate * (now - began)
    return replace(before, days=days, today=today, open_minute=open_minute)


def _minute(now: float) -> tuple[int, int]:
    return divmod(int(now // _MINUTE_S), MINUTES)


def _averaged(rate: float, count: int, elapsed_s: float, over_s: float) -> float:
    keep = math.exp(-elapsed_s / over_s)
    return rate * keep + max(0, count) / elapsed_s * (1 - keep)


def _surely(fast: float, tuning: DemandTuning) -> float:
    # An EWMA of a Poisson rate has the variance of a plain average over twice its time constant.
    return fast - tuning.sureness * math.sqrt(max(0.0, fast) / (2 * tuning.fast_s))
