"""How busy the fleet is, told to LiveKit so often that it neither asks in vain nor forgets to."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

import structlog

from fleet.bridge.protocol import Load, ToServer, load_of
from fleet.errors import FleetError
from fleet.pool import PoolSnapshot
from fleet.stopping import first_of

log = structlog.get_logger(__name__)


class Books(Protocol):
    async def snapshot(self) -> PoolSnapshot: ...


class LoadReports:
    """Use: ``run`` it in a task. ``jobs`` says how many are under way at this bridge."""

    def __init__(
        self,
        roster: Books,
        *,
        send: Callable[[ToServer], bool],
        jobs: Callable[[], int],
        every_s: float,
        full_every_s: float,
    ) -> None:
        self._roster = roster
        self._send = send
        self._jobs = jobs
        self._every_s = every_s
        self._full_every_s = full_every_s
        self._changed = asyncio.Event()
        self.draining = False

    def drain(self) -> None:
        """From now on the fleet is full, whatever the roster says."""
        self.draining = True
        self.changed()

    def changed(self) -> None:
        """Something has happened that makes for another report at once."""
        self._changed.set()

    async def run(self) -> None:
        while True:
            self._changed.clear()
            load = await self._load()
            self._send(load)
            pause_s = self._full_every_s if load.full else self._every_s
            await first_of(self._changed, timeout_s=pause_s)

    async def _load(self) -> Load:
        try:
            books = (await self._roster.snapshot()).books
        except FleetError as error:
            # Nobody could be given a slot now.
            log.info("roster_away", code=error.code)
            return load_of(taken=0, slots=0, draining=True, jobs=self._jobs())
        return load_of(
            taken=books.permits,
            slots=books.max_sessions,
            draining=books.draining or self.draining,
            jobs=self._jobs(),
        )
