"""What is kept under one key of the fleet's Redis."""

from __future__ import annotations

from typing import ClassVar, Self

from redis.asyncio import Redis

from agent_actor.redis_client import open_redis
from fleet.settings import FleetSettings


class RedisBook:
    KEY: ClassVar[str]
    """In the fleet's namespace."""

    def __init__(self, redis: Redis, namespace: str) -> None:
        self._redis = redis
        self._key = f"{namespace}:{self.KEY}"

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """With a client of its own, which ``aclose`` closes."""
        redis = open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s)
        return cls(redis, settings.redis_namespace)

    async def aclose(self) -> None:
        await self._redis.aclose()
