from __future__ import annotations

from typing import Any

import pytest

from loadtest.simulators.openai_config import SessionConfig, check_item, check_response
from loadtest.simulators.openai_schema import ClientError


def config() -> SessionConfig:
    return SessionConfig(session_id="sess_1", model="gpt-realtime", expires_at=0)


def updated(**session: Any) -> SessionConfig:
    changed = config()
    changed.update({"type": "realtime", **session}, has_spoken=False)
    return changed


def test_what_is_given_replaces_what_was_and_no_more() -> None:
    changed = updated(
        instructions="Ask.",
        max_output_tokens=400,
        audio={"input": {"transcription": {"model": "whisper-1"}}, "output": {"voice": "marin"}},
    )
    assert changed.instructions == "Ask."
    assert changed.transcription == {"model": "whisper-1"}
    assert changed.data["audio"]["output"]["voice"] == "marin"
    assert changed.data["audio"]["output"]["speed"] == 1.0
    assert changed.data["tool_choice"] == "auto"


def test_turn_detection_defaults_are_filled_in() -> None:
    changed = updated(
        audio={"input": {"turn_detection": {"type": "server_vad", "silence_duration_ms": 900}}}
    )
    assert changed.turn_detection == {
        "type": "server_vad",
        "threshold": 0.5,
        "prefix_padding_ms": 300,
        "silence_duration_ms": 900,
        "idle_timeout_ms": None,
        "create_response": True,
        "interrupt_response": True,
    }
    assert changed.vad_settings().silence_duration_ms == 900


def test_turn_detection_null_is_manual() -> None:
    assert updated(audio={"input": {"turn_detection": None}}).turn_detection is None


def test_an_eager_semantic_detector_waits_less() -> None:
    waits = [
        updated(audio={"input": {"turn_detection": {"type": "semantic_vad", "eagerness": name}}})
        .vad_settings()
        .silence_duration_ms
        for name in ("high", "auto", "low")
    ]
    assert waits == sorted(waits)
    assert len(set(waits)) == 3


def test_null_tracing_and_reduction_of_the_plugin_are_taken() -> None:
    changed = updated(tracing=None, tool_choice="auto", audio={"input": {"noise_reduction": None}})
    assert changed.data["tracing"] is None


@pytest.mark.parametrize(
    ("session", "code", "param"),
    [
        ({"modalities": ["text"]}, "unknown_parameter", "session.modalities"),
        ({"input_audio_format": "pcm16"}, "unknown_parameter", "session.input_audio_format"),
        ({"audio": {"input": {"volume": 1}}}, "unknown_parameter", "session.audio.input.volume"),
        ({"instructions": 5}, "invalid_type", "session.instructions"),
        ({"max_output_tokens": 9000}, "integer_above_max_value", "session.max_output_tokens"),
        ({"output_modalities": ["video"]}, "invalid_value", "session.output_modalities[0]"),
        ({"model": "gpt-realtime-mini"}, "invalid_value", "session.model"),
        (
            {"audio": {"input": {"turn_detection": {"type": "server_vad", "threshold": 2}}}},
            "decimal_above_max_value",
            "session.audio.input.turn_detection.threshold",
        ),
        (
            {"audio": {"input": {"turn_detection": {"type": "psychic"}}}},
            "invalid_value",
            "session.audio.input.turn_detection.type",
        ),
        ({"audio": {"output": {"voice": "nobody"}}}, "invalid_value", "session.audio.output.voice"),
        ({"tools": [{"type": "function"}]}, "missing_required_parameter", "session.tools[0].name"),
    ],
)
def test_bad_fields_are_named_and_change_nothing(
    session: dict[str, Any], code: str, param: str
) -> None:
    changed = config()
    before = changed.data
    with pytest.raises(ClientError) as caught:
        changed.update({"type": "realtime", "instructions": "new", **session}, has_spoken=False)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert changed.data is before


def test_the_beta_shape_lacks_its_type() -> None:
    with pytest.raises(ClientError) as caught:
        config().update({"instructions": "x"}, has_spoken=False)
    assert caught.value.code == "missing_required_parameter"
    assert caught.value.param == "session.type"


def test_the_voice_is_fixed_once_heard() -> None:
    changed = config()
    voice = {"type": "realtime", "audio": {"output": {"voice": "cedar"}}}
    with pytest.raises(ClientError) as caught:
        changed.update(voice, has_spoken=True)
    assert caught.value.code == "cannot_update_voice"
    changed.update(voice, has_spoken=False)


def test_response_nulls_mean_the_session_s_own() -> None:
    params = check_response({"instructions": None, "metadata": {"client_event_id": "e"}})
    assert params == {"metadata": {"client_event_id": "e"}}
    assert check_response(None) == {}


@pytest.mark.parametrize(
    "params",
    [{"volume": 1}, {"metadata": {"a": 1}}, {"metadata": {"a": "x" * 513}}, {"tools": "none"}],
)
def test_bad_response_parameters_are_refused(params: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        check_response(params)


@pytest.mark.parametrize(
    "item",
    [
        {"type": "message", "role": "assistant", "content": [{"type": "output_audio"}]},
        {"type": "message", "role": "user", "content": [{"type": "output_text", "text": "x"}]},
        {"type": "message", "role": "robot", "content": []},
        {"type": "function_call_output", "output": "x"},
        {"type": "function_call_output", "output": "x", "call_id": "c" * 33},
        {"type": "message", "role": "user", "content": [], "id": "i" * 33},
    ],
)
def test_bad_items_are_refused(item: dict[str, Any]) -> None:
    with pytest.raises(ClientError):
        check_item(item, "item")
