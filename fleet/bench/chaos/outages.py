"""Redis and the LiveKit server killed and started again, while interviews run."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass

from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import AT_ONCE, Fault, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.population import talking
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.local.livekit import LiveKitServer
from fleet.local.redis import RedisServer

WAIT_S = 3.0
AWAY_S = (0.5, 6.0)
APART_S = (6.0, 14.0)


@dataclass(frozen=True, kw_only=True)
class Outage:
    """Epoch seconds. ``talking``: the sessions that were under way."""

    began: float
    over: float
    talking: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Outages:
    outages: Sequence[Outage]
    interviews: Sequence[Interview]
    courses: Sequence[Course]
    left_out: Sequence[Bar]


async def _run(
    stage: Stage, trials: Trials, name: str, part: RedisServer | LiveKitServer
) -> Outages:
    dice = trials.dice(name)
    outages: list[Outage] = []
    seen: dict[str, Interview] = {}
    async with talking(stage, AT_ONCE - 1) as population:
        with trials.progress.steps(f"{name}s", trials.count) as advance:
            for _ in range(trials.count):
                await asyncio.sleep(dice.uniform(*APART_S))
                struck = list(population.talking)
                seen |= {interview.id: interview for interview in struck}
                outages.append(await _out(part, dice.uniform(*AWAY_S), struck))
                advance(1)
    return Outages(
        outages=outages,
        interviews=list(seen.values()),
        courses=list(population.courses),
        left_out=list(population.left_out()),
    )


async def _out(
    part: RedisServer | LiveKitServer, away_s: float, struck: Sequence[Interview]
) -> Outage:
    began = time.time()
    await part.kill()
    await asyncio.sleep(away_s)
    await part.start()
    return Outage(began=began, over=time.time(), talking=[each.id for each in struck])


async def redis_restart(stage: Stage, trials: Trials) -> Measured:
    found = await _run(stage, trials, "Redis restart", stage.redis)
    return _measured(found, trials, _redis_bars)


async def livekit_restart(stage: Stage, trials: Trials) -> Measured:
    found = await _run(stage, trials, "LiveKit restart", stage.livekit)
    return _measured(found, trials, _livekit_bars)


def _measured(
    found: Outages, trials: Trials, bars: Callable[[Outages, Trials], Iterator[Bar]]
) -> Measured:
    return Measured(
        bars=(
            *_strikes(found, trials),
            *bars(found, trials),
            *found.left_out,
        ),
        seeds=(trials.seed,),
        data={
            "outages": [asdict(each) for each in found.outages],
            "interviews": [asdict(each) for each in found.courses],
        },
    )


def _strikes(found: Outages, trials: Trials) -> Iterator[Bar]:
    live = [len(outage.talking) for outage in found.outages]
    away = [outage.over - outage.began for outage in found.outages]
    detail = (
        f"{min(live, default=0)} to {max(live, default=0)} interviews under way, "
        f"away for {min(away, default=0):.1f} to {max(away, default=0):.1f} s"
    )
    yield at_least("restarts", len(found.outages), trials.count, "", detail)


def _redis_bars(found: Outages, trials: Trials) -> Iterator[Bar]:
    more = sum(course.attempts - 1 for course in found.courses)
    yield exactly("attempts beyond the first", more, 0, "")
    yield from evidence.of_courses(found.courses)
    for bar in evidence.of_waits(found.courses, WAIT_S):
        yield trials.timing(bar)


def _livekit_bars(found: Outages, trials: Trials) -> Iterator[Bar]:
    yield from evidence.of_courses(found.courses, own_connection=False)
    heard = [
        silence_s
        for outage in found.outages
        for interview in found.interviews
        if interview.id in outage.talking
        and (silence_s := evidence.silence_s(interview.told, outage.over)) is not None
    ]
    if heard:
        detail = f"{len(heard)} interviews struck; median {statistics.median(heard):.2f} s"
        name = "interviewer heard again after the server was back, p95"
        yield only_shown(name, percentile(heard, 0.95), "s", detail)


REDIS = Fault(
    name="redis_restart",
    about="Redis killed and started again",
    trials=20,
    run=redis_restart,
)
LIVEKIT = Fault(
    name="livekit_restart",
    about="the LiveKit server killed and started again",
    trials=20,
    run=livekit_restart,
)
