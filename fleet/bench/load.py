"""Load on whoever takes reports: as fast as it answers, or by the clock whatever it does.

By the clock (an open loop) a report's time counts from when it was due, so one that had to wait
behind a slow one is as slow as its session finds it.
"""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from random import Random

from agent_actor.messages import Allowance, UsageReport
from fleet.bench.percentiles import percentile
from fleet.bench.reporters import Reporter
from fleet.errors import FleetError

Ask = Callable[[UsageReport], Awaitable[Allowance]]
AskMany = Callable[[list[UsageReport]], Awaitable[list[Allowance]]]


@dataclass
class Counted:
    """``took_ms``: of each answer. ``late_ms``: how long after it was due a report left; that is
    the generator's own doing, and is part of ``took_ms``."""

    acknowledged: int = 0
    failed: int = 0
    duration_s: float = 0.0
    took_ms: list[float] = field(default_factory=list)
    late_ms: list[float] = field(default_factory=list)

    @property
    def rate(self) -> float:
        return self.acknowledged / self.duration_s if self.duration_s else 0.0

    def p(self, share: float) -> float | None:
        return percentile(self.took_ms, share)


def pooled(rounds: Sequence[Counted]) -> Counted:
    return Counted(
        acknowledged=sum(each.acknowledged for each in rounds),
        failed=sum(each.failed for each in rounds),
        duration_s=sum(each.duration_s for each in rounds),
        took_ms=list(itertools.chain.from_iterable(each.took_ms for each in rounds)),
        late_ms=list(itertools.chain.from_iterable(each.late_ms for each in rounds)),
    )


async def in_batches(
    reporters: Sequence[Reporter], ask: AskMany, *, nodes: int, batch: int, duration_s: float
) -> Counted:
    """Each node has its share of the sessions and one batch under way at a time."""
    counted = Counted()
    began = time.perf_counter()
    ends = began + duration_s

    async def node(own: Sequence[Reporter]) -> None:
        order = itertools.cycle(own)
        size = min(batch, len(own))
        while time.perf_counter() < ends:
            asked = time.perf_counter()
            sent = [next(order) for _ in range(size)]
            reports = [each.report(time.time()) for each in sent]
            try:
                await ask(reports)
            except FleetError:
                counted.failed += size
                continue
            counted.acknowledged += size
            counted.took_ms.append((time.perf_counter() - asked) * 1000)
            for each, report in zip(sent, reports, strict=True):
                each.acknowledge(report)

    async with asyncio.TaskGroup() as tasks:
        for first in range(nodes):
            tasks.create_task(node(reporters[first::nodes]))
    counted.duration_s = time.perf_counter() - began
    return counted


async def by_the_clock(
    reporters: Sequence[Reporter], ask: Ask, *, a_second: float, duration_s: float, rng: Random
) -> Counted:
    """Single reports at moments drawn beforehand, as of sessions that know nothing of each other;
    every session's turn comes equally often."""
    counted = Counted()
    began = time.perf_counter()

    async def one(reporter: Reporter, due: float) -> None:
        report = reporter.report(time.time())
        counted.late_ms.append((time.perf_counter() - due) * 1000)
        try:
            await ask(report)
        except FleetError:
            counted.failed += 1
            return
        counted.acknowledged += 1
        counted.took_ms.append((time.perf_counter() - due) * 1000)
        reporter.acknowledge(report)

    async with asyncio.TaskGroup() as tasks:
        for reporter, at in zip(
            _turns(reporters, rng), moments(a_second, duration_s, rng), strict=False
        ):
            wait_s = began + at - time.perf_counter()
            if wait_s > 0:
                await asyncio.sleep(wait_s)
            tasks.create_task(one(reporter, began + at))
    counted.duration_s = time.perf_counter() - began
    return counted


def moments(a_second: float, duration_s: float, rng: Random) -> list[float]:
    """Seconds from the beginning, in order: a Poisson process."""
    drawn = itertools.accumulate(iter(lambda: rng.expovariate(a_second), None))
    return list(itertools.takewhile(lambda at: at < duration_s, drawn))


def _turns(reporters: Sequence[Reporter], rng: Random) -> itertools.cycle[Reporter]:
    order = list(reporters)
    rng.shuffle(order)
    return itertools.cycle(order)
