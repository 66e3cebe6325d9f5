"""Audio in memory, where a session otherwise has a room's: what it hears and what it says.

Nothing is encoded and nothing sent, so hundreds of sessions fit on a small machine. Time is kept
as a room keeps it: what is said takes as long as it lasts, divided by ``speed``.
"""

from __future__ import annotations

import asyncio
import time

from livekit import rtc
from livekit.agents.voice import io


class MemoryInput(io.AudioInput):
    """What the session hears. Frames come out in the order they were put in."""

    def __init__(self) -> None:
        super().__init__(label="memory")
        self._frames: asyncio.Queue[rtc.AudioFrame] = asyncio.Queue()

    def put(self, frame: rtc.AudioFrame) -> None:
        self._frames.put_nowait(frame)

    async def __anext__(self) -> rtc.AudioFrame:
        return await self._frames.get()


class MemoryOutput(io.AudioOutput):
    """Plays to nobody, in time. ``spurts`` counts what was begun; ``changed`` is set, and
    replaced, whenever playing begins or ends.
    """

    def __init__(self, *, sample_rate: int, speed: float) -> None:
        super().__init__(
            label="memory",
            capabilities=io.AudioOutputCapabilities(pause=True),
            sample_rate=sample_rate,
        )
        self._speed = speed
        self._loop = asyncio.get_running_loop()
        self._captured_s = 0.0
        self._played_s = 0.0
        """Before the current run."""
        self._running_since: float | None = None
        self._complete = False
        self._paused = False
        self._end: asyncio.TimerHandle | None = None
        self.spurts = 0
        self.heard_s = 0.0
        """All that was played so far."""
        self.changed = asyncio.Event()

    @property
    def playing(self) -> bool:
        return self._captured_s > 0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if not self._captured_s:
            self.spurts += 1
            self._run()
            self.on_playback_started(created_at=time.time())
            self._tell()
        self._captured_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._captured_s:
            self._complete = True
            self._arm()

    def clear_buffer(self) -> None:
        if self._captured_s:
            self._finish(interrupted=True)

    def pause(self) -> None:
        super().pause()
        self._halt()
        self._paused = True

    def resume(self) -> None:
        super().resume()
        self._paused = False
        if self._captured_s:
            self._run()
            self._arm()

    def _position_s(self) -> float:
        if self._running_since is None:
            return self._played_s
        run_s = (self._loop.time() - self._running_since) * self._speed
        return min(self._played_s + run_s, self._captured_s)

    def _run(self) -> None:
        if not self._paused:
            self._running_since = self._loop.time()

    def _halt(self) -> None:
        self._played_s = self._position_s()
        self._running_since = None
        self._disarm()

    def _arm(self) -> None:
        self._disarm()
        if self._complete and self._running_since is not None:
            left_s = (self._captured_s - self._position_s()) / self._speed
            self._end = self._loop.call_later(left_s, self._played_out)

    def _disarm(self) -> None:
        if self._end is not None:
            self._end.cancel()
            self._end = None

    def _played_out(self) -> None:
        self._finish(interrupted=False)

    def _finish(self, *, interrupted: bool) -> None:
        position_s = self._position_s() if interrupted else self._captured_s
        self.heard_s += position_s
        self._disarm()
        self._captured_s = self._played_s = 0.0
        self._running_since = None
        self._complete = False
        self.on_playback_finished(playback_position=position_s, interrupted=interrupted)
        self._tell()

    def _tell(self) -> None:
        changed, self.changed = self.changed, asyncio.Event()
        changed.set()
