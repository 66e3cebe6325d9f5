"""What is said is audible, seeded, and ends when it is heard to end."""

from __future__ import annotations

import numpy as np
import pytest

from loadtest.participants.listening import Hearing, Listener, SpurtBegan, level_dbfs
from loadtest.participants.voice import INAUDIBLE, SAMPLE_RATES, Voices


@pytest.fixture(scope="module", params=SAMPLE_RATES)
def voices(request: pytest.FixtureRequest) -> Voices:
    made = Voices(sample_rate=request.param, seed=3)
    made.warm()
    return made


@pytest.mark.parametrize("speech_s", [0.3, 1.0, 15.0])
def test_speech_lasts_as_long_as_asked_but_for_a_word_gap(voices: Voices, speech_s: float) -> None:
    pcm = voices.speech(choice=1, speech_s=speech_s)
    assert len(pcm) / voices.sample_rate == pytest.approx(speech_s, abs=0.12)
    assert len(pcm) <= round(speech_s * voices.sample_rate)
    assert abs(int(pcm[-1])) >= INAUDIBLE


def test_speech_is_heard_as_speech(voices: Voices) -> None:
    listener = Listener(Hearing(sample_rate=voices.sample_rate))
    events = listener.hear(voices.speech(choice=0, speech_s=2.0), arrived_s=2.0)
    assert [type(event) for event in events] == [SpurtBegan]
    assert listener.report().clipped_samples == 0


def test_choices_differ_and_repeat(voices: Voices) -> None:
    one, other = (voices.speech(choice=choice, speech_s=1.0) for choice in (0, 1))
    assert len(one) != len(other) or not np.array_equal(one, other)
    assert np.array_equal(one, voices.speech(choice=0, speech_s=1.0))


def test_background_has_the_level_asked_for(voices: Voices) -> None:
    hum = voices.background(-60.0)
    assert hum is not None
    assert level_dbfs(hum) == pytest.approx(-60.0, abs=0.5)
    assert voices.background(None) is None
