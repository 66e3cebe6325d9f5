"""Which sessions changed since a reader last looked: one question to Redis, however many there are.

What writers leave stands in ``agent_actor.changes``. Raises RegistryUnavailable.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from redis.asyncio import Redis

from agent_actor.changes import CHANGES, MOST_KEPT
from fleet.redis_book import RedisBook
from fleet.registry import reaching


@dataclass(frozen=True, kw_only=True)
class Changed:
    """``records``, ``lives``: ids of sessions whose record, or whose live state and journal, were
    written. ``mark`` goes back in. ``complete``: that was all; else read everything anew.
    """

    mark: int
    records: frozenset[str]
    lives: frozenset[str]
    complete: bool = True


class Changes(RedisBook):
    KEY = CHANGES

    def __init__(self, redis: Redis, namespace: str = "fleet", *, most: int = MOST_KEPT) -> None:
        super().__init__(redis, namespace)
        self._ns = namespace
        self._most = most

    async def mark(self) -> int:
        """Of the newest change. Take it before reading everything: what changes meanwhile is then
        read twice, and nothing is missed.
        """
        with reaching("changes"):
            newest = await self._redis.zrange(self._key, 0, 0, desc=True, withscores=True)
        return int(newest[0][1]) if newest else 0

    async def since(self, mark: int) -> Changed:
        with reaching("changes"):
            async with self._redis.pipeline(transaction=True) as pipe:
                pipe.zrange(self._key, 0, 0, desc=True, withscores=True)
                pipe.zrangebyscore(self._key, f"({mark}", "+inf")
                newest, names = await pipe.execute()
        top = int(newest[0][1]) if newest else 0
        return Changed(
            mark=top,
            records=self._ids("session", names),
            lives=self._ids("live", names),
            # A lower number than ours: it is another Redis, or one that has lost its memory.
            complete=top >= mark and len(names) < self._most,
        )

    def _ids(self, kind: str, names: Iterable[str]) -> frozenset[str]:
        prefix = f"{self._ns}:{kind}:"
        return frozenset(n.removeprefix(prefix) for n in names if n.startswith(prefix))
