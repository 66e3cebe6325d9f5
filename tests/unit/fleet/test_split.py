from collections import Counter

import pytest

from agent_actor.contract import Provider
from agent_actor.errors import ContractInvalid
from fleet.split import choose

OPENAI, GEMINI = Provider.OPENAI_REALTIME, Provider.GEMINI_LIVE
PEOPLE = [f"p-{i:04d}" for i in range(4000)]


def assigned(split, study_id="study-7"):
    return [choose(split, study_id=study_id, participant_identity=p) for p in PEOPLE]


def test_it_is_the_same_for_all_time():
    # Fixed by value: a change here would move the participants of running studies.
    got = [
        choose({OPENAI: 0.5, GEMINI: 0.5}, study_id="study-7", participant_identity=f"p-{i}")
        for i in range(8)
    ]
    assert got == [OPENAI, OPENAI, GEMINI, GEMINI, GEMINI, GEMINI, OPENAI, OPENAI]


def test_the_order_of_the_split_does_not_matter():
    assert assigned({OPENAI: 0.3, GEMINI: 0.7}) == assigned({GEMINI: 0.7, OPENAI: 0.3})


def test_weights_count_by_their_ratio():
    assert assigned({OPENAI: 3, GEMINI: 1}) == assigned({OPENAI: 0.75, GEMINI: 0.25})


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_shares_come_out(share):
    counted = Counter(assigned({OPENAI: share, GEMINI: 1 - share}))
    # Four standard deviations of a binomial with 4000 draws.
    allowed = 4 * (share * (1 - share) / len(PEOPLE)) ** 0.5
    assert counted[OPENAI] / len(PEOPLE) == pytest.approx(share, abs=allowed)


def test_studies_are_assigned_independently():
    one = assigned({OPENAI: 0.5, GEMINI: 0.5}, "study-1")
    two = assigned({OPENAI: 0.5, GEMINI: 0.5}, "study-2")
    same = sum(a == b for a, b in zip(one, two, strict=True)) / len(PEOPLE)
    assert same == pytest.approx(0.5, abs=0.04)


def test_a_change_of_weights_moves_only_whom_it_must():
    before = assigned({OPENAI: 0.5, GEMINI: 0.5})
    after = assigned({OPENAI: 0.4, GEMINI: 0.6})
    moved = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
    assert set(moved) == {(OPENAI, GEMINI)}
    assert len(moved) / len(PEOPLE) == pytest.approx(0.1, abs=0.02)


def test_one_provider_gets_everyone():
    assert set(assigned({GEMINI: 0.2})) == {GEMINI}
    assert set(assigned({GEMINI: 1, OPENAI: 0})) == {GEMINI}


@pytest.mark.parametrize(
    "split", [{}, {OPENAI: 0}, {OPENAI: -1, GEMINI: 2}, {OPENAI: float("nan")}]
)
def test_a_split_without_weights_names_the_field(split):
    with pytest.raises(ContractInvalid) as caught:
        choose(split, study_id="s", participant_identity="p")
    assert [p.field for p in caught.value.problems] == ["provider"]
