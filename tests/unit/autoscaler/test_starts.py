import pytest

from autoscaler.starts import ENOUGH, REMEMBERED, few_exceed_s


def test_until_enough_has_been_seen_the_setting_holds():
    assert few_exceed_s([60.0] * (ENOUGH - 1), otherwise_s=180.0) == 180.0
    assert few_exceed_s([60.0] * ENOUGH, otherwise_s=180.0) == 60.0


def test_nine_of_ten_stay_within():
    assert few_exceed_s([float(n) for n in range(1, 21)], otherwise_s=0.0) == 19.0


def test_what_is_long_past_is_forgotten():
    assert few_exceed_s([600.0] * 50 + [60.0] * REMEMBERED, otherwise_s=0.0) == pytest.approx(60.0)
