"""Background work with an owner: nothing is started that is not also waited for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import structlog

T = TypeVar("T")
log = structlog.get_logger(__name__)


class OwnedTasks:
    """Tasks of one owner, who closes it. A task that fails is logged, not lost, unless
    ``awaited`` says that somebody waits for each and hears of it that way. ``on_failed`` is told
    of it too.
    """

    def __init__(
        self,
        owner: str,
        *,
        awaited: bool = False,
        on_failed: Callable[[BaseException], None] = lambda error: None,
    ) -> None:
        self._owner = owner
        self._awaited = awaited
        self._on_failed = on_failed
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    async def settle(self, deadline_s: float) -> bool:
        """Let what runs now come to its own end. False if some did not within the deadline."""
        if not self._tasks:
            return True
        _, left = await asyncio.wait(self._tasks, timeout=deadline_s)
        return not left

    async def aclose(self) -> None:
        """Cancels what still runs and returns when it is over."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if task.cancelled():
            return
        error = task.exception()
        if error is not None and not self._awaited:
            log.error("background_task_failed", owner=self._owner, exc_info=error)
            self._on_failed(error)
