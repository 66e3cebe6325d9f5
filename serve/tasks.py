"""Work that must be finished even when the caller who asked for it hangs up.

A backend that loses its connection while its session starts will ask again with the same
Idempotency-Key; it must find the session, not a half of one. Everything that changes something
beyond this process goes through here.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
_log = structlog.get_logger(__name__)


class Tasks:
    """Owns every such task until it is done; ``aclose`` leaves none behind."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[Any]] = set()

    async def finish(self, work: Coroutine[Any, Any, T], *, name: str) -> T:
        """The work's result. If the caller is cancelled, the work goes on without it."""
        # In a context of its own. Whoever hangs up makes Serve cancel the request's Ray task and,
        # recursively, every Ray task begun from it, on other actors too: the roster's start of
        # an actor as well as the session itself. Ray finds them through this context.
        task = asyncio.create_task(work, name=name, context=contextvars.Context())
        self._running.add(task)
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            if not task.done():
                _log.info("caller_left_before_answer", task=name)
            raise

    async def aclose(self, *, timeout_s: float = 5.0) -> None:
        """Give what runs ``timeout_s`` to end, then cancel it, and wait for that."""
        if self._running:
            await asyncio.wait(self._running, timeout=timeout_s)
        left = [task for task in self._running if not task.done()]
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._running.discard(task)
        if not task.cancelled():
            # Retrieved here too: with the caller gone nobody else would.
            task.exception()
