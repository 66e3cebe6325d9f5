"""The participants: one child process of `loadtest.participants`, orders in, events out.

Known by its module name and its lines alone; tokens go through its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fleet.local.errors import LocalPartError
from fleet.local.processes import tied_to_this_process
from fleet.local.run_dir import RunDir

LINE_LIMIT = 1024 * 1024
GRACE_S = 10.0
READY_S = 60.0


class Crowd:
    """``join`` as many as wanted; ``heard`` waits until one hears the agent, ``summary`` until it
    is through."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._summaries: dict[str, asyncio.Future[dict[str, Any]]] = {}
        self._heard: dict[str, asyncio.Event] = {}
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Returns when a participant would join at once. Raises LocalPartError."""
        try:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        except TimeoutError:
            raise LocalPartError(f"participants: not ready within {READY_S:g} s") from None

    async def join(
        self, name: str, *, url: str, token: str, script: Any, seed: int, t0_epoch_s: float
    ) -> None:
        self._summaries[name] = asyncio.get_running_loop().create_future()
        self._heard[name] = asyncio.Event()
        order = {
            "id": name,
            "url": url,
            "token": token,
            "script": script,
            "seed": seed,
            "t0_epoch_s": t0_epoch_s,
        }
        await self._order(order)

    async def leave(self, name: str) -> None:
        """Have it leave. One that has left already is left so."""
        await self._order({"id": name, "stop": True})

    async def heard(self, name: str, deadline_s: float) -> bool:
        """Whether the agent became audible to participant ``name`` by the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                await self._heard[name].wait()
        return self._heard[name].is_set()

    async def summary(self, name: str, deadline_s: float) -> dict[str, Any] | None:
        """What participant ``name`` measured; None if it is not through by the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                return await asyncio.shield(self._summaries[name])
        return None

    async def read(self) -> None:
        """Take events until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with suppress(ValueError):
                self._take(json.loads(line))
        for waiting in self._summaries.values():
            if not waiting.done():
                waiting.set_result({"event": "failed", "message": "participants ended early"})

    async def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "ready":
            self._ready.set()
        if event.get("event") == "agent_speech_started" and event.get("id") in self._heard:
            self._heard[str(event["id"])].set()
        waiting = self._summaries.get(str(event.get("id")))
        if event.get("event") in ("summary", "failed") and waiting and not waiting.done():
            waiting.set_result(event)


@asynccontextmanager
async def crowd(run: RunDir) -> AsyncIterator[Crowd]:
    """The process for the length of the block; whoever is still in a room leaves it."""
    log = (run.logs / "participants.log").open("wb")
    with log:
        process = await asyncio.create_subprocess_exec(
            *tied_to_this_process(
                [sys.executable, "-m", "loadtest.participants", "many", "--stdin"]
            ),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
            limit=LINE_LIMIT,
            start_new_session=True,
        )
    people = Crowd(process)
    reading = asyncio.create_task(people.read())
    try:
        yield people
    finally:
        await _end(process)
        await reading


async def _end(process: asyncio.subprocess.Process) -> None:
    if process.returncode is None:
        process.terminate()
    try:
        async with asyncio.timeout(GRACE_S):
            await process.wait()
    except TimeoutError:
        process.kill()
        await process.wait()
