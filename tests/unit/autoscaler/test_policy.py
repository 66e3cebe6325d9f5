import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.policy import PoolBounds, PoolCounts, PoolDecision, decide


def bounds(warm_target: int = 4, slots: int = 10, max_starting: int = 2) -> PoolBounds:
    return PoolBounds(warm_target=warm_target, slots=slots, max_starting=max_starting)


def test_an_empty_pool_starts_as_many_as_may_start_at_once():
    assert decide(PoolCounts(), bounds()) == PoolDecision(start=2)


def test_a_full_pool_is_left_alone():
    assert decide(PoolCounts(warm=4, busy=3), bounds()) == PoolDecision()


def test_starting_actors_count_as_ready():
    assert decide(PoolCounts(warm=3, starting=1), bounds()) == PoolDecision()


def test_nothing_starts_while_all_start_places_are_taken():
    assert decide(PoolCounts(starting=2), bounds()) == PoolDecision()


def test_busy_and_dying_actors_keep_their_slots():
    assert decide(PoolCounts(busy=8, dying=1), bounds()) == PoolDecision(start=1)
    assert decide(PoolCounts(busy=8, dying=2), bounds()) == PoolDecision()


def test_each_waiting_session_asks_for_one_more():
    assert decide(PoolCounts(warm=0, starting=4, waiting=3), bounds(max_starting=8)) == (
        PoolDecision(start=3)
    )


def test_surplus_warm_actors_are_retired():
    assert decide(PoolCounts(warm=6), bounds()) == PoolDecision(retire=2)


def test_a_warm_actor_is_not_retired_for_one_that_still_starts():
    assert decide(PoolCounts(warm=2, starting=5), bounds(warm_target=2)) == PoolDecision()
    assert decide(PoolCounts(warm=3, starting=5), bounds(warm_target=2)) == PoolDecision(retire=1)


def test_a_pool_with_target_zero_starts_only_for_waiting_sessions():
    assert decide(PoolCounts(), bounds(warm_target=0)) == PoolDecision()
    assert decide(PoolCounts(waiting=1), bounds(warm_target=0)) == PoolDecision(start=1)


@pytest.mark.parametrize("wrong", [{"warm_target": -1}, {"slots": -1}, {"max_starting": 0}])
def test_impossible_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        bounds(**wrong)


counts = st.builds(
    PoolCounts,
    **{name: st.integers(0, 30) for name in ("warm", "starting", "busy", "dying", "waiting")},
)


@given(
    counts,
    st.builds(
        PoolBounds,
        warm_target=st.integers(0, 20),
        slots=st.integers(0, 60),
        max_starting=st.integers(1, 10),
    ),
)
def test_a_decision_never_overfills_and_never_does_both(before, limits):
    decision = decide(before, limits)
    assert decision.start >= 0
    assert 0 <= decision.retire <= before.warm
    assert not (decision.start and decision.retire)
    if decision.start:
        assert before.total + decision.start <= limits.slots
        assert before.starting + decision.start <= limits.max_starting


@given(counts, st.integers(0, 20), st.integers(1, 10))
def test_applied_over_and_over_it_comes_to_rest(before, target, max_starting):
    limits = bounds(warm_target=target, slots=200, max_starting=max_starting)
    warm, starting = before.warm, before.starting
    for _ in range(300):
        now = PoolCounts(warm=warm, starting=starting, busy=before.busy, dying=before.dying)
        decision = decide(now, limits)
        warm, starting = warm + starting - decision.retire, decision.start
    assert (warm, starting) == (target, 0)
