"""The participants: one child process of `loadtest.participants`, orders in, events out.

Known by its module name and its lines alone; tokens go through its standard input.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from fleet.local.errors import LocalPartError
from fleet.local.processes import tied_to_this_process
from fleet.local.run_dir import RunDir
from fleet.local.told import Told

LINE_LIMIT = 1024 * 1024
GRACE_S = 10.0
READY_S = 60.0
_LAST = frozenset({"summary", "failed"})


class Participant:
    """What one participant tells, as far as it has told it."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.told: list[Told] = []
        self._began_at = 0.0
        self._changed = asyncio.Event()

    async def until(self, so: Callable[[], bool], deadline_s: float | None) -> bool:
        """Whether `so`, looked at after each event, became true by the deadline."""
        with suppress(TimeoutError):
            async with asyncio.timeout(deadline_s):
                while not so():
                    await self._changed.wait()
        return so()

    def has_told(self, *names: str) -> bool:
        return any(told.name in names for told in self.told)

    async def heard(self, deadline_s: float) -> bool:
        """Whether the agent became audible to it by the deadline. Nobody who is through still
        waits."""
        await self.until(lambda: self.has_told("agent_speech_started", *_LAST), deadline_s)
        return self.has_told("agent_speech_started")

    @property
    def failure(self) -> str | None:
        """What kept it from taking part; None: nothing."""
        failed = [told.detail for told in self.told if told.name == "failed"]
        return str(failed[0].get("message")) if failed else None

    async def summary(self, deadline_s: float) -> dict[str, Any] | None:
        """What it measured in all; None if it is not through by the deadline."""
        through = await self.until(lambda: self.has_told(*_LAST), deadline_s)
        return dict(self.told[-1].detail) if through else None

    def take(self, event: Mapping[str, Any]) -> None:
        if event["event"] == "started":
            self._began_at = float(event["epoch_s"])
        at = self._began_at + float(event.get("t_s", 0.0))
        self.told.append(Told(name=str(event["event"]), at=at, detail=event))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()


class Crowd:
    """``join`` as many as wanted."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._people: dict[str, Participant] = {}
        self._ready = asyncio.Event()

    async def ready(self) -> None:
        """Returns when a participant would join at once. Raises LocalPartError."""
        try:
            async with asyncio.timeout(READY_S):
                await self._ready.wait()
        except TimeoutError:
            raise LocalPartError(f"participants: not ready within {READY_S:g} s") from None

    async def join(
        self,
        name: str,
        *,
        url: str,
        token: str,
        script: Any,
        seed: int,
        t0_epoch_s: float,
        connect_deadline_s: float | None = None,
    ) -> Participant:
        """`name` is new. What keeps it from joining is told by its event `failed`.
        `connect_deadline_s`: None for the participants' own."""
        participant = self._people[name] = Participant(name)
        order = {
            "id": name,
            "url": url,
            "token": token,
            "script": script,
            "seed": seed,
            "t0_epoch_s": t0_epoch_s,
            "connect_deadline_s": connect_deadline_s,
        }
        await self._order(order)
        return participant

    def absent(self, name: str) -> Participant:
        """One who never comes, and so tells nothing."""
        return Participant(name)

    async def leave(self, name: str) -> None:
        """Have it leave. One that has left already is left so."""
        await self._order({"id": name, "stop": True})

    async def read(self) -> None:
        """Take events until the process ends."""
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            with suppress(ValueError):
                self._take(json.loads(line))
        for participant in self._people.values():
            if not participant.has_told(*_LAST):
                participant.take({"event": "failed", "message": "participants ended early"})

    async def _order(self, order: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(order).encode() + b"\n")
        await self._process.stdin.drain()

    def _take(self, event: dict[str, Any]) -> None:
        if event.get("event") == "ready":
            self._ready.set()
        participant = self._people.get(str(event.get("id")))
        if participant is not None:
            participant.take(event)


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
