"""The feeds that are open on this replica, and the one reader that keeps them all up to date."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import time
from collections.abc import Callable, Coroutine
from typing import Any

import structlog

from fleet.errors import FleetError
from serve.feeds.feed import Feed, Source, Tick
from serve.ports import Ports

TICK_S = 0.5
LINGER_S = 10.0
"""A feed that nobody views is kept so long: whoever reloads the page finds it."""

_log = structlog.get_logger(__name__)


class Feeds:
    """While any feed is open a loop reads what changed in Redis, and beside it asks control actors.
    ``aclose`` ends it.
    """

    def __init__(self, ports: Ports) -> None:
        self._ports = ports
        self._open: dict[str, Feed] = {}
        self._mark: int | None = None
        self._wanted = asyncio.Event()
        self._running: asyncio.Task[None] | None = None

    async def feed(self, name: str, source: Callable[[], Source]) -> Feed:
        """The feed of that name, loaded; opened with ``source`` if it is not. Raises FleetError."""
        feed = self._open.get(name)
        if feed is None:
            feed = self._open[name] = Feed(source(), self._ports.clock)
            self._wanted.set()
        feed.idle_since = time.monotonic()
        if self._running is None:
            self._start()
        await asyncio.shield(feed.loaded)
        return feed

    async def aclose(self) -> None:
        if self._running is not None:
            self._running.cancel()
            await asyncio.gather(self._running, return_exceptions=True)
        self._open.clear()

    async def tick(self) -> None:
        """One look at Redis: loads what was opened, hands on what changed."""
        self._close_unwatched()
        try:
            await self._look()
        except FleetError as error:
            _log.info("feeds_not_read", error=error.code)
            for name, feed in list(self._open.items()):
                if feed.is_loaded:
                    feed.commit(stale=True)
                else:
                    feed.give_up(error)
                    del self._open[name]

    async def refresh(self) -> None:
        loaded = [feed for feed in self._open.values() if feed.is_loaded]
        await asyncio.gather(*(self._refresh(feed) for feed in loaded))

    async def _look(self) -> None:
        changes = self._ports.changes
        if self._mark is None:
            self._mark = await changes.mark()
        for name, feed in list(self._open.items()):
            if not feed.loaded.done():
                await self._load(name, feed)
        changed = await changes.since(self._mark)
        if not changed.complete:
            for feed in self._loaded():
                await feed.load()
        elif changed.records or changed.lives:
            tick = await self._read(list(changed.records), list(changed.lives))
            for feed in self._loaded():
                await feed.take(tick)
        else:
            for feed in self._loaded():
                feed.commit(stale=False)
        self._mark = changed.mark

    async def _load(self, name: str, feed: Feed) -> None:
        try:
            await feed.load()
        except Exception as error:
            feed.give_up(error)
            # Who comes next tries anew.
            del self._open[name]
            if not isinstance(error, FleetError):
                raise

    async def _read(self, records: list[str], lives: list[str]) -> Tick:
        found, live = await asyncio.gather(
            self._ports.sessions.find_many(records), self._ports.journal.live_many(lives)
        )
        return Tick(
            records={id_: found.get(id_) for id_ in records},
            lives=dict(zip(lives, live, strict=True)),
        )

    async def _refresh(self, feed: Feed) -> None:
        try:
            await feed.source.refresh(feed.tables)
        except FleetError as error:
            _log.info("feed_not_refreshed", error=error.code)
        feed.commit()

    def _loaded(self) -> list[Feed]:
        return [feed for feed in self._open.values() if feed.is_loaded]

    def _close_unwatched(self) -> None:
        long_ago = time.monotonic() - LINGER_S
        for name, feed in list(self._open.items()):
            if feed.is_loaded and not feed.viewers and feed.idle_since < long_ago:
                del self._open[name]

    def _start(self) -> None:
        self._mark = None
        # In a context of its own: what a request begins, Serve cancels with it (serve.tasks).
        self._running = asyncio.create_task(
            self._run(), name="feeds", context=contextvars.Context()
        )

    async def _run(self) -> None:
        refreshing: asyncio.Task[None] | None = None
        try:
            while self._open:
                self._wanted.clear()
                await _survive(self.tick())
                # Control actors may be slow: nobody waits for them.
                if refreshing is None or refreshing.done():
                    refreshing = asyncio.create_task(_survive(self.refresh()), name="refresh")
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(TICK_S):
                        await self._wanted.wait()
            # Before anything else is waited for: who comes next starts anew.
            self._running = None
        finally:
            if refreshing is not None:
                refreshing.cancel()
                await asyncio.gather(refreshing, return_exceptions=True)


async def _survive(work: Coroutine[Any, Any, None]) -> None:
    """A defect in one look must not leave every page standing still."""
    try:
        await work
    except Exception:
        _log.exception("feeds_failed")
