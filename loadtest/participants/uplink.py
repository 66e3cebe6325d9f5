"""The microphone: frames at their own pace into a LiveKit audio source.

The source has no queue (`queue_size_ms=0`): with one, the SDK feeds and encodes silence for ever,
which costs three times the CPU of a connected process. So the pace is kept here: two frames of
10 ms (the size the unqueued source demands) every 20 ms (the size of an Opus frame).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from enum import StrEnum

import numpy as np
from livekit import rtc

from loadtest.participants.listening import Pcm
from loadtest.participants.report import UplinkReport

FRAME_S = 0.01
FRAMES_A_BEAT = 2
BEAT_S = FRAME_S * FRAMES_A_BEAT
LATE_S = 0.2
"""A process this late leaves audio out instead of sending it faster than real time."""
TAIL_BEATS = 10
"""After speech in `speech` mode: enough silence for the codec to end the sound."""

Clock = Callable[[], float]


class UplinkMode(StrEnum):
    CONTINUOUS = "continuous"
    """Silence is sent too, as a browser does."""
    SPEECH = "speech"
    """Nothing is sent between turns and in pauses: thrifty, for many participants."""


class Uplink:
    """Owns an audio source. `run` sends until cancelled; `say` may be called at any time."""

    def __init__(
        self, *, sample_rate: int, mode: UplinkMode, background: Pcm | None, clock: Clock
    ) -> None:
        self.source = rtc.AudioSource(sample_rate, 1, queue_size_ms=0)
        self._sample_rate = sample_rate
        self._frame_samples = round(sample_rate * FRAME_S)
        self._continuous = mode is UplinkMode.CONTINUOUS
        self._clock = clock
        self._background = background
        self._background_at = 0
        self._silence = self._frame(np.zeros(self._frame_samples, dtype=np.int16))
        self._clip: Pcm | None = None
        self._clip_at = 0
        self._said: Callable[[float], None] | None = None
        self._tail_beats = 0
        self._wanted = asyncio.Event()
        self._frames = 0
        self._speech_s = 0.0
        self._skipped_s = 0.0

    def say(self, clip: Pcm, said: Callable[[float], None]) -> None:
        """Send `clip` from the next beat on; then call `said` with the time of its last sample.

        Speech still under way is dropped, and its `said` never called.
        """
        self._clip, self._clip_at, self._said = clip, 0, said
        self._wanted.set()

    def report(self) -> UplinkReport:
        return UplinkReport(frames=self._frames, speech_s=self._speech_s, skipped_s=self._skipped_s)

    async def run(self) -> None:
        next_s = self._clock()
        while True:
            if not self._sending():
                self._wanted.clear()
                await self._wanted.wait()
                next_s = self._clock()
            await self._beat()
            next_s += BEAT_S
            late_s = self._clock() - next_s
            if late_s > LATE_S:
                self._skipped_s += late_s
                next_s += late_s
            elif late_s < 0:
                await asyncio.sleep(-late_s)

    def _sending(self) -> bool:
        return self._continuous or self._clip is not None or self._tail_beats > 0

    async def _beat(self) -> None:
        self._tail_beats = TAIL_BEATS if self._clip is not None else max(0, self._tail_beats - 1)
        for _ in range(FRAMES_A_BEAT):
            spoken = self._next_speech()
            await self.source.capture_frame(self._next_frame(spoken))
            self._frames += 1
            if spoken is not None:
                self._after_speech(spoken)

    def _next_speech(self) -> Pcm | None:
        if self._clip is None:
            return None
        spoken = self._clip[self._clip_at : self._clip_at + self._frame_samples]
        self._clip_at += self._frame_samples
        return spoken

    def _after_speech(self, spoken: Pcm) -> None:
        self._speech_s += len(spoken) / self._sample_rate
        if self._clip is None or self._clip_at < len(self._clip):
            return
        said, self._clip, self._said = self._said, None, None
        if said is not None:
            said(self._clock())

    def _next_frame(self, spoken: Pcm | None) -> rtc.AudioFrame:
        if spoken is None and self._background is None:
            return self._silence
        mixed = np.zeros(self._frame_samples, dtype=np.int32)
        if self._background is not None:
            at = self._background_at % (len(self._background) - self._frame_samples + 1)
            self._background_at = at + self._frame_samples
            mixed += self._background[at : at + self._frame_samples]
        if spoken is not None:
            mixed[: len(spoken)] += spoken
        return self._frame(np.clip(mixed, -32_768, 32_767).astype(np.int16))

    def _frame(self, samples: Pcm) -> rtc.AudioFrame:
        return rtc.AudioFrame(
            data=samples.tobytes(),
            sample_rate=self._sample_rate,
            num_channels=1,
            samples_per_channel=self._frame_samples,
        )
