from __future__ import annotations

import pytest

from fleet.bench.chaos import evidence, provider_drop
from fleet.bench.chaos.fault import Trials
from fleet.bench.progress import Progress
from fleet.local.crowd import Told


def told(*events: tuple[str, float]) -> list[Told]:
    return [Told(name=name, at=at, detail={}) for name, at in events]


TURN = [("speaking", 3.0), ("answered", 5.0), ("agent_speech_started", 6.0)]


@pytest.mark.parametrize(
    ("since", "waited"),
    [
        (2.5, 1.0),
        (5.5, 1.0),
        (6.5, None),
        (0.5, 1.0),
    ],
)
def test_the_wait_is_from_the_end_of_what_was_said_before(since, waited):
    heard = told(("agent_speech_started", 0.0), ("agent_speech_ended", 2.0), *TURN)
    assert evidence.wait_s(heard, since) == waited


def test_a_sentence_that_is_taken_up_is_waited_for_since_it_was_cut_off():
    heard = told(("agent_speech_ended", 2.0), ("agent_speech_started", 2.7))
    assert evidence.wait_s(heard, 1.9) == pytest.approx(0.7)


def test_a_turn_is_lost_when_the_participant_has_to_speak_again():
    assert evidence.unanswered(told(*TURN, *TURN)) == 0
    again = [("speaking", 20.0), ("answered", 21.0), ("agent_speech_started", 22.0)]
    assert evidence.unanswered(told(*TURN[:2], *again)) == 1
    assert evidence.unanswered(told(*TURN[:2])) == 0, "the interview may just have ended"


@pytest.mark.parametrize("count", [1, 4, 24])
def test_as_many_connections_end_as_there_are_trials_beside_an_hour_with_each(count, tmp_path):
    trials = Trials(count=count, seed=7, smoke=False, progress=Progress())
    made = provider_drop.plans(trials)
    assert made == provider_drop.plans(trials), "fixed by the seed"
    hours = [plan for plan in made if plan.strikes is None]
    assert len({plan.provider for plan in hours}) == len(hours) == 2
    assert sum(len(plan.strikes) for plan in made if plan.strikes is not None) == count


def test_words_that_nobody_had_to_wait_for_are_no_answer():
    unasked = [("agent_speech_ended", 8.0), ("agent_speech_started", 10.0)]
    again = [("speaking", 12.0), ("answered", 14.0), ("speaking", 15.0), ("answered", 16.0)]
    heard = told(*TURN, *unasked, *again, ("agent_speech_started", 17.5))
    assert evidence.answers(heard) == [(6.0, 1.0), (17.5, 1.5)]


def test_a_change_is_told_from_the_answers_with_none_before_them():
    turns = [(name, 10 * n + at) for n in range(3) for name, at in TURN]
    heard = told(*turns)
    assert provider_drop._waited(heard, 7.0, planned=True) == 1.0
    assert provider_drop._others(heard, [7.0, 8.0]) == [1.0, 1.0]
    assert provider_drop._others(heard, [40.0]) == [1.0, 1.0, 1.0]
    assert provider_drop._waited(heard, 40.0, planned=True) is None
