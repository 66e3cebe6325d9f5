"""The WebSocket to LiveKit's agent endpoint: opened, registered, kept up, opened again.

Everything has a deadline: connecting, each thing sent, the answer to the registration, the silence
between two pongs. What goes wrong ends the connection; after a pause the next is tried, for ever.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections import deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog

from fleet.bridge import protocol, wire
from fleet.bridge.protocol import Event, JobUpdate, Link, Registered, Stage, Timing, ToServer
from fleet.endings import Sleep
from fleet.stopping import cancelled

CONNECT_S = 5.0
SEND_S = 5.0
TOKEN_TTL_S = 300
MOST_UPDATES = 1000
"""Words on jobs that are kept for the next connection."""
USUAL = Timing()
SETTLED_S = 30.0
"""A connection that has held for so long was no failure."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """``token`` gives a new one for each connection."""

    url: str
    agent_name: str
    version: str
    token: Callable[[], str]

    @property
    def address(self) -> str:
        return re.sub(r"^http", "ws", self.url).rstrip("/") + "/agent"


class AgentConnection:
    """Use: ``run`` it in a task; cancelling that closes it. ``on_event`` is called in order with
    what the server says, ``on_lost`` when there is nobody to say anything any more."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
        timing: Timing = USUAL,
        clock: Callable[[], float] = time.monotonic,
        sleep: Sleep = asyncio.sleep,
        roll: Callable[[], float] = random.random,
    ) -> None:
        self._endpoint = endpoint
        self._on_event = on_event
        self._on_lost = on_lost
        self._timing = timing
        self._clock = clock
        self._sleep = sleep
        self._roll = roll
        self._outbox: asyncio.Queue[ToServer] = asyncio.Queue()
        self._kept: deque[JobUpdate] = deque(maxlen=MOST_UPDATES)
        self.registered = False
        self.registrations = 0

    def send(self, message: ToServer) -> bool:
        """Whether it is on its way. What is said of a job is kept for the next connection; what
        else there is to say has no meaning there."""
        if self.registered:
            self._outbox.put_nowait(message)
            return True
        if isinstance(message, JobUpdate):
            self._kept.append(message)
        return False

    async def run(self) -> None:
        failures = 0
        while True:
            began = self._clock()
            why = await self._once()
            failures = 1 if self._clock() - began >= SETTLED_S else failures + 1
            pause_s = protocol.pause_s(failures, self._roll())
            log.warning("agent_connection_lost", why=why, again_in_s=round(pause_s, 2))
            await self._sleep(pause_s)

    async def _once(self) -> str:
        """One connection to its end. Returns why it ended."""
        try:
            async with self._socket() as socket:
                return await self._serve(socket)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The message of a refusal may quote the address; the type and status say enough.
            status = getattr(error, "status", None)
            return type(error).__name__ + (f" {status}" if status else "")
        finally:
            self._lost()

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        headers = {"Authorization": f"Bearer {self._endpoint.token()}"}
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(CONNECT_S):
                socket = await http.ws_connect(self._endpoint.address, headers=headers)
            try:
                yield socket
            finally:
                await socket.close()

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse) -> str:
        endpoint, now = self._endpoint, self._clock()
        link, first = protocol.opened(endpoint.agent_name, endpoint.version, now, self._timing)
        await self._write(socket, *first)
        reading = asyncio.ensure_future(socket.receive())
        wanted = asyncio.ensure_future(self._outbox.get())
        try:
            while link.stage is not Stage.LOST:
                left_s = max(0.0, protocol.next_deadline(link) - self._clock())
                await asyncio.wait(
                    {reading, wanted}, timeout=left_s, return_when=asyncio.FIRST_COMPLETED
                )
                if reading.done():
                    message, reading = reading.result(), asyncio.ensure_future(socket.receive())
                    if message.type in _ENDED:
                        return f"closed by the server ({socket.close_code})"
                    link = self._take(link, message)
                if wanted.done():
                    said, wanted = wanted.result(), asyncio.ensure_future(self._outbox.get())
                    await self._write(socket, said)
                link, due = protocol.tick(link, self._clock())
                await self._write(socket, *due)
            return link.why_lost
        finally:
            await cancelled(reading, wanted)

    def _take(self, link: Link, message: aiohttp.WSMessage) -> Link:
        data = message.data if message.type is aiohttp.WSMsgType.BINARY else b"\0"
        link, event = protocol.received(link, wire.decode(data), self._clock())
        if isinstance(event, Registered):
            self._now_registered(event)
        if event is not None:
            self._on_event(event)
        return link

    def _now_registered(self, event: Registered) -> None:
        log.info("agent_registered", worker_id=event.worker_id, server=event.server_version)
        self.registered = True
        self.registrations += 1
        while self._kept:
            self._outbox.put_nowait(self._kept.popleft())

    async def _write(self, socket: aiohttp.ClientWebSocketResponse, *messages: ToServer) -> None:
        for message in messages:
            async with asyncio.timeout(SEND_S):
                await socket.send_bytes(wire.encode(message))

    def _lost(self) -> None:
        if not self.registered:
            return
        self.registered = False
        while not self._outbox.empty():
            message = self._outbox.get_nowait()
            if isinstance(message, JobUpdate):
                self._kept.append(message)
        self._on_lost()


_ENDED = frozenset(
    {
        aiohttp.WSMsgType.CLOSE,
        aiohttp.WSMsgType.CLOSING,
        aiohttp.WSMsgType.CLOSED,
        aiohttp.WSMsgType.ERROR,
    }
)
