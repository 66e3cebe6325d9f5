"""What is remembered of arrivals, and what is expected by it."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoscaler.demand import MINUTES, Arrivals, DayCount, DemandTuning, expected, watched

TUNING = DemandTuning()
DAY_S = 86_400.0
MONDAY = 20_000 * DAY_S


def day(number: int, counts: dict[int, int]) -> DayCount:
    sums = [0.0]
    for minute in range(MINUTES):
        sums.append(sums[-1] + counts.get(minute, 0))
    return DayCount(number=number, sums=tuple(sums))


def with_history(*days: DayCount, at: float) -> Arrivals:
    return Arrivals(at=at, days=days)


def watch(times: list[float], *, since: float, until: float, every_s: float = 5.0) -> Arrivals:
    arrivals, now, left = watched(Arrivals(), since, 0, 0, TUNING), since, sorted(times)
    while now < until:
        now += every_s
        come = [t for t in left if t <= now]
        left = left[len(come) :]
        arrivals = watched(arrivals, now, len(come), 0, TUNING)
    return arrivals


class TestTheRateNow:
    def test_nothing_seen_is_nothing_expected(self):
        assert expected(Arrivals(), 180.0, TUNING) == 0.0

    def test_a_steady_stream_is_expected_to_go_on(self):
        times = [MONDAY + 5.0 * n for n in range(1, 720)]
        assert expected(watch(times, since=MONDAY, until=MONDAY + 3600), 100.0, TUNING) == (
            pytest.approx(20.0, rel=0.02)
        )

    def test_a_burst_counts_before_the_usual_rate_has_followed(self):
        times = [MONDAY + 3600 + 0.5 * n for n in range(60)]
        after_30_s = watch(times, since=MONDAY, until=MONDAY + 3630)
        assert after_30_s.slow < 0.3
        assert expected(after_30_s, 60.0, TUNING) > 60

    def test_one_session_out_of_the_blue_is_no_burst(self):
        arrivals = watch([MONDAY + 3601], since=MONDAY, until=MONDAY + 3605)
        assert expected(arrivals, 60.0, TUNING) == pytest.approx(60 * arrivals.slow)

    @given(st.lists(st.integers(0, 50), min_size=1, max_size=60), st.floats(0.1, 30))
    def test_the_rate_does_not_go_by_how_often_one_looks(self, counts, every_s):
        whole = split = watched(Arrivals(), MONDAY, 0, 0, TUNING)
        for number, count in enumerate(counts):
            now = MONDAY + number * every_s
            split = watched(split, now + every_s / 2, count, 0, TUNING)
            split = watched(split, now + every_s, count, 0, TUNING)
            whole = watched(whole, now + every_s, 2 * count, 0, TUNING)
        assert split.slow == pytest.approx(whole.slow)


class TestDays:
    def test_arrivals_land_in_their_minute(self):
        times = [MONDAY + 61, MONDAY + 62, MONDAY + 185]
        today = watch(times, since=MONDAY, until=MONDAY + 300).today
        assert today is not None
        assert [round(s, 6) for s in today.before(0, 5)] == [0, 0, 2, 2, 3, 3]

    def test_a_day_is_closed_at_midnight_and_the_oldest_forgotten(self):
        arrivals = watched(Arrivals(), MONDAY, 0, 0, TUNING)
        for minute in range(1, 9 * MINUTES + 1):
            arrivals = watched(arrivals, MONDAY + minute * 60, 1, 0, TUNING)
        assert [d.number for d in arrivals.days] == list(range(20_002, 20_009))
        assert all(len(d.sums) == MINUTES + 1 for d in arrivals.days)
        assert [d.sums[-1] for d in arrivals.days] == [pytest.approx(MINUTES)] * 7

    @given(
        st.lists(st.tuples(st.floats(0.5, 900), st.integers(0, 30)), min_size=1, max_size=80),
        st.floats(0, 2 * DAY_S),
    )
    def test_no_arrival_is_lost_and_none_counted_twice(self, steps, offset):
        now = MONDAY + offset
        arrivals, total = watched(Arrivals(), now, 0, 0, TUNING), 0
        for elapsed_s, count in steps:
            now, total = now + elapsed_s, total + count
            arrivals = watched(arrivals, now, count, 0, TUNING)
        assert arrivals.today is not None
        kept = sum(d.sums[-1] for d in (*arrivals.days, arrivals.today)) + arrivals.open_minute
        assert kept == pytest.approx(total)

    def test_a_window_over_midnight_goes_on_in_a_day_like_it(self):
        counted = day(0, {1439: 5, 0: 3, 1: 2})
        sums = counted.before(1439, 1442)
        assert [b - a for a, b in itertools.pairwise(sums)] == [5, 3, 2]
        sums = counted.before(-1, 1)
        assert [b - a for a, b in itertools.pairwise(sums)] == [5, 3]


class TestTheTimeOfDay:
    def test_what_came_on_average_is_expected(self):
        at = MONDAY + 600 * 60
        days = [day(n, dict.fromkeys(range(600, 603), 20)) for n in range(3)]
        assert expected(with_history(*days, at=at), 180.0, DemandTuning(sureness=9)) == 60

    def test_where_little_came_the_average_is_over_more_minutes(self):
        # Six an hour, and none in the three minutes that are asked for.
        days = [day(n, dict.fromkeys(range(5, MINUTES, 10), 1)) for n in range(7)]
        arrivals = with_history(*days, at=MONDAY + 600 * 60)
        assert expected(arrivals, 180.0, TUNING) == pytest.approx(0.3, rel=0.2)

    def test_a_burst_is_expected_some_minutes_early(self):
        burst = {600: 100, 601: 100, 602: 100}
        days = [day(n, burst) for n in range(3)]
        before = [
            expected(with_history(*days, at=MONDAY + m * 60), 180.0, TUNING) for m in (580, 597)
        ]
        assert before[0] == 0
        assert before[1] == pytest.approx(300 - 2 * math.sqrt(300))

    def test_a_burst_on_one_day_of_three_counts_as_a_third(self):
        days = [day(0, {600: 300}), day(1, {}), day(2, {})]
        arrivals = with_history(*days, at=MONDAY + 600 * 60)
        assert expected(arrivals, 60.0, TUNING) == pytest.approx(100)

    def test_chance_in_steady_days_is_no_burst(self):
        days = [day(n, {m: 4 if m % 3 else 6 for m in range(MINUTES)}) for n in range(7)]
        rate_s = expected(with_history(*days, at=MONDAY + 600 * 60), 180.0, TUNING) / 180.0
        assert rate_s == pytest.approx(14 / 180)

    def test_a_day_that_was_not_watched_then_says_nothing(self):
        late = DayCount(number=1, first=900, sums=tuple(float(n) for n in range(541)))
        assert expected(with_history(late, at=MONDAY + 600 * 60), 60.0, TUNING) == 0
        assert expected(with_history(late, at=MONDAY + 1000 * 60), 60.0, TUNING) == 1


class TestClocks:
    def test_a_clock_that_went_back_only_begins_anew(self):
        arrivals = watch([MONDAY + n for n in range(300)], since=MONDAY, until=MONDAY + 600)
        again = watched(arrivals, MONDAY + 60, 5, 0, TUNING)
        assert (again.at, again.slow, again.days) == (MONDAY + 60, 0.0, ())

    def test_days_from_the_future_are_forgotten(self):
        future = with_history(day(30_000, {600: 500}), at=30_001 * DAY_S)
        assert watched(future, MONDAY, 0, 0, TUNING).days == ()

    def test_after_more_than_a_day_away_no_day_is_made_up(self):
        arrivals = watched(Arrivals(), MONDAY, 0, 0, TUNING)
        assert watched(arrivals, MONDAY + 3 * DAY_S, 900, 0, TUNING).days == ()

    def test_two_looks_at_the_same_moment_lose_nothing(self):
        arrivals = watched(watched(Arrivals(), MONDAY, 0, 0, TUNING), MONDAY, 3, 0, TUNING)
        assert arrivals.open_minute == 3


@pytest.mark.parametrize("wrong", [{"slow_s": 0}, {"fast_s": -1}, {"shift_minutes": -1}])
def test_impossible_tuning_is_refused(wrong):
    with pytest.raises(ValueError, match="must"):
        DemandTuning(**wrong)
