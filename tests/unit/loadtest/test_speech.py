from __future__ import annotations

import numpy as np
import pytest

from loadtest.simulators.speech import (
    PARTICIPANT,
    SpeechLibrary,
    duration_ms_of,
    noise,
    silence,
    synthesize,
)

RATES = (16_000, 24_000, 48_000)


def level_dbfs(pcm: bytes) -> float:
    samples = np.frombuffer(pcm, dtype="<i2").astype(np.float64) / 32768
    return float(20 * np.log10(np.sqrt(np.mean(samples**2))))


@pytest.mark.parametrize("rate", RATES)
def test_lasts_exactly_as_long_as_asked(rate: int) -> None:
    assert duration_ms_of(synthesize(seed=1, duration_ms=1230, sample_rate=rate), rate) == 1230


def test_same_seed_same_bytes_other_seed_other_bytes() -> None:
    first, again, other = (
        synthesize(seed=seed, duration_ms=400, sample_rate=24_000) for seed in (7, 7, 8)
    )
    assert first == again
    assert first != other


@pytest.mark.parametrize("rate", RATES)
def test_is_audible_and_never_clips(rate: int) -> None:
    pcm = synthesize(seed=3, duration_ms=2000, sample_rate=rate, voice=PARTICIPANT)
    assert -22 < level_dbfs(pcm) < -14
    assert np.abs(np.frombuffer(pcm, dtype="<i2").astype(int)).max() < 32_000


def test_energy_lies_where_a_voice_has_it() -> None:
    pcm = synthesize(seed=2, duration_ms=3000, sample_rate=24_000)
    spectrum = np.abs(np.fft.rfft(np.frombuffer(pcm, dtype="<i2").astype(np.float64))) ** 2
    hertz = np.fft.rfftfreq(len(pcm) // 2, 1 / 24_000)
    voice_band = spectrum[(hertz > 80) & (hertz < 3600)].sum()
    assert voice_band / spectrum.sum() > 0.9


def test_silence_and_nothing_are_silent() -> None:
    assert silence(duration_ms=10, sample_rate=16_000) == bytes(320)
    assert synthesize(seed=1, duration_ms=0, sample_rate=16_000) == b""


def test_noise_has_the_level_asked_for() -> None:
    pcm = noise(seed=1, duration_ms=1000, sample_rate=16_000, dbfs=-50)
    assert level_dbfs(pcm) == pytest.approx(-50, abs=0.5)


def test_library_cuts_clips_from_takes_made_once() -> None:
    library = SpeechLibrary(seed=1, sample_rate=16_000, takes=2, take_ms=300)
    short, long = (library.clip(choice=1, duration_ms=ms) for ms in (100, 700))
    assert duration_ms_of(long, 16_000) == 700
    assert long.startswith(short)
    assert library.clip(choice=3, duration_ms=100) == short
    assert library.clip(choice=0, duration_ms=100) != short
