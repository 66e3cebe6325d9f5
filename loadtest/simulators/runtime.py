"""Life of a simulator process: bind, say ready on stdout, serve until told to stop."""

from __future__ import annotations

import asyncio
import ctypes
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from ssl import SSLContext
from typing import Any

from aiohttp import web

PR_SET_PDEATHSIG = 1
PARENT_POLL_S = 1.0
CLOSE_WITHIN_S = 2.0


@asynccontextmanager
async def listening(
    app: web.Application, *, host: str, port: int, ssl: SSLContext | None = None
) -> AsyncIterator[int]:
    """Serve `app` for the length of the context; yields the port (chosen freely when 0).

    On leaving, open connections get `CLOSE_WITHIN_S` to end after `app.on_shutdown` ran.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port, ssl_context=ssl)
        await site.start()
        yield int(runner.addresses[0][1])
    finally:
        await runner.cleanup()


async def run(serving: AbstractAsyncContextManager[dict[str, Any]], *, watch_parent: bool) -> None:
    """Enter `serving`, print what it yields as the one ready line, wait for SIGTERM or SIGINT.

    With `watch_parent` the death of the parent process ends this one too.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    parent = os.getppid()
    polled = watch_parent and not _signal_on_parent_death()
    async with serving as ready:
        sys.stdout.write(json.dumps({"ready": True, **ready}) + "\n")
        sys.stdout.flush()
        while not stop.is_set():
            # The parent may have died before the kernel was asked to tell: compare once more.
            if watch_parent and os.getppid() != parent:
                break
            try:
                await asyncio.wait_for(stop.wait(), PARENT_POLL_S if polled else None)
            except TimeoutError:
                continue


def _signal_on_parent_death() -> bool:
    """Ask the kernel for SIGTERM when the parent's spawning thread ends; False where it cannot."""
    if not sys.platform.startswith("linux"):
        return False
    result: int = ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    return result == 0
