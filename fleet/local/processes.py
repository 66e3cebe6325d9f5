"""One child process, from its start to a sure end."""

from __future__ import annotations

import asyncio
import os
import random
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fleet.local.errors import PartExited, PartNotReady, ToolUnavailable

LAUNCHER = Path(__file__).with_name("launcher.py")
POLL_S = 0.02

# Below the kernel's ephemeral ports and above Ray's worker ports, so that neither takes one of
# ours between the choice and the bind.
PORTS = range(20_000, 32_000)

Probe = Callable[[], Awaitable[bool]]


@dataclass(frozen=True, kw_only=True)
class Command:
    """What to run: the program's path or name, its arguments, and changes to the environment.

    No secret belongs into `arguments`: any user of the machine can read those.
    """

    name: str
    program: str
    arguments: Sequence[str] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    cwd: Path | None = None


class ChildProcess:
    """A running child in a session of its own: a terminal's Ctrl-C reaches it only through us."""

    def __init__(self, name: str, process: asyncio.subprocess.Process, log: Path, out: Path):
        self.name = name
        self.log = log
        self.out = out
        self._process = process

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process.returncode is None

    async def wait(self) -> int:
        """The exit code (negative: the signal). Cancelling leaves the process as it is."""
        return await self._process.wait()

    async def ready(self, probe: Probe, *, deadline_s: float) -> None:
        """Return once `probe` is true.

        Raises PartExited at once if the process ends first, PartNotReady after `deadline_s`.
        """
        probing = asyncio.create_task(_until(probe))
        ended = asyncio.create_task(self._process.wait())
        try:
            done, _ = await asyncio.wait(
                {probing, ended}, timeout=deadline_s, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            await _cancelled(probing, ended)
        self.raise_if_ended()
        if not done:
            raise PartNotReady(self.name, deadline_s, self.log)
        probing.result()

    async def first_line(self, *, deadline_s: float) -> str:
        """The first whole line that the process wrote to its standard output."""
        await self.ready(self._has_line, deadline_s=deadline_s)
        return _first_line(self.out)

    def raise_if_ended(self) -> None:
        code = self._process.returncode
        if code is not None:
            raise PartExited(self.name, code, self.log)

    def signal(self, number: signal.Signals) -> None:
        """Send `number` to the process itself, if it still runs."""
        with suppress(ProcessLookupError):
            self._process.send_signal(number)

    async def aclose(self, *, grace_s: float = 5.0) -> None:
        """End the process: SIGTERM, `grace_s` to obey, SIGKILL; then what it left in its group.

        Idempotent. When it returns, or is cancelled, no process of the group is left.
        """
        try:
            if self.running:
                self.signal(signal.SIGTERM)
                with suppress(TimeoutError):
                    async with asyncio.timeout(grace_s):
                        await self._process.wait()
        finally:
            self._kill_group()
        await self._process.wait()

    def _kill_group(self) -> None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _has_line(self) -> bool:
        return _first_line(self.out).endswith("\n")


@asynccontextmanager
async def running(
    command: Command, *, logs: Path, grace_s: float = 5.0
) -> AsyncIterator[ChildProcess]:
    """`command` as a child for the length of the block. Raises ToolUnavailable if it is not there.

    Standard output goes to `logs`/NAME.out and standard error to `logs`/NAME.log: files, so that a
    child never blocks on a pipe that nobody reads.
    """
    child = await start(command, logs=logs)
    try:
        yield child
    finally:
        await child.aclose(grace_s=grace_s)


async def start(command: Command, *, logs: Path) -> ChildProcess:
    """Start `command`; the caller owns the child and must `aclose` it."""
    program = shutil.which(command.program)
    if program is None:
        raise ToolUnavailable(f"{command.name}: no program at {command.program}")
    out, log = logs / f"{command.name}.out", logs / f"{command.name}.log"
    with out.open("wb") as stdout, log.open("ab") as stderr:
        process = await asyncio.create_subprocess_exec(
            *tied_to_this_process([program, *command.arguments]),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            cwd=command.cwd,
            env={**os.environ, **command.env},
            start_new_session=True,
        )
    return ChildProcess(command.name, process, log, out)


def tied_to_this_process(command: Sequence[str]) -> list[str]:
    """`command` (an absolute program first), to be killed when the calling process dies."""
    return [sys.executable, "-I", "-S", str(LAUNCHER), str(os.getpid()), *command]


def free_ports(count: int, *, seed: int | None = None) -> list[int]:
    """Different loopback ports, each free for TCP and UDP a moment ago.

    Another process may still take one before the caller binds it: start again with new ones then.
    """
    candidates = random.Random(seed).sample(PORTS, k=len(PORTS))
    found: list[int] = []
    for port in candidates:
        if len(found) == count:
            return found
        if _is_free(port):
            found.append(port)
    raise OSError(f"fewer than {count} free ports in {PORTS.start}-{PORTS.stop - 1}")


async def _until(probe: Probe) -> None:
    while not await probe():  # noqa: ASYNC110 - another process has no event to wait on
        await asyncio.sleep(POLL_S)


async def _cancelled(*tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks and wait until they are over; their results are not asked for here."""
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_free(port: int) -> bool:
    for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM):
        with socket.socket(socket.AF_INET, kind) as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                return False
    return True


def _first_line(path: Path) -> str:
    with path.open(encoding="utf-8", errors="replace") as lines:
        return lines.readline()
