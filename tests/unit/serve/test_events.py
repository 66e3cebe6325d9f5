from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from agent_actor.contract import EndReason, SessionState
from agent_actor.journal import EventKind
from fleet.errors import JournalUnavailable
from serve.events import HEARTBEAT_S
from tests.unit.serve.fakes import FakeFleet, record

STREAM = {"Accept": "text/event-stream"}
URL = "/v1/sessions/s-1/events"


def frames(text: str) -> list[dict[str, str]]:
    """Blocks of a stream as field → value; comments under ""."""
    blocks = [block.split("\n") for block in text.split("\n\n") if block]
    return [dict(line.split(": ", 1) for line in block) for block in blocks]  # type: ignore[misc]


def gone(fleet: FakeFleet) -> None:
    fleet.sessions.put(
        record(state=SessionState.GONE, end_reason=EndReason.COMPLETED, ended_at=1_795_426_300.0)
    )


@pytest.fixture
def live(fleet: FakeFleet) -> FakeFleet:
    fleet.sessions.put(record(state=SessionState.LIVE))
    fleet.journal.add("s-1", EventKind.STATE, state="live")
    fleet.journal.add("s-1", EventKind.TURN, speaker="participant", text="line\nbreak")
    fleet.journal.add("s-1", EventKind.PHASE, phase_id="core", cause="advanced")
    return fleet


async def test_pages_of_json(api: httpx.AsyncClient, live: FakeFleet) -> None:
    first: dict[str, Any] = (await api.get(URL, params={"limit": 2})).json()
    assert [(e["id"], e["kind"]) for e in first["events"]] == [("2-0", "state"), ("3-0", "turn")]
    assert first["events"][0]["at"] == "2026-11-23T09:30:00.000Z"
    assert not first["complete"]
    after = {"after": first["next_after"]}
    rest = (await api.get(URL, params=after)).json()
    assert [e["data"]["cause"] for e in rest["events"]] == ["advanced"]
    none = (await api.get(URL, params={"after": rest["next_after"]})).json()
    assert none == {"events": [], "next_after": "4-0", "complete": False}
    gone(live)
    assert (await api.get(URL, params=after)).json()["complete"]


async def test_a_stream_follows_to_the_end(api: httpx.AsyncClient, live: FakeFleet) -> None:
    def meanwhile() -> None:
        if len(live.journal.entries["s-1"]) == 3:
            live.journal.add("s-1", EventKind.STATE, state="gone")
            gone(live)

    live.journal.quiet = meanwhile
    answer = await api.get(URL, headers=STREAM)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert answer.headers["Cache-Control"] == "no-store"
    got = frames(answer.text)
    assert got[0] == {"retry": "1000"}
    assert [(f["id"], f["event"]) for f in got[1:-1]] == [
        ("2-0", "state"),
        ("3-0", "turn"),
        ("4-0", "phase"),
        ("5-0", "state"),
    ]
    assert json.loads(got[2]["data"])["data"]["text"] == "line\nbreak"
    assert got[-1]["event"] == "end"
    assert "id" not in got[-1]
    assert json.loads(got[-1]["data"]) == {
        "state": "gone",
        "end_reason": "completed",
        "ended_at": "2026-11-23T09:31:40.000Z",
    }
    assert live.journal.followers == 0


@pytest.mark.parametrize(
    ("headers", "params"),
    [
        ({"Last-Event-ID": "3-0"}, {}),
        ({}, {"after": "3-0"}),
        ({"Last-Event-ID": "3-0"}, {"after": "0"}),
    ],
)
async def test_a_stream_resumes_after_the_last_event(
    api: httpx.AsyncClient, live: FakeFleet, headers: dict[str, str], params: dict[str, str]
) -> None:
    gone(live)
    answer = await api.get(URL, headers=STREAM | headers, params=params)
    assert [f.get("event") for f in frames(answer.text)] == [None, "phase", "end"]


async def test_a_stream_that_has_ended_is_not_opened_again(
    api: httpx.AsyncClient, live: FakeFleet
) -> None:
    gone(live)
    answer = await api.get(URL, headers=STREAM | {"Last-Event-ID": "4-0"})
    assert (answer.status_code, answer.content) == (204, b"")


async def test_an_erased_session_has_an_end_and_nothing_else(
    api: httpx.AsyncClient, live: FakeFleet
) -> None:
    gone(live)
    await live.journal.erase("s-1")
    answer = await api.get(URL, headers=STREAM)
    assert [f.get("event") for f in frames(answer.text)] == [None, "end"]


async def test_a_quiet_stream_shows_that_it_lives(api: httpx.AsyncClient, live: FakeFleet) -> None:
    def meanwhile() -> None:
        live.clock.now += HEARTBEAT_S / 2
        if live.clock.now > 1_795_426_200.0 + 4 * HEARTBEAT_S:
            gone(live)

    live.journal.quiet = meanwhile
    answer = await api.get(URL, headers=STREAM | {"Last-Event-ID": "4-0"})
    assert answer.text.count(": still here\n\n") == 4


async def test_a_stream_broken_by_the_store_tells_and_ends(
    api: httpx.AsyncClient, live: FakeFleet
) -> None:
    def meanwhile() -> None:
        live.journal.error = JournalUnavailable("follow")

    live.journal.quiet = meanwhile
    live.sessions.put(record(state=SessionState.GONE))
    answer = await api.get(URL, headers=STREAM)
    assert answer.text.endswith(": interrupted: journal_unavailable\n\n")
    assert "event: end" not in answer.text
    assert live.journal.followers == 0


async def test_a_store_that_is_down_before_the_stream_is_a_problem(
    api: httpx.AsyncClient, live: FakeFleet
) -> None:
    live.sessions.error = JournalUnavailable("get")
    answer = await api.get(URL, headers=STREAM)
    assert (answer.status_code, answer.json()["code"]) == (503, "journal_unavailable")


@pytest.mark.parametrize(
    ("accept", "streams"),
    [
        ("text/event-stream", True),
        ("application/json, text/event-stream;q=0.5", True),
        ("text/event-stream; q=0", False),
        ("*/*", False),
        ("application/json", False),
    ],
)
async def test_only_a_client_that_asks_for_a_stream_gets_one(
    api: httpx.AsyncClient, live: FakeFleet, accept: str, streams: bool
) -> None:
    gone(live)
    answer = await api.get(URL, headers={"Accept": accept})
    assert answer.headers["Content-Type"].startswith("text/event-stream") is streams


@pytest.mark.parametrize("bad", ["x", "1-", "-1", "1-1-1", "1" * 21])
async def test_what_is_no_event_id_is_refused(
    api: httpx.AsyncClient, live: FakeFleet, bad: str
) -> None:
    by_query = await api.get(URL, params={"after": bad})
    by_header = await api.get(URL, headers=STREAM | {"Last-Event-ID": bad})
    assert (by_query.status_code, by_header.status_code) == (422, 422)


async def test_the_transcript(api: httpx.AsyncClient, live: FakeFleet) -> None:
    said = (await api.get("/v1/sessions/s-1/transcript")).json()
    assert said["session_id"] == "s-1"
    assert said["state"] == "live"
    assert said["turns"] == [
        {
            "at": "2026-11-23T09:30:01.000Z",
            "speaker": "participant",
            "text": "line\nbreak",
            "interrupted": False,
            "phase_id": None,
        }
    ]
