"""Audio in memory keeps time as a room does."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from agent_actor.contract import Rehearsal, VadConfig
from agent_actor.memory_audio import MemoryInput, MemoryOutput
from agent_actor.rehearsed import FRAME_MS, Rehearsed
from tests.unit.agent_actor.virtual_time import clock, run, settle

RATE = 24_000
VAD = VadConfig(silence_duration_ms=500)


def frame(seconds: float) -> rtc.AudioFrame:
    samples = round(RATE * seconds)
    return rtc.AudioFrame(
        data=bytes(2 * samples), sample_rate=RATE, num_channels=1, samples_per_channel=samples
    )


def output(speed: float = 1.0) -> tuple[MemoryOutput, list[Any]]:
    out = MemoryOutput(sample_rate=RATE, speed=speed)
    finished: list[Any] = []
    out.on(
        "playback_finished",
        lambda e: finished.append((round(clock(), 3), e.playback_position, e.interrupted)),
    )
    return out, finished


async def pass_time(seconds: float) -> None:
    await asyncio.sleep(seconds)
    await settle()


def test_a_segment_is_over_when_it_has_been_played() -> None:
    async def test() -> None:
        out, finished = output(speed=4)
        await out.capture_frame(frame(1.0))
        await out.capture_frame(frame(1.0))
        out.flush()
        assert out.playing
        await pass_time(1)
        assert finished == [(0.5, 2.0, False)]
        assert not out.playing
        assert (out.spurts, out.heard_s) == (1, 2.0)

    run(test)


def test_what_is_cleared_was_heard_up_to_there() -> None:
    async def test() -> None:
        out, finished = output()
        await out.capture_frame(frame(5.0))
        await pass_time(2)
        out.clear_buffer()
        out.clear_buffer()
        assert finished == [(2.0, 2.0, True)]
        await pass_time(10)
        assert len(finished) == 1

    run(test)


def test_what_is_paused_goes_on_where_it_was() -> None:
    async def test() -> None:
        out, finished = output()
        await out.capture_frame(frame(3.0))
        out.flush()
        await pass_time(1)
        out.pause()
        await pass_time(10)
        assert finished == []
        out.resume()
        await pass_time(3)
        assert finished == [(13.0, 3.0, False)]

    run(test)


class Room:
    """A rehearsed participant under way, and what was noticed of it."""

    def __init__(self, **script: Any) -> None:
        self.told: list[tuple[str, float]] = []
        self.audio_in = MemoryInput()
        self.audio_out, _ = output()
        participant = Rehearsed(
            Rehearsal(**{"thinks_s": (1, 1), "speech_s": (2, 2), "arrives_after_s": 1, **script}),
            VAD,
            self.audio_in,
            self.audio_out,
            here=lambda: self.told.append(("here", round(clock(), 3))),
            gone=lambda: self.told.append(("gone", round(clock(), 3))),
            speaking=lambda on: self.told.append(
                ("speaks" if on else "is quiet", round(clock(), 3))
            ),
        )
        self.task = asyncio.create_task(participant.run())

    async def interviewer_says(self, seconds: float) -> None:
        await self.audio_out.capture_frame(frame(seconds))
        self.audio_out.flush()

    def heard_ms(self) -> int:
        return self.audio_in._frames.qsize() * FRAME_MS

    async def aclose(self) -> None:
        self.task.cancel()
        await asyncio.wait([self.task])


def test_it_waits_for_the_interviewer_thinks_and_speaks() -> None:
    async def test() -> None:
        room = Room()
        await pass_time(2)
        await room.interviewer_says(3.0)
        await pass_time(8)
        assert room.told == [("here", 1), ("speaks", 6), ("is quiet", 8)]
        # The turn, the silence that ends it, and half a second.
        await pass_time(5)
        assert room.heard_ms() == 2_000 + 500 + 500
        await room.aclose()

    run(test)


def test_an_open_microphone_is_heard_between_the_turns_too() -> None:
    async def test() -> None:
        room = Room(always_on=True)
        await pass_time(2)
        await room.interviewer_says(3.0)
        await pass_time(9)
        assert room.told == [("here", 1), ("speaks", 6), ("is quiet", 8)]
        assert room.heard_ms() == pytest.approx(10_000, abs=300)
        await room.aclose()

    run(test)


def test_it_speaks_unasked_when_its_patience_is_over() -> None:
    async def test() -> None:
        room = Room(patience_s=5)
        await pass_time(7)
        assert room.told == [("here", 1), ("speaks", 6)]
        await room.aclose()

    run(test)


def test_it_can_speak_into_a_turn() -> None:
    async def test() -> None:
        room = Room(interrupts=1.0)
        await pass_time(2)
        await room.interviewer_says(30.0)
        await pass_time(2)
        assert room.told == [("here", 1), ("speaks", 3)]
        await room.aclose()

    run(test)


def test_it_leaves_and_returns() -> None:
    async def test() -> None:
        room = Room(leaves_after_s=3, returns_after_s=4)
        await pass_time(9)
        assert room.told == [("here", 1), ("gone", 4), ("here", 8)]
        await room.aclose()

    run(test)


def test_a_no_show_never_comes() -> None:
    async def test() -> None:
        room = Room(arrives_after_s=None)
        await room.task
        assert room.told == []

    run(test)


def test_the_same_seed_speaks_the_same() -> None:
    async def test() -> list[tuple[str, float]]:
        room = Room(seed=7, speech_s=(1, 9), patience_s=1)
        await pass_time(30)
        await room.aclose()
        return room.told

    assert run(test) == run(test)
