"""Audio in, talk spurts and sound quality out. Pure: numpy only, arrival times are the caller's.

Sound is judged in blocks of 10 ms by their level. A spurt begins with the first of
`onset_blocks` loud blocks in a row and ends with its last loud block, once `end_silence_s` of
quiet has followed; shorter quiet inside it is a gap when it lasts `MIN_GAP_S` or more. Natural
speech has such gaps between words, so compare gaps with the same speech heard undisturbed.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Pcm = NDArray[np.int16]

BLOCK_S = 0.01
MIN_GAP_S = 0.02
FULL_SCALE = 32_768.0


@dataclass(frozen=True, kw_only=True)
class Hearing:
    """What counts as speech."""

    sample_rate: int = 24_000
    audible_dbfs: float = -45.0
    onset_blocks: int = 2
    end_silence_s: float = 0.4


@dataclass(frozen=True, kw_only=True)
class SpurtBegan:
    at_s: float


@dataclass(frozen=True, kw_only=True)
class SpurtEnded:
    """`ended_s` is the end of the last loud block: earlier than this event by the silence."""

    began_s: float
    ended_s: float


HeardEvent = SpurtBegan | SpurtEnded


@dataclass(frozen=True, kw_only=True)
class AudioReport:
    """What was heard on one track, or on several (see `merge`)."""

    audio_s: float = 0.0
    speech_blocks: int = 0
    speech_energy: float = 0.0
    """Sum over speech blocks of their mean square, full scale = 1."""
    clipped_samples: int = 0
    gaps: int = 0
    gap_s: float = 0.0
    longest_gap_s: float = 0.0
    frames: int = 0
    intervals: int = 0
    arrival_deviation_s: float = 0.0
    """Sum over frames of |time since the frame before - its duration|."""
    longest_arrival_gap_s: float = 0.0

    @property
    def speech_dbfs(self) -> float | None:
        """Level of the speech alone; None: nothing audible was heard."""
        if not self.speech_blocks:
            return None
        return _dbfs(self.speech_energy / self.speech_blocks)

    @property
    def jitter_s(self) -> float | None:
        """Mean deviation of a frame's arrival from the rhythm; None: fewer than two frames."""
        return self.arrival_deviation_s / self.intervals if self.intervals else None


def merge(one: AudioReport, other: AudioReport) -> AudioReport:
    """Both reports as if of one track."""
    return AudioReport(
        audio_s=one.audio_s + other.audio_s,
        speech_blocks=one.speech_blocks + other.speech_blocks,
        speech_energy=one.speech_energy + other.speech_energy,
        clipped_samples=one.clipped_samples + other.clipped_samples,
        gaps=one.gaps + other.gaps,
        gap_s=one.gap_s + other.gap_s,
        longest_gap_s=max(one.longest_gap_s, other.longest_gap_s),
        frames=one.frames + other.frames,
        intervals=one.intervals + other.intervals,
        arrival_deviation_s=one.arrival_deviation_s + other.arrival_deviation_s,
        longest_arrival_gap_s=max(one.longest_arrival_gap_s, other.longest_arrival_gap_s),
    )


class SpurtDetector:
    """Loud and quiet blocks in order -> spurts and the gaps inside them."""

    def __init__(self, hearing: Hearing) -> None:
        self._onset_blocks = hearing.onset_blocks
        self._end_blocks = max(1, round(hearing.end_silence_s / BLOCK_S))
        self._began_s: float | None = None
        self._onset_s = 0.0
        self._loud_run = 0
        self._quiet_run = 0
        self._last_loud_s = 0.0
        self.gaps_s: list[float] = []

    @property
    def speaking(self) -> bool:
        return self._began_s is not None

    def block(self, loud: bool, at_s: float) -> HeardEvent | None:
        """The next block, which began at `at_s`."""
        if loud:
            return self._loud(at_s)
        self._loud_run = 0
        self._quiet_run += 1
        if self.speaking and self._quiet_run >= self._end_blocks:
            return self.end()
        return None

    def _loud(self, at_s: float) -> HeardEvent | None:
        quiet_s, self._quiet_run = self._quiet_run * BLOCK_S, 0
        self._last_loud_s = at_s + BLOCK_S
        if self.speaking:
            if quiet_s >= MIN_GAP_S - BLOCK_S / 2:
                self.gaps_s.append(quiet_s)
            return None
        if not self._loud_run:
            self._onset_s = at_s
        self._loud_run += 1
        if self._loud_run < self._onset_blocks:
            return None
        self._began_s = self._onset_s
        return SpurtBegan(at_s=self._onset_s)

    def end(self) -> SpurtEnded | None:
        """Ends the spurt under way, if any, at its last loud block."""
        if self._began_s is None:
            return None
        ended = SpurtEnded(began_s=self._began_s, ended_s=self._last_loud_s)
        self._began_s = None
        self._loud_run = 0
        return ended


class Listener:
    """One track's ear. Feed frames in order; it never looks at a clock."""

    def __init__(self, hearing: Hearing) -> None:
        self._hearing = hearing
        self._block = round(hearing.sample_rate * BLOCK_S)
        self._threshold = (FULL_SCALE * 10 ** (hearing.audible_dbfs / 20)) ** 2
        self._detector = SpurtDetector(hearing)
        self._rest: Pcm = np.empty(0, dtype=np.int16)
        self._arrived_s: float | None = None
        self._samples = 0
        self._speech_blocks = 0
        self._speech_energy = 0.0
        self._clipped = 0
        self._frames = 0
        self._deviation_s = 0.0
        self._longest_arrival_gap_s = 0.0

    @property
    def speaking(self) -> bool:
        return self._detector.speaking

    def hear(self, pcm: Pcm, arrived_s: float) -> list[HeardEvent]:
        """A frame of mono samples whose last sample is played at `arrived_s`."""
        self._note_arrival(len(pcm) / self._hearing.sample_rate, arrived_s)
        self._samples += len(pcm)
        joined = np.concatenate((self._rest, pcm)) if len(self._rest) else pcm
        whole = len(joined) - len(joined) % self._block
        self._rest = joined[whole:].copy()
        if not whole:
            return []
        return list(self._judge(joined[:whole].reshape(-1, self._block), arrived_s))

    def silence_until(self, now_s: float) -> list[HeardEvent]:
        """No frame has come: ends the spurt once that has lasted the turn's silence."""
        silent_s = now_s - self._arrived_s if self._arrived_s is not None else 0.0
        return self.finish() if silent_s >= self._hearing.end_silence_s else []

    def finish(self) -> list[HeardEvent]:
        """The track is gone: ends the spurt under way, if any."""
        ended = self._detector.end()
        return [] if ended is None else [ended]

    def report(self) -> AudioReport:
        gaps_s = self._detector.gaps_s
        return AudioReport(
            audio_s=self._samples / self._hearing.sample_rate,
            speech_blocks=self._speech_blocks,
            speech_energy=self._speech_energy,
            clipped_samples=self._clipped,
            gaps=len(gaps_s),
            gap_s=sum(gaps_s),
            longest_gap_s=max(gaps_s, default=0.0),
            frames=self._frames,
            intervals=max(0, self._frames - 1),
            arrival_deviation_s=self._deviation_s,
            longest_arrival_gap_s=self._longest_arrival_gap_s,
        )

    def _judge(self, blocks: Pcm, arrived_s: float) -> Iterator[HeardEvent]:
        levels = np.mean(np.square(blocks, dtype=np.float64), axis=1)
        began_s = arrived_s - len(self._rest) / self._hearing.sample_rate - len(levels) * BLOCK_S
        loud = levels > self._threshold
        if loud.any():
            self._note_speech(blocks[loud], levels[loud])
        for index, is_loud in enumerate(loud.tolist()):
            event = self._detector.block(is_loud, began_s + index * BLOCK_S)
            if event is not None:
                yield event

    def _note_speech(self, blocks: Pcm, levels: NDArray[np.float64]) -> None:
        self._speech_blocks += len(levels)
        self._speech_energy += float(levels.sum()) / FULL_SCALE**2
        self._clipped += int(np.count_nonzero((blocks == 32_767) | (blocks == -32_768)))

    def _note_arrival(self, frame_s: float, arrived_s: float) -> None:
        self._frames += 1
        if self._arrived_s is not None:
            interval_s = arrived_s - self._arrived_s
            self._deviation_s += abs(interval_s - frame_s)
            self._longest_arrival_gap_s = max(self._longest_arrival_gap_s, interval_s)
        self._arrived_s = arrived_s


def level_dbfs(pcm: Pcm) -> float:
    """RMS level of samples; digital silence is -inf."""
    if not len(pcm):
        return -math.inf
    return _dbfs(float(np.mean(np.square(pcm, dtype=np.float64))) / FULL_SCALE**2)


def _dbfs(mean_square: float) -> float:
    return 10 * math.log10(mean_square) if mean_square > 0 else -math.inf
