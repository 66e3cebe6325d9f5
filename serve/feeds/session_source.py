"""One session: where it stands, its journal as it is written, what it costs minute by minute.

session    one row: ``session_row``, ``ended_row``, ``live_row``, ``spending``, ``cost_row``
entries    by entry id: ``entry_row``; the newest of a very long journal, none once erased
minutes    by minute: ``cost`` by provider
"""

from __future__ import annotations

from collections import deque

from fleet.errors import SessionNotFound
from fleet.journal import BEGINNING, LiveState
from fleet.records import SessionRecord
from serve.feeds.feed import Tick
from serve.feeds.rows import (
    cost_row,
    ended_row,
    entry_row,
    live_row,
    minute_rows,
    session_row,
    spending,
)
from serve.feeds.tables import Tables
from serve.ports import Ports

REFRESH_EVERY_S = 1.0
MOST_ENTRIES = 5_000
_PAGE = 1_000


class SessionSource:
    def __init__(self, ports: Ports, session_id: str) -> None:
        self._ports = ports
        self._id = session_id
        self._record: SessionRecord | None = None
        self._live: LiveState | None = None
        self._last = BEGINNING
        self._shown: deque[str] = deque()
        self._cost_due = True
        self._refreshed_at = 0.0

    async def load(self, tables: Tables) -> None:
        """Raises SessionNotFound."""
        found = await self._ports.sessions.find_many([self._id])
        self._record = found.get(self._id, self._record)
        if self._record is None:
            raise SessionNotFound(self._id)
        self._live = await self._ports.journal.live(self._id)
        self._cost_due = True
        self._put(tables)
        await self._read_on(tables)

    async def take(self, tick: Tick, tables: Tables) -> None:
        if self._id in tick.records:
            self._record = tick.records[self._id] or self._record
        if self._id in tick.lives:
            self._live = tick.lives[self._id]
            await self._read_on(tables)
        if self._id in tick.records or self._id in tick.lives:
            self._cost_due = True
            self._put(tables)

    async def refresh(self, tables: Tables) -> None:
        now = self._ports.clock()
        if not self._cost_due or now - self._refreshed_at < REFRESH_EVERY_S:
            return
        self._cost_due, self._refreshed_at = False, now
        cost = await self._ports.money.cost(self._id)
        if cost is not None:
            tables.put("session", "", cost_row(cost))
            for minute, by_provider in minute_rows(cost.minutes).items():
                tables.put("minutes", minute, {"cost": by_provider})

    def _put(self, tables: Tables) -> None:
        record = self._record
        if record is None:
            return
        live = None if record.is_gone else self._live
        row = {**session_row(record), **ended_row(record), **live_row(live)}
        tables.put("session", "", {**row, **spending(record, self._live)})
        if record.erased_at is not None:
            tables.keep_only("entries", ())

    async def _read_on(self, tables: Tables) -> None:
        while True:
            entries = await self._ports.journal.read(self._id, after_id=self._last, limit=_PAGE)
            for entry in entries:
                tables.put("entries", entry.id, entry_row(entry))
                self._shown.append(entry.id)
                self._last = entry.id
            while len(self._shown) > MOST_ENTRIES:
                tables.drop("entries", self._shown.popleft())
            if len(entries) < _PAGE:
                return
