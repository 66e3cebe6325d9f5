"""Session actors killed while they speak, while nobody does, and while the participant answers;
some interviews twice."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from random import Random

from agent_actor.contract import Provider
from agent_actor.journal import EventKind
from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Course, Word
from fleet.bench.chaos.fault import AT_ONCE, Fault, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import TTFA_MS, Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown

SILENCE_S = 1.0
"""Beyond the provider's own time to its first audio."""
CARRIED_ON_S = 20.0
HEARD_S = 20.0
MOMENT_S = 60.0
OVER_S = 200.0
BEGIN_APART_S = 2.0
ROUNDS = 3


class Moment(StrEnum):
    SPEECH = "mid-speech"
    THOUGHT = "mid-silence"
    """The interviewer has asked, and the participant thinks."""
    ANSWER = "mid-answer"


_BEGINS = {
    Moment.SPEECH: "agent_speech_started",
    Moment.THOUGHT: "agent_speech_ended",
    Moment.ANSWER: "speaking",
}
_WORD = {
    Moment.SPEECH: Word.INTERVIEWER,
    Moment.THOUGHT: Word.NOBODY,
    Moment.ANSWER: Word.PARTICIPANT,
}
_AFTER_S = {Moment.SPEECH: (0.3, 2.5), Moment.THOUGHT: (0.5, 1.3), Moment.ANSWER: (0.2, 2.0)}
"""Since it began: within the shortest that there is."""


@dataclass(frozen=True, kw_only=True)
class Strike:
    """``turn``: the how manieth such moment of the interview, or since the strike before."""

    moment: Moment
    turn: int
    after_s: float


@dataclass(frozen=True, kw_only=True)
class Plan:
    provider: Provider
    strikes: tuple[Strike, ...]


@dataclass(kw_only=True)
class Struck:
    """What became of one kill."""

    moment: Moment
    provider: Provider
    at: float
    phase_before: str | None = None
    phase_after: str | None = None
    resumption: str | None = None
    carried_on: bool = False
    silence_s: float | None = None
    """After one in mid-speech: until the interviewer was heard again."""
    spoken_over: bool = False
    answered_s: float | None = None
    """After another: from the end of the participant's answer to the interviewer's next word."""
    profile: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ended:
    plan: Plan
    struck: Sequence[Struck]
    course: Course

    @property
    def as_many_as_kills(self) -> bool:
        """One attempt for each kill, and the first."""
        return self.course.attempts == len(self.struck) + 1


def plans(dice: Random, count: int) -> list[Plan]:
    """``count`` strikes, every third interview with two; half of them in mid-speech; the providers
    in turns."""
    made: list[Plan] = []
    while (left := count - sum(len(plan.strikes) for plan in made)) > 0:
        number = len(made)
        turns = (2, 1) if number % 3 == 2 and left > 1 else (3,)
        strikes = tuple(_strike(dice, turns=most) for most in turns)
        made.append(Plan(provider=list(Provider)[number % 2], strikes=strikes))
    return made


def _strike(dice: Random, *, turns: int) -> Strike:
    moment = dice.choice([Moment.SPEECH, Moment.SPEECH, Moment.THOUGHT, Moment.ANSWER])
    return Strike(
        moment=moment, turn=dice.randint(1, turns), after_s=dice.uniform(*_AFTER_S[moment])
    )


async def run(stage: Stage, trials: Trials) -> Measured:
    gate = asyncio.Semaphore(AT_ONCE)
    ended: list[Ended] = []

    async def one(number: int, plan: Plan) -> Ended:
        async with gate:
            # Not all at once: they would all be at the same place of their conversation.
            await asyncio.sleep(BEGIN_APART_S * min(number, AT_ONCE))
            ended = await _interview(stage, plan)
        advance(len(ended.struck))
        return ended

    with trials.progress.steps("kills of session actors", trials.count) as advance:
        # A moment may not come before its interview is over: then another is drawn.
        for number in range(ROUNDS):
            missing = trials.count - sum(len(each.struck) for each in ended)
            planned = plans(trials.dice("actor_kill", number), missing)
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(n, plan)) for n, plan in enumerate(planned)]
            ended += [task.result() for task in tasks]
    return Measured(
        bars=tuple(bars(ended, trials)),
        seeds=(trials.seed,),
        data={"interviews": [asdict(each) for each in ended]},
    )


async def _interview(stage: Stage, plan: Plan) -> Ended:
    interview = await stage.begin(provider=plan.provider)
    struck: list[Struck] = []
    seen = 0
    for attempt, strike in enumerate(plan.strikes, start=2):
        if not await _moment(interview, strike, seen):
            break
        struck.append(await _strike_at(interview, strike, attempt))
        seen = len(interview.told)
    course = await interview.course(OVER_S)
    for each in struck:
        _hear_out(interview, each)
    return Ended(plan=plan, struck=struck, course=course)


async def _moment(interview: Interview, strike: Strike, seen: int) -> bool:
    """Returns at the strike's moment; False: the interview was over first."""
    person, name = interview.participant, _BEGINS[strike.moment]

    def begun() -> bool:
        return sum(told.name == name for told in person.told[seen:]) >= strike.turn

    while await person.until(lambda: begun() or person.has_told("ended", "failed"), MOMENT_S):
        if not begun():
            return False
        await asyncio.sleep(strike.after_s)
        if evidence.word(person.told) is _WORD[strike.moment]:
            return True
        # It was shorter than planned: the next such moment then.
        seen = len(person.told)
        strike = Strike(moment=strike.moment, turn=1, after_s=strike.after_s)
    return False


async def _strike_at(interview: Interview, strike: Strike, attempt: int) -> Struck:
    live = await interview.live()
    struck = Struck(
        moment=strike.moment,
        provider=interview.provider,
        phase_before=live.phase_id if live else None,
        at=await interview.kill_actor(),
    )
    restored = await interview.carried_on(attempt - 1, CARRIED_ON_S)
    if restored is not None:
        struck.carried_on = True
        struck.phase_after = restored.data["phase_id"]
        struck.resumption = restored.data["resumption"]
        await _heard_again(interview, struck)
        struck.profile = await _profile(interview, struck.at, attempt)
    return struck


async def _heard_again(interview: Interview, struck: Struck) -> None:
    person = interview.participant
    await person.until(
        lambda: (
            evidence.silence_s(person.told, struck.at) is not None
            or person.has_told("ended", "failed")
        ),
        HEARD_S,
    )


async def _profile(interview: Interview, killed_at: float, attempt: int) -> dict[str, float]:
    """When what happened, in seconds since the kill, by the successor's own journal."""
    found: dict[str, float] = {}
    for event in await interview.journal(attempt=attempt):
        match event.kind, event.data:
            case EventKind.STATE, {"state": state}:
                name = f"state {state}"
            case EventKind.PROVIDER, {"change": change}:
                name = f"provider {change}"
            case EventKind.RECOVERY, {"resumption": _}:
                name = "checkpoint taken up"
            case EventKind.AUDIO, {"first_audio_s": _}:
                name = "first audio"
            case _:
                continue
        found.setdefault(name, round(event.at - killed_at, 3))
    return found


def _hear_out(interview: Interview, struck: Struck) -> None:
    told = interview.told
    if struck.moment is Moment.SPEECH:
        struck.silence_s = evidence.silence_s(told, struck.at)
        return
    struck.spoken_over = evidence.spoken_over(told, struck.at)
    answered = evidence.times_of(told, "answered", after=struck.at)
    if answered:
        struck.answered_s = evidence.silence_s(told, min(answered))


def bars(ended: Sequence[Ended], trials: Trials) -> Iterator[Bar]:
    struck = [each for one in ended for each in one.struck]
    yield at_least("kills", len(struck), trials.count, "", _counts(struck))
    well = sum(each.carried_on and each.phase_before == each.phase_after for each in struck)
    yield exactly("carried on in the same phase", evidence.percent(well, len(struck)), 100, "%")
    odd = sum(not one.as_many_as_kills for one in ended)
    yield exactly("interviews with more or fewer attempts than kills and one", odd, 0, "")
    yield from evidence.of_courses([one.course for one in ended])
    yield from _silences(struck, trials)
    quiet = [each for each in struck if each.moment is not Moment.SPEECH]
    over = sum(each.spoken_over for each in quiet)
    yield exactly("participants spoken over who had the word", over, 0, "", f"{len(quiet)} kills")
    answers = [each.answered_s for each in quiet if each.answered_s is not None]
    if answers:
        detail = f"median {statistics.median(answers):.2f} s, most {max(answers):.2f} s"
        p95 = percentile(answers, 0.95)
        yield only_shown("answered after a kill in mid-silence, p95", p95, "s", detail)


def _silences(struck: Sequence[Struck], trials: Trials) -> Iterator[Bar]:
    bar_s = SILENCE_S + TTFA_MS / 1000
    loud = [each for each in struck if each.moment is Moment.SPEECH]
    for provider in (None, *Provider):
        own = [s for s in loud if provider in (None, s.provider)]
        heard = [s.silence_s for s in own if s.silence_s is not None]
        if not own:
            continue
        who = f", {provider.value}" if provider else ""
        p95 = percentile(heard, 0.95) if len(heard) == len(own) else None
        detail = f"{len(own)} kills, {len(own) - len(heard)} never heard again"
        if heard:
            detail += f"; median {statistics.median(heard):.2f} s, most {max(heard):.2f} s"
        name = f"silence after a kill in mid-speech, p95{who}"
        bar = at_most(name, p95, bar_s, "s", f"{detail}; {TTFA_MS} ms are the provider's")
        yield trials.timing(bar)


def _counts(struck: Sequence[Struck]) -> str:
    counted = [f"{sum(s.moment is m for s in struck)} {m.value}" for m in Moment]
    return ", ".join(counted)


FAULT = Fault(
    name="actor_kill",
    about="session actors killed in mid-speech, mid-silence and mid-answer",
    trials=60,
    run=run,
    in_smoke=True,
)
