"""OpenAI's server events as the meter reads them."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.billing import ResponseUsage, TranscriptionUsage
from agent_actor.providers.openai_wire import OpenAIWire, base64_ms, read_usage
from agent_actor.wire_events import (
    AudioDelta,
    ContextText,
    InstructionsSet,
    ProviderSession,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    TranscriptionDone,
    UserSpeech,
    UserSpeechStarted,
    WireError,
)

USAGE = {
    "total_tokens": 821,
    "input_tokens": 789,
    "output_tokens": 32,
    "input_token_details": {
        "text_tokens": 313,
        "audio_tokens": 476,
        "image_tokens": 0,
        "cached_tokens": 640,
        "cached_tokens_details": {"text_tokens": 256, "audio_tokens": 384, "image_tokens": 0},
    },
    "output_token_details": {"text_tokens": 9, "audio_tokens": 23},
}


def read(event: dict[str, Any]) -> tuple[object, ...]:
    return OpenAIWire().read(event)


def test_session_created() -> None:
    session = {"id": "sess_1", "instructions": "Grüße", "tools": []}
    assert read({"type": "session.created", "session": session}) == (
        ProviderSession(id="sess_1"),
        InstructionsSet(utf8_bytes=7),
    )


def test_tools_are_context_too() -> None:
    tools = [{"type": "function", "name": "advance_phase"}]
    (event,) = read({"type": "session.updated", "session": {"instructions": "Hi", "tools": tools}})
    assert isinstance(event, InstructionsSet)
    assert event.utf8_bytes > 40


@pytest.mark.parametrize(("cap", "read_cap"), [(500, 500), ("inf", None), (None, None)])
def test_response_created_with_its_cap(cap: object, read_cap: int | None) -> None:
    event = {"type": "response.created", "response": {"id": "resp_1", "max_output_tokens": cap}}
    assert read(event) == (ResponseCreated(id="resp_1", max_output_tokens=read_cap),)


@pytest.mark.parametrize("status", ["completed", "cancelled", "failed", "incomplete"])
def test_response_done_with_usage_whatever_its_status(status: str) -> None:
    event = {
        "type": "response.done",
        "response": {"id": "resp_1", "status": status, "usage": USAGE},
    }
    assert read(event) == (
        ResponseDone(
            id="resp_1",
            status=status,
            usage=ResponseUsage(
                input_tokens=789,
                output_tokens=32,
                input_text=313,
                input_audio=476,
                input_image=0,
                cached_tokens=640,
                cached_text=256,
                cached_audio=384,
                cached_image=0,
                output_text=9,
                output_audio=23,
            ),
        ),
    )


@pytest.mark.parametrize("usage", [None, {}, {"input_tokens": 0, "output_tokens": 0}, "?"])
def test_response_done_without_usage(usage: object) -> None:
    event = {"type": "response.done", "response": {"id": "r", "status": "failed", "usage": usage}}
    assert read(event) == (ResponseDone(id="r", status="failed", usage=None),)


def test_usage_without_cached_details_leaves_them_open() -> None:
    details = {"text_tokens": 1, "audio_tokens": 2, "cached_tokens": 2}
    usage = read_usage({"input_tokens": 3, "output_tokens": 0, "input_token_details": details})
    assert usage is not None
    assert (usage.cached_tokens, usage.cached_text, usage.cached_audio) == (2, None, None)


@pytest.mark.parametrize("kind", ["response.output_audio.delta", "response.audio.delta"])
def test_audio_is_measured_without_decoding(kind: str) -> None:
    delta = base64.b64encode(bytes(4800)).decode()
    event = {"type": kind, "response_id": "r", "delta": delta}
    assert read(event) == (AudioDelta(ms=100.0, id="r"),)


@given(st.binary(max_size=500))
def test_base64_length(data: bytes) -> None:
    assert base64_ms(base64.b64encode(data).decode()) == len(data) / 48


def test_generated_text_is_measured_in_bytes() -> None:
    event = {
        "type": "response.output_audio_transcript.delta",
        "response_id": "r",
        "delta": "안녕",
    }
    assert read(event) == (TextDelta(utf8_bytes=6, id="r"),)


def test_items_of_text_are_context() -> None:
    message = {"type": "message", "content": [{"type": "input_text", "text": "hello"}]}
    assert read({"type": "conversation.item.added", "item": message}) == (
        ContextText(utf8_bytes=5),
    )
    output = {"type": "function_call_output", "output": "done"}
    assert read({"type": "conversation.item.created", "item": output}) == (
        ContextText(utf8_bytes=4),
    )
    audio = {"type": "message", "content": [{"type": "input_audio", "transcript": None}]}
    assert read({"type": "conversation.item.added", "item": audio}) == ()


def test_speech_is_what_the_server_took() -> None:
    wire = OpenAIWire()
    start = {"type": "input_audio_buffer.speech_started", "item_id": "i", "audio_start_ms": 700}
    stop = {"type": "input_audio_buffer.speech_stopped", "item_id": "i", "audio_end_ms": 2200}
    assert wire.read(start) == (UserSpeechStarted(),)
    assert wire.read(stop) == (UserSpeech(ms=1500),)


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        (
            {
                "type": "tokens",
                "total_tokens": 30,
                "input_tokens": 20,
                "output_tokens": 10,
                "input_token_details": {"text_tokens": 2, "audio_tokens": 18},
            },
            TranscriptionUsage(input_tokens=20, output_tokens=10, input_text=2, input_audio=18),
        ),
        ({"type": "duration", "seconds": 3}, TranscriptionUsage(duration_ms=3000)),
        ({"type": "duration", "seconds": 0.0004}, TranscriptionUsage(duration_ms=1)),
        (None, None),
    ],
)
def test_transcription(usage: object, expected: object) -> None:
    kind = "conversation.item.input_audio_transcription.completed"
    event = {"type": kind, "item_id": "i", "usage": usage, "transcript": "secret"}
    assert read(event) == (TranscriptionDone(item_id="i", usage=expected),)


def test_error() -> None:
    error = {"type": "invalid_request_error", "code": "session_expired", "message": "m"}
    assert read({"type": "error", "error": error}) == (
        WireError(code="session_expired", type="invalid_request_error", message="m"),
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KINDS = [
    "session.created",
    "session.updated",
    "conversation.item.added",
    "response.created",
    "response.output_audio.delta",
    "response.done",
    "conversation.item.input_audio_transcription.completed",
    "input_audio_buffer.speech_stopped",
    "input_audio_buffer.speech_started",
    "error",
    "rate_limits.updated",
]
FIELDS = st.sampled_from(
    ["session", "item", "response", "usage", "delta", "error", "audio_end_ms", "response_id"]
)


@given(st.sampled_from(KINDS), st.dictionaries(FIELDS, json_values))
def test_no_event_however_odd_raises(kind: str, fields: dict[str, Any]) -> None:
    OpenAIWire().read({"type": kind, **fields})
