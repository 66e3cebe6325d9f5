"""Interviews one after the other, so that some are always under way while parts are struck."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from agent_actor.contract import Provider
from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.interview import Interview
from fleet.bench.report import Bar
from fleet.bench.waiting import until
from fleet.errors import FleetError
from fleet.local.errors import LocalPartError

if TYPE_CHECKING:
    from fleet.bench.chaos.stage import Stage

APART_S = 3.0
OVER_S = 300.0
HEARD_S = 120.0


class Population:
    """``courses`` are those of interviews that are over. ``refused``: dispatches that failed.
    ``unseen``: interviews of which it could not be found out how they went, and why."""

    def __init__(self, stage: Stage, options: Mapping[str, Any]) -> None:
        self.under_way: list[Interview] = []
        self.courses: list[Course] = []
        self.refused: list[str] = []
        self.unseen: list[str] = []
        self.asking = 0
        """Dispatches under way."""
        self._stage = stage
        self._options = options
        self._providers = itertools.cycle(Provider)
        self._over = asyncio.Event()

    def left_out(self) -> Iterator[Bar]:
        return evidence.left_out(self.refused, self.unseen)

    @property
    def talking(self) -> list[Interview]:
        """Those whose participant has heard the interviewer."""
        return [i for i in self.under_way if i.participant.has_told("agent_speech_started")]

    async def wait_talking(self, count: int) -> None:
        """Returns when so many are. Raises LocalPartError."""

        async def so() -> bool:
            return len(self.talking) >= count

        if not await until(so, HEARD_S):
            raise LocalPartError(f"fewer than {count} interviews had begun within {HEARD_S:g} s")

    async def keep_talking(self, delay_s: float) -> None:
        """One place of the population, until it is told to come to an end."""
        await asyncio.sleep(delay_s)
        while not self._over.is_set():
            self.asking += 1
            try:
                interview = await self._stage.begin(provider=next(self._providers), **self._options)
            except FleetError as error:
                self.refused.append(str(error))
                await asyncio.sleep(APART_S)
                continue
            finally:
                self.asking -= 1
            self.under_way.append(interview)
            try:
                self.courses.append(await interview.course(OVER_S))
            except FleetError as error:
                self.unseen.append(f"{interview.id}: {error}")
            self.under_way.remove(interview)

    def come_to_an_end(self) -> None:
        self._over.set()


@asynccontextmanager
async def talking(stage: Stage, at_once: int, **options: Any) -> AsyncIterator[Population]:
    """``at_once`` interviews under way for the length of the block, both providers in turns, begun
    apart from each other; those that are under way at its end are heard out. ``options`` are
    ``Stage.begin``'s."""
    population = Population(stage, options)
    async with asyncio.TaskGroup() as group:
        for place in range(at_once):
            group.create_task(population.keep_talking(place * APART_S))
        try:
            await population.wait_talking(at_once)
            yield population
        finally:
            # Also where the block was broken off: nobody is to begin another one.
            population.come_to_an_end()
