"""Turns of the user, from real audio and from the client's signals."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.simulators.gemini.listening import Heard, Listener, TurnEnded, TurnStarted
from loadtest.simulators.gemini.setup import ActivityDetection, SessionSetup
from loadtest.simulators.gemini.wire import INPUT_RATE_HZ, Signal
from loadtest.simulators.speech import PARTICIPANT, silence, synthesize

MESSAGE_BYTES = INPUT_RATE_HZ // 20 * 2


def speech(ms: int) -> bytes:
    return synthesize(seed=5, duration_ms=ms, sample_rate=INPUT_RATE_HZ, voice=PARTICIPANT)


def quiet(ms: int) -> bytes:
    return silence(duration_ms=ms, sample_rate=INPUT_RATE_HZ)


def listener(*, all_input: bool = False, **activity: Any) -> Listener:
    setup = SessionSetup(
        model="m", activity=ActivityDetection(**activity), silence_in_turn=all_input
    )
    return Listener(setup)


def hear(ear: Listener, pcm: bytes) -> list[Heard]:
    pieces = [pcm[i : i + MESSAGE_BYTES] for i in range(0, len(pcm), MESSAGE_BYTES)]
    return [heard for piece in pieces for heard in ear.feed(piece)]


def ended(heard: list[Heard]) -> TurnEnded:
    assert heard[0] == TurnStarted()
    (turn,) = heard[1:]
    assert isinstance(turn, TurnEnded)
    return turn


def test_a_turn_bills_its_speech_and_not_the_silence() -> None:
    turn = ended(hear(listener(), quiet(3_000) + speech(2_000) + quiet(600)))
    assert turn.billed_ms == pytest.approx(2_000, abs=60)
    assert turn.voiced_ms <= turn.billed_ms


def test_all_input_bills_the_silence_too() -> None:
    turn = ended(hear(listener(all_input=True), quiet(3_000) + speech(2_000) + quiet(500)))
    assert turn.billed_ms == pytest.approx(5_500, abs=60)


def test_a_patient_session_hears_one_turn_where_others_hear_two() -> None:
    thought = speech(1_000) + quiet(2_000) + speech(1_000)
    assert len(hear(listener(silence_ms=500), thought + quiet(500))) == 4
    assert ended(hear(listener(silence_ms=3_000), thought + quiet(3_000))).billed_ms > 3_900


def test_short_sounds_do_not_start_a_turn_when_speech_must_last() -> None:
    click = speech(100) + quiet(600)
    assert hear(listener(onset_ms=40), click)
    assert hear(listener(onset_ms=300), click) == []


def test_the_end_of_the_stream_ends_the_turn() -> None:
    ear = listener(silence_ms=5_000)
    assert hear(ear, speech(1_000)) == [TurnStarted()]
    (turn,) = ear.signal(Signal.AUDIO_STREAM_END)
    assert isinstance(turn, TurnEnded)
    assert ear.signal(Signal.AUDIO_STREAM_END) == []


def test_manual_turns_hold_what_came_between_the_signals() -> None:
    ear = listener(disabled=True)
    assert hear(ear, speech(400)) == []
    assert ear.signal(Signal.ACTIVITY_START) == [TurnStarted()]
    assert hear(ear, speech(1_000)) == []
    assert ear.signal(Signal.ACTIVITY_END) == [TurnEnded(billed_ms=1_000, voiced_ms=1_000)]
    assert ear.signal(Signal.ACTIVITY_END) == [TurnEnded(billed_ms=0, voiced_ms=0)]


def test_signals_are_only_allowed_where_they_mean_something() -> None:
    server, client = listener(), listener(disabled=True)
    assert [server.allows(s) for s in Signal] == [False, False, True, True]
    assert [client.allows(s) for s in Signal] == [True, True, False, True]
