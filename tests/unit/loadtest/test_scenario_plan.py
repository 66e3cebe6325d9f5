"""The pure parts of the Locust scenario: fates, contracts, arrivals, shapes, options, measures."""

from __future__ import annotations

import itertools
from argparse import ArgumentParser, Namespace
from collections import Counter
from collections.abc import Mapping
from typing import Any

import pytest

from agent_actor.contract import Provider, parse_strict
from loadtest.participants.script import script_from_mapping
from loadtest.scenario.arrivals import Share, arrivals
from loadtest.scenario.contract import Pace, body_of, key_of, script_of
from loadtest.scenario.errors import BadOptions
from loadtest.scenario.fates import END_REASONS, Fate, Mix, Plan, draw
from loadtest.scenario.measures import Measure, measures_of
from loadtest.scenario.options import add_arguments, options_of
from loadtest.scenario.outcomes import CUT_OFF, of_record
from loadtest.scenario.shapes import Course, Shape, Wanted, wanted

MIX = Mix()


def plan_of(fate: Fate, number: int = 3) -> Plan:
    plans = (draw(MIX, 7, n) for n in itertools.count(number))
    return next(plan for plan in plans if plan.fate is fate)


class TestFates:
    def test_shares_are_met(self):
        plans = [draw(MIX, 7, number) for number in range(10_000)]
        shares = {fate: n / 10_000 for fate, n in Counter(p.fate for p in plans).items()}
        wanted_shares = {
            Fate.NO_SHOW: 0.15,
            Fate.LEAVES_EARLY: 0.05,
            Fate.BUDGET_BOUND: 0.10,
            Fate.DELETED: 0.03,
            Fate.COMPLETES: 0.67,
        }
        assert shares == pytest.approx(wanted_shares, abs=0.01)
        assert sum(p.provider == Provider.GEMINI_LIVE for p in plans) == pytest.approx(
            5000, abs=150
        )

    def test_a_number_is_the_same_for_whoever_draws_it(self):
        assert draw(MIX, 7, 41) == draw(MIX, 7, 41)
        assert draw(MIX, 7, 41) != draw(MIX, 8, 41)

    @pytest.mark.parametrize("shares", [{"no_show": 0.9}, {"deleted": -0.1}, {"gemini": 1.1}])
    def test_shares_that_cannot_be_are_refused(self, shares: dict[str, float]):
        with pytest.raises(ValueError, match="shares"):
            Mix(**shares)


class TestContract:
    @pytest.mark.parametrize("fate", list(Fate))
    @pytest.mark.parametrize("rehearsed", [True, False])
    def test_the_fleet_takes_it(self, fate: Fate, rehearsed: bool):
        body = body_of(plan_of(fate), Pace(), "load", rehearsed=rehearsed)
        body.pop("participant")
        config = parse_strict(body)
        assert (config.rehearsal is not None) is rehearsed

    def test_no_show_never_arrives(self):
        body = body_of(plan_of(Fate.NO_SHOW), Pace(), "load", rehearsed=True)
        assert body["rehearsal"]["arrives_after_s"] is None

    def test_only_the_budget_bound_have_a_small_limit(self):
        limits = {
            fate: body_of(plan_of(fate), Pace(), "load", rehearsed=True)["budget_limit_usd"]
            for fate in Fate
        }
        assert limits.pop(Fate.BUDGET_BOUND) < 0.5
        assert set(limits.values()) == {10.0}

    def test_one_session_a_key(self):
        assert key_of("load", draw(MIX, 7, 1)) == key_of("load", draw(MIX, 8, 1))
        assert key_of("load", draw(MIX, 7, 1)) != key_of("load", draw(MIX, 7, 2))

    @pytest.mark.parametrize("fate", list(Fate))
    def test_a_real_participant_takes_its_script(self, fate: Fate):
        script = script_from_mapping(script_of(plan_of(fate), Pace()))
        assert bool(script.departures) is (fate is Fate.LEAVES_EARLY)


class TestArrivals:
    def test_without_a_rate_all_are_due(self):
        assert [a.due_s for a in arrivals(seed=7, rate=0, limit=3)] == [0.0] * 3

    def test_the_rate_is_met(self):
        last = list(arrivals(seed=7, rate=0.8, limit=2000))[-1]
        assert last.due_s == pytest.approx(2500, rel=0.1)

    def test_workers_share_one_course(self):
        alone = list(arrivals(seed=7, rate=1, limit=9))
        shared = [
            each
            for index in range(3)
            for each in arrivals(seed=7, rate=1, limit=9, share=Share(index=index, of=3))
        ]
        assert sorted(shared, key=lambda a: a.number) == alone

    def test_a_run_that_is_taken_up_begins_where_the_other_stopped(self):
        rest = list(arrivals(seed=7, rate=1, first=5, limit=9))
        assert [a.number for a in rest] == [5, 6, 7, 8]
        assert rest[0].due_s < 10

    def test_one_worker_too_many_is_refused(self):
        with pytest.raises(ValueError, match="--workers"):
            Share(index=1, of=1)


class TestShapes:
    def course(self, shape: Shape, **more: Any) -> Course:
        return Course(shape=shape, users=200, spawn_rate=2, run_s=1000, **more)

    def test_burst_is_all_at_once(self):
        assert wanted(self.course(Shape.BURST), 0) == Wanted(users=200, spawn_rate=200)

    def test_ramp_takes_its_time(self):
        course = self.course(Shape.RAMP, ramp_s=100)
        assert wanted(course, 0) == Wanted(users=200, spawn_rate=2)

    def test_soak_goes_down_before_its_end(self):
        course = self.course(Shape.SOAK, ramp_s=100)
        assert [wanted(course, at) for at in (0, 899, 900)] == [
            Wanted(users=200, spawn_rate=2),
            Wanted(users=200, spawn_rate=2),
            Wanted(users=0, spawn_rate=2),
        ]

    def test_stairs_are_climbed_and_the_last_is_kept(self):
        course = self.course(Shape.STAIRS, stairs=(10, 25, 50), stair_s=60)
        users = [found.users for at in (0, 59, 60, 120, 999) if (found := wanted(course, at))]
        assert users == [10, 10, 25, 50, 50]

    @pytest.mark.parametrize("shape", list(Shape))
    def test_all_end(self, shape: Shape):
        assert wanted(self.course(shape), 1000) is None


class TestOptions:
    def parsed(self, **changes: Any) -> Namespace:
        parser = LocustsParser()
        add_arguments(parser)
        return Namespace(
            **{
                **vars(parser.parse_args([])),
                "num_users": 5,
                "spawn_rate": 2,
                "run_time": 60,
                **changes,
            }
        )

    def test_defaults(self):
        options = options_of(self.parsed())
        assert options.course == Course(
            shape=Shape.STEADY, users=5, spawn_rate=2, run_s=60, ramp_s=60, stair_s=120
        )
        assert (options.mix, options.pace, options.sessions) == (Mix(), Pace(), None)

    def test_the_host_is_loopback_unless_another_is_named(self):
        assert self.parsed().host == "http://127.0.0.1:8000"

    @pytest.mark.parametrize(
        ("changes", "named"),
        [
            ({"run_time": None}, "-t"),
            ({"speech_s": "4-2"}, "LOW-HIGH"),
            ({"stairs": "10,x"}, "invalid literal"),
            ({"no_shows": 2.0}, "shares"),
        ],
    )
    def test_bad_ones_are_named(self, changes: dict[str, Any], named: str):
        with pytest.raises(BadOptions, match=named):
            options_of(self.parsed(**changes))


class LocustsParser(ArgumentParser):
    """Locust's own takes more of an argument than argparse does."""

    def add_argument(self, *names: Any, **of: Any) -> Any:
        of.pop("env_var", None)
        of.pop("include_in_web_ui", None)
        return super().add_argument(*names, **of)


class TestMeasures:
    @pytest.mark.parametrize(
        ("line", "measures"),
        [
            ({"event": "joined", "t_s": 0.5}, [Measure(name="time to join", ms=1500)]),
            (
                {"event": "agent_speech_started", "t_s": 1, "first": True},
                [Measure(name="time to first audio", ms=2000)],
            ),
            (
                {"event": "agent_speech_started", "t_s": 9, "first": False, "response_s": 0.4},
                [Measure(name="response after turn", ms=400)],
            ),
            (
                {"event": "interrupted", "stopped_after_s": 0.2},
                [Measure(name="stops when interrupted", ms=200)],
            ),
            (
                {"event": "summary", "outcome": "room_ended", "heard": {"longest_gap_ms": 40}},
                [Measure(name="gap in the speech", ms=40)],
            ),
            (
                {"event": "failed", "error": "TokenRejected"},
                [Measure(name="time to join", ms=0, failure="TokenRejected")],
            ),
            ({"event": "paused"}, []),
        ],
    )
    def test_a_line_is_what_locust_counts(self, line: dict[str, Any], measures: list[Measure]):
        assert list(measures_of(line, head_start_s=1.0)) == measures


SEEN: Mapping[str, Any] = {"identity": "p-000003", "asked_epoch_s": 0.0}


class TestOutcomes:
    @pytest.mark.parametrize("fate", list(Fate))
    def test_as_meant(self, fate: Fate):
        outcome = of_record(plan_of(fate), {"end_reason": END_REASONS[fate]}, {}, **SEEN)
        assert outcome.as_meant

    def test_another_end_is_not(self):
        outcome = of_record(plan_of(Fate.COMPLETES), {"end_reason": "actor_lost"}, {}, **SEEN)
        assert not outcome.as_meant

    def test_one_that_the_run_cut_off_is_nobodys_fault(self):
        outcome = of_record(plan_of(Fate.NO_SHOW), {}, {}, cut_off=True, **SEEN)
        assert outcome.end_reason == CUT_OFF
        assert outcome.as_meant

    def test_the_account_knows_best_what_was_spent(self):
        outcome = of_record(
            plan_of(Fate.COMPLETES),
            {"spent_micro_usd": 1},
            {"spent_micro_usd": 2, "limit_micro_usd": 9},
            **SEEN,
        )
        assert (outcome.spent_micro_usd, outcome.limit_micro_usd) == (2, 9)
