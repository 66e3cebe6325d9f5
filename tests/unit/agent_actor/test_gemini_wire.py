"""Gemini's server messages as the meter reads them, in all three shapes they come in."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from google.genai import types

from agent_actor.billing import ResponseUsage
from agent_actor.providers.gemini_wire import GeminiWire, read_usage
from agent_actor.wire_events import (
    AudioDelta,
    GoAway,
    ProviderSession,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    TextDelta,
    UserTurn,
)

AUDIO = bytes(4800)
USAGE: dict[str, Any] = {
    "promptTokenCount": 522,
    "responseTokenCount": 42,
    "totalTokenCount": 564,
    "promptTokensDetails": [
        {"modality": "TEXT", "tokenCount": 332},
        {"modality": "AUDIO", "tokenCount": 165},
    ],
    "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 42}],
    "thoughtsTokenCount": 136,
}
"""As captured from gemini-3.8-live: 25 tokens of the prompt are of no stated kind."""
READ = ResponseUsage(
    input_tokens=522,
    output_tokens=178,
    input_text=332,
    input_audio=165,
    output_text=136,
    output_audio=42,
)


def audio_message() -> dict[str, Any]:
    blob = {"data": base64.b64encode(AUDIO).decode(), "mimeType": "audio/pcm;rate=24000"}
    return {"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}}


def as_wire(message: dict[str, Any]) -> Any:
    return message


def as_model(message: dict[str, Any]) -> Any:
    return types.LiveServerMessage.model_validate(message)


def as_dump(message: dict[str, Any]) -> Any:
    return types.LiveServerMessage.model_validate(message).model_dump(exclude_none=True)


shapes = pytest.mark.parametrize("shape", [as_wire, as_model, as_dump])


@shapes
def test_a_turn_with_its_usage_at_the_end(shape: Any) -> None:
    wire = GeminiWire()
    assert wire.read(shape(audio_message())) == (
        ResponseCreated(id="g1"),
        AudioDelta(ms=100.0, id="g1"),
    )
    assert wire.read(shape(audio_message())) == (AudioDelta(ms=100.0, id="g1"),)
    end = {"serverContent": {"turnComplete": True}, "usageMetadata": USAGE}
    assert wire.read(shape(end)) == (ResponseDone(id="g1", status="completed", usage=READ),)
    assert wire.read(shape(audio_message()))[0] == ResponseCreated(id="g2")


@shapes
def test_usage_after_the_turn_belongs_to_that_turn(shape: Any) -> None:
    wire = GeminiWire()
    wire.read(shape(audio_message()))
    ended = wire.read(shape({"serverContent": {"turnComplete": True, "interrupted": True}}))
    assert ended == (ResponseEnded(id="g1", status="interrupted"),)
    assert wire.read(shape({"usageMetadata": USAGE})) == (
        ResponseDone(id="g1", status="completed", usage=READ),
    )


def test_usage_before_the_end_of_the_turn_is_counted_once() -> None:
    wire = GeminiWire()
    wire.read(audio_message())
    assert len(wire.read({"usageMetadata": USAGE})) == 1
    assert wire.read({"serverContent": {"turnComplete": True}}) == ()


def test_usage_without_any_content_is_still_a_bill() -> None:
    assert GeminiWire("b").read({"usageMetadata": USAGE}) == (
        ResponseCreated(id="b1"),
        ResponseDone(id="b1", status="completed", usage=READ),
    )


def test_a_function_call_is_a_generation_with_its_own_usage() -> None:
    wire = GeminiWire()
    call = {"functionCalls": [{"id": "1", "name": "advance_phase", "args": {"a": 1}}]}
    events = wire.read({"toolCall": call, "usageMetadata": USAGE})
    assert [type(e) for e in events] == [ResponseCreated, TextDelta, ResponseDone]
    assert wire.read(audio_message())[0] == ResponseCreated(id="g2")


def test_go_away_and_setup() -> None:
    assert GeminiWire().read({"goAway": {"timeLeft": "9.5s"}}) == (GoAway(time_left_s=9.5),)
    assert GeminiWire().read({"goAway": {}}) == (GoAway(time_left_s=None),)
    message = types.LiveServerMessage.model_validate({"setupComplete": {"sessionId": "s"}})
    assert GeminiWire().read(message) == (ProviderSession(id="s"),)


def test_cached_tool_and_video_tokens() -> None:
    usage = read_usage(
        {
            "promptTokenCount": 100,
            "toolUsePromptTokenCount": 7,
            "cachedContentTokenCount": 40,
            "responseTokenCount": 5,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 60},
                {"modality": "VIDEO", "tokenCount": 40},
            ],
            "toolUsePromptTokensDetails": [{"modality": "TEXT", "tokenCount": 7}],
            "cacheTokensDetails": [{"modality": "TEXT", "tokenCount": 40}],
        }
    )
    assert usage == ResponseUsage(
        input_tokens=107,
        output_tokens=5,
        input_text=67,
        input_image=40,
        cached_tokens=40,
        cached_text=40,
        output_text=0,
    )


@pytest.mark.parametrize("usage", [None, {}, {"totalTokenCount": 0}])
def test_no_usage(usage: Any) -> None:
    assert read_usage(usage) is None


def test_an_empty_message_means_nothing() -> None:
    wire = GeminiWire()
    for message in ({}, {"serverContent": {}}, {"serverContent": {"interrupted": True}}):
        assert wire.read(message) == ()


def test_what_was_cut_off_before_a_word_answers_nothing_that_we_asked_for() -> None:
    """It is billed, but not begun anew: what we asked for is still to come."""
    usage = {"promptTokenCount": 700}
    message = {"serverContent": {"turnComplete": True, "interrupted": True}, "usageMetadata": usage}
    (done,) = GeminiWire().read(message)
    assert isinstance(done, ResponseDone)
    assert done.status == "interrupted"
    created, completed = GeminiWire().read({"usageMetadata": usage})
    assert isinstance(created, ResponseCreated)
    assert isinstance(completed, ResponseDone)


@pytest.mark.parametrize("status", ["completed", "interrupted"])
def test_another_turn_s_usage_does_not_pay_for_one_that_never_got_any(status: str) -> None:
    wire = GeminiWire()
    wire.read(audio_message())
    assert wire.read({"serverContent": {"turnComplete": True}}) == (
        ResponseEnded(id="g1", status="completed"),
    )
    # The next is cut off before a word of it, and has its bill.
    content = {"turnComplete": True, **({"interrupted": True} if status == "interrupted" else {})}
    events = wire.read({"serverContent": content, "usageMetadata": USAGE})
    assert events[-1] == ResponseDone(id="g2", status=status, usage=READ)
    assert not any(getattr(event, "id", None) == "g1" for event in events)


def test_what_the_user_said_is_a_turn_to_be_answered() -> None:
    content = {"inputTranscription": {"text": " Hello"}}
    assert GeminiWire().read({"serverContent": content}) == (UserTurn(),)
    assert GeminiWire().read({"serverContent": {"inputTranscription": {"text": ""}}}) == ()
