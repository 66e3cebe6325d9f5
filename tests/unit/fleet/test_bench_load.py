"""The load is what it says: cumulative reports, moments by the clock, answers counted once."""

from __future__ import annotations

import asyncio
import itertools
import time
from random import Random

from agent_actor.messages import Allowance, UsageReport
from fleet.bench.load import Counted, by_the_clock, in_batches, moments, pooled
from fleet.bench.reporters import Reporter, accounts, reporters
from fleet.errors import BudgetUnavailable


def allowance(report: UsageReport) -> Allowance:
    return Allowance(
        session_id=report.session_id, up_to_micro_usd=1, limit_micro_usd=1, expires_at=0.0
    )


class Budget:
    """Keeps the highest of each session, as the real one does."""

    def __init__(self) -> None:
        self.heard: dict[str, UsageReport] = {}
        self.calls = 0
        self.refuses = False

    async def ask(self, report: UsageReport) -> Allowance:
        return (await self.ask_many([report]))[0]

    async def ask_many(self, reports: list[UsageReport]) -> list[Allowance]:
        self.calls += 1
        await asyncio.sleep(0)
        if self.refuses:
            raise BudgetUnavailable("told to")
        self.heard |= {report.session_id: report for report in reports}
        return [allowance(report) for report in reports]

    def spent(self) -> int:
        return sum(-(-r.spent_pico_usd // 1_000_000) for r in self.heard.values())


def some(count: int) -> list[Reporter]:
    return reporters(accounts(count), seed=7)


def test_reports_grow_and_are_numbered() -> None:
    [reporter] = some(1)
    said = [reporter.report(float(n)) for n in range(40)]
    assert [r.seq for r in said] == list(range(1, 41))
    spent = [r.spent_pico_usd for r in said]
    assert spent == sorted(spent)
    assert len(set(spent)) == 11  # nothing, and ten bills
    assert all(a.tokens.input_total <= b.tokens.input_total for a, b in itertools.pairwise(said))
    assert any(r.estimate_pico_usd for r in said)


def test_the_newest_acknowledged_report_counts_whatever_the_order_of_answers() -> None:
    [reporter] = some(1)
    said = [reporter.report(float(n)) for n in range(8)]
    reporter.acknowledge(said[7])
    reporter.acknowledge(said[3])
    assert reporter.acknowledged_micro_usd == -(-said[7].spent_pico_usd // 1_000_000) > 0


async def test_batches_count_what_was_acknowledged() -> None:
    budget, sessions = Budget(), some(50)
    counted = await in_batches(sessions, budget.ask_many, nodes=2, batch=10, duration_s=0.02)
    assert counted.acknowledged == 10 * budget.calls > 0
    assert counted.failed == 0
    assert sum(s.acknowledged_micro_usd for s in sessions) == budget.spent() > 0


async def test_by_the_clock_counts_from_when_a_report_was_due() -> None:
    """A generator that is held up does not make its reports look quick."""
    budget, sessions = Budget(), some(5)

    async def blocking(report: UsageReport) -> Allowance:
        if budget.calls == 0:
            began = time.perf_counter()
            while time.perf_counter() - began < 0.05:
                pass
        return await budget.ask(report)

    counted = await by_the_clock(sessions, blocking, a_second=400, duration_s=0.1, rng=Random(7))
    assert counted.acknowledged == len(moments(400, 0.1, _after_shuffle(5)))
    assert sum(took > 20 for took in counted.took_ms) >= 5
    assert sum(s.acknowledged_micro_usd for s in sessions) == budget.spent()


async def test_what_is_refused_is_not_acknowledged() -> None:
    budget, sessions = Budget(), some(10)
    budget.refuses = True
    singles = await by_the_clock(
        sessions, budget.ask, a_second=1000, duration_s=0.01, rng=Random(7)
    )
    assert singles.acknowledged == 0
    assert singles.failed > 0
    assert not any(s.acknowledged_micro_usd for s in sessions)


def test_moments_are_in_order_at_about_the_rate() -> None:
    drawn = moments(500, 20, Random(7))
    assert drawn == sorted(drawn)
    assert 9_500 < len(drawn) < 10_500
    assert drawn == moments(500, 20, Random(7))


def test_rounds_are_pooled() -> None:
    one = Counted(acknowledged=10, duration_s=1.0, took_ms=[1.0])
    both = pooled([one, Counted(acknowledged=30, failed=1, duration_s=1.0, took_ms=[9.0])])
    assert (both.rate, both.failed, both.p(1.0)) == (20.0, 1, 9.0)
    assert pooled([]).rate == 0.0


def _after_shuffle(count: int) -> Random:
    rng = Random(7)
    rng.shuffle(list(range(count)))
    return rng
