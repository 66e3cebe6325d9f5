"""Says in Redis that this cluster is there, and sees which others are. Beside the supervisor."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import cast

import structlog

from fleet.clusters import Clusters
from fleet.endings import Sleep
from fleet.errors import FleetError
from fleet.redis_book import RedisBook
from fleet.registry import reaching

BEAT_EVERY_S = 5.0

log = structlog.get_logger(__name__)


class ClusterBook(RedisBook):
    """One hash: cluster → its beat. All calls raise RegistryUnavailable."""

    KEY = "clusters"

    async def beat(self, own: str) -> dict[str, int]:
        """Count up our own, and read all."""
        with reaching("clusters"):
            await self._redis.hincrby(self._key, own, 1)
            found = await cast("Awaitable[dict[str, str]]", self._redis.hgetall(self._key))
        return {name: int(beat) for name, beat in found.items()}

    async def drop(self, *names: str) -> None:
        with reaching("clusters"):
            await self._redis.hdel(self._key, *names)


class ClusterWatch:
    """``keep_watching`` is a task of the supervisor's process."""

    def __init__(
        self,
        clusters: Clusters,
        book: ClusterBook,
        *,
        sleep: Sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clusters = clusters
        self._book = book
        self._sleep = sleep
        self._clock = clock

    async def look(self) -> None:
        """Once. Raises RegistryUnavailable."""
        beats = await self._book.beat(self._clusters.own)
        self._clusters.heard(beats, self._clock())
        if gone := self._clusters.gone():
            # One that is not in the book is as gone as one that stands still.
            log.warning("clusters_gone", clusters=gone)
            await self._book.drop(*gone)

    async def keep_watching(self) -> None:
        """For ever: whatever a look fails with, the next one is made."""
        while True:
            try:
                await self.look()
            except FleetError as error:
                log.warning("clusters_not_seen", error=str(error))
            await self._sleep(BEAT_EVERY_S)

    async def leave(self) -> None:
        """This cluster has come to its end. Raises RegistryUnavailable."""
        await self._book.drop(self._clusters.own)
