"""A Redis server of our own, or the one that the environment names."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from enum import StrEnum
from pathlib import Path
from typing import Self

from redis.asyncio import Redis
from redis.exceptions import RedisError

from fleet.local.errors import PartExited
from fleet.local.processes import ChildProcess, Command, free_ports, start
from fleet.local.run_dir import RunDir
from fleet.local.tools import find_redis_server

READY_S = 10.0
START_TRIES = 3


class Fsync(StrEnum):
    """When a write reaches the disk. The ledger needs ALWAYS: it answers for money."""

    EVERYSEC = "everysec"
    ALWAYS = "always"


class Transport(StrEnum):
    """UNIX is reached only by this user; TCP is for clients that cannot use a Unix socket."""

    UNIX = "unix"
    TCP = "tcp"


class RedisServer:
    """One server process with an append-only file; reached by `url`, under a random password.

    After `aclose` (or `kill`) `start` brings it up again at the same address with what it had
    written. `data_dir` (default: in the run folder, gone with it) lets data outlive the run.
    """

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
        self._run = run
        self._name = name
        self._fsync = fsync
        self._transport = transport
        self._data_dir = data_dir or run.folder(f"{name}-data")
        self._binary = binary
        self._password = secrets.token_urlsafe(24)
        self._socket = run.path / f"{name}.sock"
        self._port = 0
        self._child: ChildProcess | None = None

    @property
    def url(self) -> str:
        """For `redis.from_url`; holds the password. Valid from the first start on."""
        if self._transport is Transport.UNIX:
            return f"unix://:{self._password}@{self._socket}"
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    async def start(self) -> None:
        """Return once the server answers. Raises ToolUnavailable, PartExited or PartNotReady."""
        binary = self._binary
        if binary is None:
            binary = await asyncio.to_thread(find_redis_server)
        tries = 1 if self._port or self._transport is Transport.UNIX else START_TRIES
        for left in reversed(range(tries)):
            if self._transport is Transport.TCP and not self._port:
                [self._port] = free_ports(1)
            try:
                await self._start_once(binary)
                return
            except PartExited:
                if not left:
                    raise
                self._port = 0  # most likely somebody else was quicker to bind it

    async def aclose(self) -> None:
        if self._child is not None:
            await self._child.aclose()

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
        config = self._run.write_secret(f"{self._name}.conf", self._configuration())
        command = Command(name=self._name, program=str(binary), arguments=[str(config)])
        self._child = await start(command, logs=self._run.logs)
        try:
            await self._child.ready(self._answers, deadline_s=READY_S)
        except BaseException:
            await self._child.aclose(grace_s=0)
            raise

    def _configuration(self) -> str:
        where = f"unixsocket {self._socket}\nunixsocketperm 700\nport 0\n"
        if self._transport is Transport.TCP:
            where = f"bind 127.0.0.1\nport {self._port}\n"
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
