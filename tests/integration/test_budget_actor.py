"""The ledger on a real Redis that syncs every write, and the budget actor on a real Ray."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from decimal import Decimal
from typing import Any

import pytest
from redis.asyncio import Redis

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport, Verdict
from agent_actor.redis_client import open_redis
from fleet.budget.book import Book, BookConfig
from fleet.budget.client import get_or_create_budget_actor
from fleet.budget.costs import Bucket, BudgetTotals, SessionCost
from fleet.budget.ledger import BudgetFenced, Ledger
from fleet.budget.sums import Change, Figures, Limits
from fleet.clients import RayBudgetClient
from fleet.errors import BudgetUnavailable
from fleet.local.ray_cluster import RayCluster
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import RunDir
from fleet.settings import FleetSettings, load_settings

S1, S2 = SessionId("s1"), SessionId("s2")
NS = "money"
MICRO = 1_000_000


@pytest.fixture
async def durable(run: RunDir) -> AsyncIterator[RedisServer]:
    """A Redis of the test's own, run as the ledger wants it."""
    async with RedisServer(run, fsync=Fsync.ALWAYS) as server:
        yield server


OpenBook = Callable[..., Awaitable[Book]]


@pytest.fixture
async def book_on() -> AsyncIterator[OpenBook]:
    """Opens books on a Redis; those still open are closed after the test."""
    async with AsyncExitStack() as stack:

        async def open_book(url: str, limits: Limits | None = None) -> Book:
            ledger = Ledger(open_redis(url, timeout_s=1.0), NS)
            book = Book(ledger, BookConfig(limits=limits or Limits()), now=time.time)
            stack.push_async_callback(book.aclose)
            await book.start()
            return book

        yield open_book


async def opened(book: Book, session_id: SessionId = S1, limit: int = 10_000_000) -> Allowance:
    return await book.open(
        session_id=session_id, study_id="st", provider="gemini_live", limit_micro_usd=limit
    )


def report(
    session_id: str = S1,
    *,
    seq: int = 1,
    attempt: int = 1,
    spent: int = 0,
    at_risk: int = 0,
    final: bool = False,
) -> UsageReport:
    return UsageReport(
        session_id=SessionId(session_id),
        attempt=attempt,
        seq=seq,
        at=time.time(),
        provider="gemini_live",
        model="gemini-3.8-live",
        tokens=TokenCounts(output_audio=seq),
        spent_pico_usd=spent * MICRO,
        at_risk_pico_usd=at_risk * MICRO,
        goodbye_pico_usd=10_000 * MICRO,
        responses=seq,
        final=final,
    )


async def spent_in(url: str) -> dict[str, str]:
    async with Redis.from_url(url, decode_responses=True) as redis:
        return await redis.hgetall(f"{NS}:budget:fleet")  # type: ignore[misc]


async def test_what_was_answered_is_in_the_ledger(durable: RedisServer, book_on: OpenBook) -> None:
    book = await book_on(durable.url)
    allowance = await opened(book)
    set_aside = allowance.up_to_micro_usd + allowance.goodbye_micro_usd
    assert int((await spent_in(durable.url))["committed"]) == set_aside
    await book.report(report(spent=1234))
    assert (await spent_in(durable.url))["spent"] == "1234"
    await book.close(S1)
    stored = await spent_in(durable.url)
    assert (stored["spent"], stored["committed"], stored["open"]) == ("1234", "1234", "0")


async def test_a_new_book_finds_everything_again(durable: RedisServer, book_on: OpenBook) -> None:
    book = await book_on(durable.url, Limits(every_study=50_000_000))
    await opened(book, S1)
    await opened(book, S2)
    await book.report(report(S1, seq=2, spent=500, at_risk=70))
    await book.report(report(S2, spent=40, final=True))
    await book.close(S2)
    await book.set_study_limit("st", 20_000_000)
    costs = [await book.cost(S1), await book.cost(S2)]
    study, totals = book.study_cost("st"), book.totals()
    await book.aclose()

    again = await book_on(durable.url, Limits(every_study=50_000_000))
    assert [await again.cost(S1), await again.cost(S2)] == costs
    assert again.study_cost("st") == study
    assert study is not None
    assert study.limit_micro_usd == 20_000_000
    assert again.epoch == totals.epoch + 1
    assert again.totals().minutes == totals.minutes
    assert again.totals().by_provider == totals.by_provider
    # A report that the old one had already is no news to the new one either.
    await again.report(report(S1, seq=1, spent=300))
    assert again.totals().spent_micro_usd == totals.spent_micro_usd
    late = await again.report(report(S2, seq=2, spent=45, final=True))
    assert late.verdict is Verdict.END
    assert again.totals().spent_micro_usd == 545


async def test_an_older_book_can_neither_grant_nor_write(
    durable: RedisServer, book_on: OpenBook
) -> None:
    old = await book_on(durable.url)
    await opened(old)
    young = await book_on(durable.url)
    await young.report(report(seq=5, spent=900))
    with pytest.raises(BudgetFenced):
        await old.report(report(seq=6, spent=1))
    with pytest.raises(BudgetFenced):
        await opened(old, S2)
    with pytest.raises(BudgetFenced):
        await old.set_fleet_limit(1)
    assert (await spent_in(durable.url))["spent"] == "900"


async def test_a_write_that_comes_twice_or_too_late_changes_nothing(durable: RedisServer) -> None:
    redis = open_redis(durable.url)
    ledger = Ledger(redis, NS)
    epoch = await ledger.take_over()

    def change(spent: int, minute: int, *providers: str) -> Change:
        return Change(
            session_id=S1,
            study_id="st",
            providers=("p", *providers),
            state=f'{{"at":{spent}}}',
            figures=Figures(spent=spent, committed=spent + 10, sessions=1, open=1, responses=spent),
            minutes={Bucket(60, "p"): minute},
        )

    await ledger.write(epoch, 1, [change(100, 100)])
    await ledger.write(epoch, 3, [change(300, 300, "q")])
    await ledger.write(epoch, 3, [change(300, 300, "q")])
    await ledger.write(epoch, 2, [change(200, 200)])
    assert (await spent_in(durable.url)) == {
        "spent": "300",
        "committed": "310",
        "sessions": "1",
        "open": "1",
        "responses": "300",
        "sessions:p": "1",
        "sessions:q": "1",
    }
    for scope in ("session:s1", "study:st", "fleet"):
        assert await redis.hgetall(f"{NS}:budget:minutes:{scope}") == {"60:p": "300"}  # type: ignore[misc]
    await ledger.aclose()


async def test_sums_stay_exact_beyond_what_a_float_holds_in_print(
    durable: RedisServer, book_on: OpenBook
) -> None:
    """Lua counts in doubles and would print 1e+14 for this."""
    book = await book_on(durable.url)
    await opened(book, limit=10**15)
    await book.report(report(spent=123_456_789_012_345))
    assert (await spent_in(durable.url))["spent"] == "123456789012345"


async def test_redis_gone_for_a_while(durable: RedisServer, book_on: OpenBook) -> None:
    book = await book_on(durable.url)
    await opened(book)
    await book.report(report(seq=1, spent=100))
    await durable.kill()
    for seq in (2, 3):
        with pytest.raises(BudgetUnavailable):
            await book.report(report(seq=seq, spent=100 * seq))
    with pytest.raises(BudgetUnavailable):
        await opened(book, S2)
    await durable.start()
    # Nobody was answered; what was taken in is written as soon as Redis is back.
    async with asyncio.timeout(10):
        while (await spent_in(durable.url)).get("spent") != "300":
            await asyncio.sleep(0.02)
    assert (await book.report(report(seq=4, spent=450))).verdict is Verdict.GO_ON
    await book.aclose()
    again = await book_on(durable.url)
    assert again.totals().spent_micro_usd == 450
    assert again.totals().open_sessions == 1


async def test_many_answers_share_a_write(durable: RedisServer, book_on: OpenBook) -> None:
    book = await book_on(durable.url)
    sessions = [SessionId(f"s{n}") for n in range(200)]
    await asyncio.gather(*(opened(book, s) for s in sessions))
    async with Redis.from_url(durable.url, decode_responses=True) as redis:
        before = int((await redis.info("commandstats")).get("cmdstat_evalsha", {}).get("calls", 0))
        await asyncio.gather(*(book.report(report(s, spent=7)) for s in sessions))
        after = int((await redis.info("commandstats"))["cmdstat_evalsha"]["calls"])
    assert book.totals().spent_micro_usd == 1400
    assert after - before <= 3


async def test_random_traffic_over_crashes_adds_up(durable: RedisServer, book_on: OpenBook) -> None:
    """Sessions that keep to their allowance, books that are thrown away: study ≤ limit, exactly."""
    rng = random.Random(20261123)
    limits = Limits(fleet=3_000_000, every_study=2_000_000)
    book = await book_on(durable.url, limits)
    true: dict[SessionId, int] = {}
    held: dict[SessionId, Allowance] = {}
    for step in range(400):
        if rng.random() < 0.03:
            await book.aclose()
            book = await book_on(durable.url, limits)
        if rng.random() < 0.1 and len(true) < 20:
            new = SessionId(f"s{len(true)}")
            true[new], held[new] = 0, await opened(book, new, limit=400_000)
        if not true:
            continue
        session = rng.choice(list(true))
        left = held[session].up_to_micro_usd - true[session]
        true[session] += max(min(rng.randrange(60_000), left), 0)
        answer = await book.report(report(session, seq=step + 1, spent=true[session]))
        if rng.random() < 0.8:
            held[session] = answer
        assert sum(true.values()) <= book.totals().committed_micro_usd <= 3_000_000
    for number, session in enumerate(true):
        seq = 1000 + number
        await book.report(report(session, seq=seq, spent=true[session], final=True))
        await book.close(session)
    await book.aclose()
    again = await book_on(durable.url, limits)
    study = again.study_cost("st")
    assert study is not None
    assert study.spent_micro_usd == study.committed_micro_usd == sum(true.values()) <= 2_000_000
    assert sum(m.micro_usd for m in study.minutes) == study.spent_micro_usd


# The actor


@pytest.fixture
def settings(durable: RedisServer) -> FleetSettings:
    return load_settings(
        redis_url=durable.url,
        redis_namespace=NS,
        ray_namespace="budget-test",
        fleet_limit_usd=Decimal(100),
        livekit_api_key="unused",
        livekit_api_secret="unused-secret-of-enough-length",
    )


@pytest.fixture
def budget(ray_cluster: RayCluster, settings: FleetSettings) -> Any:
    import ray

    handle = get_or_create_budget_actor(settings)
    yield handle
    ray.kill(handle, no_restart=True)


async def test_a_session_from_open_to_close(budget: Any) -> None:
    allowance: Allowance = await budget.open.remote(S1, "st", "gemini_live", 2_000_000)
    assert 0 < allowance.up_to_micro_usd < 2_000_000
    answer: Allowance = await budget.report.remote(report(spent=1_850_000))
    assert answer.verdict is Verdict.WRAP_UP
    both = await budget.report_batch.remote([report(seq=2, spent=1_999_000), report(S2, spent=5)])
    assert [a.session_id for a in both] == [S1, S2]
    assert [a.verdict for a in both] == [Verdict.END, Verdict.END]
    assert both[0].up_to_micro_usd == 2_000_000
    closed: SessionCost = await budget.close.remote(S1)
    assert closed.closed
    assert closed.spent_micro_usd == 1_999_000
    totals: BudgetTotals = await budget.totals.remote()
    assert (totals.spent_micro_usd, totals.limit_micro_usd) == (1_999_005, 100_000_000)
    assert await budget.cost.remote("nobody") is None
    assert await budget.close.remote("nobody") is None
    assert await budget.study_cost.remote("nothing") is None


async def test_what_could_not_be_delivered_comes_with_the_close(budget: Any) -> None:
    await budget.open.remote(S1, "st", "gemini_live", 2_000_000)
    last = report(seq=7, spent=1_234, final=True)
    closed: SessionCost = await budget.close.remote(S1, [last])
    assert closed.spent_micro_usd == 1_234
    again: SessionCost = await budget.close.remote(S1, [last])
    assert again == closed
    assert await budget.close.remote("nobody", [report("nobody", spent=5, final=True)]) is None


async def test_the_same_actor_is_found_by_whoever_asks(
    budget: Any, settings: FleetSettings
) -> None:
    await budget.open.remote(S1, "st", "gemini_live", 1_000_000)
    again = get_or_create_budget_actor(settings)
    assert (await again.totals.remote()).open_sessions == 1


async def test_it_says_who_should_have_ended(budget: Any) -> None:
    await budget.open.remote(S1, "st", "gemini_live", 1_000_000)
    await budget.open.remote(S2, "st", "gemini_live", 1_000_000)
    await budget.set_limit.remote(S1, 0)
    client = RayBudgetClient("budget-test")
    assert await client.overdue(0.0) == [S1]
    assert await client.overdue(60.0) == []


async def test_limits_change_while_it_runs(budget: Any) -> None:
    await budget.open.remote(S1, "st", "gemini_live", 1_000_000)
    raised: Allowance = await budget.set_limit.remote(S1, 5_000_000)
    assert raised.limit_micro_usd == 5_000_000
    stopped: Allowance = await budget.set_limit.remote(S1, 0)
    assert (stopped.verdict, stopped.up_to_micro_usd) == (Verdict.END, 0)
    await budget.open.remote(S2, "st", "gemini_live", 1_000_000)
    answers: list[Allowance] = await budget.set_study_limit.remote("st", 0)
    assert {a.session_id for a in answers} == {S1, S2}


async def test_killed_with_fifty_sessions_running(budget: Any) -> None:
    """kill -9: calls under way are answered by its successor, and no cent is lost or doubled."""
    pid = await budget.__ray_call__.remote(lambda _: os.getpid())
    first_epoch = await budget.ping.remote()
    sessions = [SessionId(f"s{n}") for n in range(50)]
    await asyncio.gather(*(budget.open.remote(s, "st", "p", 1_000_000) for s in sessions))
    held: dict[SessionId, Allowance] = {}

    async def run(session: SessionId, number: int) -> None:
        for seq in range(1, 21):
            held[session] = await budget.report.remote(
                report(session, seq=seq, spent=seq * (100 + number))
            )

    async with asyncio.timeout(60):
        async with asyncio.TaskGroup() as group:
            for number, session in enumerate(sessions):
                group.create_task(run(session, number))
            await asyncio.sleep(0.05)
            os.kill(pid, signal.SIGKILL)
        totals: BudgetTotals = await budget.totals.remote()
    assert totals.epoch > first_epoch
    assert totals.spent_micro_usd == sum(20 * (100 + n) for n in range(50))
    assert totals.open_sessions == 50
    assert {a.epoch for a in held.values()} == {totals.epoch}
    assert {a.verdict for a in held.values()} == {Verdict.GO_ON}


async def test_without_its_ledger_it_grants_nothing(budget: Any, durable: RedisServer) -> None:
    await budget.open.remote(S1, "st", "gemini_live", 1_000_000)
    await durable.kill()
    with pytest.raises(BudgetUnavailable):
        await budget.report.remote(report(spent=10))
    await durable.start()
    assert (await budget.report.remote(report(seq=2, spent=20))).verdict is Verdict.GO_ON
    assert (await budget.totals.remote()).spent_micro_usd == 20
