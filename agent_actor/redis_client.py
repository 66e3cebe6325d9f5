"""One way to open a Redis client, with its deadlines and its retry policy said out loud."""

from __future__ import annotations

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.driver_info import DriverInfo

RETRIES = 1
"""A dropped connection is tried once again at once; whoever called decides about more."""
_DRIVER = DriverInfo()
"""Looked up in the installed package's metadata, for 5 ms: once, and not for each connection."""


def open_redis(url: str, *, timeout_s: float = 1.5) -> Redis:
    """A client that answers str, connects lazily and gives up on a silent server.

    A connection that is refused fails within milliseconds. One call takes at most about
    ``(RETRIES + 1) * timeout_s``. Retried calls may run twice on the server, so everything
    sent through this client has to be idempotent. The caller closes it: ``await aclose()``.
    """
    return Redis.from_url(
        url,
        decode_responses=True,
        socket_timeout=timeout_s,
        socket_connect_timeout=timeout_s,
        health_check_interval=30,
        driver_info=_DRIVER,
        retry=Retry(ExponentialBackoff(cap=0.1, base=0.02), RETRIES),
    )
