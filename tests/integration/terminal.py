"""A command at a terminal of its own: what it draws, keys for it, how it leaves the terminal."""

from __future__ import annotations

import asyncio
import os
import pty
import termios
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager

LINES, COLUMNS = 40, 150
LEAVES_SCREEN, SHOWS_CURSOR = "\x1b[?1049l", "\x1b[?25h"


class Terminal:
    def __init__(self, keys: int, process: asyncio.subprocess.Process) -> None:
        self.drawn = ""
        self._keys = keys
        self._process = process
        self._changed = asyncio.Event()
        asyncio.get_running_loop().add_reader(keys, self._read)

    def press(self, keys: str) -> None:
        os.write(self._keys, keys.encode())

    async def shows(self, text: str, *, within_s: float = 20.0) -> None:
        try:
            async with asyncio.timeout(within_s):
                while text not in self.drawn:
                    self._changed.clear()
                    await self._changed.wait()
        except TimeoutError:
            raise AssertionError(f"{text!r} is not in {self.drawn!r}") from None

    async def ended(self, *, within_s: float = 20.0) -> int:
        """Its exit code, once all that it drew was read."""
        async with asyncio.timeout(within_s):
            code = await self._process.wait()
        await self.shows(LEAVES_SCREEN)
        return code

    def close(self) -> None:
        asyncio.get_running_loop().remove_reader(self._keys)

    def _read(self) -> None:
        self.drawn += os.read(self._keys, 65536).decode(errors="replace")
        self._changed.set()


def _environment() -> dict[str, str]:
    """Without the size of the terminal that the tests themselves run at."""
    return {k: v for k, v in os.environ.items() if k not in ("COLUMNS", "LINES")}


@asynccontextmanager
async def at_terminal(command: Sequence[str], env: Mapping[str, str]) -> AsyncIterator[Terminal]:
    """Asserts that the terminal's settings are at the end what they were before."""
    keys, screen = pty.openpty()
    try:
        termios.tcsetwinsize(screen, (LINES, COLUMNS))
        before = termios.tcgetattr(screen)
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=screen,
            stdout=screen,
            stderr=screen,
            env={**_environment(), "TERM": "xterm-256color", **env},
        )
        terminal = Terminal(keys, process)
        try:
            yield terminal
            assert termios.tcgetattr(screen) == before
        finally:
            terminal.close()
            if process.returncode is None:
                process.kill()
                await process.wait()
    finally:
        os.close(keys)
        os.close(screen)
