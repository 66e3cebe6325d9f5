"""Settings become limits and a policy; costs are shown exactly."""

from __future__ import annotations

import pickle
from decimal import Decimal

from fleet.budget.client import budget_config
from fleet.budget.costs import Bucket, MinuteCost, as_minutes, minute_of, usd_string
from fleet.budget.ledger import BudgetFenced
from fleet.settings import load_settings


def test_settings_become_limits_and_a_lease() -> None:
    config = budget_config(
        load_settings(
            livekit_api_key="key",
            livekit_api_secret="a-secret-of-enough-length",
            redis_namespace="ns",
            fleet_limit_usd=Decimal("500"),
            study_limit_usd=Decimal("20.0000019"),
            study_limits_usd={"a": Decimal("0.5")},
            allowance_lease_s=90,
        )
    )
    limits = config.book.limits
    assert limits.fleet == 500_000_000
    assert (limits.of_study("a"), limits.of_study("b")) == (500_000, 20_000_001)
    assert config.book.policy.lease_s == 90
    assert "redis://" not in repr(config)
    assert pickle.loads(pickle.dumps(config)) == config


def test_no_limits_are_no_limits() -> None:
    settings = load_settings(livekit_api_key="key", livekit_api_secret="a-secret-of-enough-length")
    limits = budget_config(settings).book.limits
    assert limits.fleet is None
    assert limits.of_study("any") is None


def test_money_is_shown_to_the_micro_dollar() -> None:
    assert usd_string(1) == "0.000001"
    assert usd_string(123_456_789_012_345) == "123456789.012345"
    assert usd_string(-5_000_000) == "-5.000000"


def test_minutes_are_in_order_and_without_empty_ones() -> None:
    assert minute_of(119.999) == 60
    buckets = {Bucket(120, "p"): 5, Bucket(60, "q"): -1, Bucket(60, "p"): 2, Bucket(0, "p"): 0}
    assert as_minutes(buckets) == (
        MinuteCost(minute_epoch=60, provider="p", micro_usd=2),
        MinuteCost(minute_epoch=60, provider="q", micro_usd=-1),
        MinuteCost(minute_epoch=120, provider="p", micro_usd=5),
    )


def test_being_fenced_crosses_actors() -> None:
    error = pickle.loads(pickle.dumps(BudgetFenced(3)))
    assert (type(error), error.epoch, error.retryable) == (BudgetFenced, 3, True)
