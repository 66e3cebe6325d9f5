"""A LiveKit server on loopback, or the one that the environment names."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import aiohttp
from livekit import api

from fleet.local.errors import LocalPartError, PartExited
from fleet.local.processes import ChildProcess, Command, free_ports, start
from fleet.local.run_dir import RunDir
from fleet.local.tools import find_livekit_server

READY_S = 20.0
CLOSE_S = 1.0
START_TRIES = 3


@dataclass(frozen=True, kw_only=True)
class LiveKitAccess:
    """All that a client of a LiveKit server needs. `url` is the WebSocket address (ws or wss)."""

    url: str
    api_key: str
    api_secret: str = field(repr=False)


class LiveKitServer:
    """One server process on free loopback ports, under a key and a random secret of its own.

    `async with LiveKitServer(run) as server:`, then `server.access`. After `aclose` (or `kill`)
    `start` brings it up again at the same address, with no rooms. `config` is laid over the
    server's configuration, one level deep. `webhook_events`: those that webhooks tell; none: all.
    """

    def __init__(
        self,
        run: RunDir,
        *,
        name: str = "livekit",
        webhook_urls: Sequence[str] = (),
        webhook_events: Sequence[str] = (),
        config: Mapping[str, Any] | None = None,
        binary: Path | None = None,
        api_secret: str | None = None,
    ) -> None:
        self._run = run
        self._name = name
        self._webhook_urls = list(webhook_urls)
        self._webhook_events = list(webhook_events)
        self._config = dict(config or {})
        self._binary = binary
        self._api_secret = api_secret or secrets.token_urlsafe(32)
        self._ports: list[int] = []
        self._child: ChildProcess | None = None

    @property
    def access(self) -> LiveKitAccess:
        """Valid from the first start on."""
        url = f"ws://127.0.0.1:{self._ports[0]}"
        return LiveKitAccess(url=url, api_key="local", api_secret=self._api_secret)

    async def start(self) -> None:
        """Return once the server answers an authenticated call.

        Raises ToolUnavailable, PartExited or PartNotReady. May build the server first, which
        blocks a thread for minutes: call `find_livekit_server` before, to do that in the open.
        """
        binary = self._binary
        if binary is None:
            binary = await asyncio.to_thread(find_livekit_server)
        tries = 1 if self._ports else START_TRIES
        for left in reversed(range(tries)):
            self._ports = self._ports or free_ports(3)
            try:
                await self._start_once(binary)
                return
            except PartExited:
                if not left:
                    raise
                self._ports = []  # most likely somebody else was quicker to bind one of them

    async def aclose(self) -> None:
        """End it; clients are told so and their rooms are closed."""
        if self._child is not None:
            # At the first signal the server waits for its rooms to empty, at the second it ends.
            # Two of the same kind may reach it as one. In its first 5 s it takes up to 5 s to end.
            self._child.signal(signal.SIGINT)
            await self._child.aclose(grace_s=CLOSE_S)

    async def kill(self) -> None:
        """End it as a crash would."""
        if self._child is not None:
            await self._child.aclose(grace_s=0)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _start_once(self, binary: Path) -> None:
        # In a file of mode 600, as the arguments of a process are there for everyone to read.
        config = self._run.write_secret(f"{self._name}.json", json.dumps(self._configuration()))
        command = Command(name=self._name, program=str(binary), arguments=["--config", str(config)])
        self._child = await start(command, logs=self._run.logs)
        try:
            await self._child.ready(self._answers, deadline_s=READY_S)
        except BaseException:
            await self._child.aclose(grace_s=0)
            raise

    def _configuration(self) -> dict[str, Any]:
        http, rtc_tcp, rtc_udp = self._ports
        base: dict[str, Any] = {
            "port": http,
            "bind_addresses": ["127.0.0.1"],
            "keys": {"local": self._api_secret},
            "logging": {"level": "info", "json": True},
            "rtc": {
                "tcp_port": rtc_tcp,
                "udp_port": rtc_udp,
                "node_ip": "127.0.0.1",
                "use_external_ip": False,
                "enable_loopback_candidate": True,
                "interfaces": {"includes": ["lo"]},
            },
        }
        if self._webhook_urls:
            base["webhook"] = {
                "api_key": "local",
                "urls": self._webhook_urls,
                "filter_params": {"include_events": self._webhook_events},
            }
        for key, value in self._config.items():
            base[key] = base.get(key, {}) | value if isinstance(value, dict) else value
        return base

    async def _answers(self) -> bool:
        """Whether our server, known by its secret, answers: any other process would refuse it."""
        access = self.access
        client = api.LiveKitAPI(access.url, access.api_key, access.api_secret)
        try:
            await client.room.list_rooms(api.ListRoomsRequest())
        except (aiohttp.ClientError, api.TwirpError):
            return False
        finally:
            await client.aclose()
        return True


def livekit_from_environment() -> LiveKitAccess | None:
    """The server that LIVEKIT_URL names, with LIVEKIT_API_KEY and LIVEKIT_API_SECRET; else None."""
    url = os.environ.get("LIVEKIT_URL")
    if not url:
        return None
    key, secret = os.environ.get("LIVEKIT_API_KEY"), os.environ.get("LIVEKIT_API_SECRET")
    if not (key and secret):
        raise LocalPartError("LIVEKIT_URL is set: set LIVEKIT_API_KEY and LIVEKIT_API_SECRET too")
    return LiveKitAccess(url=url, api_key=key, api_secret=secret)


@asynccontextmanager
async def livekit(
    run: RunDir, *, webhook_urls: Sequence[str] = (), webhook_events: Sequence[str] = ()
) -> AsyncIterator[LiveKitAccess]:
    """The environment's server, or one of our own for the length of the block.

    An existing server's webhooks are its operator's to configure; these are ours only.
    """
    existing = livekit_from_environment()
    if existing is not None:
        yield existing
        return
    server = LiveKitServer(run, webhook_urls=webhook_urls, webhook_events=webhook_events)
    async with server:
        yield server.access
