"""A study: its totals, its providers side by side, its newest sessions.

study      one row: money, sessions by state
providers  by name: what ``compare`` finds, and what the budget has spent with each
minutes    by minute: ``cost`` by provider
sessions   by id: the newest, ended ones too
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import asdict

from fleet.journal import LiveState
from fleet.records import LIFE, SessionRecord
from serve.feeds.comparison import ProviderFigures, compare
from serve.feeds.feed import Tick
from serve.feeds.rows import ended_row, live_row, minute_rows, session_row, spending
from serve.feeds.tables import Row, Tables
from serve.ports import Ports, Sessions

REFRESH_EVERY_S = 2.0
MOST_SESSIONS = 200
_PAGE = 500


class StudySource:
    def __init__(self, ports: Ports, study_id: str) -> None:
        self._ports = ports
        self._study_id = study_id
        self._records: dict[str, SessionRecord] = {}
        self._cost_due = True
        self._refreshed_at = 0.0

    async def load(self, tables: Tables) -> None:
        found = records_of(self._ports.sessions, self._study_id)
        self._records = {r.session_id: r async for r in found}
        newest = self._newest()
        running = [r.session_id for r in newest if not r.is_gone]
        lives = await self._ports.journal.live_many(running)
        known = dict(zip(running, lives, strict=True))
        for record in newest:
            tables.put("sessions", record.session_id, _row(record, known.get(record.session_id)))
        self._cost_due = True
        self._sum_up(tables)

    async def take(self, tick: Tick, tables: Tables) -> None:
        mine = {
            id_: record
            for id_, record in tick.records.items()
            if record is not None and record.study_id == self._study_id
        }
        self._records |= mine
        for session_id, record in mine.items():
            row = {**session_row(record), **ended_row(record)}
            if record.is_gone or tables.get("sessions", session_id) is None:
                row |= {**live_row(None), **spending(record, None)}
            tables.put("sessions", session_id, row)
        for session_id, live in tick.lives.items():
            if session_id in self._records:
                self._cost_due = True
                row = {**live_row(live), **spending(self._records[session_id], live)}
                if tables.get("sessions", session_id) is not None:
                    tables.put("sessions", session_id, row)
        if mine:
            self._cost_due = True
            self._sum_up(tables)

    async def refresh(self, tables: Tables) -> None:
        now = self._ports.clock()
        if not self._cost_due or now - self._refreshed_at < REFRESH_EVERY_S:
            return
        self._cost_due, self._refreshed_at = False, now
        cost = await self._ports.money.study_cost(self._study_id)
        if cost is None:
            return
        money = {
            "spent": cost.spent_micro_usd,
            "estimate": cost.estimate_micro_usd,
            "limit": cost.limit_micro_usd,
            "committed": cost.committed_micro_usd,
            "responses": cost.responses,
            "unpriced": cost.unpriced_responses,
            "tokens_in": cost.tokens.input_total,
            "tokens_out": cost.tokens.output_total,
        }
        tables.put("study", "", money)
        for provider in cost.by_provider:
            row = {"spent_in_all": provider.spent_micro_usd, "sessions": provider.sessions}
            tables.put("providers", provider.provider, row)
        for minute, by_provider in minute_rows(cost.minutes).items():
            tables.put("minutes", minute, {"cost": by_provider})

    def _sum_up(self, tables: Tables) -> None:
        states = Counter(record.state for record in self._records.values())
        by_state = {state.value: states[state] for state in LIFE}
        tables.put("study", "", {"sessions": len(self._records), "states": by_state})
        for figures in compare(self._records.values()):
            tables.put("providers", figures.provider, figures_row(figures))
        tables.keep_only("sessions", [record.session_id for record in self._newest()])

    def _newest(self) -> list[SessionRecord]:
        in_order = sorted(self._records.values(), key=lambda r: r.created_at, reverse=True)
        return in_order[:MOST_SESSIONS]


async def records_of(sessions: Sessions, study_id: str) -> AsyncIterator[SessionRecord]:
    """All that are still kept, the newest first."""
    cursor: str | None = None
    while True:
        page = await sessions.list(study_id=study_id, limit=_PAGE, cursor=cursor)
        for record in page.records:
            yield record
        cursor = page.next_cursor
        if cursor is None:
            return


def figures_row(figures: ProviderFigures) -> Row:
    row = asdict(figures)
    del row["provider"]
    row["completion"] = figures.completion
    row["micro_usd_per_minute"] = figures.micro_usd_per_minute
    return row


def _row(record: SessionRecord, live: LiveState | None) -> Row:
    row = {**session_row(record), **ended_row(record), **live_row(live)}
    return {**row, **spending(record, live)}
