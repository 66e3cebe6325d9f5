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
from collections import deque
from collections.abc import Callable
from contextlib import suppress

import structlog
from livekit import rtc
from livekit.agents.voice import io

from agent_actor.pacer import Pacer
from agent_actor.reel import Over, Played, Reel, Started, Told
from agent_actor.speaker import Speaker

log = structlog.get_logger(__name__)


class RoomOutput(io.AudioOutput):
    """Owns its speaker. ``start`` it, ``aclose`` it. Everything is called on the same loop; a
    thread sends."""

    def __init__(
        self,
        speaker: Speaker,
        *,
        sample_rate: int,
        heard: Callable[[float], str] | None = None,
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
        self._loop = asyncio.get_running_loop()
        self._pacer = Pacer(Reel(sample_rate=sample_rate), speaker, self._note)
        self._told: deque[Told] = deque()
        """What is to be passed on by the loop."""
        self._subscribed: asyncio.Future[None] = self._loop.create_future()
        self._publishing: asyncio.Task[None] | None = None
        self._idle = asyncio.Event()
        """No segment is being played out after its flush."""
        self._idle.set()
        self._dropping = False
        """The segment was cleared before its flush: what it still captures belongs to nothing."""
        self._closed = False

    # --- the owner's

    def start(self) -> None:
        """Publishes and goes on by itself; what is captured before anybody listens waits."""
        self._publishing = asyncio.create_task(self._publish(), name="publish interviewer")
        self._pacer.start()

    async def aclose(self) -> None:
        """Idempotent, never raises. A segment under way is cut short."""
        if self._closed:
            return
        self._closed = True
        if self._publishing is not None:
            self._publishing.cancel()
            await asyncio.gather(self._publishing, return_exceptions=True)
        await asyncio.to_thread(self._pacer.stop)
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
        with self._pacer.holding() as reel:
            reel.put(frame.data.cast("B"), time.monotonic())

    def flush(self) -> None:
        super().flush()
        self._dropping = False
        with self._pacer.holding() as reel:
            if reel.complete():
                self._idle.clear()

    def clear_buffer(self) -> None:
        with self._pacer.holding() as reel:
            cut_short = reel.clear()
        self._dropping = self._dropping or cut_short
        self._pass_on()

    def pause(self) -> None:
        super().pause()
        with self._pacer.holding() as reel:
            reel.pause()
        self._pass_on()

    def resume(self) -> None:
        super().resume()
        with self._pacer.holding() as reel:
            reel.resume()

    # --- telling

    async def _publish(self) -> None:
        try:
            await self._speaker.publish()
        except Exception as error:
            # The room's own events say what became of it; nobody will hear anything.
            log.warning("interviewer not published", error_type=type(error).__name__)
            return
        if not self._subscribed.done():
            self._subscribed.set_result(None)

    def _note(self, told: list[Told]) -> None:
        """By whoever has the reel, which keeps them in order."""
        self._told.extend(told)
        # A loop that is closed has nobody left to be told.
        with suppress(RuntimeError):
            self._loop.call_soon_threadsafe(self._pass_on)

    def _pass_on(self) -> None:
        while self._told:
            match self._told.popleft():
                case Started(at=at):
                    self.on_playback_started(created_at=at)
                case Played(at=at, offset_s=offset_s, duration_s=duration_s):
                    self.on_playback_progressed(started_at=at, offset=offset_s, duration=duration_s)
                case Over() as over:
                    self._over(over)

    def _over(self, over: Over) -> None:
        share = over.played_s / over.captured_s
        words = self._heard(share) if over.interrupted and self._heard else None
        self._idle.set()
        self.on_playback_finished(
            playback_position=over.played_s,
            interrupted=over.interrupted,
            synchronized_transcript=words,
        )
