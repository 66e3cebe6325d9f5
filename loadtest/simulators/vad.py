"""Turn detection on energy alone, in the terms both providers use. Pure: time is audio time.

`EnergyVad.feed` takes PCM16 mono in pieces of any size and returns the events they completed.
Positions are milliseconds since the first sample ever fed.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

FRAME_MS = 20
# Voiced frames in a row that make an onset: a click is shorter than this.
ONSET_MS = 60
# The span of levels that scores 0 to 1; a threshold of 0.5 therefore means -40 dBFS.
FLOOR_DBFS = -65.0
CEILING_DBFS = -15.0


@dataclass(frozen=True, kw_only=True)
class VadSettings:
    """`threshold` 0 to 1; how long a silence ends a turn; how much audio before it belongs to it;
    how long speech must last to count as such.

    Raises ValueError when a value is out of range.
    """

    threshold: float = 0.5
    silence_duration_ms: int = 500
    prefix_padding_ms: int = 300
    onset_ms: int = ONSET_MS

    def __post_init__(self) -> None:
        if not 0.0 <= self.threshold <= 1.0:
            raise ValueError("threshold must lie between 0 and 1")
        if self.silence_duration_ms < 0 or self.prefix_padding_ms < 0:
            raise ValueError("durations must not be negative")


@dataclass(frozen=True, kw_only=True)
class SpeechStarted:
    """Speech was detected at `detected_ms`; the turn begins at `start_ms`, padding included."""

    start_ms: int
    detected_ms: int


@dataclass(frozen=True, kw_only=True)
class SpeechStopped:
    """The turn ended at `end_ms`, the closing silence included; `voiced_ms` of it was loud."""

    start_ms: int
    end_ms: int
    voiced_ms: int


VadEvent = SpeechStarted | SpeechStopped


def score(dbfs: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Map levels to 0..1 between `FLOOR_DBFS` and `CEILING_DBFS`."""
    scaled = (dbfs - FLOOR_DBFS) / (CEILING_DBFS - FLOOR_DBFS)
    clipped: npt.NDArray[np.float64] = np.clip(scaled, 0.0, 1.0)
    return clipped


class EnergyVad:
    """Detects turns in a stream of PCM16 mono at `sample_rate`."""

    def __init__(self, *, sample_rate: int, settings: VadSettings | None = None) -> None:
        self.settings = settings or VadSettings()
        self._frame_bytes = sample_rate * FRAME_MS // 1000 * 2
        self._rest = b""
        self._frames = 0
        self._run = 0
        self._quiet = 0
        self._voiced = 0
        self._start_ms: int | None = None
        self._earliest_ms = 0

    @property
    def position_ms(self) -> int:
        """Audio time of the frames judged so far."""
        return self._frames * FRAME_MS

    @property
    def speaking(self) -> bool:
        """Whether a turn is open."""
        return self._start_ms is not None

    @property
    def voiced_ms(self) -> int:
        """Loud part of the open turn, 0 without one."""
        return self._voiced * FRAME_MS

    def configure(self, settings: VadSettings) -> None:
        """Use `settings` from the next frame on; an open turn stays open."""
        self.settings = settings

    def reset(self) -> None:
        """Forget an open turn; padding will not reach back before now. The clock runs on."""
        self._run = self._quiet = self._voiced = 0
        self._start_ms = None
        self._earliest_ms = self.position_ms

    def feed(self, pcm: bytes) -> list[VadEvent]:
        """Judge `pcm`; a piece of a frame waits for the next call."""
        data = self._rest + pcm if self._rest else pcm
        count = len(data) // self._frame_bytes
        used = count * self._frame_bytes
        self._rest = data[used:]
        if not count:
            return []
        samples = np.frombuffer(data[:used], dtype="<i2").reshape(count, -1).astype(np.float64)
        power = np.mean(samples**2, axis=1) / 32768.0**2
        loud = score(10 * np.log10(power + 1e-12)) >= max(self.settings.threshold, 1e-3)
        if not loud.any() and self._start_ms is None:
            self._frames += count
            self._run = 0
            return []
        return [event for heard in loud.tolist() if (event := self._step(heard)) is not None]

    def _step(self, loud: bool) -> VadEvent | None:
        self._frames += 1
        if self._start_ms is None:
            self._run = self._run + 1 if loud else 0
            return self._open() if self._heard_enough() else None
        self._voiced += loud
        self._quiet = 0 if loud else self._quiet + 1
        if self._quiet and self._quiet * FRAME_MS >= self.settings.silence_duration_ms:
            return self._close(self._start_ms)
        return None

    def _heard_enough(self) -> bool:
        return self._run > 0 and self._run * FRAME_MS >= self.settings.onset_ms

    def _open(self) -> SpeechStarted:
        onset_ms = self.position_ms - self._run * FRAME_MS
        padded_ms = onset_ms - self.settings.prefix_padding_ms
        self._start_ms = max(padded_ms, self._earliest_ms, 0)
        self._voiced, self._quiet = self._run, 0
        return SpeechStarted(start_ms=self._start_ms, detected_ms=self.position_ms)

    def _close(self, start_ms: int) -> SpeechStopped:
        event = SpeechStopped(
            start_ms=start_ms, end_ms=self.position_ms, voiced_ms=self._voiced * FRAME_MS
        )
        self.reset()
        return event
