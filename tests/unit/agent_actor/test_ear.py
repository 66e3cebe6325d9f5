from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from agent_actor.ear import LONGEST_MS, Ear

FRAME_MS = 50


def frame(dbfs: float) -> NDArray[np.int16]:
    tone = np.sin(np.linspace(0, 100, 1_200)) * np.sqrt(2)
    return (tone * 32_768 * 10 ** (dbfs / 20)).astype(np.int16)


SPEECH, NOISE, NOTHING = frame(-20), frame(-60), np.zeros(0, dtype=np.int16)


def told(*frames: tuple[NDArray[np.int16], int]) -> tuple[list[bool], Ear]:
    """By an ear that hears each of ``frames`` for so many milliseconds."""
    heard: list[bool] = []
    ear = Ear(heard.append)
    for samples, ms in frames:
        for _ in range(ms // FRAME_MS):
            ear.hear(samples, FRAME_MS)
    return heard, ear


def test_one_who_is_speaking_is_heard_at_once() -> None:
    assert told((SPEECH, FRAME_MS))[0] == [True]


def test_and_heard_to_cease_but_not_between_words() -> None:
    heard, ear = told((SPEECH, 1_000), (NOISE, 350), (SPEECH, 1_000), (NOISE, 400))
    assert heard == [True, False]
    assert ear.done


def test_one_who_is_silent_is_not_heard_and_from_then_on_it_is_the_server_s_to_tell() -> None:
    heard, ear = told((NOISE, 400), (SPEECH, 1_000))
    assert heard == []
    assert ear.done


def test_noise_without_end_is_nobody_speaking() -> None:
    heard, ear = told((SPEECH, LONGEST_MS))
    assert heard == [True, False]
    assert ear.done


def test_empty_frames_are_nothing() -> None:
    heard, ear = told((NOTHING, 1_000))
    assert heard == []
    assert not ear.done
