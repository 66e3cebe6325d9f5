"""The room output paces speech, tells what was played, and is still when nobody speaks."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc
from livekit.agents.voice import io

from agent_actor.room_output import BEAT_S, CUSHION_S, TAIL_S, RoomOutput
from tests.unit.agent_actor.virtual_time import clock, run, settle

RATE = 24_000
FRAME_BYTES = 480


class FakeSpeaker:
    """A track without a room: keeps when each frame came, and whether it was sound."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self.rests: list[float] = []
        self.listened = asyncio.Event()
        self.closed = False

    async def publish(self) -> None:
        await self.listened.wait()

    async def send(self, pcm: bytes) -> None:
        assert len(pcm) == FRAME_BYTES
        self.heard.append((clock(), pcm))

    async def rest(self) -> None:
        self.rests.append(clock())

    async def aclose(self) -> None:
        self.closed = True

    def sound(self) -> list[float]:
        return [round(at, 3) for at, pcm in self.heard if any(pcm)]


class Stage:
    def __init__(self, *, alone: bool) -> None:
        self.speaker = FakeSpeaker()
        if not alone:
            self.speaker.listened.set()
        self.out = RoomOutput(
            self.speaker, sample_rate=RATE, heard=lambda share: f"{share:.0%}", wall=clock
        )
        self.told: list[Any] = []
        self.out.on("playback_started", lambda e: self.told.append(("started", e.created_at)))
        self.out.on("playback_progressed", self._progressed)
        self.out.on("playback_finished", self._finished)
        self.out.start()

    def _progressed(self, event: io.PlaybackProgressedEvent) -> None:
        self.told.append(("played", *_rounded(event.started_at, event.offset, event.duration)))

    def _finished(self, event: io.PlaybackFinishedEvent) -> None:
        position = round(event.playback_position, 3)
        self.told.append(("interrupted" if event.interrupted else "finished", position))

    async def say(self, seconds: float) -> None:
        samples = round(RATE * seconds)
        data = b"\1\1" * samples
        await self.out.capture_frame(rtc.AudioFrame(data, RATE, 1, samples))


def _rounded(*figures: float) -> list[float]:
    return [round(figure, 3) for figure in figures]


def stage(work: Callable[[Stage], Coroutine[Any, Any, None]], *, alone: bool = False) -> None:
    async def test() -> None:
        on = Stage(alone=alone)
        try:
            await work(on)
        finally:
            await on.out.aclose()

    run(test)


def test_speech_is_sent_at_its_own_pace_and_told_of() -> None:
    async def test(on: Stage) -> None:
        await on.say(1.0)
        on.out.flush()
        played = await on.out.wait_for_playout()
        assert (played.playback_position, played.interrupted) == (1.0, False)
        sound = on.speaker.sound()
        assert len(sound) == 100
        # Two frames a beat, and none ahead of its time.
        assert sound[::2] == [round(n * BEAT_S, 3) for n in range(50)]
        assert on.told == [("started", 0.0), ("played", 0.0, 0.0, 1.0), ("finished", 1.0)]

    stage(test)


def test_nothing_is_sent_while_nobody_speaks() -> None:
    async def test(on: Stage) -> None:
        await asyncio.sleep(60)
        assert on.speaker.heard == []
        await on.say(0.5)
        on.out.flush()
        await asyncio.sleep(60)
        sent = len(on.speaker.heard)
        assert sent == round((0.5 + TAIL_S) / 0.01)
        # The listener's clock is put right once, after the tail.
        assert _rounded(*on.speaker.rests) == [60 + 0.5 + TAIL_S]

    stage(test)


def test_an_interruption_is_heard_at_once_and_told_to_the_beat() -> None:
    async def test(on: Stage) -> None:
        await on.say(5.0)
        on.out.flush()
        await asyncio.sleep(1.0)
        on.out.clear_buffer()
        now = clock()
        assert on.told[-1] == ("interrupted", on.told[-1][1])
        assert abs(on.told[-1][1] - 1.0) <= BEAT_S
        await asyncio.sleep(1)
        assert all(at <= now for at in on.speaker.sound())
        played = await on.out.wait_for_playout()
        assert played.interrupted
        assert played.synchronized_transcript == "20%"

    stage(test)


def test_what_a_cleared_segment_still_captures_is_not_heard() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.5)
        await asyncio.sleep(0.1)
        on.out.clear_buffer()
        await on.say(0.5)
        on.out.flush()
        sound = len(on.speaker.sound())
        await asyncio.sleep(2)
        assert len(on.speaker.sound()) == sound
        await on.say(0.2)
        on.out.flush()
        await on.out.wait_for_playout()
        assert [told[0] for told in on.told].count("interrupted") == 1
        assert on.told[-1] == ("finished", 0.2)

    stage(test)


def test_a_pause_loses_nothing() -> None:
    async def test(on: Stage) -> None:
        await on.say(1.0)
        on.out.flush()
        await asyncio.sleep(0.399)
        on.out.pause()
        await asyncio.sleep(5)
        silent_from = len(on.speaker.sound())
        assert silent_from == 40
        assert len(on.speaker.rests) == 1
        on.out.resume()
        await on.out.wait_for_playout()
        assert len(on.speaker.sound()) == 100
        assert [told[0] for told in on.told] == ["started", "played", "played", "finished"]
        assert on.told[1] == ("played", 0.0, 0.0, 0.4)
        assert on.told[2][2:] == (0.4, 0.6)
        assert on.told[3] == ("finished", 1.0)

    stage(test)


def test_late_chunks_go_on_with_a_cushion_not_in_bits() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.1)
        await asyncio.sleep(0.3)
        assert len(on.speaker.sound()) == 10
        await on.say(CUSHION_S - 0.02)
        await asyncio.sleep(CUSHION_S / 2)
        assert len(on.speaker.sound()) == 10
        await on.say(0.02)
        await asyncio.sleep(0.2)
        assert len(on.speaker.sound()) == 16
        # The last word needs no cushion.
        await on.say(0.015)
        on.out.flush()
        played = await on.out.wait_for_playout()
        assert round(played.playback_position, 3) == 0.175
        assert [told[0] for told in on.told].count("started") == 1
        assert [told[0] for told in on.told].count("played") == 3

    stage(test)


def test_the_last_bit_does_not_wait_for_the_segments_end() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.1)
        await asyncio.sleep(0.3)
        came = clock()
        # Too little for a cushion, and not a whole number of frames.
        await on.say(0.035)
        await asyncio.sleep(5)
        last = on.speaker.sound()[10:]
        assert len(last) == 4
        assert last[-1] - came <= CUSHION_S + 2 * BEAT_S
        on.out.flush()
        await settle()
        assert len(on.speaker.sound()) == 14
        assert on.told[-1] == ("finished", 0.135)

    stage(test)


def test_a_bit_that_comes_after_a_long_silence_is_heard_too() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.1)
        await asyncio.sleep(TAIL_S + 5)
        await on.say(0.02)
        await asyncio.sleep(CUSHION_S + BEAT_S)
        assert len(on.speaker.sound()) == 12

    stage(test)


def test_a_flush_long_after_the_last_sound_ends_the_segment() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.1)
        await asyncio.sleep(TAIL_S + 5)
        on.out.flush()
        await settle()
        assert on.told[-1] == ("finished", 0.1)

    stage(test)


def test_words_wait_for_somebody_to_listen() -> None:
    async def test(on: Stage) -> None:
        saying = asyncio.create_task(on.say(0.2))
        await asyncio.sleep(3)
        assert on.speaker.heard == []
        on.speaker.listened.set()
        await saying
        on.out.flush()
        await on.out.wait_for_playout()
        assert on.speaker.sound()[0] >= 3

    stage(test, alone=True)


def test_a_process_that_was_held_up_does_not_hurry_afterwards() -> None:
    async def test(on: Stage) -> None:
        really_send = on.speaker.send

        async def held_up(pcm: bytes) -> None:
            if len(on.speaker.heard) == 20:
                await asyncio.sleep(1.0)
            await really_send(pcm)

        on.speaker.send = held_up  # type: ignore[method-assign]
        await on.say(1.0)
        on.out.flush()
        await on.out.wait_for_playout()
        after = [at for at in on.speaker.sound() if at > 1.2]
        assert min(b - a for a, b in zip(after[::2], after[2::2], strict=False)) >= BEAT_S - 0.001

    stage(test)


def test_closing_ends_what_is_under_way() -> None:
    async def test(on: Stage) -> None:
        await on.say(1.0)
        await asyncio.sleep(0.1)
        await on.out.aclose()
        assert on.told[-1][0] == "interrupted"
        assert on.speaker.closed
        await on.out.aclose()

    stage(test)
