"""Which nodes are draining, in Redis: it outlives supervisor, roster and the Ray head."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Self, cast

from redis.asyncio import Redis

from agent_actor.redis_client import open_redis
from fleet.draining import Drain
from fleet.registry import reaching
from fleet.roster_model import NodeId
from fleet.settings import FleetSettings


class DrainBook:
    """One hash, a field for each node. All calls raise RegistryUnavailable, and may then have
    happened or not; each can simply be made again.
    """

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._key = f"{namespace}:drains"

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """With a client of its own, which ``aclose`` closes."""
        redis = open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s)
        return cls(redis, settings.redis_namespace)

    async def aclose(self) -> None:
        await self._redis.aclose()

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
