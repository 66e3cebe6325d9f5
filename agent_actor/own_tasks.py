"""What runs beside something else, and ends with it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from agent_actor.errors import AgentError

log = structlog.get_logger(__name__)


class OwnTasks:
    """``on_crash`` is told of one that raises, which would go unseen otherwise."""

    def __init__(self, on_crash: Callable[[AgentError], None]) -> None:
        self._on_crash = on_crash
        self._tasks: set[asyncio.Task[None]] = set()

    def add(self, work: Coroutine[object, object, None]) -> None:
        self._tasks.add(asyncio.create_task(self._guarded(work)))

    async def end(self) -> None:
        """Idempotent."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _guarded(self, work: Coroutine[object, object, None]) -> None:
        try:
            await work
        except Exception as error:
            log.exception("a part of the session failed")
            self._on_crash(AgentError(f"{type(error).__name__}: {error}"))
