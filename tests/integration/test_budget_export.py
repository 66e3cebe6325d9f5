"""A study's rows out of a real ledger: they add up to its totals, whatever is open or closed."""

from __future__ import annotations

import time
from collections import Counter

import pytest

from agent_actor.contract import SessionId
from agent_actor.messages import TokenCounts, UsageReport
from agent_actor.redis_client import open_redis
from fleet.budget.book import Book, BookConfig
from fleet.budget.export import CostExport, CostRow
from fleet.budget.ledger import Ledger

SESSIONS = 23
PROVIDERS = ("openai_realtime", "gemini_live")


def report(number: int, seq: int, spent: int, now: float, *, attempt: int = 1) -> UsageReport:
    provider = PROVIDERS[(number + attempt) % 2]
    return UsageReport(
        session_id=SessionId(f"s-{number:02d}"),
        attempt=attempt,
        seq=seq,
        at=now,
        provider=provider,
        model=f"{provider}-dated",
        tokens=TokenCounts(output_audio=spent),
        spent_pico_usd=spent * 1_000_000,
        at_risk_pico_usd=7_000_000,
    )


@pytest.fixture
async def export(redis_server: str) -> CostExport:
    return CostExport(Ledger(open_redis(redis_server), "rows"), page_sessions=5)


async def spend(book: Book, clock: list[float]) -> None:
    """Over three minutes; every third session falls over, every second one is over."""
    for number in range(SESSIONS):
        await book.open(
            session_id=SessionId(f"s-{number:02d}"),
            study_id="st",
            provider=PROVIDERS[(number + 1) % 2],
            limit_micro_usd=10_000_000,
        )
    for minute in range(3):
        clock[0] += 60
        await book.report_batch(
            [report(n, minute + 1, 100 * n + minute, clock[0]) for n in range(SESSIONS)]
        )
    again = range(0, SESSIONS, 3)
    await book.report_batch([report(n, 1, 11, clock[0], attempt=2) for n in again])
    for number in range(0, SESSIONS, 2):
        await book.close(SessionId(f"s-{number:02d}"))


async def test_the_rows_add_up_to_the_totals(redis_server: str, export: CostExport) -> None:
    clock = [time.time() // 60 * 60]
    book = Book(Ledger(open_redis(redis_server), "rows"), BookConfig(), now=lambda: clock[0])
    await book.start()
    try:
        await spend(book, clock)
        study = book.study_cost("st")
        sessions = {f"s-{n:02d}": await book.cost(SessionId(f"s-{n:02d}")) for n in range(SESSIONS)}
    finally:
        await book.aclose()
    pages = [page async for page in export.of_study("st")]
    assert len(pages) == 5
    rows = [row for page in pages for row in page]
    assert study is not None
    assert sum(r.micro_usd for r in rows) == study.spent_micro_usd
    assert by(rows, "provider") == {p.provider: p.spent_micro_usd for p in study.by_provider}
    minutes: Counter[tuple[int, str]] = Counter()
    for row in rows:
        minutes[row.minute_epoch, row.provider] += row.micro_usd
    assert minutes == {(m.minute_epoch, m.provider): m.micro_usd for m in study.minutes}
    spent = {id_: cost.spent_micro_usd for id_, cost in sessions.items() if cost is not None}
    assert by(rows, "session_id") == {id_: micro for id_, micro in spent.items() if micro}
    keys = [(r.session_id, r.minute_epoch, r.provider) for r in rows]
    assert keys == sorted(set(keys))
    assert all(r.model == f"{r.provider}-dated" for r in rows)
    assert await export.of_session("s-03") == tuple(r for r in rows if r.session_id == "s-03")
    assert len({r.provider for r in rows if r.session_id == "s-03"}) == 2
    await export.aclose()


async def test_no_session_no_page(export: CostExport) -> None:
    assert [page async for page in export.of_study("nothing")] == []
    assert await export.of_session("nobody") == ()
    await export.aclose()


def by(rows: list[CostRow], name: str) -> dict[str, int]:
    total: Counter[str] = Counter()
    for row in rows:
        total[getattr(row, name)] += row.micro_usd
    return dict(total)
