"""How many sessions came in each minute of the last days, in Redis: it outlives the supervisor."""

from __future__ import annotations

import itertools
import json
from typing import Any, Self

from redis.asyncio import Redis

from agent_actor.redis_client import open_redis
from autoscaler.demand import MINUTES, Arrivals, DayCount
from fleet.registry import reaching
from fleet.settings import FleetSettings

_KEPT_S = 8 * 86_400


class RedisArrivalBook:
    """One key. All calls raise RegistryUnavailable."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._key = f"{namespace}:arrivals"

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """With a client of its own, which ``aclose`` closes."""
        redis = open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s)
        return cls(redis, settings.redis_namespace)

    async def aclose(self) -> None:
        await self._redis.aclose()

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
