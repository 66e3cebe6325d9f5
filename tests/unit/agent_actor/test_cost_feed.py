from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from agent_actor.contract import SessionId
from agent_actor.cost_feed import INTERVAL_S, REPEAT_S, SEND_TIMEOUT_S, TOPIC, Cost, CostFeed
from agent_actor.messages import TokenCounts, Verdict
from agent_actor.transport import LiveKitTransport
from tests.unit.agent_actor.virtual_time import clock, run, settle

FIRST = Cost(
    spent_micro_usd=1_234_567,
    estimate_micro_usd=8,
    limit_micro_usd=4_000_000,
    allowance_micro_usd=2_000_000,
    verdict=Verdict.GO_ON,
    tokens=TokenCounts(input_audio=120, output_audio=40),
    responses=3,
    unpriced_responses=0,
    phase_id="core",
    phase_index=1,
    phase_count=2,
)


async def pass_time(seconds: float) -> None:
    """On the virtual loop a timeout passes at once."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            await asyncio.Event().wait()
    await settle()


class Room:
    """What was sent into it: when, to whom, the message."""

    def __init__(self) -> None:
        self.sent: list[tuple[float, tuple[str, ...], dict[str, Any]]] = []
        self.error: Exception | None = None
        self.hangs = False

    async def publish(self, topic: str, payload: bytes, to: Sequence[str]) -> None:
        assert topic == TOPIC
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        self.sent.append((clock(), tuple(to), json.loads(payload)))


class Feed:
    """A feed that runs in virtual time, and what it looks at."""

    def __init__(self, *observers: str) -> None:
        self.room = Room()
        self.cost: Cost | None = FIRST
        self.feed = CostFeed(
            session_id=SessionId("s-1"),
            attempt=2,
            observers=observers,
            look=self.look,
            publish=self.room.publish,
            now=clock,
            sleep=pass_time,
        )

    def look(self) -> Cost | None:
        return self.cost

    async def __aenter__(self) -> Feed:
        self.task = asyncio.create_task(self.feed.run())
        await settle()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)

    @property
    def messages(self) -> list[dict[str, Any]]:
        return [message for _, _, message in self.room.sent]


def test_a_message_says_everything() -> None:
    async def story() -> None:
        async with Feed("observer-1") as feed:
            (message,) = feed.messages
        assert message == {
            "session_id": "s-1",
            "attempt": 2,
            "seq": 1,
            "at": "1970-01-01T00:00:00.000Z",
            "spent_micro_usd": 1_234_567,
            "spent_usd": "1.234567",
            "estimate_micro_usd": 8,
            "estimate_usd": "0.000008",
            "limit_micro_usd": 4_000_000,
            "limit_usd": "4.000000",
            "allowance_micro_usd": 2_000_000,
            "allowance_usd": "2.000000",
            "verdict": "go_on",
            "tokens": {
                "input_text": 0,
                "input_audio": 120,
                "cached_text": 0,
                "cached_audio": 0,
                "output_text": 0,
                "output_audio": 40,
            },
            "responses": 3,
            "unpriced_responses": 0,
            "phase": {"id": "core", "index": 1, "count": 2},
            "final": False,
        }

    run(story)


def test_nobody_observes_nothing_is_sent() -> None:
    async def story() -> None:
        async with Feed() as feed:
            await pass_time(3 * REPEAT_S)
        await feed.feed.finish()
        assert feed.room.sent == []

    run(story)


def test_an_empty_list_is_never_a_broadcast() -> None:
    """LiveKit takes a message to nobody for one to everybody."""

    class Participant:
        async def publish_data(self, *_: object, **__: object) -> None:
            raise AssertionError("sent to everybody")

    class FakeRoom:
        local_participant = Participant()

    async def story() -> None:
        transport = LiveKitTransport(url="ws://x", token="t", connect_timeout_s=1)
        transport._room = FakeRoom()  # type: ignore[assignment]
        await transport.publish(TOPIC, b"{}", [])
        with pytest.raises(AssertionError):
            await transport.publish(TOPIC, b"{}", ["observer-1"])

    asyncio.run(story())


def test_at_most_once_a_second_and_when_something_changed() -> None:
    async def story() -> None:
        async with Feed("observer-1") as feed:
            for spent in range(35):
                feed.cost = replace(FIRST, spent_micro_usd=spent)
                await pass_time(0.1)
            times = [at for at, _, _ in feed.room.sent]
            assert times == pytest.approx([0, 1, 2, 3])
            await pass_time(1.0)
            assert feed.messages[-1]["spent_micro_usd"] == 34
            count = len(feed.messages)
            await pass_time(REPEAT_S - 2 * INTERVAL_S)
            assert len(feed.messages) == count
            assert [m["seq"] for m in feed.messages] == list(range(1, count + 1))

    run(story)


def test_figures_that_stand_are_told_again_now_and_then() -> None:
    async def story() -> None:
        async with Feed("observer-1") as feed:
            await pass_time(2 * REPEAT_S + 0.5)
            assert [at for at, _, _ in feed.room.sent] == [0, REPEAT_S, 2 * REPEAT_S]

    run(story)


def test_who_comes_later_is_told_too() -> None:
    async def story() -> None:
        async with Feed() as feed:
            await pass_time(0.5)
            feed.feed.observe(["observer-1"])
            await pass_time(1.0)
            feed.feed.observe(["observer-1", "observer-2"])
            await pass_time(1.0)
            assert [to for _, to, _ in feed.room.sent] == [
                ("observer-1",),
                ("observer-1", "observer-2"),
            ]

    run(story)


def test_before_there_are_figures_there_is_nothing_to_say() -> None:
    async def story() -> None:
        feed = Feed("observer-1")
        feed.cost = None
        async with feed:
            assert feed.room.sent == []
            feed.cost = replace(FIRST, phase_id=None, phase_index=None)
            await pass_time(INTERVAL_S)
            assert feed.messages[0]["phase"] is None

    run(story)


def test_the_last_message_is_sent_though_nothing_changed() -> None:
    async def story() -> None:
        async with Feed("observer-1") as feed:
            pass
        await feed.feed.finish()
        assert [m["final"] for m in feed.messages] == [False, True]

    run(story)


@pytest.mark.parametrize("trouble", ["room", "figures", "hangs"])
def test_nothing_of_it_reaches_the_interview(trouble: str) -> None:
    async def story() -> None:
        feed = Feed("observer-1")
        if trouble == "figures":
            feed.cost = "no figures"  # type: ignore[assignment]
        feed.room.error = ConnectionError("away") if trouble == "room" else None
        feed.room.hangs = trouble == "hangs"
        with capture_logs() as logs:
            async with feed:
                await pass_time(SEND_TIMEOUT_S + INTERVAL_S)
                assert not feed.task.done()
            await feed.feed.finish()
        assert feed.room.sent == []
        assert logs[0]["event"] == "cost not told"
        # And when the trouble is over it goes on.
        feed.cost, feed.room.error, feed.room.hangs = FIRST, None, False
        async with feed:
            await pass_time(REPEAT_S + INTERVAL_S)
        assert feed.messages[0]["spent_usd"] == "1.234567"

    run(story)
