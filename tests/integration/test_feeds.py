"""The feeds over a real Redis: what is written there, a viewer has half a second later."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_actor.changes import changes_key
from agent_actor.contract import EndReason, SessionId, SessionState
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.redis_client import open_redis
from fleet.changes import Changes
from fleet.errors import RegistryUnavailable
from fleet.journal import Journal
from fleet.local.redis import RedisServer
from fleet.local.run_dir import RunDir
from fleet.registry import Registry
from serve.feeds.feed import Feed
from serve.feeds.fleet_source import FleetSource
from serve.feeds.hub import Feeds
from serve.feeds.session_source import SessionSource
from serve.ports import Ports
from tests.integration.test_registry import a_record
from tests.unit.serve.fakes import FakeFleet
from tests.unit.serve.test_events import frames

SOON_S = 10.0


@pytest.fixture
async def registry(redis_server: str) -> AsyncIterator[Registry]:
    registry = Registry(open_redis(redis_server), "t")
    yield registry
    await registry.aclose()


@pytest.fixture
async def changes(redis_server: str) -> AsyncIterator[Changes]:
    changes = Changes(open_redis(redis_server), "t", most=50)
    yield changes
    await changes.aclose()


async def opened(redis_url: str) -> tuple[Ports, Callable[[], Any]]:
    """Ports with a real store and fakes where control actors would be."""
    redis = open_redis(redis_url)
    ports = replace(
        FakeFleet().ports(),
        sessions=Registry(redis, "t"),
        journal=Journal(redis, "t"),
        changes=Changes(redis, "t"),
    )
    return ports, redis.aclose


class Viewer:
    def __init__(self, feed: Feed) -> None:
        self._frames = feed.frames()
        self.tables: dict[str, dict[str, dict[str, Any]]] = {}

    async def until(self, is_so: Callable[[dict[str, dict[str, dict[str, Any]]]], bool]) -> None:
        async with asyncio.timeout(SOON_S):
            while not self.tables or not is_so(self.tables):
                (frame,) = frames(await anext(self._frames))
                told = json.loads(frame["data"])
                for table, keys in told.get("drop", {}).items():
                    for key in keys:
                        self.tables[table].pop(key, None)
                for table, rows in told.get("put", {}).items():
                    for key, row in rows.items():
                        self.tables.setdefault(table, {}).setdefault(key, {}).update(row)


class Writing:
    """A session's actor, writing; what it wrote is in Redis when it is left."""

    def __init__(self, redis_url: str) -> None:
        self._writer = JournalWriter(redis_url, "t", SessionId("s-1"), 1)

    async def __aenter__(self) -> JournalWriter:
        return self._writer.start()

    async def __aexit__(self, *_: object) -> None:
        await self._writer.aclose()


async def test_every_writer_marks_what_it_wrote(
    redis_server: str, registry: Registry, changes: Changes
) -> None:
    mark = await changes.mark()
    assert mark == 0

    async def seen() -> tuple[set[str], set[str]]:
        nonlocal mark
        changed = await changes.since(mark)
        assert changed.complete
        mark = changed.mark
        return set(changed.records), set(changed.lives)

    await registry.create(a_record())
    assert await seen() == ({"s-1"}, set())
    await registry.update("s-1", state=SessionState.ASSIGNED, attempt=1)
    await registry.add_facts("s-1", limit_micro_usd=5)
    assert await seen() == ({"s-1"}, set())
    async with Writing(redis_server) as writer:
        writer.record(EventKind.NOTE, text="hello")
    assert await seen() == (set(), {"s-1"})
    await registry.end("s-1", EndReason.OPERATOR)
    await registry.anonymise("s-1", now=1.0)
    await registry.create(a_record("s-2"))
    assert await seen() == ({"s-1", "s-2"}, set())
    await registry.withdraw("s-2")
    assert await seen() == ({"s-2"}, set())
    assert await seen() == (set(), set())


async def test_a_reader_that_may_have_missed_something_is_told(
    redis_server: str, registry: Registry, changes: Changes
) -> None:
    for n in range(50):
        await registry.create(a_record(f"s-{n}"))
    assert not (await changes.since(0)).complete
    mark = await changes.mark()
    assert (await changes.since(mark)).complete
    redis = open_redis(redis_server)
    await redis.delete(changes_key("t"))
    await redis.aclose()
    assert not (await changes.since(mark)).complete


async def test_a_viewer_follows_the_fleet_and_a_session(
    redis_server: str, registry: Registry
) -> None:
    ports, aclose = await opened(redis_server)
    feeds = Feeds(ports)
    await registry.create(a_record())
    try:
        fleet = Viewer(await feeds.feed("fleet", lambda: FleetSource(ports)))
        session = Viewer(await feeds.feed("session", lambda: SessionSource(ports, "s-1")))
        await fleet.until(lambda t: t["sessions"]["s-1"]["state"] == "queued")
        for state in (SessionState.ASSIGNED, SessionState.LIVE):
            await registry.update("s-1", state=state, attempt=1)
        async with Writing(redis_server) as writer:
            writer.record(EventKind.TURN, speaker="participant", text="Mostly on Sundays.")
            writer.live(LiveState(state="live", spent_micro_usd=900, speaking="participant"))
            await fleet.until(lambda t: t["sessions"]["s-1"]["spent"] == 900)
        await session.until(lambda t: t["session"][""]["speaking"] == "participant")
        (entry,) = session.tables["entries"].values()
        assert (entry["kind"], entry["data"]["text"]) == ("turn", "Mostly on Sundays.")
        await registry.end("s-1", EndReason.COMPLETED, spent_micro_usd=950)
        await fleet.until(lambda t: "s-1" not in t["sessions"])
        await session.until(lambda t: t["session"][""]["end_reason"] == "completed")
        assert session.tables["session"][""]["spent"] == 950
    finally:
        await feeds.aclose()
        await aclose()


async def test_a_store_that_comes_back_is_read_on(run: RunDir) -> None:
    server = RedisServer(run)
    async with server:
        ports, aclose = await opened(server.url)
        feeds, registry = Feeds(ports), Registry(open_redis(server.url), "t")
        await registry.create(a_record())
        try:
            viewer = Viewer(await feeds.feed("fleet", lambda: FleetSource(ports)))
            await viewer.until(lambda t: "s-1" in t["sessions"])
            await server.kill()
            await viewer.until(lambda t: t["feed"][""]["stale"])
            with pytest.raises(RegistryUnavailable):
                await feeds.feed("session", lambda: SessionSource(ports, "s-1"))
            await server.start()
            await registry.create(a_record("s-2"))
            await viewer.until(lambda t: "s-2" in t["sessions"] and not t["feed"][""]["stale"])
        finally:
            await feeds.aclose()
            await aclose()
            await registry.aclose()
