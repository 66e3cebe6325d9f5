"""OpenAI Realtime's server events, read for what they say about cost and connection. Pure.

``read`` takes one event as the JSON object of the wire (the plugin emits each as
``openai_server_event_received``) and returns what it means for the meter, often nothing. It
takes both the current and the older names of events, and never raises for a field that is
missing or odd: the meter then takes an upper bound.

Source: the event reference of the Realtime API, and openai-python's types/realtime.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

from agent_actor.billing import ResponseUsage, TranscriptionUsage
from agent_actor.wire_events import (
    AudioDelta,
    ContextText,
    InstructionsSet,
    ProviderSession,
    ResponseCreated,
    ResponseDone,
    TextDelta,
    TranscriptionDone,
    TurnTaking,
    UserSpeech,
    UserSpeechStarted,
    UserTurn,
    WireError,
    WireEvent,
)

PCM_BYTES_PER_MS = 48
"""24 kHz, mono, 16 bit: what the plugin asks for."""

MOST_SECONDS = 24 * 3600
"""Of speech in one item: more is no duration, nor is NaN, which JSON's readers take for one."""

Event = Mapping[str, Any]


class OpenAIWire:
    """One connection's reader. It remembers only where the user's speech began."""

    def __init__(self) -> None:
        self._speech_start_ms: dict[str, int] = {}

    def read(self, event: Event) -> tuple[WireEvent, ...]:
        kind = event.get("type")
        if kind == "input_audio_buffer.speech_started":
            self._speech_start_ms[str(event.get("item_id"))] = _count(event.get("audio_start_ms"))
            return (UserSpeechStarted(),)
        if kind == "input_audio_buffer.speech_stopped":
            start = self._speech_start_ms.pop(str(event.get("item_id")), 0)
            return (UserSpeech(ms=max(_count(event.get("audio_end_ms")) - start, 0)),)
        reader = _READERS.get(str(kind))
        return tuple(reader(event)) if reader else ()


def read_usage(usage: Any) -> ResponseUsage | None:
    """``response.usage``; None where there is none, or none that states any token."""
    if not isinstance(usage, Mapping):
        return None
    inputs = _object(usage, "input_token_details")
    outputs = _object(usage, "output_token_details")
    cached = _object(inputs, "cached_tokens_details")
    read = ResponseUsage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        input_text=_stated(inputs, "text_tokens"),
        input_audio=_stated(inputs, "audio_tokens"),
        input_image=_stated(inputs, "image_tokens"),
        cached_tokens=_count(inputs.get("cached_tokens")),
        cached_text=_stated(cached, "text_tokens"),
        cached_audio=_stated(cached, "audio_tokens"),
        cached_image=_stated(cached, "image_tokens"),
        output_text=_stated(outputs, "text_tokens"),
        output_audio=_stated(outputs, "audio_tokens"),
    )
    said = (read.input_tokens, read.output_tokens, read.input_text, read.input_audio)
    return read if any(said) else None


def read_transcription_usage(usage: Any) -> TranscriptionUsage | None:
    """Of ``…input_audio_transcription.completed``: by tokens, or by duration."""
    if not isinstance(usage, Mapping):
        return None
    if usage.get("type") == "duration" or "seconds" in usage:
        seconds = usage.get("seconds")
        if not isinstance(seconds, int | float) or not 0 <= seconds <= MOST_SECONDS:
            return None
        return TranscriptionUsage(duration_ms=-int(-round(seconds * 1_000_000) // 1000))
    details = _object(usage, "input_token_details")
    read = TranscriptionUsage(
        input_tokens=_count(usage.get("input_tokens")),
        output_tokens=_count(usage.get("output_tokens")),
        input_text=_stated(details, "text_tokens"),
        input_audio=_stated(details, "audio_tokens"),
    )
    return read if read.input_tokens or read.output_tokens else None


def base64_ms(data: Any) -> float:
    """Milliseconds of PCM in a base64 string, without decoding it."""
    if not isinstance(data, str):
        return 0.0
    return (len(data) * 3 // 4 - data[-2:].count("=")) / PCM_BYTES_PER_MS


def _session_created(event: Event) -> list[WireEvent]:
    session = _object(event, "session")
    id_ = session.get("id")
    return [ProviderSession(id=id_ if isinstance(id_, str) else None), *_instructions(event)]


def _instructions(event: Event) -> list[WireEvent]:
    session = _object(event, "session")
    size = _bytes(session.get("instructions"))
    tools = session.get("tools")
    if isinstance(tools, list) and tools:
        size += _bytes(json.dumps(tools, ensure_ascii=False, default=str))
    return [InstructionsSet(utf8_bytes=size)]


def _session_updated(event: Event) -> list[WireEvent]:
    audio_input = _object(_object(_object(event, "session"), "audio"), "input")
    detection = _object(audio_input, "turn_detection")
    told: list[WireEvent] = []
    if isinstance(detection.get("create_response"), bool):
        told = [TurnTaking(by_server=detection["create_response"])]
    return [*_instructions(event), *told]


def _committed(event: Event) -> list[WireEvent]:
    return [UserTurn()]


def _item_added(event: Event) -> list[WireEvent]:
    item = _object(event, "item")
    size = _bytes(item.get("output")) + _bytes(item.get("arguments"))
    content = item.get("content")
    for part in content if isinstance(content, list) else []:
        if isinstance(part, Mapping):
            size += _bytes(part.get("text")) or _bytes(part.get("transcript"))
    return [ContextText(utf8_bytes=size)] if size else []


def _response_created(event: Event) -> list[WireEvent]:
    response = _object(event, "response")
    cap = response.get("max_output_tokens", response.get("max_response_output_tokens"))
    request = _object(response, "metadata").get("client_event_id")
    return [
        ResponseCreated(
            id=str(response.get("id")),
            max_output_tokens=cap if type(cap) is int else None,
            request=request if isinstance(request, str) else None,
        )
    ]


def _response_done(event: Event) -> list[WireEvent]:
    response = _object(event, "response")
    return [
        ResponseDone(
            id=str(response.get("id")),
            status=str(response.get("status")),
            usage=read_usage(response.get("usage")),
        )
    ]


def _audio_delta(event: Event) -> list[WireEvent]:
    return [AudioDelta(ms=base64_ms(event.get("delta")), id=_response_id(event))]


def _text_delta(event: Event) -> list[WireEvent]:
    return [TextDelta(utf8_bytes=_bytes(event.get("delta")), id=_response_id(event))]


def _transcribed(event: Event) -> list[WireEvent]:
    item_id = event.get("item_id")
    return [
        TranscriptionDone(
            item_id=item_id if isinstance(item_id, str) else None,
            usage=read_transcription_usage(event.get("usage")),
        )
    ]


def _error(event: Event) -> list[WireEvent]:
    error = _object(event, "error")
    return [
        WireError(
            code=error.get("code"),
            type=error.get("type"),
            message=str(error.get("message", "")),
            event_id=error.get("event_id"),
        )
    ]


_READERS: dict[str, Callable[[Event], list[WireEvent]]] = {
    "session.created": _session_created,
    "session.updated": _session_updated,
    "input_audio_buffer.committed": _committed,
    "conversation.item.added": _item_added,
    "conversation.item.created": _item_added,
    "response.created": _response_created,
    "response.output_audio.delta": _audio_delta,
    "response.audio.delta": _audio_delta,
    "response.output_audio_transcript.delta": _text_delta,
    "response.audio_transcript.delta": _text_delta,
    "response.output_text.delta": _text_delta,
    "response.text.delta": _text_delta,
    "response.function_call_arguments.delta": _text_delta,
    "response.done": _response_done,
    "conversation.item.input_audio_transcription.completed": _transcribed,
    "conversation.item.input_audio_transcription.failed": _transcribed,
    "error": _error,
}


def _response_id(event: Event) -> str | None:
    id_ = event.get("response_id")
    return id_ if isinstance(id_, str) else None


def _object(event: Event, key: str) -> Event:
    value = event.get(key)
    return value if isinstance(value, Mapping) else {}


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _stated(event: Event, key: str) -> int | None:
    return _count(event[key]) if event.get(key) is not None else None


def _bytes(text: Any) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0
