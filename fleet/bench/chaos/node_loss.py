"""A Ray node lost with all that runs on it, control parts too where they are there."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import chain
from random import Random

from agent_actor.contract import EndReason
from fleet.bench.chaos import cluster, evidence, nodes
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import Fault, Trials, outlived
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.nodes import NEEDS, REPLACED
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.clients import BUDGET
from fleet.crew import ACTOR_PREFIX
from fleet.roster_actor import ROSTER, SUPERVISOR

CARRIED_ON_S = 90.0
"""Ray takes 3 s or so to know of it; without a warm actor left a start comes on top."""
APART_S = (1.0, 5.0)
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
    broken: list[str] = []
    async with talking(stage, nodes.UNDER_WAY) as population:
        with trials.progress.steps("nodes lost", trials.count) as advance:
            for _ in range(trials.count):
                with outlived(broken):
                    await REPLACED.complete()
                    await nodes.full_pool(stage)
                    await asyncio.sleep(dice.uniform(*APART_S))
                    losses.append(await _lose_one(stage, dice, population))
                    trials.progress.tell(f"node lost: {losses[-1]}")
                advance(1)
    courses = list(population.courses)
    return Measured(
        bars=(
            *bars(losses, courses, trials),
            *population.left_out(),
            evidence.broken_off(broken),
        ),
        seeds=(trials.seed,),
        data={
            "losses": [asdict(each) for each in losses],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _lose_one(stage: Stage, dice: Random, population: Population) -> Loss:
    """One that carries an interview. Another takes its place at once."""
    node_id, victim = dice.choice(await nodes.busy(stage, REPLACED.cluster.nodes))
    there = {actor.name for actor in await cluster.living() if actor.node_id == node_id}
    struck: list[tuple[Interview, int]] = []
    for interview in list(population.under_way):
        record = await interview.record()
        if f"{ACTOR_PREFIX}{record.actor_id}" in there:
            struck.append((interview, record.attempt))
    began = time.time()
    await REPLACED.lose(victim)
    async with asyncio.TaskGroup() as meanwhile:
        meanwhile.create_task(REPLACED.add())
        took_s = await asyncio.gather(*(_carried_on(*each, began) for each in struck))
    return Loss(
        with_it=[part for part in CONTROL if part in there],
        carried_on_s=list(chain.from_iterable(took_s)),
    )


async def _carried_on(interview: Interview, attempt: int, began: float) -> list[float | None]:
    """How long it took until another actor had it; None: none had by the deadline. Nothing of an
    interview that had come to its end, whoever wrote that down: a node may be lost in a goodbye."""

    async def known() -> bool:
        record = await interview.record()
        return record.is_gone or record.attempt > attempt

    await until(known, CARRIED_ON_S)
    record = await interview.record()
    if record.is_gone and record.end_reason is EndReason.COMPLETED:
        return []
    left_s = began + CARRIED_ON_S - time.time()
    taken_up = await interview.carried_on(attempt, max(0.0, left_s))
    return [None if taken_up is None else taken_up.at - began]


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
    needs=NEEDS,
)
