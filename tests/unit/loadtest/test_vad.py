from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from loadtest.simulators.speech import noise, silence, synthesize
from loadtest.simulators.vad import (
    FRAME_MS,
    EnergyVad,
    SpeechStarted,
    SpeechStopped,
    VadEvent,
    VadSettings,
)

RATE = 16_000
SPEECH = synthesize(seed=5, duration_ms=1000, sample_rate=RATE)


def pause(ms: int) -> bytes:
    return silence(duration_ms=ms, sample_rate=RATE)


def heard(pcm: bytes, piece: int = 640, **options: float) -> list[VadEvent]:
    vad = EnergyVad(sample_rate=RATE, settings=VadSettings(**options))  # type: ignore[arg-type]
    return [e for at in range(0, len(pcm), piece) for e in vad.feed(pcm[at : at + piece])]


def tone(dbfs: float, ms: int = 400) -> bytes:
    wave = np.sin(2 * np.pi * 300 * np.arange(RATE * ms // 1000) / RATE)
    return (wave * 10 ** (dbfs / 20) * np.sqrt(2) * 32767).astype("<i2").tobytes()


def test_one_utterance_is_one_turn_with_padding_and_closing_silence() -> None:
    started, stopped = heard(
        pause(500) + SPEECH + pause(900), silence_duration_ms=400, prefix_padding_ms=300
    )
    assert isinstance(started, SpeechStarted)
    assert isinstance(stopped, SpeechStopped)
    assert started.start_ms == pytest.approx(200, abs=60)
    assert stopped.start_ms == started.start_ms
    assert stopped.end_ms == pytest.approx(1900, abs=60)
    assert 800 <= stopped.voiced_ms <= 1000


def test_no_stop_before_the_silence_is_long_enough() -> None:
    events = heard(SPEECH + pause(3000) + SPEECH + pause(3000), silence_duration_ms=4000)
    assert [type(event) for event in events] == [SpeechStarted]


def test_a_shorter_silence_splits_what_a_longer_one_joins() -> None:
    talk = SPEECH + pause(700) + SPEECH + pause(2000)
    assert len(heard(talk, silence_duration_ms=500)) == 4
    assert len(heard(talk, silence_duration_ms=1000)) == 2


def test_turns_do_not_overlap_though_padding_would() -> None:
    talk = SPEECH + pause(300) + SPEECH + pause(500)
    _, first, second, _ = heard(talk, silence_duration_ms=200, prefix_padding_ms=2000)
    assert isinstance(first, SpeechStopped)
    assert isinstance(second, SpeechStarted)
    assert second.start_ms >= first.end_ms


@pytest.mark.parametrize(("dbfs", "threshold", "detected"), [
    (-30, 0.5, True), (-50, 0.5, False), (-30, 0.9, False), (-50, 0.2, True), (-20, 0.8, True),
])  # fmt: skip
def test_threshold_is_a_level(dbfs: float, threshold: float, detected: bool) -> None:
    assert bool(heard(tone(dbfs) + pause(100), threshold=threshold)) is detected


def test_a_click_and_a_quiet_room_are_no_speech() -> None:
    assert heard(pause(100) + tone(-10, ms=FRAME_MS) + pause(1000)) == []
    assert heard(noise(seed=1, duration_ms=2000, sample_rate=RATE, dbfs=-55)) == []


def test_reset_forgets_the_turn_and_keeps_the_clock() -> None:
    vad = EnergyVad(sample_rate=RATE)
    assert vad.feed(SPEECH)
    assert vad.speaking
    vad.reset()
    assert not vad.speaking
    assert vad.position_ms == 1000
    assert vad.feed(pause(1000)) == []


@settings(deadline=None, max_examples=25)
@given(piece=st.integers(min_value=2, max_value=5000).map(lambda n: n - n % 2))
def test_events_do_not_depend_on_how_audio_is_cut(piece: int) -> None:
    talk = pause(200) + SPEECH + pause(800)
    assert heard(talk, piece=piece) == heard(talk, piece=len(talk))


@pytest.mark.parametrize(
    "options", [{"threshold": 1.1}, {"threshold": -0.1}, {"silence_duration_ms": -1}]
)
def test_settings_out_of_range_are_refused(options: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="must"):
        VadSettings(**options)  # type: ignore[arg-type]
