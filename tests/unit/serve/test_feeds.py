"""Sources and feeds, ticked by hand: what a viewer is sent when something happens."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from agent_actor.contract import EndReason, SessionState
from agent_actor.journal import EventKind, LiveState
from fleet.errors import BudgetUnavailable, RegistryUnavailable, SessionNotFound
from serve.feeds.feed import Feed, Source
from serve.feeds.fleet_source import FleetSource
from serve.feeds.hub import Feeds
from serve.feeds.session_source import SessionSource
from serve.feeds.study_source import StudySource
from tests.unit.serve.fakes import NOW, FakeFleet, cost, record
from tests.unit.serve.test_events import frames

SOON_S = 2.0


class Viewer:
    """Keeps its copy of the tables, as the page does."""

    def __init__(self, feed: Feed) -> None:
        self._frames = feed.frames()
        self.tables: dict[str, dict[str, Any]] = {}
        self.events: list[str] = []

    async def take(self) -> dict[str, Any]:
        """The next frame's data."""
        async with asyncio.timeout(SOON_S):
            (frame,) = frames(await anext(self._frames))
        told: dict[str, Any] = json.loads(frame["data"])
        self.events.append(frame["event"])
        if frame["event"] == "snapshot":
            self.tables = {}
        for table, keys in told.get("drop", {}).items():
            for key in keys:
                self.tables[table].pop(key, None)
        for table, rows in told.get("put", {}).items():
            for key, row in rows.items():
                self.tables.setdefault(table, {}).setdefault(key, {}).update(row)
        return told

    async def aclose(self) -> None:
        assert isinstance(self._frames, AsyncIterator)
        await self._frames.aclose()  # type: ignore[attr-defined]


class Ticked(Feeds):
    """Without loops of its own."""

    def _start(self) -> None:
        pass

    async def opened(self, name: str, source: Source) -> Viewer:
        waiting = asyncio.create_task(self.feed(name, lambda: source))
        await asyncio.sleep(0)
        await self.tick()
        await self.refresh()
        return Viewer(await waiting)


@pytest.fixture
def feeds(fleet: FakeFleet) -> Ticked:
    return Ticked(fleet.ports())


def live(**changes: Any) -> LiveState:
    base = LiveState(state="live", phase_index=0, phase_count=2, phase_id="warmup")
    return replace(base, participant_present=True, updated_at=NOW, **changes)


async def test_the_fleet_as_it_is_then_what_changes(fleet: FakeFleet, feeds: Ticked) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE, first_joined_at=NOW + 0.2))
    fleet.sessions.put(record("s-0", state=SessionState.GONE, first_joined_at=NOW + 0.4))
    fleet.journal.lives["s-1"] = live(spent_micro_usd=700)
    viewer = await feeds.opened("fleet", FleetSource(fleet.ports()))
    snapshot = await viewer.take()
    assert (viewer.events, snapshot["at"]) == (["snapshot"], NOW)
    (row,) = viewer.tables["sessions"].values()
    assert (row["state"], row["phase"], row["phases"], row["spent"]) == ("live", 0, 2, 700)
    assert viewer.tables["fleet"][""]["warm"] == 2
    assert [node["state"] for node in viewer.tables["nodes"].values()] == ["active"]
    (minute,) = viewer.tables["minutes"].values()
    assert (minute["dispatches"], minute["dispatch_p95_ms"]) == (2, 400.0)

    fleet.journal.lives["s-1"] = live(spent_micro_usd=900, speaking="participant")
    fleet.changes.tell(lives=["s-1"])
    await feeds.tick()
    told = await viewer.take()
    assert told["put"] == {"sessions": {"s-1": {"spent": 900, "speaking": "participant"}}}

    fleet.sessions.put(record("s-2", state=SessionState.ASSIGNED))
    fleet.sessions.put(record("s-1", state=SessionState.GONE, end_reason=EndReason.COMPLETED))
    fleet.changes.tell(records=["s-1", "s-2"])
    await feeds.tick()
    told = await viewer.take()
    assert told["drop"] == {"sessions": ["s-1"]}
    assert list(viewer.tables["sessions"]) == ["s-2"]
    assert viewer.tables["sessions"]["s-2"]["spent"] == 0


async def test_a_slow_viewer_gets_one_frame_for_many_changes(
    fleet: FakeFleet, feeds: Ticked
) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    viewer = await feeds.opened("fleet", FleetSource(fleet.ports()))
    await viewer.take()
    for spent in range(1, 6):
        fleet.journal.lives["s-1"] = live(spent_micro_usd=spent * 100)
        fleet.changes.tell(lives=["s-1"])
        await feeds.tick()
    await viewer.take()
    assert viewer.events == ["snapshot", "changes"]
    assert viewer.tables["sessions"]["s-1"]["spent"] == 500


async def test_a_stream_ends_after_its_time(fleet: FakeFleet, feeds: Ticked) -> None:
    await feeds.opened("fleet", FleetSource(fleet.ports()))
    feed = await feeds.feed("fleet", lambda: FleetSource(fleet.ports()))
    assert len([frame async for frame in feed.frames(life_s=0)]) == 1
    assert feed.viewers == 0


async def test_what_was_told_incompletely_is_read_anew(fleet: FakeFleet, feeds: Ticked) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    viewer = await feeds.opened("fleet", FleetSource(fleet.ports()))
    await viewer.take()
    fleet.sessions.put(record("s-1", state=SessionState.GONE))
    fleet.sessions.put(record("s-2", state=SessionState.LIVE))
    fleet.changes.complete = False
    await feeds.tick()
    await viewer.take()
    assert list(viewer.tables["sessions"]) == ["s-2"]


async def test_a_store_that_is_away_is_told_and_nothing_is_missed(
    fleet: FakeFleet, feeds: Ticked
) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    viewer = await feeds.opened("fleet", FleetSource(fleet.ports()))
    await viewer.take()
    fleet.sessions.put(record("s-1", state=SessionState.ENDING))
    fleet.changes.tell(records=["s-1"])
    fleet.sessions.error = RegistryUnavailable("find_many", "ConnectionError")
    await feeds.tick()
    assert (await viewer.take())["put"]["feed"][""] == {"stale": True}
    fleet.sessions.error = None
    await feeds.tick()
    await viewer.take()
    assert viewer.tables["feed"][""] == {"stale": False}
    assert viewer.tables["sessions"]["s-1"]["state"] == "ending"


async def test_control_actors_that_are_away_leave_the_sessions_in_sight(
    fleet: FakeFleet, feeds: Ticked
) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    fleet.money.error = BudgetUnavailable("down")
    fleet.roster.error = RegistryUnavailable("crew", "TimeoutError")
    viewer = await feeds.opened("fleet", FleetSource(fleet.ports()))
    await viewer.take()
    assert list(viewer.tables["sessions"]) == ["s-1"]
    known = viewer.tables["fleet"][""]
    assert (known["crew_known"], known["money_known"]) == (False, False)


async def test_a_session_with_its_journal_and_its_cost(fleet: FakeFleet, feeds: Ticked) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    fleet.journal.lives["s-1"] = live()
    fleet.money.costs["s-1"] = cost()
    fleet.journal.add("s-1", EventKind.PHASE, change="entered", phase_id="warmup", name="Warm-up")
    viewer = await feeds.opened("session s-1", SessionSource(fleet.ports(), "s-1"))
    await viewer.take()
    assert [e["kind"] for e in viewer.tables["entries"].values()] == ["phase"]
    assert viewer.tables["session"][""]["verdict"] == "go_on"
    (minute,) = viewer.tables["minutes"].values()
    assert minute == {"cost": {"openai_realtime": 431_200}}

    fleet.journal.add("s-1", EventKind.TURN, speaker="participant", text="<b>Hm.</b>")
    fleet.money.costs["s-1"] = cost(responses=10)
    fleet.changes.tell(lives=["s-1", "s-of-others"])
    fleet.clock.now += 1
    await feeds.tick()
    await feeds.refresh()
    told = await viewer.take()
    assert [e["data"]["text"] for e in told["put"]["entries"].values()] == ["<b>Hm.</b>"]
    assert viewer.tables["session"][""]["responses"] == 10

    fleet.sessions.put(
        record("s-1", state=SessionState.GONE, end_reason=EndReason.OPERATOR, erased_at=NOW)
    )
    fleet.changes.tell(records=["s-1"])
    await feeds.tick()
    await viewer.take()
    assert viewer.tables["entries"] == {}
    assert viewer.tables["session"][""]["end_reason"] == "operator"


async def test_a_study_with_its_providers(fleet: FakeFleet, feeds: Ticked) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    fleet.sessions.put(record("s-2", study_id="another"))
    viewer = await feeds.opened("study study-7", StudySource(fleet.ports(), "study-7"))
    await viewer.take()
    assert list(viewer.tables["sessions"]) == ["s-1"]
    assert viewer.tables["providers"]["openai_realtime"]["ended"] == 0

    fleet.journal.lives["s-1"] = live(spent_micro_usd=300)
    fleet.changes.tell(lives=["s-1", "s-2"], records=["s-2"])
    await feeds.tick()
    assert (await viewer.take())["put"]["sessions"]["s-1"]["spent"] == 300

    ended = {"end_reason": EndReason.COMPLETED, "first_joined_at": NOW, "ended_at": NOW + 60}
    fleet.sessions.put(record("s-1", state=SessionState.GONE, spent_micro_usd=400, **ended))
    fleet.changes.tell(records=["s-1"])
    await feeds.tick()
    await viewer.take()
    figures = viewer.tables["providers"]["openai_realtime"]
    assert (figures["completion"], figures["micro_usd_per_minute"]) == (1.0, 400)
    assert viewer.tables["study"][""]["states"]["gone"] == 1


async def test_a_session_that_is_not_known_is_told_to_whoever_asks(
    fleet: FakeFleet, feeds: Ticked
) -> None:
    with pytest.raises(SessionNotFound):
        await feeds.opened("session s-9", SessionSource(fleet.ports(), "s-9"))


async def test_viewers_share_a_feed_that_is_let_go_when_they_are_gone(
    fleet: FakeFleet, feeds: Ticked, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("serve.feeds.hub.LINGER_S", 0.0)
    source = FleetSource(fleet.ports())
    first = await feeds.opened("fleet", source)
    await first.take()
    second = Viewer(await feeds.feed("fleet", lambda: FleetSource(fleet.ports())))
    await second.take()
    feed = await feeds.feed("fleet", lambda: source)
    assert (feed.source, feed.viewers) == (source, 2)
    await first.aclose()
    await feeds.tick()
    assert await feeds.feed("fleet", lambda: source) is feed
    await second.aclose()
    await feeds.tick()
    assert feed.viewers == 0
    fresh = await feeds.opened("fleet", source)
    await fresh.take()
    assert fresh.events == ["snapshot"]


async def test_the_routes_answer_problems_before_a_stream(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    assert (await api.get("/v1/studies/study-7/stream")).status_code == 404
    assert (await api.get("/v1/studies/study-7/comparison")).status_code == 404
    assert (await api.get("/v1/sessions/s-9/stream")).status_code == 404
    fleet.sessions.error = RegistryUnavailable("list", "ConnectionError")
    assert (await api.get("/v1/fleet/stream")).status_code == 503


async def test_a_comparison_for_those_who_ask_once(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    ended = {"end_reason": EndReason.COMPLETED, "first_joined_at": NOW, "ended_at": NOW + 120}
    fleet.sessions.put(record(state=SessionState.GONE, spent_micro_usd=250_000, **ended))
    answer = (await api.get("/v1/studies/study-7/comparison")).json()
    (found,) = answer["providers"]
    assert (found["completion"], found["usd_per_minute"]) == (1.0, "0.125000")
