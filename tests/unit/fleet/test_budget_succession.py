"""What an elder budget actor passes on, and what comes back."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport
from fleet.budget import succession
from fleet.budget.succession import SILENT_S, Deputy, serve_deputies
from fleet.errors import BudgetUnavailable
from tests.unit.fleet.control_fakes import allowance, usage

EPOCH = 4


class Lists:
    """Redis's lists, in memory; ``epoch`` is the newest."""

    def __init__(self) -> None:
        self.epoch = EPOCH
        self.down = False
        self._queues: dict[str, asyncio.Queue[str]] = defaultdict(asyncio.Queue)

    async def call(self, text: str) -> None:
        if self.down:
            raise BudgetUnavailable("down")
        await self._queues[f"calls:{self.epoch}"].put(text)

    async def take_call(self, epoch: int) -> str:
        return await self._queues[f"calls:{epoch}"].get()

    async def answer(self, caller: str, text: str) -> None:
        await self._queues[caller].put(text)

    async def take_answer(self, caller: str) -> str:
        return await self._queues[caller].get()


class Younger:
    """The budget actor that has taken over."""

    def __init__(self) -> None:
        self.reports: list[UsageReport] = []

    async def report_batch(self, reports: list[UsageReport]) -> list[Allowance]:
        self.reports += reports
        return [allowance(report.session_id) for report in reports]

    async def close(self, session_id: str, reports: list[UsageReport]) -> None:
        return None

    async def overdue(self, grace_s: float) -> list[SessionId]:
        raise BudgetUnavailable("its ledger is away")

    async def open_sessions(self) -> list[SessionId]:
        return [SessionId("s-a"), SessionId("s-b")]


class World:
    def __init__(self) -> None:
        self.lists, self.younger, self.clock = Lists(), Younger(), 0.0
        self.elder = Deputy(self.lists, clock=lambda: self.clock)  # type: ignore[arg-type]

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        names = ("report_batch", "close", "overdue", "open_sessions")
        methods = {name: getattr(self.younger, name) for name in names}
        serving = serve_deputies(self.lists, EPOCH, methods)  # type: ignore[arg-type]
        task = asyncio.create_task(serving)
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
async def world() -> AsyncIterator[World]:
    world = World()
    yield world
    await world.elder.aclose()


async def test_reports_and_allowances_come_through_as_they_were(world: World) -> None:
    sent = [usage("s-a", spent_pico_usd=123_456_789), usage("s-b", attempt=2)]
    async with world.served():
        given = await world.elder.ask("report_batch", sent)
    assert world.younger.reports == sent
    assert given == [allowance("s-a"), allowance("s-b")]


async def test_calls_side_by_side_each_have_their_own_answer(world: World) -> None:
    async with world.served():
        answers = await asyncio.gather(
            *(world.elder.ask("report_batch", [usage(f"s-{n}")]) for n in range(50)),
            world.elder.ask("open_sessions"),
        )
    assert [a[0].session_id for a in answers[:-1]] == [f"s-{n}" for n in range(50)]
    assert answers[-1] == ["s-a", "s-b"]


async def test_an_account_that_is_not_there_is_none(world: World) -> None:
    async with world.served():
        assert await world.elder.ask("close", "s-a", [usage("s-a")]) is None


async def test_its_refusal_is_an_answer(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world.served():
        with pytest.raises(BudgetUnavailable, match="its ledger is away"):
            await world.elder.ask("overdue", 25.0)
    world.clock = 2 * SILENT_S
    assert not world.elder.is_alone


async def test_nobody_there_is_known_after_a_while(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(succession, "ANSWER_S", 0.01)
    with pytest.raises(BudgetUnavailable):
        await world.elder.ask("open_sessions")
    assert not world.elder.is_alone
    world.clock = SILENT_S
    assert world.elder.is_alone


async def test_an_answer_ends_the_silence(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(succession, "ANSWER_S", 0.01)
        with pytest.raises(BudgetUnavailable):
            await world.elder.ask("open_sessions")
    async with world.served():
        await world.elder.ask("open_sessions")
    world.clock = 2 * SILENT_S
    assert not world.elder.is_alone


async def test_lists_that_are_away_are_no_silence(world: World) -> None:
    """Of whoever has taken over: nothing can be said of it then."""
    world.lists.down = True
    with pytest.raises(BudgetUnavailable):
        await world.elder.ask("open_sessions")
    world.clock = 2 * SILENT_S
    assert not world.elder.is_alone


@pytest.mark.parametrize(
    ("method", "arguments"),
    [("no_such", []), ("overdue", ["soon"]), ("report_batch", [[{"session_id": "s-a"}]])],
)
async def test_what_this_version_does_not_understand_is_refused(
    world: World, method: str, arguments: Any
) -> None:
    call = {"id": 1, "caller": "c", "method": method, "arguments": arguments}
    async with world.served(), asyncio.timeout(2):
        await world.lists.call(json.dumps(call))
        answer = json.loads(await world.lists.take_answer("c"))
    assert "this version" in answer["error"]
