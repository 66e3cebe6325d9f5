"""How many sessions came in each minute of the last days, in Redis: it outlives the supervisor."""

from __future__ import annotations

import itertools
import json
from typing import Any

from autoscaler.demand import MINUTES, Arrivals, DayCount
from fleet.redis_book import RedisBook
from fleet.registry import reaching

_KEPT_S = 8 * 86_400


class RedisArrivalBook(RedisBook):
    """One key. All calls raise RegistryUnavailable."""

    KEY = "arrivals"

    async def load(self) -> Arrivals:
        """Nothing where there is nothing, or nothing that can be used."""
        with reaching("arrivals"):
            text = await self._redis.get(self._key)
        return Arrivals() if text is None else from_json(text)

    async def save(self, arrivals: Arrivals) -> None:
        with reaching("arrivals"):
            await self._redis.set(self._key, to_json(arrivals), ex=_KEPT_S)


def to_json(arrivals: Arrivals) -> str:
    """Its days. The rates of this moment are worth nothing in another."""
    days = [*arrivals.days, *([arrivals.today] if arrivals.today else [])]
    return json.dumps(
        {
            "at": arrivals.at,
            "days": [
                {"number": d.number, "first": d.first, "sums": [round(s, 3) for s in d.sums]}
                for d in days
            ],
        }
    )


def from_json(text: str | bytes) -> Arrivals:
    """An empty one for a text that this version cannot read."""
    try:
        found = json.loads(text)
        days = [_day(each) for each in found["days"]]
        at = float(found["at"])
    except (ValueError, TypeError, KeyError):
        return Arrivals()
    if not days:
        return Arrivals()
    *past, today = days
    if any(a.number >= b.number for a, b in itertools.pairwise(days)):
        return Arrivals()
    return Arrivals(at=at, days=tuple(past), today=today)


def _day(each: dict[str, Any]) -> DayCount:
    sums = tuple(float(s) for s in each["sums"])
    day = DayCount(number=int(each["number"]), first=int(each["first"]), sums=sums)
    if not 0 <= day.first < MINUTES or not 1 <= len(sums) <= MINUTES - day.first + 1:
        raise ValueError("no day")
    if list(sums) != sorted(sums):
        raise ValueError("no sums")
    return day
