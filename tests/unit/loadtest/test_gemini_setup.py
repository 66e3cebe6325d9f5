"""What the setup frame asks for, in both spellings, and how a bad one is refused."""

from __future__ import annotations

from typing import Any

import pytest

from loadtest.simulators.gemini.setup import (
    ActivityDetection,
    Compression,
    SessionSetup,
    SetupError,
    read_setup,
)
from loadtest.simulators.script import Tool

MODELS = frozenset({"m", "gemini-3.1-flash-live-preview", "gemini-3.8-live"})


def read(**raw: Any) -> SessionSetup:
    return read_setup({"model": "models/m", **raw}, MODELS, "v1beta")


def test_defaults() -> None:
    setup = read()
    assert setup == SessionSetup(model="m")
    assert (setup.activity.silence_ms, setup.interruptible, setup.resumption) == (500, True, False)


@pytest.mark.parametrize(
    "realtime",
    [
        {
            "automaticActivityDetection": {
                "startOfSpeechSensitivity": "START_SENSITIVITY_LOW",
                "prefixPaddingMs": 20,
                "silenceDurationMs": 12_000,
            },
            "activityHandling": "NO_INTERRUPTION",
            "turnCoverage": "TURN_INCLUDES_ALL_INPUT",
        },
        {
            "automatic_activity_detection": {
                "start_of_speech_sensitivity": "START_SENSITIVITY_LOW",
                "prefix_padding_ms": "20",
                "silence_duration_ms": 12_000,
            },
            "activity_handling": "NO_INTERRUPTION",
            "turn_coverage": "TURN_INCLUDES_ALL_INPUT",
        },
    ],
)
def test_realtime_input_in_either_spelling(realtime: dict[str, Any]) -> None:
    setup = read(realtimeInputConfig=realtime)
    assert setup.activity == ActivityDetection(
        sensitive_start=False, onset_ms=20, silence_ms=12_000
    )
    assert not setup.interruptible
    assert setup.silence_in_turn


def test_low_end_sensitivity_waits_longer() -> None:
    activity = {"endOfSpeechSensitivity": "END_SENSITIVITY_LOW"}
    setup = read(realtimeInputConfig={"automaticActivityDetection": activity})
    assert setup.activity.silence_ms > read().activity.silence_ms


def test_tools_keep_their_schema() -> None:
    function = {"name": "f", "parameters": {"type": "OBJECT", "required": ["a"]}}
    setup = read(tools=[{"function_declarations": [function]}, {"googleSearch": {}}])
    assert setup.tools == (Tool(name="f", parameters=function["parameters"]),)


def test_compression_keeps_half_unless_told() -> None:
    assert read(contextWindowCompression={"triggerTokens": "1000"}).compression == Compression(
        trigger=1_000, target=500
    )
    window = {"trigger_tokens": 1_000, "sliding_window": {"target_tokens": 200}}
    assert read(contextWindowCompression=window).compression == Compression(
        trigger=1_000, target=200
    )


def test_resumption_with_and_without_handle() -> None:
    assert (read(sessionResumption={}).resumption, read(sessionResumption={}).handle) == (
        True,
        None,
    )
    assert read(sessionResumption={"handle": "h"}).handle == "h"


def test_the_model_decides_what_is_transcribed_unasked() -> None:
    assert not read().transcribes_input
    newer = read_setup({"model": "models/gemini-3.1-flash-live-preview"}, MODELS, "v1")
    assert newer.transcribes_input
    assert newer.generation == "3.1"


def test_an_unknown_model_is_refused_by_policy() -> None:
    with pytest.raises(SetupError, match="models/x is not found for API version v1beta") as caught:
        read_setup({"model": "models/x"}, MODELS, "v1beta")
    assert caught.value.code == 1008


@pytest.mark.parametrize(
    "raw",
    [
        {"generationConfig": {"responseModalities": ["AUDIO", "TEXT"]}},
        {"generationConfig": {"maxOutputTokens": "many"}},
        {"generationConfig": 3},
        {"contextWindowCompression": {"triggerTokens": 10, "slidingWindow": {"targetTokens": 10}}},
        {"realtimeInputConfig": {"automaticActivityDetection": {"silenceDurationMs": -5}}},
    ],
)
def test_an_invalid_argument_is_refused(raw: dict[str, Any]) -> None:
    with pytest.raises(SetupError) as caught:
        read(**raw)
    assert caught.value.code == 1007
