"""Which zombies a killed supervisor left alone, and what is missed."""

import pytest

from fleet.bench.chaos.fault import Trials
from fleet.bench.chaos.zombies import LIMITS_S, MARGIN_S, Laid, Zombie, bars
from fleet.bench.progress import Progress
from fleet.bench.report import Judgement

AT = 1_000.0
LIMIT_S = LIMITS_S[Zombie.LEFT]


def laid(kind=Zombie.LEFT, beyond_s=5.0, **changes):
    return Laid(kind=kind, began=AT, beyond_s=beyond_s, **changes)


def judged(*changed):
    """One of each kind, those that are ``changed`` among them."""
    kinds = {each.kind for each in changed}
    all_ = [*changed, *(laid(kind) for kind in Zombie if kind not in kinds)]
    trials = Trials(count=1, seed=7, smoke=False, progress=Progress())
    return list(bars(all_, [AT + 1], trials))


def missed(*changed):
    return [bar.name for bar in judged(*changed) if bar.judgement is Judgement.MISSED]


@pytest.mark.parametrize(
    ("after_s", "outlived"),
    [(-0.1, False), (0.0, True), (LIMIT_S + 5, True), (LIMIT_S + 5.1, False)],
)
def test_a_supervisor_killed_while_it_was_there(after_s, outlived):
    assert laid().outlived(AT + after_s) is outlived


def test_one_that_never_went_outlived_all_of_the_hunt():
    assert laid(beyond_s=None).outlived(AT + LIMIT_S + 30)


def test_all_well():
    assert missed() == []


def test_one_still_there_or_too_late_is_missed():
    assert missed(laid(beyond_s=None)) == ["left: still there", "left: gone after its limit"]
    assert missed(laid(beyond_s=MARGIN_S + 0.1)) == ["left: gone after its limit"]


def test_a_stuck_loop_whose_interview_was_lost_is_missed():
    assert missed(laid(Zombie.STUCK, carried_on=True)) == []
    assert missed(laid(Zombie.STUCK, carried_on=False)) == ["stuck loops whose interviews went on"]
