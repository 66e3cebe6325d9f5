"""The loudspeaker: frames of one subscribed track into a listener, and a WAV file if wanted."""

from __future__ import annotations

import wave
from collections.abc import Callable
from pathlib import Path
from types import TracebackType

import numpy as np
from livekit import rtc

from loadtest.participants.listening import HeardEvent, Listener, Pcm

FRAME_MS = 20
PAD_OVER_S = 0.25
"""A recording is padded when it lags the clock by more: nobody was audible, not even silence."""

Clock = Callable[[], float]


class Recording:
    """A mono WAV of what was heard, aligned to the participant's clock; a context manager.

    Blocking writes of a few kilobytes: for one participant at a time, not for load.
    """

    def __init__(self, path: Path, sample_rate: int) -> None:
        self._wave = wave.open(str(path), "wb")  # noqa: SIM115 - closed by __exit__
        self._wave.setnchannels(1)
        self._wave.setsampwidth(2)
        self._wave.setframerate(sample_rate)
        self._rate = sample_rate
        self._written = 0

    def add(self, pcm: Pcm, arrived_s: float) -> None:
        missing = int(arrived_s * self._rate) - len(pcm) - self._written
        if missing > PAD_OVER_S * self._rate:
            self._write(np.zeros(missing, dtype=np.int16))
        self._write(pcm)

    def _write(self, pcm: Pcm) -> None:
        self._wave.writeframesraw(pcm.astype("<i2").tobytes())
        self._written += len(pcm)

    def __enter__(self) -> Recording:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._wave.close()


async def hear_track(
    track: rtc.Track,
    listener: Listener,
    *,
    sample_rate: int,
    clock: Clock,
    heard: Callable[[HeardEvent], None],
    recording: Recording | None,
) -> None:
    """Feed `listener` until the track ends; ends its last spurt also when cancelled."""
    stream = rtc.AudioStream(track, sample_rate=sample_rate, num_channels=1, frame_size_ms=FRAME_MS)
    try:
        async for event in stream:
            arrived_s = clock()
            pcm = np.frombuffer(event.frame.data, dtype=np.int16)
            if recording is not None:
                recording.add(pcm, arrived_s)
            for found in listener.hear(pcm, arrived_s):
                heard(found)
    finally:
        for found in listener.finish():
            heard(found)
        await stream.aclose()
