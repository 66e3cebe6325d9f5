"""Many sessions through the pure decisions, on a virtual clock."""

from __future__ import annotations

import itertools

import pytest

from fleet.simulation.session import draw
from fleet.simulation.timeline import Timeline
from fleet.simulation.world import World


def no_time_passes() -> float:
    return 0.0


def world_of(size: int, *, seed: int = 7) -> World:
    world = World(size, seed=seed, clock=no_time_passes)
    world.fill()
    return world


def test_things_happen_in_the_order_of_their_moments() -> None:
    timeline, told = Timeline(), list[str]()
    timeline.at(2, lambda: told.append("second"))
    timeline.at(1, lambda: timeline.at(0, lambda: told.append("overdue")))
    timeline.at(2, lambda: told.append("third"))
    while timeline.step():
        pass
    assert told == ["overdue", "second", "third"]
    assert timeline.now_s == 2


class TestWorld:
    def test_books_hold(self):
        world = world_of(200)
        tally = world.run(400)
        assert tally.over_limit == 0
        assert world.adds_up()
        assert tally.came == tally.began + tally.turned_away + world.waiting
        assert tally.ended["budget_exceeded"] > 10

    def test_permits_stay_within_the_slots(self):
        world = world_of(50)
        for _ in range(20):
            world.run(10)
            assert world.roster.snapshot(world.timeline.now_s).permits <= world.slots

    def test_as_many_are_under_way_as_there_are_to_be(self):
        world = world_of(300)
        world.run(600)
        assert world.roster.snapshot(world.timeline.now_s).live == pytest.approx(300, rel=0.25)

    def test_the_same_seed_is_the_same_run(self):
        first, second = (world_of(50).run(100) for _ in range(2))
        assert (first.ended, first.waits_s) == (second.ended, second.waits_s)

    def test_every_decision_is_costed(self):
        ticks = itertools.count()
        world = World(50, seed=7, clock=lambda: float(next(ticks)))
        world.fill()
        costs = world.run(60).costs
        assert {"reserve", "begin", "tick", "report", "release"} <= set(costs)
        assert costs["tick"].mean_us == pytest.approx(1e6)


def test_a_number_is_the_same_session_for_whoever_draws_it() -> None:
    assert draw(3, 7, studies=2) == draw(3, 7, studies=2)
    assert draw(3, 7, studies=2).duration_s != draw(3, 8, studies=2).duration_s
