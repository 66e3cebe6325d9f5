"""What the interviewer says, at the pace of speech, into a room that is silent otherwise.

Takes the place of the framework's own room output, which sends silence for ever, with the same
promises: a segment is what is captured until ``flush``; ``playback_started`` once for each, when
its first sound is sent; ``playback_progressed`` for each stretch that played without a break;
``playback_finished`` once, when all was played or ``clear_buffer`` cut it short.

What differs: nothing is lost by ``pause`` (the framework drops what its queue holds), and what
``clear_buffer`` cuts off is over within one beat.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from contextlib import suppress

import structlog
from livekit import rtc
from livekit.agents.voice import io

from agent_actor.speaker import FRAME_S, Speaker

FRAMES_A_BEAT = 2
BEAT_S = FRAME_S * FRAMES_A_BEAT
"""As long as a packet: one leaves at each beat."""
CUSHION_S = 0.06
"""Gathered before going on when the audio had run out in mid-segment, or late chunks would be
heard as a stutter; for no longer than this, as it may be all that comes until the segment's end.
Not at the beginning: there it would only delay."""
TAIL_S = 0.6
"""Of silence after the last sound: the codec ends it, and short breaks between sentences need no
``rest``."""
LATE_S = 0.2
"""A process this late goes on from there instead of sending faster than speech."""

log = structlog.get_logger(__name__)


class RoomOutput(io.AudioOutput):
    """Owns its speaker. ``start`` it, ``aclose`` it. One task sends; everything else is called
    on the same loop."""

    def __init__(
        self,
        speaker: Speaker,
        *,
        sample_rate: int,
        heard: Callable[[float], str] | None = None,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """``heard``: the words of the segment under way that were heard, when so much of what was
        captured of it (0 to 1) was. None: it is not known."""
        super().__init__(
            label="room",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=sample_rate,
        )
        self._speaker = speaker
        self._heard = heard
        self._wall = wall
        self._bytes_a_s = 2 * sample_rate
        self._frame_bytes = 2 * round(sample_rate * FRAME_S)
        self._silence = bytes(self._frame_bytes)
        loop = asyncio.get_running_loop()
        self._clock = loop.time
        self._subscribed: asyncio.Future[None] = loop.create_future()
        self._tasks: list[asyncio.Task[None]] = []
        self._wake = asyncio.Event()
        self._idle = asyncio.Event()
        """No segment is being played out after its flush."""
        self._idle.set()
        self._paused = False
        self._dropping = False
        """The segment was cleared before its flush: what it still captures belongs to nothing."""
        self._begin_segment()

    def _begin_segment(self) -> None:
        self._waiting = bytearray()
        self._captured = 0
        self._sent = 0
        self._complete = False
        self._started = False
        self._dry = False
        """Ran out in mid-segment, and is gathering its cushion."""
        self._gathered_by: float | None = None
        """When it has been gathering for long enough."""
        self._run_from = 0
        self._run_began_at: float | None = None

    # --- the owner's

    def start(self) -> None:
        """Publishes and goes on by itself; what is captured before anybody listens waits."""
        self._tasks = [
            asyncio.create_task(self._publish(), name="publish interviewer"),
            asyncio.create_task(self._pace(), name="pace interviewer"),
        ]

    async def aclose(self) -> None:
        """Idempotent, never raises. A segment under way is cut short."""
        tasks, self._tasks = self._tasks, []
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.clear_buffer()
        self._subscribed.cancel()
        await self._speaker.aclose()

    # --- the framework's

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await asyncio.shield(self._subscribed)
        await super().capture_frame(frame)
        await self._idle.wait()
        if self._dropping:
            return
        pcm = frame.data.cast("B")
        self._waiting += pcm
        self._captured += len(pcm)
        if self._dry and self._gathered_by is None:
            self._gathered_by = self._clock() + CUSHION_S
        self._wake.set()

    def flush(self) -> None:
        super().flush()
        self._dropping = False
        if self._captured:
            self._complete = True
            self._idle.clear()
            self._wake.set()

    def clear_buffer(self) -> None:
        if self._captured:
            self._dropping = not self._complete
            self._finish(interrupted=True)

    def pause(self) -> None:
        super().pause()
        self._paused = True
        self._end_run()

    def resume(self) -> None:
        super().resume()
        self._paused = False
        self._wake.set()

    # --- sending

    async def _publish(self) -> None:
        try:
            await self._speaker.publish()
        except Exception as error:
            # The room's own events say what became of it; nobody will hear anything.
            log.warning("interviewer not published", error_type=type(error).__name__)
            return
        if not self._subscribed.done():
            self._subscribed.set_result(None)

    async def _pace(self) -> None:
        while True:
            await self._until_playable()
            try:
                await self._speak()
                await self._speaker.rest()
            except Exception as error:
                log.warning("interviewer not sent", error_type=type(error).__name__)
                await asyncio.sleep(BEAT_S)

    async def _until_playable(self) -> None:
        while not self._playable():
            self._finish_if_over()
            self._wake.clear()
            with suppress(TimeoutError):
                async with asyncio.timeout_at(None if self._paused else self._gathered_by):
                    await self._wake.wait()

    async def _speak(self) -> None:
        """Beats until nothing has been audible for the tail."""
        due_s = self._clock()
        quiet_s = 0.0
        while quiet_s < TAIL_S:
            audible = await self._beat()
            quiet_s = 0.0 if audible else quiet_s + BEAT_S
            due_s += BEAT_S
            late_s = self._clock() - due_s
            if late_s > LATE_S:
                due_s += late_s
            await asyncio.sleep(max(0.0, -late_s))
            self._finish_if_over()

    async def _beat(self) -> bool:
        """Whether any of it was speech."""
        audible = False
        for _ in range(FRAMES_A_BEAT):
            pcm = self._next_frame()
            audible = audible or pcm is not None
            await self._speaker.send(pcm or self._silence)
        return audible

    def _next_frame(self) -> bytes | None:
        if not self._playable():
            return None
        pcm = bytes(self._waiting[: self._frame_bytes])
        del self._waiting[: self._frame_bytes]
        self._note_sent(len(pcm))
        return pcm.ljust(self._frame_bytes, b"\0")

    def _playable(self) -> bool:
        """A frame can be sent now; also says when the audio has run out."""
        if self._paused or not self._waiting:
            self._run_out()
            return False
        if self._complete or not self._held_back():
            self._dry, self._gathered_by = False, None
            return True
        return False

    def _held_back(self) -> bool:
        """Whether what waits is to wait for more."""
        if not self._dry:
            return not self._started and len(self._waiting) < self._frame_bytes
        gathered = len(self._waiting) >= CUSHION_S * self._bytes_a_s
        long_enough = self._gathered_by is not None and self._clock() >= self._gathered_by
        return not (gathered or long_enough)

    def _run_out(self) -> None:
        if self._started and not self._paused and not self._complete:
            self._dry = True
            self._end_run()

    # --- telling

    def _note_sent(self, count: int) -> None:
        now = self._wall()
        if not self._started:
            self._started = True
            self.on_playback_started(created_at=now)
        if self._run_began_at is None:
            self._run_from, self._run_began_at = self._sent, now
        self._sent += count

    def _end_run(self) -> None:
        began_at, self._run_began_at = self._run_began_at, None
        if began_at is not None:
            self.on_playback_progressed(
                started_at=began_at,
                offset=self._run_from / self._bytes_a_s,
                duration=(self._sent - self._run_from) / self._bytes_a_s,
            )

    def _finish_if_over(self) -> None:
        if self._complete and not self._waiting:
            self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        self._end_run()
        position_s = self._sent / self._bytes_a_s
        words = self._heard(self._sent / self._captured) if interrupted and self._heard else None
        self._begin_segment()
        self._idle.set()
        self.on_playback_finished(
            playback_position=position_s, interrupted=interrupted, synchronized_transcript=words
        )
