"""Sessions run while the budget actor is killed, Redis is stopped, and both at once."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from fleet import ray_calls
from fleet.bench.budget.field import Ended, Field
from fleet.bench.budget.spec import SessionSpec, steady
from fleet.errors import FleetError

REDIS_AWAY_S = 10.0
BETWEEN_S, AFTER_S = 12.0, 15.0
UNDER_WAY_WITHIN_S = 45.0
"""Until each of so many sessions, all begun at once, has been billed."""
LASTS_S = UNDER_WAY_WITHIN_S + 2 * BETWEEN_S + 2 * REDIS_AWAY_S + AFTER_S + 15.0
BACK_WITHIN_S = 30.0


@dataclass(frozen=True, kw_only=True)
class Outage:
    """From and until when, in epoch seconds."""

    name: str
    began: float
    over: float

    def within(self, at: float) -> bool:
        return self.began <= at <= self.over


@dataclass(frozen=True, kw_only=True)
class Disturbed:
    sessions: list[Ended]
    outages: tuple[Outage, ...]


async def disturbed(field: Field, count: int, seed: int) -> Disturbed:
    """All sessions at once, and three outages while they run."""
    specs = steady(count, seed, seconds=LASTS_S)
    async with asyncio.TaskGroup() as group:
        running = group.create_task(_run_all(field, specs))
        outages = group.create_task(_outages(field, specs))
    return Disturbed(sessions=running.result(), outages=outages.result())


async def _run_all(field: Field, specs: Sequence[SessionSpec]) -> list[Ended]:
    return await field.run_all(specs, f"{len(specs)} sessions through outages", at_once=len(specs))


async def _outages(field: Field, specs: Sequence[SessionSpec]) -> tuple[Outage, ...]:
    await field.all_billed(specs, within_s=UNDER_WAY_WITHIN_S)
    killed = await _while("budget actor killed", _kill_budget(field))
    await asyncio.sleep(BETWEEN_S)
    stopped = await _while("Redis stopped for 10 s", _stop_redis(field))
    await asyncio.sleep(BETWEEN_S)
    both = await _while("both at once", _both(field))
    return killed, stopped, both


async def _while(name: str, work: object) -> Outage:
    began = time.time()
    await work  # type: ignore[misc]
    return Outage(name=name, began=began, over=time.time())


async def _kill_budget(field: Field) -> None:
    pid = await ray_calls.answer(field.budget.pid.remote(), part="budget", deadline_s=5.0)
    os.kill(pid, signal.SIGKILL)
    await _answering(field)


async def _stop_redis(field: Field) -> None:
    await field.redis.kill()
    await asyncio.sleep(REDIS_AWAY_S)
    await field.redis.start()
    await _answering(field)


async def _both(field: Field) -> None:
    pid = await ray_calls.answer(field.budget.pid.remote(), part="budget", deadline_s=5.0)
    await field.redis.kill()
    os.kill(pid, signal.SIGKILL)
    await asyncio.sleep(REDIS_AWAY_S)
    await field.redis.start()
    await _answering(field)


async def _answering(field: Field) -> None:
    async with asyncio.timeout(BACK_WITHIN_S):
        while True:
            try:
                await ray_calls.answer(field.budget.ping.remote(), part="budget", deadline_s=2.0)
            except FleetError:
                await asyncio.sleep(0.1)
            else:
                return
