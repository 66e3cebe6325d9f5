import pytest

from fleet.forecast import Forecast


def test_nothing_is_known_of_slots_before_a_session_has_ended():
    forecast = Forecast(warm_s=4.0, lanes=2)
    assert forecast.for_slot_s(1, 10) is None
    forecast.ended(100.0)
    # Ten under way: one ends every 10 s, and its successor's actor has to start.
    assert forecast.for_slot_s(1, 10) == 14.0
    assert forecast.for_slot_s(3, 10) == 34.0


def test_it_learns():
    forecast = Forecast(warm_s=4.0, lanes=2)
    forecast.started(14.0)
    assert forecast.warm_s == 7.0
    forecast.ended(10.0)
    forecast.ended(20.0)
    assert forecast.session_s == 13.0


@pytest.mark.parametrize(
    ("place", "starting_for_s", "pause_s", "expected_s"),
    [
        (0, [], 0.0, 4.0),
        (1, [], 0.0, 4.0),
        (2, [], 0.0, 8.0),
        (0, [3.0], 0.0, 1.0),
        (1, [3.0], 0.0, 4.0),
        (2, [3.0, 1.0], 0.0, 5.0),
        (0, [9.0], 0.0, 0.0),
        (0, [], 2.0, 6.0),
    ],
)
def test_starts_run_side_by_side(place, starting_for_s, pause_s, expected_s):
    forecast = Forecast(warm_s=4.0, lanes=2)
    assert forecast.for_actor_s(place, starting_for_s, pause_s) == expected_s
