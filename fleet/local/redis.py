"""A Redis server of our own, or the one that the environment names."""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fleet.local.run_dir import RunDir
from fleet.local.server import Server
from fleet.local.tools import find_redis_server


class Fsync(StrEnum):
    """When a write reaches the disk. The ledger needs ALWAYS: it answers for money."""

    EVERYSEC = "everysec"
    ALWAYS = "always"


class Transport(StrEnum):
    """UNIX is reached only by this user; TCP is for clients that cannot use a Unix socket."""

    UNIX = "unix"
    TCP = "tcp"


class RedisServer(Server):
    """One server process with an append-only file; reached by `url`, under a random password.

    Started again it has what it had written. `data_dir` (default: in the run folder, gone with it)
    lets data outlive the run.
    """

    READY_S = 10.0

    def __init__(
        self,
        run: RunDir,
        *,
        name: str = "redis",
        fsync: Fsync = Fsync.EVERYSEC,
        transport: Transport = Transport.UNIX,
        data_dir: Path | None = None,
        binary: Path | None = None,
    ) -> None:
        ports = 1 if transport is Transport.TCP else 0
        super().__init__(run, name=name, ports=ports, binary=binary)
        self._fsync = fsync
        self._transport = transport
        self._data_dir = data_dir or run.folder(f"{name}-data")
        self._password = secrets.token_urlsafe(24)
        self._socket = run.path / f"{name}.sock"

    @property
    def url(self) -> str:
        """For `redis.from_url`; holds the password. Valid from the first start on."""
        if self._transport is Transport.UNIX:
            return f"unix://:{self._password}@{self._socket}"
        return f"redis://:{self._password}@127.0.0.1:{self._ports[0]}/0"

    def _find(self) -> Path:
        return find_redis_server()

    def _arguments(self) -> list[str]:
        return [str(self._run.write_secret(f"{self._name}.conf", self._configuration()))]

    def _configuration(self) -> str:
        where = f"unixsocket {self._socket}\nunixsocketperm 700\nport 0\n"
        if self._transport is Transport.TCP:
            where = f"bind 127.0.0.1\nport {self._ports[0]}\n"
        return (
            f"{where}requirepass {self._password}\ndir {self._data_dir}\ndaemonize no\n"
            f'appendonly yes\nappendfsync {self._fsync}\nsave ""\n'
        )

    async def _answers(self) -> bool:
        """Whether our server, known by its password, answers; false while it still loads."""
        try:
            async with Redis.from_url(self.url) as client:
                await client.ping()
        except (OSError, RedisError):
            return False
        return True


@asynccontextmanager
async def redis(
    run: RunDir, *, fsync: Fsync = Fsync.EVERYSEC, data_dir: Path | None = None
) -> AsyncIterator[str]:
    """The URL of REDIS_URL's server, or of one of our own for the length of the block."""
    existing = os.environ.get("REDIS_URL")
    if existing:
        yield existing
        return
    async with RedisServer(run, fsync=fsync, data_dir=data_dir) as server:
        yield server.url
