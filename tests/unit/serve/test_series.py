from __future__ import annotations

from dataclasses import replace

from serve.feeds.series import CostRate, Dispatches
from tests.unit.serve.fakes import NOW, record

MINUTE = int(NOW) // 60 * 60


def test_dispatches_are_summed_up_by_the_minute_they_were_asked_in() -> None:
    dispatches = Dispatches()
    for n in range(1, 21):
        asked = record(f"s-{n}", created_at=MINUTE + n)
        dispatches.see(replace(asked, first_joined_at=asked.created_at + n / 10))
    dispatches.see(record("s-21", created_at=MINUTE + 60, first_joined_at=MINUTE + 60.25))
    assert dispatches.rows() == {
        str(MINUTE): {"dispatches": 20, "dispatch_p50_ms": 1000.0, "dispatch_p95_ms": 1900.0},
        str(MINUTE + 60): {"dispatches": 1, "dispatch_p50_ms": 250.0, "dispatch_p95_ms": 250.0},
    }
    dispatches.forget_before(MINUTE + 60)
    assert list(dispatches.rows()) == [str(MINUTE + 60)]


def test_a_session_counts_once_and_not_before_its_agent_is_there() -> None:
    dispatches = Dispatches()
    dispatches.see(record())
    assert dispatches.rows() == {}
    joined = record(first_joined_at=NOW + 0.3, joined_at=NOW + 0.3)
    for seen in (joined, replace(joined, joined_at=NOW + 900, attempt=2)):
        dispatches.see(seen)
    (row,) = dispatches.rows().values()
    assert row == {"dispatches": 1, "dispatch_p50_ms": 300.0, "dispatch_p95_ms": 300.0}


def test_the_rate_is_that_of_the_last_minute() -> None:
    rate = CostRate()
    assert rate.see(0, 5_000_000) is None
    assert rate.see(10, 5_100_000) == 600_000
    for at in range(20, 200, 10):
        told = rate.see(at, 5_100_000 + (at - 10) * 1_000)
    assert told == 60_000


def test_an_estimate_that_was_too_high_is_no_income() -> None:
    rate = CostRate()
    rate.see(0, 9_000)
    assert rate.see(2, 8_000) == 0
