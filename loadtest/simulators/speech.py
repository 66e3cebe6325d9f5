"""Speech-like audio: vowels with formants, syllables, short pauses. Mono PCM16, little endian.

Deterministic: the same arguments give the same bytes. Voiced energy sits near -18 dBFS, gaps
between words stay under `MAX_GAP_MS`, so a voice detector with 200 ms of patience hears one
utterance.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

BYTES_PER_SAMPLE = 2
MAX_GAP_MS = 90
# First three formants in Hz, after Peterson and Barney's 1952 averages for adult speakers.
VOWELS_HZ: tuple[tuple[int, int, int], ...] = (
    (730, 1090, 2440),
    (530, 1840, 2480),
    (390, 1990, 2550),
    (270, 2290, 3010),
    (570, 840, 2410),
    (440, 1020, 2240),
    (300, 870, 2240),
    (660, 1720, 2410),
)
FORMANT_GAINS = (1.0, 0.5, 0.25)
FORMANT_WIDTHS_HZ = (90.0, 120.0, 180.0)
HARMONICS_UP_TO_HZ = 3600.0
TARGET_RMS = 0.13
PEAK = 0.85


@dataclass(frozen=True, kw_only=True)
class Voice:
    """Who speaks: the middle of the pitch range and the pace."""

    pitch_hz: float = 120.0
    syllables_per_s: float = 4.5


INTERVIEWER = Voice(pitch_hz=115.0)
PARTICIPANT = Voice(pitch_hz=190.0, syllables_per_s=4.0)


def synthesize(
    *, seed: int, duration_ms: int, sample_rate: int, voice: Voice = INTERVIEWER
) -> bytes:
    """Speak for exactly `duration_ms`; returns `duration_ms * sample_rate / 1000` samples."""
    wanted = duration_ms * sample_rate // 1000
    if wanted <= 0:
        return b""
    rng = np.random.default_rng([seed, sample_rate])
    parts: list[Samples] = []
    have = 0
    until_gap = int(rng.integers(2, 5))
    while have < wanted:
        part = _syllable(rng, sample_rate, voice)
        parts.append(part)
        have += part.size
        until_gap -= 1
        if until_gap == 0:
            gap = np.zeros(int(rng.uniform(0.03, MAX_GAP_MS / 1000) * sample_rate), np.float32)
            parts.append(gap)
            have += gap.size
            until_gap = int(rng.integers(2, 5))
    return to_pcm16(_levelled(np.concatenate(parts)[:wanted]))


def silence(*, duration_ms: int, sample_rate: int) -> bytes:
    """Digital silence."""
    return bytes(duration_ms * sample_rate // 1000 * BYTES_PER_SAMPLE)


def noise(*, seed: int, duration_ms: int, sample_rate: int, dbfs: float) -> bytes:
    """White noise at a given level: a room, not a voice."""
    rng = np.random.default_rng([seed, sample_rate, 1])
    count = duration_ms * sample_rate // 1000
    return to_pcm16((rng.standard_normal(count) * 10 ** (dbfs / 20)).astype(np.float32))


def to_pcm16(samples: Samples) -> bytes:
    """Clip to [-1, 1] and pack."""
    packed: npt.NDArray[np.int16] = (np.clip(samples, -1.0, 1.0) * 32767.0).astype("<i2")
    return packed.tobytes()


def duration_ms_of(pcm: bytes | bytearray, sample_rate: int) -> int:
    """Whole milliseconds in `pcm`, rounded down."""
    return len(pcm) // BYTES_PER_SAMPLE * 1000 // sample_rate


def _syllable(rng: np.random.Generator, rate: int, voice: Voice) -> Samples:
    length = int(rate / voice.syllables_per_s * rng.uniform(0.75, 1.25))
    pitch = np.linspace(
        voice.pitch_hz * rng.uniform(0.9, 1.25), voice.pitch_hz * rng.uniform(0.8, 1.1), length
    )
    phase = 2 * np.pi * np.cumsum(pitch) / rate
    first, last = rng.integers(0, len(VOWELS_HZ), size=2)
    top = min(HARMONICS_UP_TO_HZ, rate / 2 - 200)
    numbers = np.arange(1, int(top / pitch.max()) + 1, dtype=np.float64)
    middle_hz = numbers * float(pitch.mean())
    start_gain, end_gain = _gains(middle_hz, int(first)), _gains(middle_hz, int(last))
    glide = np.linspace(0.0, 1.0, length)
    waves = np.sin(np.outer(numbers, phase))
    body = start_gain @ waves * (1 - glide) + end_gain @ waves * glide
    onset = rng.standard_normal(length) * np.exp(-np.arange(length) / (0.012 * rate))
    envelope = np.sin(np.pi * np.linspace(0.06, 0.97, length)) ** 0.6
    return ((body + 0.15 * onset) * envelope).astype(np.float32)


def _gains(frequencies_hz: npt.NDArray[np.float64], vowel: int) -> npt.NDArray[np.float64]:
    total = np.zeros_like(frequencies_hz)
    for centre, width, gain in zip(VOWELS_HZ[vowel], FORMANT_WIDTHS_HZ, FORMANT_GAINS, strict=True):
        total += gain / (1 + ((frequencies_hz - centre) / width) ** 2)
    return total


def _levelled(samples: Samples) -> Samples:
    rms = float(np.sqrt(np.mean(samples**2))) or 1.0
    scaled = samples * (TARGET_RMS / rms)
    # A soft knee instead of clipping: a clipped vowel sounds like a fault in the transport.
    levelled: Samples = (np.tanh(scaled / PEAK) * PEAK).astype(np.float32)
    return levelled


class SpeechLibrary:
    """Clips of any length cut from a few long takes, made once: 200 sessions cost no synthesis.

    Not safe across threads; meant for one event loop.
    """

    def __init__(
        self,
        *,
        seed: int,
        sample_rate: int,
        voice: Voice = INTERVIEWER,
        takes: int = 6,
        take_ms: int = 12_000,
    ) -> None:
        self.sample_rate = sample_rate
        self._seed, self._voice = seed, voice
        self._take_count, self._take_ms = takes, take_ms
        self._takes: dict[int, bytes] = {}

    def warm(self) -> None:
        """Make all takes now."""
        for index in range(self._take_count):
            self._take(index)

    def take_index(self, choice: int) -> int:
        """Which take `choice` means: equal ones sound equal."""
        return choice % self._take_count

    def clip(self, *, choice: int, duration_ms: int) -> bytes:
        """`duration_ms` of speech; `choice` picks the take, any integer will do."""
        wanted = duration_ms * self.sample_rate // 1000 * BYTES_PER_SAMPLE
        take = self._take(self.take_index(choice))
        repeats = -(-wanted // len(take)) if wanted else 0
        return (take * repeats)[:wanted] if repeats > 1 else take[:wanted]

    def _take(self, index: int) -> bytes:
        if index not in self._takes:
            self._takes[index] = synthesize(
                seed=self._seed * 1009 + index,
                duration_ms=self._take_ms,
                sample_rate=self.sample_rate,
                voice=self._voice,
            )
        return self._takes[index]
