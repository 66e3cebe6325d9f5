"""The simulation counts what it says it counts, and the oracle is the least that it can be."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from autoscaler.scaling import ScalingTuning
from fleet.bench.autoscaler.plot import days_svg, frontier_svg
from fleet.bench.autoscaler.trial import judged_scores, run, scene, score, variants
from fleet.simulation.scaling.days import DAY_S, NO_SHOW_S, Shape, Visit, before, visits
from fleet.simulation.scaling.nodes import Hardware, Orders, Simulation, View
from fleet.simulation.scaling.oracle import Oracle, floor_node_hours
from fleet.simulation.scaling.rules import CpuTarget, FixedPool, Ours, busiest_minute

HOUR_S = 3600.0
TWO_SLOTS = Hardware(node_slots=2, node_start_s=(100.0, 100.0))


class Asked:
    """Says what it is told to say, by the hour."""

    packs, drains, every_s = True, False, 10.0

    def __init__(self, *by_hour: int, warm: int = 100) -> None:
        self._by_hour, self._warm = by_hour, warm

    def step(self, view: View) -> Orders:
        hour = min(len(self._by_hour) - 1, max(0, int(view.now // HOUR_S)))
        return Orders(nodes=self._by_hour[hour], warm=self._warm)


def simulate(rule, visits: Sequence[Visit], hardware: Hardware = TWO_SLOTS):
    return Simulation(rule, visits, hardware, Random(1)).run()


def at(*times: float, lasts_s: float = 600.0) -> list[Visit]:
    return [Visit(at=time, lasts_s=lasts_s) for time in times]


class TestDays:
    def test_a_seed_draws_the_same_day_again_and_another_seed_another(self):
        assert visits(Shape.LULL, Random(1)) == visits(Shape.LULL, Random(1))
        assert visits(Shape.LULL, Random(1)) != visits(Shape.LULL, Random(2))

    def test_the_launch_takes_live_sessions_from_none_to_about_500(self):
        day = visits(Shape.LAUNCH, Random(3))
        live = [sum(v.at <= t < v.at + v.lasts_s for v in day) for t in range(0, 86_400, 60)]
        assert live[9 * 60] == 0
        assert 420 < max(live) < 580
        assert live[-1] == 0

    def test_fifteen_of_a_hundred_do_not_show_up(self):
        day = visits(Shape.STEADY, Random(4))
        assert sum(v.lasts_s == NO_SHOW_S for v in day) / len(day) == pytest.approx(0.15, abs=0.02)

    def test_before_a_surprise_there_was_nothing(self):
        assert before(Shape.SURPRISE, Random(1)) == []


class TestNodes:
    def test_a_session_that_finds_a_warm_actor_does_not_wait(self):
        assert simulate(FixedPool(nodes=1), at(100.0, 200.0)).waits_s == (0.0, 0.0)

    def test_one_without_a_slot_waits_for_it_and_is_cold(self):
        outcome = simulate(FixedPool(nodes=1), at(100.0, 100.0, 300.0))
        assert outcome.cold == 1
        # Until the first has ended, and another actor is warm in its slot.
        assert outcome.waits_s[-1] == pytest.approx(400.0 + TWO_SLOTS.actor_start_s)

    def test_a_slot_without_a_warm_actor_is_cold_too(self):
        outcome = simulate(Asked(1, warm=0), at(100.0))
        assert outcome.waits_s == (pytest.approx(TWO_SLOTS.actor_start_s),)

    def test_whoever_is_never_served_has_waited_to_the_end(self):
        assert simulate(Asked(0), at(DAY_S - 100.0)).waits_s[0] > 1000

    def test_a_node_is_paid_for_from_its_order_to_its_end_within_the_day(self):
        assert simulate(FixedPool(nodes=3), []).node_hours == 72.0
        hours = simulate(Asked(0, 1, 0), []).node_hours
        assert hours == pytest.approx(1.0 + TWO_SLOTS.idle_timeout_s / HOUR_S, abs=0.02)

    def test_a_node_with_a_session_stays_however_few_are_wanted(self):
        outcome = simulate(Asked(1, 0), at(100.0, lasts_s=3 * HOUR_S))
        assert outcome.node_hours > 3.0
        assert outcome.waits_s == (0.0,)

    def test_sessions_go_to_the_fullest_node_so_that_the_other_goes(self):
        # Spread, each node would have one.
        packed = simulate(Asked(2, 0), at(10.0, 20.0, lasts_s=10 * HOUR_S))
        assert packed.node_hours == pytest.approx(10.0 + 1.0, abs=0.1)

    def test_a_node_in_its_start_serves_nobody(self):
        outcome = simulate(Asked(0, 1), at(HOUR_S + 5.0))
        assert 95.0 < outcome.waits_s[0] < 110.0


class TestOracle:
    def test_it_pays_for_a_start_and_for_the_sessions(self):
        hours = Oracle(at(HOUR_S), TWO_SLOTS, Random(1)).node_hours()
        assert hours == pytest.approx(700.0 / HOUR_S)

    def test_it_keeps_an_empty_node_only_if_that_is_cheaper(self):
        soon = Oracle(at(HOUR_S, HOUR_S + 650.0), TWO_SLOTS, Random(1)).node_hours()
        late = Oracle(at(HOUR_S, HOUR_S + 900.0), TWO_SLOTS, Random(1)).node_hours()
        assert soon == pytest.approx((100.0 + 1250.0) / HOUR_S)
        assert late == pytest.approx(2 * 700.0 / HOUR_S)

    def test_nobody_is_below_the_floor_and_nobody_without_waits_far_below_the_oracle(self):
        day = visits(Shape.LAUNCH, Random(5))
        oracle = Oracle(day, Hardware(), Random(1)).node_hours()
        floor = floor_node_hours(day, Hardware().node_slots)
        fixed = simulate(FixedPool(nodes=20), day, Hardware())
        assert fixed.cold == 0
        assert floor < oracle < fixed.node_hours


class TestRules:
    def test_the_policy_is_ready_for_a_launch_like_those_of_other_days(self):
        where = scene(Shape.LAUNCH, 1001, Hardware())
        known = simulate(Ours(ScalingTuning(), where.history), where.visits, Hardware())
        unknown = simulate(Ours(ScalingTuning()), where.visits, Hardware())
        assert known.cold == 0
        assert unknown.cold > 50

    def test_the_cpu_rule_follows_kubernetes(self):
        def view(load: float, nodes: int, coming: int = 0, now: float = 0.0) -> View:
            return View(
                now=now, arrived=0, live=0, waiting=0, nodes=nodes, coming=coming, occupied=0,
                load=load, node_slots=32, node_start_s=120.0, actor_start_s=0.25,
            )  # fmt: skip

        rule = CpuTarget(target=0.5, full_load=0.7)
        assert rule.step(view(1.0, 10)).nodes == 14
        assert rule.step(view(0.75, 10, now=15)).nodes == 14  # within a tenth, but 14 was wanted
        assert rule.step(view(0.1, 14, now=200)).nodes == 14
        assert rule.step(view(0.1, 14, now=600)).nodes == 2
        # Pods that are not ready count as idle: 2 × 0.7 over 4 pods is within the target.
        assert CpuTarget().step(view(1.0, 2, coming=2)).nodes == 3

    def test_the_busiest_minute_is_taken_over_all_days(self):
        assert busiest_minute([at(1.0, 2.0, 70.0), at(1.0, 2.0, 3.0)]) == 3 / 60


def test_scores_and_pictures_are_made_of_what_was_run():
    where = scene(Shape.LAUNCH, 1001, Hardware())
    tried = list(variants(frontier=False))
    scores = [score(each, {where: run(each, where, Hardware())}) for each in tried]
    known = judged_scores(scores, 0.01)
    assert known["this fleet"].better(known["CPU at 50 %"])
    assert known["fixed pool"].cold_share <= 0.01
    assert known["this fleet"].sessions == sum(0 <= v.at < DAY_S for v in where.visits)
    as_json = [vars(each) for each in scores]
    drawn = frontier_svg({"launch": as_json}, 1.0, 1.15)
    assert drawn.count("<circle") == 4 + sum(0.8 <= s.to_oracle <= 26 for s in scores)
    assert days_svg({"launch": {"this fleet": [(0.0, 1, 1), (1.0, 5, 2)]}}, 32).endswith("</svg>\n")
