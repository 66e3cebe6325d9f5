"""Waiting for what another process does: there is no event to wait on."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

POLL_S = 0.05

T = TypeVar("T")


async def until(
    so: Callable[[], Awaitable[T]], deadline_s: float, *, poll_s: float = POLL_S
) -> T | None:
    """The first answer of ``so`` that is true; None if there was none by the deadline."""
    ends = time.monotonic() + deadline_s
    while not (answer := await so()):
        if time.monotonic() >= ends:
            return None
        await asyncio.sleep(poll_s)
    return answer
