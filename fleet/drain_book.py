"""Which nodes are draining, in Redis: it outlives supervisor, roster and the Ray head."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Self, cast

from fleet.draining import Drain
from fleet.redis_book import RedisBook
from fleet.registry import reaching
from fleet.roster_model import NodeId
from fleet.settings import FleetSettings


class DrainBook(RedisBook):
    """One hash for each cluster, a field for each node. All calls raise RegistryUnavailable, and
    may then have happened or not; each can simply be made again.
    """

    KEY = "drains"

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """Of this cluster: another's whole fleet is not drained with it."""
        book = super().from_settings(settings)
        book._key = f"{book._key}:{settings.cluster}"
        return book

    async def all(self) -> dict[NodeId, Drain]:
        with reaching("drains"):
            found = cast(dict[str, str], await self._redis.hgetall(self._key))
        return {NodeId(node): Drain(**json.loads(text)) for node, text in found.items()}

    async def put(self, node_id: NodeId, drain: Drain) -> None:
        with reaching("drain"):
            await self._redis.hset(self._key, node_id, json.dumps(asdict(drain)))

    async def drop(self, node_id: NodeId) -> None:
        with reaching("undrain"):
            await self._redis.hdel(self._key, node_id)
