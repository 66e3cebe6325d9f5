"""Providers' connections that end: dropped, frozen, expired, at random moments; and an hour of
announced ends, compressed."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Any

from agent_actor.contract import EndReason, Provider
from agent_actor.journal import EventKind
from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Money
from fleet.bench.chaos.fault import AT_ONCE, Fault, Needs, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown
from fleet.local.told import Told

PLANNED_WAIT_S = 1.5
STRIKES = 4
"""An interview's."""
APART_S = (7.0, 13.0)
HOUR_CHANGES = 8
HOUR_APART_S = 15.5
GO_AWAY_S = 12.0
PHASES_S = 34.0
OVER_S = 240.0
BEGIN_APART_S = 3.0
CLOCKS_S = 0.5
"""Between a strike and what is written of it."""
TALKS: dict[str, Any] = {"turns_per_phase": 1000, "speech_s": [2.0, 3.5], "ttfa_ms": [300, 300]}
LONG = "Ask about what they did, and why, and listen well. " * 250
"""So that the conversation is soon large enough to be compressed."""


class End(StrEnum):
    DROP = "drop"
    """Reset, without a closing handshake."""
    FREEZE = "freeze"
    """Open, and nobody there."""
    EXPIRE = "end"
    """By the provider, as at the end of its longest life: OpenAI's at once, Gemini's announced."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``strikes``: how long after the one before, and what. None: the compressed hour."""

    provider: Provider
    strikes: tuple[tuple[float, End], ...] | None


@dataclass(kw_only=True)
class Change:
    """Of one connection for the next. ``end``: what was done to it; None where the fleet changed it
    in time."""

    provider: Provider
    end: End | None
    at: float
    planned: bool
    cut_short: bool
    unanswered: bool
    away_s: float
    wait_s: float | None = None


@dataclass(kw_only=True)
class Ended:
    plan: Plan
    struck: int
    changes: list[Change]
    end_reason: str | None
    phases: list[str]
    wanted: list[str]
    lost_turns: int
    other_waits_s: list[float]
    """For answers with no change just before them."""
    money: Money | None

    @property
    def untouched(self) -> bool:
        """Every connection was changed by ourselves, before it ended."""
        return all(change.planned for change in self.changes)


def plans(trials: Trials) -> list[Plan]:
    """An hour with each provider; the strikes, four to an interview, with each in turns."""
    made = [Plan(provider=provider, strikes=None) for provider in Provider]
    dice = trials.dice("provider_drop")
    left = trials.count
    while left > 0:
        ends = [dice.choice([End.DROP] * 4 + [End.FREEZE, End.EXPIRE]) for _ in range(STRIKES)]
        strikes = tuple((dice.uniform(*APART_S), end) for end in ends[:left])
        made.append(Plan(provider=list(Provider)[len(made) % 2], strikes=strikes))
        left -= len(strikes)
    return made


async def run(stage: Stage, trials: Trials) -> Measured:
    planned = plans(trials)
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(number: int, plan: Plan) -> Ended:
        async with gate:
            await asyncio.sleep(BEGIN_APART_S * min(number, AT_ONCE))
            ended = await _interview(stage, plan)
        advance(1)
        return ended

    with trials.progress.steps("interviews whose connections end", len(planned)) as advance:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one(n, plan)) for n, plan in enumerate(planned)]
    ended = [task.result() for task in tasks]
    return Measured(
        bars=tuple(bars(ended, trials)),
        seeds=(trials.seed,),
        data={"interviews": [asdict(each) for each in ended]},
    )


async def _interview(stage: Stage, plan: Plan) -> Ended:
    length_s = (HOUR_CHANGES + 1) * HOUR_APART_S if plan.strikes is None else 2 * PHASES_S
    phases = [
        {"id": name, "name": name, "duration_seconds": length_s / 2, "prompt_suffix": LONG}
        for name in ("first", "second")
    ]
    contract: dict[str, Any] = {"phases": phases, "session_timeout_seconds": 400}
    interview = await stage.begin(provider=plan.provider, interviewer=TALKS, contract=contract)
    strikes = plan.strikes
    if strikes is None:
        strikes = ((HOUR_APART_S, End.EXPIRE),) * HOUR_CHANGES
    struck: list[tuple[float, End]] = []
    await interview.participant.heard(30.0)
    for after_s, end in strikes:
        await asyncio.sleep(after_s)
        if plan.strikes is None and plan.provider is Provider.OPENAI_REALTIME:
            # It tells nobody before: that is what the fleet's own clock is for.
            continue
        at = time.time()
        announced = end is End.EXPIRE and plan.provider is Provider.GEMINI_LIVE
        left: dict[str, Any] = {"time_left_s": GO_AWAY_S} if announced else {}
        if await stage.at_connection(plan.provider, interview.mark, end.value, **left):
            struck.append((at, end))
    record = await interview.over(OVER_S)
    if not record.is_gone:
        await stage.end_all([interview])
    await interview.summary()
    changes = await _changes(interview, struck)
    return Ended(
        plan=plan,
        struck=len(struck),
        changes=changes,
        end_reason=record.end_reason,
        phases=[p.phase_id for p in record.phases],
        wanted=interview.phases,
        lost_turns=evidence.unanswered(interview.told),
        other_waits_s=_others(interview.told, [change.at for change in changes]),
        money=await interview.money() if record.is_gone else None,
    )


async def _changes(interview: Interview, struck: Sequence[tuple[float, End]]) -> list[Change]:
    """By the journal; each belongs to the strikes since the one before."""
    found: list[Change] = []
    due = list(struck)
    for event in await interview.journal(EventKind.PROVIDER):
        if event.data.get("change") != "reconnected":
            continue
        lost_at = event.at - event.data["away_s"]
        hit = [one for one in due if one[0] <= lost_at + CLOCKS_S]
        del due[: len(hit)]
        at, end = hit[-1] if hit and not event.data["planned"] else (lost_at, None)
        found.append(
            Change(
                provider=interview.provider,
                end=end,
                at=at,
                planned=event.data["planned"],
                cut_short=event.data["cut_short"],
                unanswered=event.data["unanswered"],
                away_s=event.data["away_s"],
                wait_s=_waited(interview.told, at, planned=event.data["planned"]),
            )
        )
    return found


def _waited(told: Sequence[Told], at: float, *, planned: bool) -> float | None:
    """Of a change made in time the answer to what the participant says next, as there is no other
    word due. After any other, for whatever comes first."""
    if not planned:
        return evidence.wait_s(told, at)
    return next((wait_s for heard, wait_s in evidence.answers(told) if heard > at), None)


def _others(told: Sequence[Told], changes: Sequence[float]) -> list[float]:
    """The waits for all answers but the first after each change."""
    answers = evidence.answers(told)
    firsts = {next((heard for heard, _ in answers if heard > at), None) for at in changes}
    return [wait_s for heard, wait_s in answers if heard not in firsts]


def bars(ended: Sequence[Ended], trials: Trials) -> Iterator[Bar]:
    changes = [change for one in ended for change in one.changes]
    struck = [one for one in ended if one.plan.strikes is not None]
    yield at_least("connections ended", sum(e.struck for e in struck), trials.count, "")
    yield at_least(
        "connections changed in two compressed hours",
        min(len(e.changes) for e in ended if e.plan.strikes is None),
        HOUR_CHANGES,
        "",
        "the fewer of both providers",
    )
    through = [e for e in ended if e.end_reason == EndReason.COMPLETED and e.phases == e.wanted]
    yield exactly(
        "interviews that went through all their phases to the end",
        100 * len(through) / len(ended),
        100,
        "%",
        f"{len(ended)} interviews",
    )
    lost = sum(e.lost_turns for e in ended)
    yield exactly("turns of participants that got no answer", lost, 0, "")
    planned = [c for c in changes if c.planned]
    yield exactly("changes made in time that cut words off", _cut(planned), 0, "", _n(planned))
    yield from _money([e for e in ended if e.money is not None])
    yield trials.timing(_wait("wait across a change made in time", planned, PLANNED_WAIT_S))
    yield _other_waits([wait_s for e in ended for wait_s in e.other_waits_s])
    for end in End:
        hit = [c for c in changes if not c.planned and c.end is end]
        if hit:
            yield _wait(f"wait after {end.name.lower()}", hit, None)


def _money(ended: Sequence[Ended]) -> Iterator[Bar]:
    money = [e.money for e in ended if e.money]
    lost = [m.lost_micro_usd for m in money if m.lost_micro_usd]
    yield exactly("ledgers below the invoice", len(lost), 0, "", f"{sum(lost)} µ$")
    exact = [e.money.bounded_micro_usd for e in ended if e.money and e.untouched]
    yield exactly(
        "ledgers off the invoice where each change was made in time",
        sum(each > 1 for each in exact),
        0,
        "",
        f"{len(exact)} interviews; {sum(exact)} µ$",
    )
    bounded = sum(m.bounded_micro_usd for m in money)
    yield only_shown("booked beyond the invoices", bounded, "µ$", "what was cut off, at its bound")


def _wait(name: str, changes: Sequence[Change], bar_s: float | None) -> Bar:
    waits = [c.wait_s for c in changes if c.wait_s is not None]
    p95 = percentile(waits, 0.95)
    detail = _n(changes)
    if waits:
        away = max(c.away_s for c in changes)
        detail += f"; p50 {statistics.median(waits):.2f} s, most {max(waits):.2f} s"
        detail += f"; away {away:.2f} s at most"
    if bar_s is None:
        return only_shown(f"{name}, p95", p95, "s", detail)
    return at_most(f"{name}, p95", p95, bar_s, "s", detail)


def _other_waits(waits: Sequence[float]) -> Bar:
    """What a change is to be told from."""
    detail = f"{len(waits)} answers"
    if waits:
        detail += f"; p50 {statistics.median(waits):.2f} s, most {max(waits):.2f} s"
    name = "wait for an answer with no change before it, p95"
    return only_shown(name, percentile(waits, 0.95), "s", detail)


def _cut(changes: Sequence[Change]) -> int:
    return sum(change.cut_short for change in changes)


def _n(changes: Sequence[Change]) -> str:
    by = [f"{sum(c.provider is p for c in changes)} {p.value}" for p in Provider]
    return ", ".join(by)


FAULT = Fault(
    name="provider_drop",
    about="providers' connections dropped, frozen and expired; an hour of them compressed",
    trials=24,
    run=run,
    needs=Needs(warm=4, settings={"gemini_trigger_tokens": "5000", "openai_session_s": "12"}),
)
