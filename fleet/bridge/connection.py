"""The WebSocket to LiveKit's agent endpoint: opened, registered, kept up, opened again.

Everything has a deadline: connecting, the answer to the registration, each thing sent, and by the
WebSocket's own pings the silence. What goes wrong ends the connection; after a pause the next is
tried, for ever.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import aiohttp
import structlog

from fleet.bridge import wire
from fleet.bridge.protocol import Event, Register, Registered, ToServer, Unreadable, pause_s
from fleet.endings import Sleep
from fleet.stopping import cancelled

TOKEN_TTL_S = 300

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


@dataclass(frozen=True, kw_only=True)
class Timing:
    connect_s: float = 5.0
    register_s: float = 5.0
    send_s: float = 5.0
    ping_s: float = 10.0
    """Half as long a ping may go without an answer."""
    settled_s: float = 30.0
    """A connection that has held for so long was no failure."""


class AgentConnection:
    """Use: ``run`` it in a task; cancelling that closes it. ``on_event`` is called in order with
    what the server says, ``on_lost`` when there is nobody to say anything any more."""

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        on_event: Callable[[Event], None],
        on_lost: Callable[[], None],
        timing: Timing = Timing(),
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
        self._outbox: asyncio.Queue[ToServer] | None = None
        """Of the connection that is registered: the server forgets with it what was said."""
        self.registrations = 0

    @property
    def registered(self) -> bool:
        return self._outbox is not None

    def send(self, message: ToServer) -> bool:
        """Whether it is on its way. What cannot be said now means nothing any more later."""
        if self._outbox is None:
            return False
        self._outbox.put_nowait(message)
        return True

    async def run(self) -> None:
        failures = 0
        while True:
            began = self._clock()
            why = await self._once()
            failures = 1 if self._clock() - began >= self._timing.settled_s else failures + 1
            wait_s = pause_s(failures, self._roll())
            log.warning("agent_connection_lost", why=why, again_in_s=round(wait_s, 2))
            await self._sleep(wait_s)

    async def _once(self) -> str:
        """One connection to its end. Returns why it ended."""
        try:
            async with self._socket() as socket:
                registered = await self._register(socket)
                if registered is None:
                    return "the server did not register us"
                return await self._serve(socket, registered)
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            # The message of a refusal may quote the address; the type and status say enough.
            status = getattr(error, "status", None)
            return type(error).__name__ + (f" {status}" if status else "")

    @asynccontextmanager
    async def _socket(self) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
        headers = {"Authorization": f"Bearer {self._endpoint.token()}"}
        async with aiohttp.ClientSession() as http:
            async with asyncio.timeout(self._timing.connect_s):
                socket = await http.ws_connect(
                    self._endpoint.address, headers=headers, heartbeat=self._timing.ping_s
                )
            try:
                yield socket
            finally:
                await socket.close()

    async def _register(self, socket: aiohttp.ClientWebSocketResponse) -> Registered | None:
        """Its answer is the first thing that the server says."""
        wanted = Register(agent_name=self._endpoint.agent_name, version=self._endpoint.version)
        async with asyncio.timeout(self._timing.register_s):
            await socket.send_bytes(wire.encode(wanted))
            said = _read(await socket.receive())
        return said if isinstance(said, Registered) else None

    async def _serve(self, socket: aiohttp.ClientWebSocketResponse, registered: Registered) -> str:
        log.info(
            "agent_registered", worker_id=registered.worker_id, server=registered.server_version
        )
        self.registrations += 1
        outbox: asyncio.Queue[ToServer] = asyncio.Queue()
        self._outbox = outbox
        writing = asyncio.create_task(self._write(socket, outbox))
        try:
            self._on_event(registered)
            async for frame in socket:
                said = _read(frame)
                if not isinstance(said, Unreadable):
                    self._on_event(said)
            return f"closed ({socket.close_code})"
        finally:
            self._outbox = None
            await cancelled(writing)
            self._on_lost()

    async def _write(
        self, socket: aiohttp.ClientWebSocketResponse, outbox: asyncio.Queue[ToServer]
    ) -> None:
        try:
            while True:
                message = await outbox.get()
                async with asyncio.timeout(self._timing.send_s):
                    await socket.send_bytes(wire.encode(message))
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            log.warning("agent_connection_stuck", error=type(error).__name__)
            await socket.close()


def _read(frame: aiohttp.WSMessage) -> Event | Unreadable:
    if frame.type is not aiohttp.WSMsgType.BINARY:
        return Unreadable(why=f"a frame of type {frame.type.name}")
    return wire.decode(frame.data)
