"""A Ray node lost with all that runs on it, control parts too where they are there."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

from fleet.bench.chaos import cluster, evidence, nodes
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import AT_ONCE, Fault, Needs, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.nodes import SeveralNodes
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.clients import BUDGET
from fleet.crew import ACTOR_PREFIX
from fleet.local.errors import LocalPartError
from fleet.roster_actor import ROSTER, SUPERVISOR

CARRIED_ON_S = 90.0
"""Ray takes 3 s or so to know of it; without a warm actor left a start comes on top."""
APART_S = (3.0, 8.0)
NODES = SeveralNodes(3)
CONTROL = (BUDGET, ROSTER, SUPERVISOR)


@dataclass(frozen=True, kw_only=True)
class Loss:
    """``with_it``: control parts that were on the node. ``carried_on_s``: of each interview that
    was there, until another actor took it up; None: none did."""

    with_it: Sequence[str]
    carried_on_s: Sequence[float | None]


async def run(stage: Stage, trials: Trials) -> Measured:
    dice = trials.dice("node_loss")
    losses: list[Loss] = []
    async with talking(stage, AT_ONCE - 1) as population:
        with trials.progress.steps("nodes lost", trials.count) as advance:
            for _ in range(trials.count):
                await nodes.spare_actor(stage)
                await asyncio.sleep(dice.uniform(*APART_S))
                losses.append(await _lose_one(stage, dice, population))
                await NODES.add()
                advance(1)
    courses = list(population.courses)
    return Measured(
        bars=tuple(bars(losses, courses, trials)),
        seeds=(trials.seed,),
        data={
            "losses": [asdict(each) for each in losses],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _lose_one(stage: Stage, dice: Random, population: Population) -> Loss:
    """One that carries an interview."""
    await population.wait_talking(1)
    found = await nodes.seen(stage)
    actors = await cluster.living()
    busy = [node for node in NODES.cluster.nodes if found[node.address]["live"]]
    if not busy:
        raise LocalPartError("no node carries an interview")
    victim = dice.choice(busy)
    there = {a.name for a in actors if a.node_id == found[victim.address]["node_id"]}
    struck: list[tuple[Interview, int]] = []
    for interview in list(population.under_way):
        record = await interview.record()
        if f"{ACTOR_PREFIX}{record.actor_id}" in there:
            struck.append((interview, record.attempt))
    began = time.time()
    await NODES.lose(victim)
    return Loss(
        with_it=[part for part in CONTROL if part in there],
        carried_on_s=await asyncio.gather(*(_carried_on(*each, began) for each in struck)),
    )


async def _carried_on(interview: Interview, attempt: int, began: float) -> float | None:
    taken_up = await interview.carried_on(attempt + 1, CARRIED_ON_S)
    return None if taken_up is None else taken_up.at - began


def bars(losses: Sequence[Loss], courses: Sequence[Course], trials: Trials) -> Iterator[Bar]:
    with_it = [part for loss in losses for part in loss.with_it]
    counted = ", ".join(f"{with_it.count(part)} with the {part}" for part in CONTROL)
    yield at_least("nodes lost", len(losses), trials.count, "", counted)
    took = [each for loss in losses for each in loss.carried_on_s]
    well = [each for each in took if each is not None]
    name = "their interviews carried on elsewhere"
    yield exactly(name, evidence.percent(len(well), len(took)), 100, "%", f"{len(took)} interviews")
    yield from evidence.of_courses(courses)
    if well:
        detail = f"median {statistics.median(well):.2f} s, most {max(well):.2f} s"
        yield only_shown("until another actor had them, p95", percentile(well, 0.95), "s", detail)


FAULT = Fault(
    name="node_loss",
    about="a Ray node lost with all that runs on it",
    trials=20,
    run=run,
    needs=Needs(warm=5, cluster=NODES, settings={"ingress_replicas": "2"}),
)
