"""The Ray head lost and started again, its books in Redis, while interviews run elsewhere."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

from fleet.bench.chaos import cluster, evidence, nodes
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import Fault, Needs, Trials, outlived
from fleet.bench.chaos.nodes import SeveralNodes
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.clients import BUDGET
from fleet.errors import FleetError
from fleet.roster_actor import ROSTER, SUPERVISOR

AWAY_S = (2.0, 8.0)
APART_S = (1.0, 5.0)
DISPATCHED_S = 120.0
AGAIN_S = 0.5
CONTROL = (BUDGET, ROSTER, SUPERVISOR)
CLUSTER = SeveralNodes(2, head_may_go=True)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """``with_it``: control parts that were on it. ``away_s``: until it was being started again,
    ``start_s``: until it was up then. ``live``: interviews under way, of which ``heard`` spoke on
    before. ``dispatched_s``: from its being started to the first session dispatched; None: none
    was."""

    with_it: Sequence[str]
    away_s: float
    start_s: float
    live: int
    heard: int
    dispatched_s: float | None


async def run(stage: Stage, trials: Trials) -> Measured:
    dice = trials.dice("head_loss")
    outages: list[Outage] = []
    broken: list[str] = []
    # Asked for until there is a head again, by callers who do not give up.
    async with talking(stage, nodes.UNDER_WAY, patience_s=DISPATCHED_S) as population:
        with trials.progress.steps("heads lost", trials.count) as advance:
            for _ in range(trials.count):
                with outlived(broken):
                    await population.wait_talking(1)
                    await asyncio.sleep(dice.uniform(*APART_S))
                    outages.append(await _out(stage, dice, population))
                    trials.progress.tell(f"head lost: {outages[-1]}")
                advance(1)
    courses = list(population.courses)
    return Measured(
        bars=(
            *bars(outages, courses, trials),
            *population.left_out(),
            evidence.broken_off(broken),
        ),
        seeds=(trials.seed,),
        data={
            "outages": [asdict(each) for each in outages],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _out(stage: Stage, dice: Random, population: Population) -> Outage:
    head = CLUSTER.cluster.head
    # By address: the head before it may still be listed, by another id.
    seen = await nodes.all_seen(stage)
    ids = {node["node_id"] for node in seen if node["address"] == head.address}
    there = {actor.name for actor in await cluster.living() if actor.node_id in ids}
    struck, killed = list(population.talking), time.time()
    await asyncio.to_thread(head.kill)
    await asyncio.sleep(dice.uniform(*AWAY_S))
    began = time.time()
    await asyncio.to_thread(CLUSTER.cluster.restart_head)
    up = time.time()
    heard = [i for i in struck if evidence.silence_s(i.told, killed) is not None]
    return Outage(
        with_it=[part for part in CONTROL if part in there],
        away_s=began - killed,
        start_s=up - began,
        live=len(struck),
        heard=len(heard),
        dispatched_s=await _dispatched(stage, began),
    )


async def _dispatched(stage: Stage, began: float) -> float | None:
    async def begun() -> float | None:
        try:
            interview = await stage.begin(participant=None, patience_s=0)
        except FleetError:
            return None
        dispatched_s = time.time() - began
        await stage.end_all([interview])
        return dispatched_s

    return await until(begun, DISPATCHED_S, poll_s=AGAIN_S)


def bars(outages: Sequence[Outage], courses: Sequence[Course], trials: Trials) -> Iterator[Bar]:
    with_it = [part for outage in outages for part in outage.with_it]
    counted = ", ".join(f"{with_it.count(part)} with the {part}" for part in CONTROL)
    yield at_least("heads lost", len(outages), trials.count, "", counted)
    more = sum(course.attempts - 1 for course in courses)
    yield exactly("attempts beyond the first", more, 0, "")
    yield from evidence.of_courses(courses)
    away = [outage.away_s + outage.start_s for outage in outages]
    live, heard = sum(o.live for o in outages), sum(o.heard for o in outages)
    name = "interviewers that began to speak while there was no head"
    lasted = f"{min(away, default=0):.0f} to {max(away, default=0):.0f} s"
    detail = f"{live} interviews, without it for {lasted}"
    yield only_shown(name, evidence.percent(heard, live), "%", detail)
    waits = [wait_s for course in courses for wait_s in course.waits_s]
    yield only_shown("longest wait for an answer", max(waits, default=None), "s")
    back = [o.dispatched_s for o in outages if o.dispatched_s is not None]
    name = "dispatch resumed"
    yield exactly(name, evidence.percent(len(back), len(outages)), 100, "%")
    if back:
        start = statistics.median(outage.start_s for outage in outages)
        detail = f"median {statistics.median(back):.1f} s; {start:.1f} s of it are the head's own"
        yield only_shown("dispatched again since the head's start, at most", max(back), "s", detail)


FAULT = Fault(
    name="head_loss",
    about="the Ray head lost and started again, its books in Redis",
    trials=20,
    run=run,
    needs=Needs(warm=4, cluster=CLUSTER, settings={"ingress_replicas": "2"}),
)
