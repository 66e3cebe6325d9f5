"""Reports gather while a batch is under way, and never for long."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import Any

import pytest

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport
from fleet.budget.gatherer import Gatherer
from fleet.errors import BudgetUnavailable
from tests.unit.agent_actor.virtual_time import clock, run, settle


def report(session: int, seq: int = 1) -> UsageReport:
    return UsageReport(
        session_id=SessionId(f"s{session}"),
        attempt=1,
        seq=seq,
        at=0.0,
        provider="openai_realtime",
        model="m",
        tokens=TokenCounts(),
        spent_pico_usd=seq,
    )


class Budget:
    """Answers each batch after ``takes_s``, an allowance as high as the session's number."""

    def __init__(self, takes_s: float = 0.03) -> None:
        self.takes_s = takes_s
        self.batches: list[tuple[float, list[str]]] = []
        self.error: Exception | None = None

    async def send(self, reports: list[UsageReport]) -> list[Allowance]:
        self.batches.append((round(clock(), 3), [r.session_id for r in reports]))
        await _pass(self.takes_s)
        if self.error is not None:
            raise self.error
        return [
            Allowance(
                session_id=r.session_id,
                up_to_micro_usd=int(r.session_id[1:]),
                limit_micro_usd=1000,
                expires_at=0.0,
            )
            for r in reports
        ]

    @property
    def sizes(self) -> list[int]:
        return [len(reports) for _, reports in self.batches]


async def _pass(seconds: float) -> None:
    """Let virtual time go by."""
    done = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, done.set_result, None)
    await done


def ask(gatherer: Gatherer, *sessions: int) -> list[asyncio.Task[Allowance]]:
    return [asyncio.create_task(gatherer.report(report(n))) for n in sessions]


async def ends(gatherer: Gatherer, asked: list[asyncio.Task[Allowance]]) -> list[int]:
    answers: list[Any] = await asyncio.gather(*asked)
    await gatherer.aclose()
    return [answer.up_to_micro_usd for answer in answers]


def test_the_first_goes_at_once_and_the_next_when_it_is_answered() -> None:
    budget = Budget(takes_s=0.03)

    async def work() -> list[int]:
        gatherer = Gatherer(budget.send)
        first = ask(gatherer, 1)
        await settle()
        rest = ask(gatherer, 2, 3)
        return await ends(gatherer, first + rest)

    assert run(work) == [1, 2, 3]
    assert budget.batches == [(0.0, ["s1"]), (0.03, ["s2", "s3"])]


def test_with_few_sessions_nobody_waits() -> None:
    budget = Budget(takes_s=0.01)

    async def work() -> float:
        gatherer = Gatherer(budget.send)
        for n in range(5):
            await gatherer.report(report(n))
        await gatherer.aclose()
        return clock()

    assert run(work) == pytest.approx(0.05)
    assert budget.sizes == [1, 1, 1, 1, 1]


def test_none_waits_longer_than_it_may_behind_a_slow_batch() -> None:
    budget = Budget(takes_s=5.0)

    async def work() -> list[int]:
        gatherer = Gatherer(budget.send, oldest_s=0.1)
        asked = ask(gatherer, 1)
        await settle()
        asked += ask(gatherer, 2)
        await _pass(0.06)
        asked += ask(gatherer, 3)
        return await ends(gatherer, asked)

    assert run(work) == [1, 2, 3]
    assert budget.batches == [(0.0, ["s1"]), (0.1, ["s2", "s3"])]


def test_as_many_as_fit_go_before_the_one_under_way_is_answered() -> None:
    budget = Budget(takes_s=0.05)

    async def work() -> list[int]:
        gatherer = Gatherer(budget.send, most=10)
        return await ends(gatherer, ask(gatherer, *range(25)))

    assert run(work) == list(range(25))
    assert budget.sizes == [1, 10, 10, 4]
    assert [at for at, _ in budget.batches] == [0.0, 0.0, 0.0, 0.05]


def test_an_error_reaches_all_of_its_batch_and_no_other() -> None:
    budget = Budget()
    budget.error = BudgetUnavailable("told to")

    async def work() -> None:
        gatherer = Gatherer(budget.send)
        first = ask(gatherer, 1)
        await settle()
        rest = ask(gatherer, 2, 3)
        with pytest.raises(BudgetUnavailable):
            await first[0]
        budget.error = None
        assert [(await each).up_to_micro_usd for each in rest] == [2, 3]
        await gatherer.aclose()

    run(work)


def test_an_answer_that_does_not_fit_its_batch_is_an_error_for_all() -> None:
    async def short(reports: list[UsageReport]) -> list[Allowance]:
        return []

    async def work() -> None:
        gatherer = Gatherer(short)
        with pytest.raises(ValueError, match="zip"):
            await gatherer.report(report(1))
        await gatherer.aclose()

    run(work)


def test_a_caller_that_gives_up_takes_nothing_from_the_others() -> None:
    budget = Budget()

    async def work() -> list[int]:
        gatherer = Gatherer(budget.send)
        first = ask(gatherer, 1)
        await settle()
        gone, stays = ask(gatherer, 2, 3)
        await settle()
        gone.cancel()
        return await ends(gatherer, [*first, stays])

    assert run(work) == [1, 3]
    assert budget.sizes == [1, 2]  # its report is sent all the same


def test_closed_it_leaves_nobody_waiting() -> None:
    async def work() -> None:
        never: Awaitable[list[Allowance]] = asyncio.get_running_loop().create_future()

        async def send(_: list[UsageReport]) -> list[Allowance]:
            return await never

        gatherer = Gatherer(send)
        asked = ask(gatherer, 1)
        await settle()
        asked += ask(gatherer, 2)
        await settle()
        await gatherer.aclose()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(each) for each in results] == [asyncio.CancelledError] * 2

    run(work)
