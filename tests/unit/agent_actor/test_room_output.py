"""The room output tells the framework what its thread has played, in order."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Coroutine
from typing import Any

from livekit import rtc

from agent_actor.pacer import Pacer
from agent_actor.reel import BEAT_S, Reel, Told
from agent_actor.room_output import RoomOutput

RATE = 24_000
FRAME_BYTES = 480
DEADLINE_S = 20.0


class FakeSpeaker:
    """A track without a room: keeps when each frame came, and whether it was sound."""

    def __init__(self) -> None:
        self.heard: list[tuple[float, bytes]] = []
        self.threads: set[str] = set()
        self.listened = asyncio.Event()
        self.resting = threading.Event()
        self.half = threading.Event()
        """Thirty frames of sound were sent."""
        self.closed = False

    async def publish(self) -> None:
        await self.listened.wait()

    def send(self, pcm: bytes) -> None:
        assert len(pcm) == FRAME_BYTES
        assert not self.closed
        self.threads.add(threading.current_thread().name)
        self.heard.append((time.monotonic(), pcm))
        if len(self.sound()) == 30:
            self.half.set()

    def rest(self) -> None:
        self.resting.set()

    async def aclose(self) -> None:
        self.closed = True

    def sound(self) -> list[float]:
        return [at for at, pcm in self.heard if any(pcm)]


class Stage:
    def __init__(self, *, alone: bool) -> None:
        self.speaker = FakeSpeaker()
        if not alone:
            self.speaker.listened.set()
        self.out = RoomOutput(self.speaker, sample_rate=RATE, heard=lambda share: f"{share:.0%}")
        self.told: list[tuple[str, float]] = []
        self.began = asyncio.Event()
        self.out.on("playback_started", self._started)
        self.out.on("playback_progressed", lambda e: self.told.append(("played", e.duration)))
        self.out.on("playback_finished", self._finished)
        self.out.start()

    def _started(self, event: Any) -> None:
        self.told.append(("started", event.created_at))
        self.began.set()

    def _finished(self, event: Any) -> None:
        kind = "interrupted" if event.interrupted else "finished"
        self.told.append((kind, round(event.playback_position, 3)))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.told]

    async def say(self, seconds: float) -> None:
        samples = round(RATE * seconds)
        await self.out.capture_frame(rtc.AudioFrame(b"\1\1" * samples, RATE, 1, samples))


def stage(work: Callable[[Stage], Coroutine[Any, Any, None]], *, alone: bool = False) -> None:
    async def test() -> None:
        on = Stage(alone=alone)
        try:
            async with asyncio.timeout(DEADLINE_S):
                await work(on)
        finally:
            await on.out.aclose()

    asyncio.run(test())


def test_all_that_was_said_is_played_by_a_thread() -> None:
    async def test(on: Stage) -> None:
        began = time.monotonic()
        await on.say(0.3)
        on.out.flush()
        played = await on.out.wait_for_playout()
        assert time.monotonic() - began >= 0.3 - BEAT_S
        assert (round(played.playback_position, 3), played.interrupted) == (0.3, False)
        assert len(on.speaker.sound()) == 30
        assert on.kinds() == ["started", "played", "finished"]
        assert on.speaker.threads == {"interviewer"}

    stage(test)


def test_a_loop_that_is_held_up_is_not_heard() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.6)
        on.out.flush()
        await on.began.wait()
        # The loop is stuck here, and the words go on.
        assert on.speaker.half.wait(DEADLINE_S)
        await on.out.wait_for_playout()
        assert len(on.speaker.sound()) == 60

    stage(test)


def test_an_interruption_is_told_at_once_and_after_what_came_before() -> None:
    async def test(on: Stage) -> None:
        await on.say(5.0)
        on.out.flush()
        await on.began.wait()
        on.out.clear_buffer()
        assert on.kinds() == ["started", "played", "interrupted"]
        sent = len(on.speaker.sound())
        played = await on.out.wait_for_playout()
        assert played.interrupted
        assert played.synchronized_transcript == f"{played.playback_position / 5:.0%}"
        await asyncio.to_thread(on.speaker.resting.wait, DEADLINE_S)
        # One beat may have been on its way.
        assert len(on.speaker.sound()) <= sent + 2

    stage(test)


def test_what_a_cleared_segment_still_captures_is_not_heard() -> None:
    async def test(on: Stage) -> None:
        await on.say(2.0)
        await on.began.wait()
        on.out.clear_buffer()
        await on.say(0.5)
        on.out.flush()
        await on.say(0.2)
        on.out.flush()
        await on.out.wait_for_playout()
        assert on.kinds().count("interrupted") == 1
        assert on.told[-1] == ("finished", 0.2)

    stage(test)


def test_a_pause_is_told_and_loses_nothing() -> None:
    async def test(on: Stage) -> None:
        await on.say(0.3)
        on.out.flush()
        await on.began.wait()
        on.out.pause()
        assert on.kinds() == ["started", "played"]
        on.out.resume()
        await on.out.wait_for_playout()
        assert on.kinds() == ["started", "played", "played", "finished"]
        assert on.told[-1] == ("finished", 0.3)

    stage(test)


def test_words_wait_for_somebody_to_listen() -> None:
    async def test(on: Stage) -> None:
        saying = asyncio.create_task(on.say(0.1))
        await asyncio.sleep(0)
        assert not saying.done()
        assert on.speaker.heard == []
        on.speaker.listened.set()
        await saying
        on.out.flush()
        await on.out.wait_for_playout()
        assert len(on.speaker.sound()) == 10

    stage(test, alone=True)


def test_closing_ends_what_is_under_way() -> None:
    async def test(on: Stage) -> None:
        await on.say(1.0)
        await on.began.wait()
        await on.out.aclose()
        assert on.kinds()[-1] == "interrupted"
        assert on.speaker.closed
        await on.out.aclose()

    stage(test)


def test_a_line_that_fails_is_tried_again() -> None:
    class Line:
        def __init__(self) -> None:
            self.tries = 0
            self.through = threading.Event()

        def send(self, pcm: bytes) -> None:
            self.tries += 1
            if self.tries == 1:
                raise RuntimeError("not yet")
            self.through.set()

        def rest(self) -> None:
            pass

    line, told = Line(), list[Told]()
    pacer = Pacer(Reel(sample_rate=RATE), line, told.extend)
    pacer.start()
    with pacer.holding() as reel:
        reel.put(b"\1\1" * 2400, time.monotonic())
    assert line.through.wait(DEADLINE_S)
    pacer.stop()
    sent = line.tries
    pacer.stop()
    assert line.tries == sent
