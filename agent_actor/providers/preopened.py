"""A connection to a provider that is opened before anyone needs it.

A warm actor may keep one; one that has just been given a session opens it beside the room's.
Nothing is billed for it: no response is asked for and no audio is sent. A session whose connection
would go to the same address gets it, with all that came in meanwhile (the provider's greeting, with
the session's id) still to be read. One that has died, or is too old, is never given away: providers
count a session's longest life from its opening.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from enum import StrEnum

import aiohttp
import structlog

PAUSE_S = 30.0
"""After a failure, before the next attempt."""
CLOSE_S = 2.0
MOST_UNREAD = 100

log = structlog.get_logger(__name__)

Socket = aiohttp.ClientWebSocketResponse
_OVER = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.CLOSED)


class Fate(StrEnum):
    """What became of a connection, or of the attempt to open one."""

    OPENED = "opened"
    USED = "used"
    AGED = "aged"
    DIED = "died"
    MISFIT = "misfit"
    """The session needed another: another provider or model."""
    FAILED = "failed"


class Preopened:
    """At most one open connection to ``url``. Use: ``start``, then ``take`` once, then ``aclose``.
    All in one event loop."""

    def __init__(
        self,
        url: str,
        connect: Callable[[str], Awaitable[Socket]],
        *,
        max_age_s: float,
        may_open: Callable[[], bool] = lambda: True,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.url = url
        self.fates: Counter[Fate] = Counter()
        self._connect = connect
        self._max_age_s = max_age_s
        self._may_open = may_open
        self._clock = clock
        self._socket: Socket | None = None
        self._opened_at = 0.0
        self._unread: list[aiohttp.WSMessage] = []
        self._tried = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def open(self) -> bool:
        return self._socket is not None

    def start(self) -> None:
        if self._task is None:
            self._task = asyncio.create_task(self._keep())

    async def wait_tried(self, timeout_s: float) -> None:
        """Until the attempt that is under way, or the first, has ended, either way."""
        with suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._tried.wait()

    async def take(self, url: str) -> Socket | None:
        """The connection, if there is a good one to exactly this address; one that is being opened
        is waited for. No other is opened from then on."""
        if self._task is not None and url == self.url:
            await self._tried.wait()
        await self._stop()
        socket, self._socket = self._socket, None
        if socket is None:
            return None
        if url != self.url:
            self.fates[Fate.MISFIT] += 1
        elif self._clock() - self._opened_at > self._max_age_s:
            self.fates[Fate.AGED] += 1
        else:
            self.fates[Fate.USED] += 1
            return _replaying(socket, self._unread)
        await _close(socket)
        return None

    async def aclose(self) -> None:
        """Closes what nobody took: it fitted nobody."""
        await self._stop()
        if self._socket is not None:
            socket, self._socket = self._socket, None
            self.fates[Fate.MISFIT] += 1
            await _close(socket)

    async def _stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _keep(self) -> None:
        while True:
            if not self._may_open():
                self._tried.set()
                await asyncio.sleep(PAUSE_S)
                continue
            self._tried.clear()
            try:
                socket = await self._connect(self.url)
            except Exception as error:
                self.fates[Fate.FAILED] += 1
                log.info("no connection could be opened ahead", error_type=type(error).__name__)
                self._tried.set()
                await asyncio.sleep(PAUSE_S)
                continue
            self._socket, self._opened_at, self._unread = socket, self._clock(), []
            self.fates[Fate.OPENED] += 1
            self._tried.set()
            fate = await self._watch(socket)
            self._socket = None
            self.fates[fate] += 1
            await _close(socket)
            if fate is Fate.DIED:
                await asyncio.sleep(PAUSE_S)

    async def _watch(self, socket: Socket) -> Fate:
        """Until it is of no use any more, and why. Who does not read does not hear of its end."""
        try:
            async with asyncio.timeout(self._max_age_s):
                while len(self._unread) < MOST_UNREAD:
                    message = await socket.receive()
                    if message.type in _OVER or message.type is aiohttp.WSMsgType.ERROR:
                        return Fate.DIED
                    self._unread.append(message)
        except TimeoutError:
            return Fate.AGED
        return Fate.DIED


def _replaying(socket: Socket, unread: list[aiohttp.WSMessage]) -> Socket:
    """``socket`` with what has been read of it before still to be read."""
    again, receive = list(unread), socket.receive

    async def replayed(timeout: float | None = None) -> aiohttp.WSMessage:
        return again.pop(0) if again else await receive(timeout)

    socket.receive = replayed  # type: ignore[method-assign]
    return socket


async def _close(socket: Socket) -> None:
    with suppress(Exception):
        async with asyncio.timeout(CLOSE_S):
            await socket.close()
