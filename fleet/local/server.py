"""A server as a child process: started, ended, killed, and started again at the same address."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from pathlib import Path
from typing import ClassVar, Self

from fleet.local.errors import PartExited
from fleet.local.processes import ChildProcess, Command, free_ports, start
from fleet.local.run_dir import RunDir

START_TRIES = 3


class Server(ABC):
    """``async with`` starts and ends it. After ``aclose`` (or ``kill``) ``start`` brings it up
    again at the same address.
    """

    READY_S: ClassVar[float]
    """By when it answers."""

    def __init__(self, run: RunDir, *, name: str, ports: int, binary: Path | None) -> None:
        self._run = run
        self._name = name
        self._ports_wanted = ports
        self._binary = binary
        self._ports: list[int] = []
        self._child: ChildProcess | None = None

    async def start(self) -> None:
        """Return once the server answers. Raises ToolUnavailable, PartExited or PartNotReady.

        May build the server first, which blocks a thread for minutes: find it before, to do that
        in the open.
        """
        binary = self._binary
        if binary is None:
            binary = await asyncio.to_thread(self._find)
        tries = START_TRIES if self._ports_wanted and not self._ports else 1
        for left in reversed(range(tries)):
            self._ports = self._ports or free_ports(self._ports_wanted)
            try:
                await self._start_once(binary)
                return
            except PartExited:
                if not left:
                    raise
                self._ports = []  # most likely somebody else was quicker to bind one of them

    async def aclose(self) -> None:
        if self._child is not None:
            await self._end(self._child)

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
        command = Command(name=self._name, program=str(binary), arguments=self._arguments())
        self._child = await start(command, logs=self._run.logs)
        try:
            await self._child.ready(self._answers, deadline_s=self.READY_S)
        except BaseException:
            await self._child.aclose(grace_s=0)
            raise

    async def _end(self, child: ChildProcess) -> None:
        await child.aclose()

    @abstractmethod
    def _find(self) -> Path:
        """The program. Raises ToolUnavailable."""

    @abstractmethod
    def _arguments(self) -> list[str]:
        """After the ports are chosen. Secrets go into files of mode 600: arguments are there for
        every user of the machine to read.
        """

    @abstractmethod
    async def _answers(self) -> bool:
        """Whether ours answers, which no other process can do for it."""
