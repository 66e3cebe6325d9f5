"""What participants heard and what was paid, judged; plans drawn; faults that share a stage."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from random import Random
from typing import Any

import pytest

from agent_actor.contract import EndReason, Provider, SessionState
from fleet.bench.chaos import __main__ as chaos
from fleet.bench.chaos import actor_kill, evidence, head_loss, node_loss
from fleet.bench.chaos.__main__ import _chosen, _sharing
from fleet.bench.chaos.evidence import Course, Money, Word
from fleet.bench.chaos.fault import Fault, Needs, Trials, outlived
from fleet.bench.chaos.head_loss import Outage
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.node_loss import Loss
from fleet.bench.chaos.registry import FAULTS
from fleet.bench.command import BenchOptions
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Judgement, Measured, at_most, exactly
from fleet.local.errors import LocalPartError
from fleet.local.told import Told
from fleet.records import SessionRecord

PICO = 1_000_000


def told(*events: tuple[str, float]) -> list[Told]:
    return [Told(name=name, at=at, detail={}) for name, at in events]


TURN = told(
    ("agent_speech_started", 1.0),
    ("agent_speech_ended", 4.0),
    ("speaking", 6.0),
    ("answered", 9.0),
    ("agent_speech_started", 10.0),
)


def trials(count: int, *, seed: int = 7, smoke: bool = False) -> Trials:
    return Trials(count=count, seed=seed, smoke=smoke, progress=Progress())


def course(**changes: object) -> Course:
    values: dict[str, object] = {
        "session_id": "s-1",
        "provider": Provider.GEMINI_LIVE,
        "end_reason": EndReason.COMPLETED,
        "attempts": 1,
        "phases": ["warmup", "core"],
        "wanted": ["warmup", "core"],
        "disturbances": [],
        "waits_s": [1.0],
        "unanswered": 0,
        "money": None,
    }
    return Course(**{**values, **changes})  # type: ignore[arg-type]


def missed(bars: list[Bar]) -> list[str]:
    return [bar.name for bar in bars if bar.judgement is Judgement.MISSED]


class TestHearing:
    def test_who_has_the_word(self) -> None:
        words = [evidence.word(TURN[:n]) for n in range(6)]
        nobody, interviewer, participant = Word.NOBODY, Word.INTERVIEWER, Word.PARTICIPANT
        assert words == [nobody, interviewer, nobody, participant, nobody, interviewer]

    def test_silence_lasts_until_the_interviewer_is_heard(self) -> None:
        assert evidence.silence_s(TURN, 2.5) == 7.5
        assert evidence.silence_s(TURN, 10.5) is None

    def test_a_participant_who_thinks_or_answers_is_not_spoken_over(self) -> None:
        assert not evidence.spoken_over(TURN, 5.0)
        assert not evidence.spoken_over(TURN, 7.0)

    def test_one_into_whose_thought_or_answer_the_interviewer_comes_is(self) -> None:
        early = told(("agent_speech_ended", 4.0), ("agent_speech_started", 5.0))
        assert evidence.spoken_over(early, 4.5)
        amid = told(("speaking", 6.0), ("agent_speech_started", 7.0), ("answered", 9.0))
        assert evidence.spoken_over(amid, 6.5)


class TestMoney:
    @pytest.mark.parametrize(
        ("ledger", "lost", "beyond", "bounded"),
        [(100, 0, 0, 0), (99, 1, 0, 0), (150, 0, 0, 50), (151, 0, 1, 51)],
    )
    def test_between_the_invoice_and_what_was_at_risk(
        self, ledger: int, lost: int, beyond: int, bounded: int
    ) -> None:
        money = Money(
            ledger_micro_usd=ledger, invoice_pico_usd=100 * PICO, untold_pico_usd=50 * PICO
        )
        assert (money.lost_micro_usd, money.beyond_micro_usd) == (lost, beyond)
        assert money.bounded_micro_usd == bounded

    def test_each_interview_counts_for_itself(self) -> None:
        less = Money(ledger_micro_usd=1, invoice_pico_usd=2 * PICO, untold_pico_usd=0)
        more = Money(ledger_micro_usd=3, invoice_pico_usd=2 * PICO, untold_pico_usd=0)
        assert len(missed(list(evidence.of_money([less, more])))) == 2


class TestCourses:
    def test_a_good_one(self) -> None:
        assert not missed(list(evidence.of_courses([course()])))

    @pytest.mark.parametrize(
        "change",
        [
            {"end_reason": EndReason.ACTOR_LOST},
            {"phases": ["warmup"]},
            {"phases": ["warmup", "core", "core"]},
            {"disturbances": ["reconnecting"]},
        ],
    )
    def test_a_bad_one_among_good_ones(self, change: dict[str, object]) -> None:
        assert len(missed(list(evidence.of_courses([course(), course(**change)])))) == 1

    def test_a_turn_without_an_answer_is_no_short_wait(self) -> None:
        """Whoever speaks again after 15 s in vain has waited for no answer that there was."""
        assert not missed(list(evidence.of_waits([course()], 3.0)))
        assert len(missed(list(evidence.of_waits([course(), course(unanswered=1)], 3.0)))) == 1

    def test_interviews_that_could_not_be_begun_are_told(self) -> None:
        assert len(missed(list(evidence.left_out(["fleet_full"], ["s-1: no invoice"])))) == 2
        assert not missed(list(evidence.left_out([], [])))

    def test_without_any_nothing_is_shown_to_hold(self) -> None:
        assert missed(list(evidence.of_courses([])))
        assert missed(list(evidence.of_waits([], 3.0)))


class TestActorKills:
    def test_as_many_kills_as_trials_some_twice_and_both_providers(self) -> None:
        plans = actor_kill.plans(Random(7), 60)
        assert sum(len(plan.strikes) for plan in plans) == 60
        assert {len(plan.strikes) for plan in plans} == {1, 2}
        assert {plan.provider for plan in plans} == set(Provider)
        moments = [strike.moment for plan in plans for strike in plan.strikes]
        assert set(moments) == set(actor_kill.Moment)

    def test_the_same_seed_draws_the_same(self) -> None:
        drawn = [
            actor_kill.plans(trials(1, seed=seed).dice("actor_kill", 0), 20) for seed in (7, 7, 8)
        ]
        assert drawn[0] == drawn[1] != drawn[2]

    def test_none_are_planned_where_none_are_missing(self) -> None:
        assert actor_kill.plans(Random(7), 0) == []


class TestFaults:
    def test_names_are_unique(self) -> None:
        assert len({fault.name for fault in FAULTS}) == len(FAULTS)

    def test_those_with_equal_needs_share_a_stage(self) -> None:
        a, b, c = (fault(name, needs) for name, needs in zip("abc", (1, 2, 1), strict=True))
        assert _sharing([a, b, c]) == [[a, c], [b]]

    def test_chosen_by_name(self) -> None:
        assert _chosen("actor_kill") == (actor_kill.FAULT,)

    def test_times_do_not_count_in_the_short_form(self) -> None:
        slow = at_most("silence", 9.0, 1.0, "s")
        assert trials(1).timing(slow) == slow
        assert trials(1, smoke=True).timing(slow).judgement is Judgement.NOT_JUDGED


def fault(name: str, warm: int) -> Fault:
    async def run(_stage: object, _trials: Trials) -> Measured:
        raise NotImplementedError

    return Fault(name=name, about="", trials=1, run=run, needs=Needs(warm=warm))


async def test_faults_without_a_stage_are_missed_and_the_run_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def no_stage(*_: object) -> AsyncIterator[None]:
        raise LocalPartError("no Redis")
        yield

    monkeypatch.setattr(chaos, "open_stage", no_stage)
    options = BenchOptions(smoke=True)
    found = await chaos._all(FAULTS[:2], options, Progress(), None)
    assert [bar.judgement for bar in found.bars] == [Judgement.MISSED] * 2
    assert all("no Redis" in bar.detail for bar in found.bars)


async def test_what_was_measured_outlives_a_stage_that_is_not_closed_well(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    @asynccontextmanager
    async def open_stage(*_: object) -> AsyncIterator[Stage]:
        yield Stage()
        raise RuntimeError("no head")

    class Stage:
        async def settle(self) -> None: ...

    async def run(_stage: object, _trials: Trials) -> Measured:
        return Measured(bars=(exactly("lost", 0, 0, ""),), data={})

    monkeypatch.setattr(chaos, "open_stage", open_stage)
    kept: list[Measured] = []
    options = BenchOptions(smoke=True, keep=kept.append)
    faults = [replace(fault("one", 1), run=run), replace(fault("another", 2), run=run)]
    found = await chaos._all(faults, options, Progress(), None)
    assert [bar.judgement for bar in found.bars] == [Judgement.HELD] * 2
    assert [len(measured.bars) for measured in kept] == [1, 2]


class TestNodes:
    def test_an_interview_that_nobody_takes_up_is_missed(self) -> None:
        well = Loss(with_it=["budget"], carried_on_s=[1.0, 4.0])
        assert not missed(list(node_loss.bars([well], [course(attempts=2)], trials(1))))
        lost = Loss(with_it=[], carried_on_s=[1.0, None])
        assert len(missed(list(node_loss.bars([well, lost], [course()], trials(2))))) == 1

    def test_losses_that_struck_nobody_show_nothing(self) -> None:
        nobody = Loss(with_it=[], carried_on_s=[])
        assert missed(list(node_loss.bars([nobody], [course()], trials(1))))

    async def test_one_that_had_come_to_its_end_was_not_struck(self) -> None:
        gone = Struck(state=SessionState.GONE, end_reason=EndReason.COMPLETED)
        assert await node_loss._carried_on(gone, 1, 0.0) == []
        by_its_successor = Struck(
            state=SessionState.GONE, end_reason=EndReason.COMPLETED, attempt=2
        )
        assert await node_loss._carried_on(by_its_successor, 1, 0.0) == []
        given_up = Struck(state=SessionState.GONE, end_reason=EndReason.ACTOR_LOST)
        assert await node_loss._carried_on(given_up, 1, 0.0) == [None]


class TestHeads:
    def test_one_after_which_nobody_is_dispatched_is_missed(self) -> None:
        back, away = outage(20.0), outage(None)
        assert not missed(list(head_loss.bars([back], [course()], trials(1))))
        assert len(missed(list(head_loss.bars([back, away], [course()], trials(2))))) == 1

    def test_an_interview_that_needed_another_actor_was_disturbed(self) -> None:
        assert missed(list(head_loss.bars([outage(20.0)], [course(attempts=2)], trials(1))))


def outage(dispatched_s: float | None) -> Outage:
    return Outage(
        with_it=["budget"], away_s=5.0, start_s=4.0, live=3, heard=2, dispatched_s=dispatched_s
    )


class Struck(Interview):
    """An interview whose record is known, and nobody takes up."""

    def __init__(self, **changes: Any) -> None:
        self._known = SessionRecord(
            session_id="s-1",
            study_id="study",
            participant_identity="p-1",
            room="room",
            provider="openai_realtime",
            limit_micro_usd=1,
            created_at=0.0,
            **changes,
        )

    async def record(self) -> SessionRecord:
        return self._known

    async def carried_on(self, after: int, deadline_s: float) -> None:
        return None


@pytest.mark.parametrize("at_once", [False, True])
def test_a_trial_that_breaks_off_leaves_the_others(at_once: bool) -> None:
    broken: list[str] = []
    error = LocalPartError("no node")
    with outlived(broken, "left: "):
        raise ExceptionGroup("trial", [error]) if at_once else error
    assert broken == ["left: no node"]
    assert missed([evidence.broken_off(broken)])
    with pytest.raises(ZeroDivisionError), outlived(broken):
        raise ZeroDivisionError
