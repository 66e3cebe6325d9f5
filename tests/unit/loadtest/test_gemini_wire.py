"""Frames in both spellings, both base64 alphabets, and what is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from loadtest.simulators.gemini import wire

PCM = bytes([0xFF, 0xFE, 0xFB, 0x00])


def parse(obj: Any) -> wire.ClientMessage:
    return wire.parse(json.dumps(obj))


@pytest.mark.parametrize("encode", [base64.b64encode, base64.urlsafe_b64encode])
@pytest.mark.parametrize("padded", [True, False])
@pytest.mark.parametrize(
    ("outer", "mime"), [("realtimeInput", "mimeType"), ("realtime_input", "mime_type")]
)
def test_audio_is_read_in_either_alphabet_and_spelling(
    encode: Any, padded: bool, outer: str, mime: str
) -> None:
    data = encode(PCM).decode()
    if not padded:
        data = data.rstrip("=")
    message = parse({outer: {"audio": {"data": data, mime: "audio/pcm;rate=16000"}}})
    assert message == wire.Audio(pcm=PCM)


def test_media_chunks_are_audio_too() -> None:
    blob = {"data": base64.b64encode(PCM).decode(), "mimeType": "audio/pcm"}
    assert parse({"realtimeInput": {"mediaChunks": [blob]}}) == wire.Audio(pcm=PCM)


@pytest.mark.parametrize(
    "blob",
    [
        {"data": "****", "mimeType": "audio/pcm;rate=16000"},
        {"data": "AAAA", "mimeType": "audio/pcm;rate=24000"},
        {"data": "AAAA", "mimeType": "audio/ogg"},
        {"data": base64.b64encode(b"odd").decode(), "mimeType": "audio/pcm"},
    ],
)
def test_bad_audio_is_refused(blob: dict[str, str]) -> None:
    with pytest.raises(wire.WireError):
        parse({"realtimeInput": {"audio": blob}})


@pytest.mark.parametrize("key", ["turnComplete", "turn_complete"])
def test_client_content(key: str) -> None:
    turns = [{"role": "user", "parts": [{"text": "a"}, {"text": "b"}]}, {"parts": []}]
    assert parse({"client_content": {"turns": turns, key: True}}) == wire.ClientContent(
        turns=(wire.Turn(role="user", text="a\nb"), wire.Turn(role=None, text="")),
        turn_complete=True,
    )


def test_client_content_without_turns_is_an_empty_complete_turn() -> None:
    message = parse({"clientContent": {"turnComplete": True}})
    assert message == wire.ClientContent(turns=(), turn_complete=True)


@pytest.mark.parametrize(
    ("payload", "signal"),
    [
        ({"activityStart": {}}, wire.Signal.ACTIVITY_START),
        ({"activity_end": {}}, wire.Signal.ACTIVITY_END),
        ({"audioStreamEnd": True}, wire.Signal.AUDIO_STREAM_END),
        ({"video": {"data": "", "mimeType": "image/jpeg"}}, wire.Signal.VIDEO),
    ],
)
def test_signals(payload: dict[str, Any], signal: wire.Signal) -> None:
    assert parse({"realtimeInput": payload}) is signal


def test_tool_response_keeps_the_result_as_json() -> None:
    responses = [{"id": "1", "name": "f", "response": {"b": 1, "a": "[closing]"}}]
    message = parse({"tool_response": {"functionResponses": responses}})
    expected = wire.FunctionResult(id="1", name="f", text='{"a": "[closing]", "b": 1}')
    assert message == wire.ToolResponse(results=(expected,))


@pytest.mark.parametrize(
    "frame",
    [
        "no json",
        "[]",
        "{}",
        '{"setup": 1}',
        '{"realtimeInput": {}}',
        '{"toolResponse": {}}',
        '{"clientContent": {"turns": ["text"]}}',
    ],
)
def test_other_frames_are_refused(frame: str) -> None:
    with pytest.raises(wire.WireError):
        wire.parse(frame)


def test_usage_stands_beside_the_end_of_the_turn() -> None:
    frame = json.loads(wire.turn_complete({"promptTokenCount": 3}))
    assert frame == {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {"promptTokenCount": 3},
    }


def test_the_newest_models_say_that_they_are_idle() -> None:
    content = json.loads(wire.turn_complete(None, idle=True))["serverContent"]
    assert content == {"turnComplete": True, "interactionStatus": "IDLE"}


def test_resumption_update_says_whether_it_is_possible() -> None:
    assert json.loads(wire.resumption_update("h")) == {
        "sessionResumptionUpdate": {"newHandle": "h", "resumable": True}
    }
    assert json.loads(wire.resumption_update(None)) == {"sessionResumptionUpdate": {}}
