"""How many nodes and warm actors: bounds kept, no node with a session given up, no flapping."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from autoscaler.demand import Arrivals, DayCount
from autoscaler.scaling import (
    Observation,
    ScalingBounds,
    ScalingState,
    ScalingTuning,
    Wanted,
    decide_scale,
)

NOW = 20_000 * 86_400.0
TUNING = ScalingTuning()
BOUNDS = ScalingBounds(max_nodes=50, min_warm=0, max_warm=200)


def seen(**values: float) -> Observation:
    usual = {
        "now": NOW,
        "arrived": 0,
        "live": 0,
        "nodes": 0,
        "occupied": 0,
        "node_slots": 10,
        "node_start_s": 120.0,
        "actor_start_s": 0.25,
    }
    return Observation(**{**usual, **values})  # type: ignore[arg-type]


def settled(
    rate_s: float, live: int, *, nodes: int = 20, minutes: int = 60
) -> tuple[Wanted, ScalingState]:
    """After so long of the same: as many sessions come as go."""
    wanted, state = Wanted(nodes=0, warm=0, reserve=0), ScalingState(live=live)
    for number in range(12 * minutes):
        look = seen(
            now=NOW + 5.0 * number, arrived=round(5 * rate_s), live=live, nodes=nodes, occupied=1
        )
        wanted, state = decide_scale(look, BOUNDS, state)
    return wanted, state


class TestNodes:
    def test_nothing_live_and_nobody_coming_needs_none(self):
        assert decide_scale(seen(), BOUNDS, ScalingState())[0] == Wanted(nodes=0, warm=0, reserve=0)

    def test_a_minimum_of_warm_actors_asks_for_no_node(self):
        bounds = replace(BOUNDS, min_warm=1)
        assert decide_scale(seen(), bounds, ScalingState())[0] == Wanted(nodes=0, warm=0, reserve=0)

    def test_live_and_waiting_sessions_need_their_slots_exactly(self):
        assert decide_scale(seen(live=25, waiting=5), BOUNDS, ScalingState())[0].nodes == 3
        assert decide_scale(seen(live=25, waiting=6), BOUNDS, ScalingState())[0].nodes == 4

    def test_what_comes_before_a_node_could_start_is_kept_free(self):
        slow, _ = settled(0.2, live=30)
        fast, _ = settled(1.0, live=30)
        assert 0 < slow.reserve < fast.reserve
        assert fast.nodes > slow.nodes

    def test_sessions_that_end_give_their_slots_to_those_that_come(self):
        balanced, state = settled(1.0, live=100)
        nobody_leaves = replace(state, arrivals=replace(state.arrivals, leaving=0.0))
        look = seen(now=NOW + 3600, arrived=5, live=105, nodes=20, occupied=10)
        growing, _ = decide_scale(look, BOUNDS, nobody_leaves)
        assert growing.reserve > 120 > balanced.reserve

    def test_a_burst_of_other_days_is_there_before_it_comes(self):
        sums = tuple(0.0 if minute < 601 else 500.0 for minute in range(1441))
        state = ScalingState(arrivals=Arrivals(days=(DayCount(number=19_999, sums=sums),)))
        wanted = []
        for minute in (500, 598):
            first = seen(now=NOW + minute * 60)
            _, watching = decide_scale(first, BOUNDS, state)
            wanted.append(decide_scale(replace(first, now=first.now + 5), BOUNDS, watching)[0])
        assert wanted[0].nodes == 0
        assert wanted[1].nodes >= 45

    def test_a_node_goes_once_it_has_not_been_wanted_for_the_calm_time(self):
        _, state = decide_scale(seen(live=40, nodes=4, occupied=4), BOUNDS, ScalingState())
        nodes = []
        for at in (1.0, TUNING.calm_s - 1, TUNING.calm_s + 1):
            look = seen(now=NOW + at, live=5, nodes=4, occupied=1)
            wanted, state = decide_scale(look, BOUNDS, state)
            nodes.append(wanted.nodes)
        assert nodes[:2] == [4, 4]
        assert nodes[2] < 4


class TestWarm:
    def test_no_more_are_wanted_than_there_are_slots_for(self):
        wanted, _ = settled(1.0, live=198, nodes=20)
        assert wanted.warm == 2

    def test_every_reserved_slot_is_warm(self):
        wanted, _ = settled(0.4, live=50)
        assert wanted.warm >= wanted.reserve > 0

    def test_an_actor_is_not_ended_for_a_moment_of_calm(self):
        _, state = settled(1.0, live=50)
        warm = []
        for at in (5.0, 100.0, 600.0):
            look = seen(now=NOW + 3600 + at, live=50, nodes=20, occupied=5)
            wanted, state = decide_scale(look, BOUNDS, state)
            warm.append(wanted.warm)
        assert warm[0] == warm[1] > warm[2]

    def test_bounds_are_kept(self):
        bounds = replace(BOUNDS, min_warm=2, max_warm=3)
        _, state = settled(2.0, live=50)
        look = seen(now=NOW + 3600, arrived=10, live=50, nodes=20)
        assert decide_scale(look, bounds, state)[0].warm == 3
        assert decide_scale(seen(nodes=1), bounds, ScalingState())[0].warm == 2


rates = st.floats(0, 20)
arrivals = st.builds(
    Arrivals,
    at=st.none() | st.floats(NOW - 1e6, NOW + 1e6),
    slow=rates,
    fast=rates,
    leaving=rates,
    today=st.none() | st.builds(DayCount, number=st.integers(19_990, 20_010)),
    open_minute=st.floats(0, 1000),
)
states = st.builds(
    ScalingState,
    arrivals=arrivals,
    live=st.integers(0, 500),
    nodes=st.lists(st.tuples(st.floats(NOW - 400, NOW + 100), st.integers(0, 90)), max_size=5).map(
        tuple
    ),
)


@st.composite
def observations(draw: st.DrawFn) -> Observation:
    live = draw(st.integers(0, 500))
    slots = draw(st.integers(1, 64))
    occupied = draw(st.integers(-(-live // slots), max(live, -(-live // slots))))
    return seen(
        arrived=draw(st.integers(0, 200)),
        live=live,
        waiting=draw(st.integers(0, 100)),
        nodes=occupied + draw(st.integers(0, 10)),
        occupied=occupied,
        node_slots=slots,
        node_start_s=draw(st.floats(0, 600)),
        actor_start_s=draw(st.floats(0, 60)),
    )


@given(observations(), states, st.integers(0, 20), st.integers(0, 60))
def test_bounds_give_way_to_live_sessions_alone(look, state, least, more):
    bounds = ScalingBounds(min_nodes=least, max_nodes=least + more, min_warm=1, max_warm=30)
    wanted, _ = decide_scale(look, bounds, state)
    assert wanted.nodes >= look.occupied
    assert least <= wanted.nodes <= max(bounds.max_nodes, look.occupied)
    assert wanted.warm <= min(30, max(0, look.nodes * look.node_slots - look.live))


@given(observations(), states, st.integers(1, 50))
def test_more_sessions_never_want_fewer_nodes(look, state, more):
    few, _ = decide_scale(look, BOUNDS, state)
    waiting, _ = decide_scale(
        replace(look, waiting=look.waiting + more), BOUNDS, replace(state, live=state.live + more)
    )
    live, _ = decide_scale(
        replace(look, live=look.live + more), BOUNDS, replace(state, live=state.live + more)
    )
    assert few.nodes <= waiting.nodes
    assert few.nodes <= live.nodes


@given(observations(), states, st.floats(0, 600))
def test_slower_nodes_never_want_fewer(look, state, slower_s):
    quick, _ = decide_scale(look, BOUNDS, state)
    slow, _ = decide_scale(replace(look, node_start_s=look.node_start_s + slower_s), BOUNDS, state)
    assert quick.nodes <= slow.nodes


@given(observations(), states, st.integers(1, 64))
def test_bigger_nodes_never_want_more(look, state, bigger):
    look = replace(look, occupied=0, nodes=0)
    small, _ = decide_scale(look, BOUNDS, state)
    big, _ = decide_scale(replace(look, node_slots=look.node_slots + bigger), BOUNDS, state)
    assert big.nodes <= small.nodes


@given(st.lists(st.tuples(st.floats(0.5, 60), st.integers(0, 100)), min_size=2, max_size=60))
def test_within_the_calm_time_nothing_is_taken_back(steps):
    state, now, asked = ScalingState(), NOW, []
    for elapsed_s, live in steps:
        now += elapsed_s
        wanted, state = decide_scale(seen(now=now, live=live), BOUNDS, state)
        asked.append((now, -(-live // 10)))
        assert wanted.nodes >= max(n for at, n in asked if at > now - TUNING.calm_s)


@settings(max_examples=20)
@given(states)
def test_from_any_state_it_comes_to_what_a_fresh_one_wants(state):
    strange, fresh = state, ScalingState()
    ours = theirs = Wanted(nodes=0, warm=0, reserve=0)
    for number in range(600):
        look = seen(now=NOW + 10.0 * number, arrived=1, live=40, nodes=8, occupied=4)
        ours, strange = decide_scale(look, BOUNDS, strange)
        theirs, fresh = decide_scale(look, BOUNDS, fresh)
    assert ours == theirs
    assert abs(strange.arrivals.slow - fresh.arrivals.slow) < 1e-6


@given(observations(), states)
def test_the_same_question_has_the_same_answer(look, state):
    assert decide_scale(look, BOUNDS, state) == decide_scale(look, BOUNDS, state)


@pytest.mark.parametrize(
    "wrong",
    [{"node_slots": 0}, {"arrived": -1}, {"live": -1}, {"node_start_s": -1.0}],
)
def test_impossible_observations_are_refused(wrong):
    with pytest.raises(ValueError, match=r"must|nothing"):
        seen(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"min_nodes": 5, "max_nodes": 4}, {"min_nodes": -1}, {"min_warm": 300}]
)
def test_impossible_bounds_are_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        ScalingBounds(**{"max_nodes": 10, "max_warm": 200, **wrong})


def test_whoever_is_turned_away_has_not_left() -> None:
    """Full, and a node a minute away: those who are refused come again, and want slots then."""

    def reserve(turned_away: int) -> int:
        wanted, state = Wanted(nodes=0, warm=0, reserve=0), ScalingState(live=200)
        for number in range(24):
            look = seen(
                now=NOW + 5.0 * number,
                arrived=5,
                turned_away=turned_away,
                live=200,
                nodes=20,
                occupied=20,
            )
            wanted, state = decide_scale(look, BOUNDS, state)
        return wanted.reserve

    assert reserve(turned_away=5) > 1.5 * reserve(turned_away=0)
