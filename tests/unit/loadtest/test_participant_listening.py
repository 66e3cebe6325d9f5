"""Spurts, gaps and levels from samples made to measure."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadtest.participants.listening import (
    AudioReport,
    HeardEvent,
    Hearing,
    Listener,
    Pcm,
    SpurtBegan,
    SpurtEnded,
    level_dbfs,
    merge,
)
from loadtest.simulators.speech import MAX_GAP_MS, noise, synthesize

RATE = 24_000
FRAME = RATE // 50


def tone(seconds: float, amplitude: float = 0.25) -> Pcm:
    times = np.arange(round(seconds * RATE)) / RATE
    return (np.sin(2 * np.pi * 400 * times) * amplitude * 32_767).astype(np.int16)


def quiet(seconds: float) -> Pcm:
    return np.zeros(round(seconds * RATE), dtype=np.int16)


def frames(pcm: Pcm, size: int = FRAME) -> list[Pcm]:
    return [pcm[at : at + size] for at in range(0, len(pcm), size)]


def listen(
    *parts: Pcm, hearing: Hearing | None = None, frame: int = FRAME
) -> tuple[Listener, list[HeardEvent]]:
    """All parts in order, in frames that arrive exactly when they have been played."""
    listener = Listener(hearing or Hearing())
    events: list[HeardEvent] = []
    played = 0
    for pcm in frames(np.concatenate(parts), frame):
        played += len(pcm)
        events += listener.hear(pcm, played / RATE)
    return listener, events


def test_spurt_has_the_times_of_its_sound() -> None:
    _, events = listen(quiet(0.5), tone(1.0), quiet(0.5))
    began, ended = events
    assert isinstance(began, SpurtBegan)
    assert isinstance(ended, SpurtEnded)
    assert began.at_s == pytest.approx(0.5, abs=0.001)
    assert ended.began_s == began.at_s
    assert ended.ended_s == pytest.approx(1.5, abs=0.001)


@pytest.mark.parametrize("frame", [160, 240, 480, 1000])
def test_frame_size_does_not_matter(frame: int) -> None:
    _, events = listen(quiet(0.5), tone(1.0), quiet(0.6), frame=frame)
    began, ended = events
    assert isinstance(began, SpurtBegan)
    assert isinstance(ended, SpurtEnded)
    assert began.at_s == pytest.approx(0.5, abs=0.011)
    assert ended.ended_s == pytest.approx(1.5, abs=0.011)


def test_silence_shorter_than_the_turn_gap_is_a_gap_in_one_spurt() -> None:
    listener, events = listen(tone(0.5), quiet(0.39), tone(0.5), quiet(0.5))
    assert [type(event) for event in events] == [SpurtBegan, SpurtEnded]
    report = listener.report()
    assert report.gaps == 1
    assert report.longest_gap_s == pytest.approx(0.39)


def test_silence_of_the_turn_gap_makes_two_spurts_and_no_gap() -> None:
    listener, events = listen(tone(0.5), quiet(0.41), tone(0.5), quiet(0.5))
    assert [type(event) for event in events] == [SpurtBegan, SpurtEnded] * 2
    assert listener.report().gaps == 0


@pytest.mark.parametrize(("gap_s", "gaps"), [(0.01, 0), (0.02, 1), (0.1, 1)])
def test_gaps_count_from_20_ms(gap_s: float, gaps: int) -> None:
    listener, _ = listen(tone(0.3), quiet(gap_s), tone(0.3), quiet(0.5))
    assert listener.report().gaps == gaps
    assert listener.report().gap_s == pytest.approx(gap_s * gaps)


def test_click_is_no_speech() -> None:
    _, events = listen(quiet(0.5), tone(0.01), quiet(0.5))
    assert events == []


def test_room_noise_is_no_speech() -> None:
    hum = np.frombuffer(noise(seed=1, duration_ms=2000, sample_rate=RATE, dbfs=-60.0), np.int16)
    listener, events = listen(hum)
    assert events == []
    assert listener.report().speech_dbfs is None


def test_generated_speech_is_one_spurt_however_long() -> None:
    spoken = synthesize(seed=5, duration_ms=8000, sample_rate=RATE)
    listener, events = listen(np.frombuffer(spoken, np.int16), quiet(0.5))
    assert [type(event) for event in events] == [SpurtBegan, SpurtEnded]
    assert listener.report().longest_gap_s <= (MAX_GAP_MS + 60) / 1000


def test_level_is_that_of_the_speech_alone() -> None:
    listener, _ = listen(quiet(3.0), tone(1.0, amplitude=0.25), quiet(3.0))
    # A sine of amplitude a has the mean square a²/2.
    assert listener.report().speech_dbfs == pytest.approx(
        20 * math.log10(0.25 / math.sqrt(2)), 0.01
    )


def test_clipping_counts_samples_at_full_scale() -> None:
    loud = tone(0.1)
    loud[1000:1007] = 32_767
    loud[1100:1103] = -32_768
    listener, _ = listen(loud)
    assert listener.report().clipped_samples == 10


def test_frames_that_stop_coming_end_the_spurt() -> None:
    listener, events = listen(tone(1.0))
    assert [type(event) for event in events] == [SpurtBegan]
    assert listener.silence_until(1.3) == []
    (ended,) = listener.silence_until(1.41)
    assert isinstance(ended, SpurtEnded)
    assert ended.ended_s == pytest.approx(1.0)
    assert listener.silence_until(2.0) == []


def test_finish_ends_the_spurt_once() -> None:
    listener, _ = listen(tone(1.0))
    assert len(listener.finish()) == 1
    assert listener.finish() == []
    assert not listener.speaking


def test_jitter_is_the_mean_deviation_from_the_rhythm() -> None:
    listener = Listener(Hearing())
    for arrived_s in (0.02, 0.05, 0.06):  # 10 ms late, then 10 ms early
        listener.hear(quiet(0.02), arrived_s)
    report = listener.report()
    assert report.jitter_s == pytest.approx(0.01)
    assert report.longest_arrival_gap_s == pytest.approx(0.03)


def test_nothing_heard_is_reported_as_nothing() -> None:
    report = Listener(Hearing()).report()
    assert report == AudioReport()
    assert report.jitter_s is None


def test_merged_reports_are_as_of_one_track() -> None:
    one, _ = listen(tone(0.5), quiet(0.1), tone(0.5), quiet(0.5))
    other, _ = listen(tone(1.0, amplitude=0.5), quiet(0.5))
    both = merge(one.report(), other.report())
    assert both.audio_s == pytest.approx(3.1)
    assert both.gaps == 1
    assert both.intervals == one.report().intervals + other.report().intervals
    assert one.report().speech_dbfs < both.speech_dbfs < other.report().speech_dbfs  # type: ignore[operator]


def test_level_of_digital_silence_is_minus_infinity() -> None:
    assert level_dbfs(quiet(0.1)) == -math.inf
    assert level_dbfs(quiet(0.0)) == -math.inf
    assert level_dbfs(np.full(100, -32_768, np.int16)) == pytest.approx(0.0)
