from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from agent_actor.contract import MAX_METADATA_BYTES
from agent_actor.errors import MetadataTimeout
from agent_actor.metadata import Found, wait_for_config
from agent_actor.transport import RoomChange, RoomEvent
from tests.unit.agent_actor.virtual_time import run

GOOD: dict[str, Any] = {
    "provider": "gemini_live",
    "instructions": "x",
    "phases": [{"id": "one", "name": "One", "duration_seconds": 10}],
}
JOINED = RoomEvent(change=RoomChange.PARTICIPANT_JOINED, identity="participant")
CHANGED = RoomEvent(change=RoomChange.METADATA)
GONE = RoomEvent(change=RoomChange.DISCONNECTED, reason="room_deleted")


class Room:
    """A transport of which only the metadata and the events matter."""

    def __init__(self, metadata: str = "") -> None:
        self.metadata = metadata
        self.reads = 0
        self.events: asyncio.Queue[RoomEvent] = asyncio.Queue()

    def later(self, after_s: float, metadata: str | None, *events: RoomEvent) -> None:
        asyncio.get_running_loop().call_later(after_s, self._change, metadata, events)

    def _change(self, metadata: str | None, events: tuple[RoomEvent, ...]) -> None:
        if metadata is not None:
            self.metadata = metadata
        for event in events:
            self.events.put_nowait(event)


async def wait(room: Room, timeout_s: float = 5.0, poll_s: float = 0.15) -> tuple[Any, float]:
    """What came of it, and after how long."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    found = await wait_for_config(room, timeout_s=timeout_s, poll_s=poll_s)  # type: ignore[arg-type]
    return found, loop.time() - began


@pytest.fixture(autouse=True)
def virtual_monotonic(monkeypatch: pytest.MonkeyPatch) -> None:
    """The wait measures itself on the loop's clock."""
    monkeypatch.setattr(
        "agent_actor.metadata.time.monotonic", lambda: asyncio.get_running_loop().time()
    )


def test_metadata_that_is_there_is_not_waited_for() -> None:
    async def test() -> None:
        found, took_s = await wait(Room(json.dumps(GOOD)))
        assert isinstance(found, Found)
        assert (took_s, found.waited_s, found.problems, found.passed_over) == (0, 0, (), ())
        assert found.config.instructions == "x"

    run(test)


def test_event_is_heeded_at_once_and_a_lost_one_within_a_poll() -> None:
    async def test(*events: RoomEvent) -> float:
        room = Room()
        room.later(0.4, json.dumps(GOOD), *events)
        found, _ = await wait(room)
        return float(found.waited_s)

    assert run(lambda: test(CHANGED)) == pytest.approx(0.4)
    assert run(test) == pytest.approx(0.45)


def test_bad_versions_are_waited_out_and_told() -> None:
    async def test() -> None:
        text = json.dumps(GOOD)
        room = Room(text[:20])
        room.later(1.0, json.dumps({**GOOD, "phases": 7}), CHANGED)
        room.later(2.0, json.dumps({**GOOD, "instructions": "x" * MAX_METADATA_BYTES}), CHANGED)
        room.later(3.0, text, CHANGED)
        found, took_s = await wait(room)
        assert took_s == pytest.approx(3.0)
        assert [p.split(":")[0] for p in found.problems] == [
            "not JSON",
            "phases",
            f"session contract is {MAX_METADATA_BYTES + len(text) - 1} bytes, the limit is "
            f"{MAX_METADATA_BYTES}",
        ]

    run(test)


def test_same_problem_is_told_once_however_often_it_is_seen() -> None:
    async def test() -> None:
        room = Room("{")
        room.later(2.0, json.dumps(GOOD), CHANGED)
        found, _ = await wait(room)
        assert len(found.problems) == 1

    run(test)


@pytest.mark.parametrize(("metadata", "last"), [("", "the room had none"), ("[]", "object")])
def test_metadata_that_never_comes_times_out_to_the_moment(metadata: str, last: str) -> None:
    async def test() -> None:
        with pytest.raises(MetadataTimeout, match=last) as raised:
            await wait(Room(metadata))
        assert raised.value.waited_s == pytest.approx(5.0)
        assert raised.value.retryable

    run(test)


def test_what_else_happens_meanwhile_is_handed_on_in_order() -> None:
    async def test() -> None:
        left = RoomEvent(change=RoomChange.PARTICIPANT_LEFT, identity="participant")
        room = Room()
        room.later(0.1, None, JOINED, CHANGED, left)
        room.later(0.5, json.dumps(GOOD), CHANGED)
        found, _ = await wait(room)
        assert found.passed_over == (JOINED, left)

    run(test)


def test_room_that_is_gone_is_not_waited_for() -> None:
    async def test() -> None:
        room = Room()
        room.later(0.1, None, JOINED, GONE)
        found, took_s = await wait(room)
        assert found == GONE
        assert took_s == pytest.approx(0.1)

    run(test)
