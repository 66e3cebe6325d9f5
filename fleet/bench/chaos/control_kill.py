"""The budget actor, the roster, the supervisor and a replica of the ingress killed, in turns, while
interviews run."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

from fleet.bench.chaos import cluster, evidence
from fleet.bench.chaos.cluster import RayActor
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import AT_ONCE, Fault, Needs, Trials
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown
from fleet.clients import BUDGET
from fleet.errors import ActorMissing, FleetError
from fleet.roster_actor import ROSTER, SUPERVISOR

DISPATCHED_S = 3.0
WAIT_S = 3.0
"""An answer takes 0.3 s to the first audio, and the silence that ends a turn before that."""
REPLICA = "a replica of the ingress"
PARTS = (BUDGET, ROSTER, SUPERVISOR, REPLICA)
APART_S = (2.0, 5.0)
AGAIN_S = 0.1
GIVE_UP_S = 30.0
BACK_S = 60.0


@dataclass(frozen=True, kw_only=True)
class Strike:
    """``dispatched_s``: from the kill to the first dispatch that was answered with an agent in its
    room; None: none was. ``live``: interviews under way."""

    part: str
    live: int
    dispatched_s: float | None
    refused: int
    back_s: float | None
    """Until the part was there again."""


async def run(stage: Stage, trials: Trials) -> Measured:
    dice = trials.dice("control_kill")
    parts = [part for part in PARTS for _ in range(trials.count)]
    dice.shuffle(parts)
    strikes: list[Strike] = []
    async with talking(stage, AT_ONCE - 1) as population:
        with trials.progress.steps("kills of control parts", len(parts)) as advance:
            for part in parts:
                await asyncio.sleep(dice.uniform(*APART_S))
                strikes.append(await _strike(stage, part, dice, population))
                advance(1)
    courses = population.courses
    return Measured(
        bars=(*bars(strikes, courses, trials), *population.left_out()),
        seeds=(trials.seed,),
        data={
            "strikes": [asdict(each) for each in strikes],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _strike(stage: Stage, part: str, dice: Random, population: Population) -> Strike:
    victim = await _victim(part, dice)
    live = len(population.talking)
    cluster.kill_process(victim.pid)
    killed = time.monotonic()
    back = asyncio.create_task(_back(part, victim))
    dispatched_s, refused = await _dispatched(stage, killed)
    return Strike(
        part=part,
        live=live,
        dispatched_s=dispatched_s,
        refused=refused,
        back_s=await back,
    )


async def _victim(part: str, dice: Random) -> RayActor:
    return dice.choice(await _replicas()) if part == REPLICA else await cluster.find(part)


async def _replicas() -> list[RayActor]:
    """Raises ActorMissing."""
    found = [a for a in await cluster.living() if a.name.startswith("SERVE_REPLICA::")]
    if not found:
        raise ActorMissing(REPLICA)
    return sorted(found, key=lambda actor: actor.name)


async def _back(part: str, victim: RayActor) -> float | None:
    began = time.monotonic()
    if part != REPLICA:
        found: object = await cluster.replaced(victim, BACK_S)
    else:
        found = await cluster.joined_by_another(victim, "SERVE_REPLICA::", BACK_S)
    return time.monotonic() - began if found else None


async def _dispatched(stage: Stage, killed: float) -> tuple[float | None, int]:
    """Ask until somebody is dispatched, as callers do; how long since the kill, and how often it
    was refused."""
    refused = 0
    while time.monotonic() - killed < GIVE_UP_S:
        try:
            interview = await stage.begin(participant=None, patience_s=0)
        except FleetError:
            refused += 1
            await asyncio.sleep(AGAIN_S)
            continue
        dispatched_s = time.monotonic() - killed
        await stage.end_all([interview])
        return dispatched_s, refused
    return None, refused


def bars(strikes: Sequence[Strike], courses: Sequence[Course], trials: Trials) -> Iterator[Bar]:
    live = [strike.live for strike in strikes]
    detail = f"{min(live, default=0)} to {max(live, default=0)} interviews under way at each"
    yield at_least("kills", len(strikes), len(PARTS) * trials.count, "", detail)
    more = sum(course.attempts - 1 for course in courses)
    yield exactly("attempts beyond the first", more, 0, "", f"{len(courses)} interviews")
    yield from evidence.of_courses(courses)
    for bar in evidence.of_waits(courses, WAIT_S):
        yield trials.timing(bar)
    for part in PARTS:
        yield from _of_part(part, [s for s in strikes if s.part == part], trials)


def _of_part(part: str, strikes: Sequence[Strike], trials: Trials) -> Iterator[Bar]:
    took = [s.dispatched_s for s in strikes if s.dispatched_s is not None]
    never = len(strikes) - len(took)
    detail = f"{len(strikes)} kills, {sum(s.refused for s in strikes)} refusals on the way"
    if took:
        detail += f"; median {statistics.median(took):.2f} s, p95 {percentile(took, 0.95):.2f} s"
    most = None if never else max(took, default=None)
    name = f"{part} killed: dispatched again within, at most"
    yield trials.timing(at_most(name, most, DISPATCHED_S, "s", detail))
    back = [s.back_s for s in strikes if s.back_s is not None]
    yield only_shown(f"{part} killed: there again within", max(back, default=None), "s")


FAULT = Fault(
    name="control_kill",
    about="budget actor, roster, supervisor and a replica of the ingress killed",
    trials=20,
    run=run,
    needs=Needs(settings={"ingress_replicas": "2"}),
)
