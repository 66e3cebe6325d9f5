"""All nodes replaced one by one, by draining them, while interviews run."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from random import Random

from agent_actor.checkpoint import Resumption
from agent_actor.journal import EventKind
from fleet.bench.chaos import evidence, nodes
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import Fault, Trials, outlived
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.nodes import NEEDS, REPLACED
from fleet.bench.chaos.population import Population, talking
from fleet.bench.chaos.stage import TTFA_MS, Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.nodes import NodeState

DRAINED_S = 180.0
DEADLINE_S = (0.0, 4.0)
APART_S = (1.0, 4.0)


@dataclass(frozen=True, kw_only=True)
class Replacement:
    """``live``: interviews on the node when it was to drain. ``took_s``: until it was empty; None:
    it was not."""

    live: int
    deadline_s: float
    took_s: float | None


@dataclass(frozen=True, kw_only=True)
class Moved:
    """One hand-over, by the journal and the participant. ``gap_s``: between one actor's last word
    and the other having read the checkpoint, in which nobody listens. ``answered_s``: from the end
    of what the participant said next to the interviewer's answer; None: it said nothing."""

    resumption: str
    gap_s: float
    answered_s: float | None
    silence_s: float | None
    """Of one that was cut off in mid-speech: until the interviewer was heard again."""


async def run(stage: Stage, trials: Trials) -> Measured:
    dice = trials.dice("rolling_drain")
    replaced: list[Replacement] = []
    broken: list[str] = []
    known: dict[str, Interview] = {}
    async with talking(stage, nodes.UNDER_WAY) as population:
        with trials.progress.steps("nodes replaced", trials.count) as advance:
            for _ in range(trials.count):
                with outlived(broken):
                    await REPLACED.complete()
                    await asyncio.sleep(dice.uniform(*APART_S))
                    replaced.append(await _replace(stage, dice, population, known))
                    trials.progress.tell(f"node replaced: {replaced[-1]}")
                advance(1)
    moved = [move for interview in known.values() for move in await _moves(interview)]
    courses = list(population.courses)
    return Measured(
        bars=(
            *bars(replaced, moved, courses, trials),
            *population.left_out(),
            evidence.broken_off(broken),
        ),
        seeds=(trials.seed,),
        data={
            "replaced": [asdict(each) for each in replaced],
            "moved": [asdict(each) for each in moved],
            "interviews": [asdict(each) for each in courses],
        },
    )


async def _replace(
    stage: Stage, dice: Random, population: Population, known: dict[str, Interview]
) -> Replacement:
    """The oldest node that carries an interview, by a new one."""
    await REPLACED.add()
    _, old = (await nodes.busy(stage, REPLACED.cluster.nodes[:-1]))[0]
    known |= {interview.id: interview for interview in population.under_way}
    live = (await nodes.seen(stage))[old.address]["live"]
    deadline_s = round(dice.uniform(*DEADLINE_S), 1)
    began = time.monotonic()
    await nodes.drain(stage, old, deadline_s)

    async def empty() -> bool:
        known.update({interview.id: interview for interview in population.under_way})
        return bool((await nodes.seen(stage))[old.address]["state"] == NodeState.DRAINED)

    drained = await until(empty, DRAINED_S, poll_s=0.5)
    took_s = time.monotonic() - began if drained else None
    await REPLACED.take_away(old)
    return Replacement(live=int(live), deadline_s=deadline_s, took_s=took_s)


async def _moves(interview: Interview) -> list[Moved]:
    told = await interview.journal(EventKind.RECOVERY)
    left = [event for event in told if event.data.get("change") == "handed_over"]
    found = {e.attempt: e.data for e in told if "gap_s" in e.data}
    return [
        Moved(
            resumption=event.data["resumption"],
            gap_s=found[event.attempt + 1]["gap_s"],
            answered_s=_answered_s(interview, event.at),
            silence_s=(
                evidence.silence_s(interview.told, event.at)
                if event.data["resumption"] == Resumption.CARRY_ON
                else None
            ),
        )
        for event in left
        if event.attempt + 1 in found
    ]


def _answered_s(interview: Interview, at: float) -> float | None:
    answered = evidence.times_of(interview.told, "answered", after=at)
    return evidence.silence_s(interview.told, min(answered)) if answered else None


def bars(
    replaced: Sequence[Replacement],
    moved: Sequence[Moved],
    courses: Sequence[Course],
    trials: Trials,
) -> Iterator[Bar]:
    drained = [each for each in replaced if each.took_s is not None]
    live = [each.live for each in replaced]
    detail = f"{min(live, default=0)} to {max(live, default=0)} interviews on each"
    yield at_least("nodes drained and replaced", len(drained), trials.count, "", detail)
    yield from evidence.of_courses(courses)
    lost = sum(course.attempts - 1 for course in courses) - len(moved)
    name = "interviews whose actor was lost, not handed over"
    yield exactly(name, lost, 0, "", f"{len(moved)} handed over")
    beyond = sum(course.money.bounded_micro_usd for course in courses if course.money)
    # Each attempt is rounded up to whole micro-dollars once, the invoices are not.
    most = sum(course.attempts for course in courses)
    yield exactly("money booked beyond the invoices", max(0, beyond - most), 0, "µ$")
    yield from _of_moves(moved)


def _of_moves(moved: Sequence[Moved]) -> Iterator[Bar]:
    if not moved:
        return
    between = sum(move.resumption == Resumption.LISTEN for move in moved)
    detail = f"{between} of {len(moved)} between two turns"
    gaps = [move.gap_s for move in moved]
    yield only_shown("nobody listened, p95", percentile(gaps, 0.95), "s", detail)
    answers = [move.answered_s for move in moved if move.answered_s is not None]
    if answers:
        detail = f"median {statistics.median(answers):.2f} s, {TTFA_MS} ms are the provider's"
        yield only_shown("next answer after a move, p95", percentile(answers, 0.95), "s", detail)
    cut = [move.silence_s for move in moved if move.silence_s is not None]
    if cut:
        name = "silence after a move in mid-speech, p95"
        yield only_shown(name, percentile(cut, 0.95), "s", f"{len(cut)} moves")


FAULT = Fault(
    name="rolling_drain",
    about="all nodes replaced one by one under load",
    trials=20,
    run=run,
    needs=NEEDS,
)
