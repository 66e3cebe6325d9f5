"""One feed: a source's tables, and the frames that its viewers are sent."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

from fleet.journal import LiveState
from fleet.records import SessionRecord
from serve.events import HEARTBEAT_S
from serve.feeds.tables import Tables

STREAM_LIFE_S = 240.0
"""Then a viewer comes anew. Serve keeps what a stalled one does not take, without a bound."""


@dataclass(frozen=True, kw_only=True)
class Tick:
    """What changed in Redis since the last one, as it is now. None: a record that is no more, a
    session without live state."""

    records: Mapping[str, SessionRecord | None]
    lives: Mapping[str, LiveState | None]


class Source(Protocol):
    """Fills a feed's tables. Raises FleetError; what was filled by then stays."""

    async def load(self, tables: Tables) -> None:
        """All of it anew, from Redis alone."""

    async def take(self, tick: Tick, tables: Tables) -> None:
        """What a tick tells, from Redis alone."""

    async def refresh(self, tables: Tables) -> None:
        """What control actors know, as often as the source finds worth it. Called after each tick,
        unless the call before is still under way."""


class Feed:
    def __init__(self, source: Source, now: Callable[[], float]) -> None:
        """``now``: epoch seconds, told with each frame so that viewers can count ages."""
        self.tables = Tables()
        self.source = source
        self.viewers = 0
        self.idle_since = time.monotonic()
        self.loaded: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        """Done with the first load, or with what it failed for."""
        self._now = now
        self._news = asyncio.Event()
        self._frames: dict[int, str] = {}
        """Of this version, by the version they start from; -1 is the snapshot."""

    @property
    def is_loaded(self) -> bool:
        return self.loaded.done() and self.loaded.exception() is None

    async def load(self) -> None:
        """May be repeated. Raises what the source raises."""
        await self.source.load(self.tables)
        self.commit(stale=False)
        if not self.loaded.done():
            self.loaded.set_result(None)

    def give_up(self, error: Exception) -> None:
        """It could not be loaded: tell those who wait for it."""
        self.loaded.set_exception(error)
        self.loaded.exception()  # They may all have gone.

    async def take(self, tick: Tick) -> None:
        await self.source.take(tick, self.tables)
        self.commit(stale=False)

    def commit(self, *, stale: bool | None = None) -> None:
        """Tell the viewers what is new. ``stale``: the source could not be read."""
        if stale is not None:
            self.tables.put("feed", "", {"stale": stale})
        if self.tables.commit():
            self._frames.clear()
            news, self._news = self._news, asyncio.Event()
            news.set()

    async def frames(self, *, life_s: float = STREAM_LIFE_S) -> AsyncIterator[str]:
        """A snapshot, then changes; what happens while a frame is being taken goes into the next.
        Ends after ``life_s``."""
        loop = asyncio.get_running_loop()
        with self._viewing():
            seen, frame = self.tables.version, self._frame(-1)
            ends_at = loop.time() + life_s
            yield frame
            while loop.time() < ends_at:
                if not await self._newer_than(seen):
                    yield ": still here\n\n"
                    continue
                seen, frame = self.tables.version, self._frame(seen)
                yield frame

    async def _newer_than(self, version: int) -> bool:
        if self.tables.version == version:
            try:
                async with asyncio.timeout(HEARTBEAT_S):
                    await self._news.wait()
            except TimeoutError:
                return False
        return True

    def _frame(self, since: int) -> str:
        # Most viewers have seen the version before: they share one text.
        if since not in self._frames:
            changes = self.tables.since(since) if since >= 0 else None
            event = "snapshot" if changes is None else "changes"
            told = self.tables.snapshot() if changes is None else changes
            self._frames[since] = _sse(event, {"at": self._now(), **told})
        return self._frames[since]

    @contextmanager
    def _viewing(self) -> Iterator[None]:
        self.viewers += 1
        try:
            yield
        finally:
            self.viewers -= 1
            self.idle_since = time.monotonic()


def _sse(event: str, data: dict[str, Any]) -> str:
    # JSON holds no raw line break, so one data line is enough.
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    return f"id: {data['version']}\nevent: {event}\ndata: {text}\n\n"
