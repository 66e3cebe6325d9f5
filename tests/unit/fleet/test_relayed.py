"""A session's two ways to the budget actor."""

from __future__ import annotations

import pickle

import pytest

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport
from agent_actor.spending import ASK_TIMEOUT_S
from fleet.budget.relayed import DIRECT_DEADLINE_S, RELAY_DEADLINE_S, RelayedBudget, TwoWays
from fleet.errors import ActorLost, BudgetUnavailable, NoAnswer

REPORT = UsageReport(
    session_id=SessionId("s1"),
    attempt=1,
    seq=1,
    at=0.0,
    provider="openai_realtime",
    model="m",
    tokens=TokenCounts(),
    spent_pico_usd=1,
)


class Way:
    """Answers, or raises what it was told to."""

    def __init__(self) -> None:
        self.asked = 0
        self.error: Exception | None = None

    async def __call__(self, report: UsageReport) -> Allowance:
        self.asked += 1
        if self.error is not None:
            raise self.error
        return Allowance(
            session_id=report.session_id, up_to_micro_usd=1, limit_micro_usd=1, expires_at=0.0
        )


class Ways:
    def __init__(self) -> None:
        self.relay, self.direct, self.now_s = Way(), Way(), 100.0
        self.both = TwoWays(
            relay=self.relay, direct=self.direct, aside_s=10, now=lambda: self.now_s
        )

    async def ask(self) -> tuple[int, int]:
        """How often each has been asked when this report is answered."""
        await self.both.report(REPORT)
        return self.relay.asked, self.direct.asked


async def test_the_relay_is_the_way() -> None:
    assert await Ways().ask() == (1, 0)


@pytest.mark.parametrize(
    "error",
    [ActorLost("relay"), NoAnswer("relay", 0.75), RuntimeError("anything")],
)
async def test_a_report_that_the_relay_does_not_take_goes_directly(error: Exception) -> None:
    ways = Ways()
    ways.relay.error = error
    assert await ways.ask() == (1, 1)


async def test_a_relay_that_failed_is_left_aside_and_tried_again() -> None:
    ways = Ways()
    ways.relay.error = ActorLost("relay")
    await ways.ask()
    ways.relay.error = None
    ways.now_s += 9.9
    assert await ways.ask() == (1, 2)
    ways.now_s += 0.1
    assert await ways.ask() == (2, 2)


async def test_what_the_budget_actor_refuses_is_not_asked_again() -> None:
    ways = Ways()
    ways.relay.error = BudgetUnavailable("the ledger is away")
    with pytest.raises(BudgetUnavailable):
        await ways.ask()
    assert ways.direct.asked == 0
    ways.relay.error = None
    assert await ways.ask() == (2, 0)


async def test_with_both_away_the_error_is_typed() -> None:
    ways = Ways()
    ways.relay.error, ways.direct.error = NoAnswer("relay", 0.75), ActorLost("budget")
    with pytest.raises(ActorLost):
        await ways.ask()


def test_it_goes_to_another_process_and_is_asked_as_a_handle_is() -> None:
    budget = pickle.loads(pickle.dumps(RelayedBudget("budget", "ns")))
    assert callable(budget.report.remote)
    assert budget.__reduce__() == (RelayedBudget, ("budget", "ns"))


def test_both_ways_fit_into_what_a_session_waits() -> None:
    assert RELAY_DEADLINE_S + DIRECT_DEADLINE_S <= ASK_TIMEOUT_S
