"""The fleet: its sessions, what it has ready, its nodes, and an hour of minutes.

sessions   by id: ``session_row``, ``live_row``, ``spending``; those that are not gone
fleet      one row: ``fleet_row``, ``rate`` (micro-dollars a minute), ``simulated`` providers
nodes      by Ray id: ``node_rows``
minutes    by minute: dispatches and how long they took, ``cost`` by provider
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fleet.budget.costs import MINUTE_S, minute_of
from fleet.errors import FleetError
from fleet.records import SessionRecord
from serve.feeds.feed import Tick
from serve.feeds.rows import fleet_row, live_row, minute_rows, node_rows, session_row, spending
from serve.feeds.series import SHOWN_MINUTES, CostRate, Dispatches
from serve.feeds.tables import Tables
from serve.ports import Ports

T = TypeVar("T")

REFRESH_EVERY_S = 2.0
MOST_RECENT = 1_000
"""Sessions looked at for the hour before the feed was opened, gone ones too."""
_PAGE = 500


class FleetSource:
    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._records: dict[str, SessionRecord] = {}
        self._dispatches = Dispatches()
        self._rate = CostRate()
        self._refreshed_at = 0.0

    async def load(self, tables: Tables) -> None:
        self._records = {r.session_id: r async for r in self._ports.sessions.active()}
        ids = list(self._records)
        lives = await self._ports.journal.live_many(ids)
        tables.keep_only("sessions", ids)
        for record, live in zip(self._records.values(), lives, strict=True):
            row = {**session_row(record), **live_row(live), **spending(record, live)}
            tables.put("sessions", record.session_id, row)
        await self._look_back()
        self._put_dispatches(tables)

    async def take(self, tick: Tick, tables: Tables) -> None:
        for session_id, record in tick.records.items():
            if record is None or record.is_gone:
                self._records.pop(session_id, None)
                tables.drop("sessions", session_id)
            else:
                if session_id not in self._records:
                    row = {**live_row(None), **spending(record, None)}
                    tables.put("sessions", session_id, row)
                self._records[session_id] = record
                tables.put("sessions", session_id, session_row(record))
            if record is not None:
                self._dispatches.see(record)
        for session_id, live in tick.lives.items():
            if (record := self._records.get(session_id)) is not None:
                row = {**live_row(live), **spending(record, live)}
                tables.put("sessions", session_id, row)
        if tick.records:
            self._put_dispatches(tables)

    async def refresh(self, tables: Tables) -> None:
        now = self._ports.clock()
        if now - self._refreshed_at < REFRESH_EVERY_S:
            return
        self._refreshed_at = now
        crew, totals, nodes = await asyncio.gather(
            _or_none(self._ports.roster.crew()),
            _or_none(self._ports.money.totals()),
            _or_none(self._ports.nodes.look()),
        )
        row = dict(fleet_row(crew, totals))
        row["simulated"] = [p.provider.value for p in self._ports.providers if p.simulated]
        if totals is not None:
            under_way = totals.spent_micro_usd + totals.estimate_micro_usd
            row["rate"] = self._rate.see(now, under_way)
            for minute, cost in minute_rows(totals.minutes).items():
                tables.put("minutes", minute, {"cost": cost})
        tables.put("fleet", "", row)
        if nodes is not None:
            rows = node_rows(nodes)
            tables.keep_only("nodes", rows)
            for node_id, node in rows.items():
                tables.put("nodes", node_id, node)
        self._forget(tables, now)

    async def _look_back(self) -> None:
        """Dispatches of the last hour, also of sessions that are gone."""
        began = minute_of(self._ports.clock()) - SHOWN_MINUTES * MINUTE_S
        cursor: str | None = None
        for _ in range(MOST_RECENT // _PAGE):
            page = await self._ports.sessions.list(limit=_PAGE, cursor=cursor)
            for record in page.records:
                if record.created_at >= began:
                    self._dispatches.see(record)
            cursor = page.next_cursor
            if cursor is None or page.records[-1].created_at < began:
                return

    def _put_dispatches(self, tables: Tables) -> None:
        for minute, row in self._dispatches.rows().items():
            tables.put("minutes", minute, row)

    def _forget(self, tables: Tables, now: float) -> None:
        oldest = minute_of(now) - SHOWN_MINUTES * MINUTE_S
        self._dispatches.forget_before(oldest)
        tables.keep_only("minutes", [m for m in tables.keys("minutes") if int(m) >= oldest])


async def _or_none(look: Awaitable[T]) -> T | None:
    try:
        return await look
    except FleetError:
        return None
