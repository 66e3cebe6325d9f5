"""How a connection ends: the errors that say so, and the countdown to its deadline."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable

from loadtest.simulators.gemini import wire
from loadtest.simulators.gemini.limits import Deadline
from loadtest.simulators.gemini.setup import CLOSE_INVALID_ARGUMENT


class ConnectionClosing(Exception):
    """The server ends the connection with this code and reason."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code, self.reason = code, reason


class ClientGone(Exception):
    """The client has left, or was dropped."""


def invalid_argument() -> ConnectionClosing:
    return ConnectionClosing(CLOSE_INVALID_ARGUMENT, "Request contains an invalid argument.")


def closing_of(group: BaseExceptionGroup[ConnectionClosing]) -> ConnectionClosing:
    """The first of what a task group was ended by."""
    error: BaseException = group
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    assert isinstance(error, ConnectionClosing)
    return error


class Countdown:
    """Announces the end of a connection, then brings it about."""

    def __init__(self, deadline: Deadline) -> None:
        self._deadline = deadline
        self._moved = asyncio.Event()

    def move(self, deadline: Deadline) -> None:
        """Count down to another end, announced anew."""
        self._deadline = deadline
        self._moved.set()

    async def run(self, send: Callable[[bytes], Awaitable[None]]) -> None:
        """Never returns: raises ConnectionClosing at the end."""
        while True:
            now_s = time.monotonic()
            if now_s < self._deadline.next_at_s:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._deadline.next_at_s - now_s):
                        await self._moved.wait()
                self._moved.clear()
            elif self._deadline.announced:
                raise ConnectionClosing(self._deadline.code, self._deadline.reason)
            else:
                self._deadline = self._deadline.announce()
                await send(wire.go_away(self._deadline.left_s(now_s)))
