"""The Ray head lost and started again, its books in Redis, while interviews run elsewhere."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import Fault, Needs, Trials
from fleet.bench.chaos.nodes import SeveralNodes
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.errors import FleetError

AT_ONCE = 2
"""Interviews. The outage is longer than one: more would all want to begin when it is over."""
AWAY_S = (5.0, 20.0)
APART_S = (4.0, 10.0)
DISPATCHED_S = 180.0
AGAIN_S = 0.5
NODES = SeveralNodes(2, head_may_go=True)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """``live``: interviews under way, of which ``heard`` spoke on before the head was back.
    ``dispatched_s``: from its start to the first session dispatched; None: none was."""

    away_s: float
    live: int
    heard: int
    dispatched_s: float | None


async def run(stage: Stage, trials: Trials) -> Measured:
    dice = trials.dice("head_loss")
    outages: list[Outage] = []
    courses: list[Course] = []
    for number in range(trials.count):
        trials.progress.tell(f"head loss {number + 1} of {trials.count}")
        # New ones for each: none is to be refused because there is no head.
        async with talking(stage, AT_ONCE) as population:
            await asyncio.sleep(dice.uniform(*APART_S))
            population.come_to_an_end()
            outages.append(await _out(dice, population))
        courses += population.courses
        outages[-1] = await _with_dispatch(stage, outages[-1])
    return Measured(
        bars=tuple(bars(outages, courses, trials)),
        seeds=(trials.seed,),
        data={
            "outages": [asdict(each) for each in outages],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _out(dice: Random, population: Population) -> Outage:
    struck, began = list(population.talking), time.time()
    await asyncio.to_thread(NODES.cluster.head.kill)
    away_s = dice.uniform(*AWAY_S)
    await asyncio.sleep(away_s)
    await asyncio.to_thread(NODES.cluster.restart_head)
    heard = [i for i in struck if evidence.silence_s(i.told, began) is not None]
    return Outage(away_s=time.time() - began, live=len(struck), heard=len(heard), dispatched_s=None)


async def _with_dispatch(stage: Stage, outage: Outage) -> Outage:
    began = time.monotonic()
    while time.monotonic() - began < DISPATCHED_S:
        try:
            interview = await stage.begin(participant=None)
        except FleetError:
            await asyncio.sleep(AGAIN_S)
            continue
        dispatched_s = time.monotonic() - began
        await stage.end_all([interview])
        return Outage(**{**asdict(outage), "dispatched_s": dispatched_s})
    return outage


def bars(outages: Sequence[Outage], courses: Sequence[Course], trials: Trials) -> Iterator[Bar]:
    away = [outage.away_s for outage in outages]
    detail = f"away for {min(away, default=0):.0f} to {max(away, default=0):.0f} s"
    yield at_least("heads lost", len(outages), trials.count, "", detail)
    live, heard = sum(o.live for o in outages), sum(o.heard for o in outages)
    name = "interviews that spoke on without it"
    yield exactly(name, evidence.percent(heard, live), 100, "%", f"{live} interviews")
    more = sum(course.attempts - 1 for course in courses)
    yield exactly("attempts beyond the first", more, 0, "")
    yield from evidence.of_courses(courses)
    back = [o.dispatched_s for o in outages if o.dispatched_s is not None]
    name = "dispatch resumed"
    yield exactly(name, evidence.percent(len(back), len(outages)), 100, "%")
    yield only_shown(
        "dispatched again, after those interviews, at most", max(back, default=None), "s"
    )


FAULT = Fault(
    name="head_loss",
    about="the Ray head lost and started again, its books in Redis",
    trials=20,
    run=run,
    needs=Needs(warm=4, cluster=NODES),
)
