"""A LiveKit server on loopback, or the one that the environment names."""

from __future__ import annotations

import json
import os
import secrets
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
from livekit import api

from fleet.local.errors import LocalPartError
from fleet.local.processes import ChildProcess
from fleet.local.run_dir import RunDir
from fleet.local.server import Server
from fleet.local.tools import find_livekit_server

CLOSE_S = 1.0


@dataclass(frozen=True, kw_only=True)
class LiveKitAccess:
    """All that a client of a LiveKit server needs. `url` is the WebSocket address (ws or wss)."""

    url: str
    api_key: str
    api_secret: str = field(repr=False)


class LiveKitServer(Server):
    """One server process on free loopback ports, under a key and a random secret of its own.

    `async with LiveKitServer(run) as server:`, then `server.access`. Started again it has no rooms.
    `config` is laid over the server's configuration, one level deep. `webhook_events`: those that
    webhooks tell; none: all.
    """

    READY_S = 20.0

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
        super().__init__(run, name=name, ports=3, binary=binary)
        self._webhook_urls = list(webhook_urls)
        self._webhook_events = list(webhook_events)
        self._config = dict(config or {})
        self._api_secret = api_secret or secrets.token_urlsafe(32)

    @property
    def access(self) -> LiveKitAccess:
        """Valid from the first start on."""
        url = f"ws://127.0.0.1:{self._ports[0]}"
        return LiveKitAccess(url=url, api_key="local", api_secret=self._api_secret)

    async def _end(self, child: ChildProcess) -> None:
        """Clients are told so and their rooms are closed."""
        # At the first signal the server waits for its rooms to empty, at the second it ends. Two
        # of the same kind may reach it as one. In its first 5 s it takes up to 5 s to end.
        child.signal(signal.SIGINT)
        await child.aclose(grace_s=CLOSE_S)

    def _find(self) -> Path:
        return find_livekit_server()

    def _arguments(self) -> list[str]:
        text = json.dumps(self._configuration())
        return ["--config", str(self._run.write_secret(f"{self._name}.json", text))]

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
