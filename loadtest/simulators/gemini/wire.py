"""Frames of the Gemini Live protocol, both ways; pure.

A client's frame is a JSON object with one of setup, clientContent, realtimeInput, toolResponse or
contextUpdate. Keys are accepted in camelCase and in snake_case at every level, because the
official client mixes both inside one frame. Audio is base64 in the plain or the URL-safe alphabet.

A server's frame carries exactly one payload and may carry `usageMetadata` beside it. The real
server sends JSON in binary frames; so does this one.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

INPUT_RATE_HZ = 16_000
OUTPUT_RATE_HZ = 24_000


class WireError(ValueError):
    """A client frame that the real server would close the connection for (1007)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Setup:
    """The first frame of a connection; `raw` is read by `setup.read_setup`."""

    raw: Mapping[str, Any]


@dataclass(frozen=True, kw_only=True, slots=True)
class Turn:
    """One content of the conversation. `role` is None when the client gave none."""

    role: str | None
    text: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ClientContent:
    turns: tuple[Turn, ...]
    turn_complete: bool


@dataclass(frozen=True, kw_only=True, slots=True)
class Audio:
    """16 kHz mono PCM, signed 16 bit little-endian."""

    pcm: bytes


@dataclass(frozen=True, kw_only=True, slots=True)
class RealtimeText:
    text: str


class Signal(Enum):
    ACTIVITY_START = "activityStart"
    ACTIVITY_END = "activityEnd"
    AUDIO_STREAM_END = "audioStreamEnd"
    VIDEO = "video"
    """Video frames are taken and forgotten: the interviewer does not look."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FunctionResult:
    id: str
    name: str
    text: str
    """The response as JSON, which is what enters the context."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ToolResponse:
    results: tuple[FunctionResult, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class ContextUpdate:
    instructions: str | None


ClientMessage = Setup | ClientContent | Audio | RealtimeText | Signal | ToolResponse | ContextUpdate


def pick(obj: Mapping[str, Any], camel: str, default: Any = None) -> Any:
    """The value under a key, given in camelCase, whichever way the client wrote it."""
    if camel in obj:
        return obj[camel]
    snake = "".join(f"_{c.lower()}" if c.isupper() else c for c in camel)
    return obj.get(snake, default)


def decode_base64(data: str) -> bytes:
    """Base64 in either alphabet, padded or not. Raises WireError."""
    try:
        plain = data.replace("-", "+").replace("_", "/") if "-" in data or "_" in data else data
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except (binascii.Error, ValueError) as exc:
        raise WireError("audio is not base64") from exc


def parse(frame: str | bytes) -> ClientMessage:
    """A client's frame. Raises WireError if it is none."""
    try:
        obj = json.loads(frame)
    except ValueError as exc:
        raise WireError("frame is not JSON") from exc
    if not isinstance(obj, dict):
        raise WireError("frame is not an object")
    for key, read in _READERS.items():
        value = pick(obj, key)
        if value is not None:
            if not isinstance(value, dict):
                raise WireError(f"{key} is not an object")
            message: ClientMessage = read(value)
            return message
    raise WireError("frame has no known payload")


def text_of(content: Any) -> str:
    """The text parts of a content, joined by newlines; other parts are left out."""
    if isinstance(content, str):
        return content
    if not isinstance(content, dict):
        return ""
    parts = content.get("parts") or []
    return "\n".join(p["text"] for p in parts if isinstance(p, dict) and p.get("text"))


def _read_client_content(value: dict[str, Any]) -> ClientContent:
    turns = value.get("turns") or []
    if not isinstance(turns, list) or not all(isinstance(t, dict) for t in turns):
        raise WireError("turns is not a list of contents")
    return ClientContent(
        turns=tuple(Turn(role=t.get("role"), text=text_of(t)) for t in turns),
        turn_complete=bool(pick(value, "turnComplete", False)),
    )


def _read_realtime(value: dict[str, Any]) -> ClientMessage:
    blob = value.get("audio")
    if blob is None and (chunks := pick(value, "mediaChunks")):
        blob = chunks[0]
    if isinstance(blob, dict):
        return _read_audio(blob)
    if isinstance(text := value.get("text"), str):
        return RealtimeText(text=text)
    for signal in Signal:
        if pick(value, signal.value) is not None:
            return signal
    raise WireError("realtimeInput is empty")


def _read_audio(blob: dict[str, Any]) -> Audio | Signal:
    mime = str(pick(blob, "mimeType", ""))
    if mime.startswith("image/"):
        return Signal.VIDEO
    if not mime.startswith("audio/pcm"):
        raise WireError("audio must be audio/pcm")
    rate = mime.partition("rate=")[2] or str(INPUT_RATE_HZ)
    if rate != str(INPUT_RATE_HZ):
        raise WireError("audio must be sampled at 16 kHz")
    pcm = decode_base64(str(blob.get("data", "")))
    if len(pcm) % 2:
        raise WireError("audio ends inside a sample")
    return Audio(pcm=pcm)


def _read_tool_response(value: dict[str, Any]) -> ToolResponse:
    responses = pick(value, "functionResponses")
    if not isinstance(responses, list) or not responses:
        raise WireError("toolResponse has no functionResponses")
    return ToolResponse(
        results=tuple(
            FunctionResult(
                id=str(r.get("id", "")),
                name=str(r.get("name", "")),
                text=json.dumps(r.get("response") or {}, sort_keys=True),
            )
            for r in responses
        )
    )


def _read_context_update(value: dict[str, Any]) -> ContextUpdate:
    instructions = pick(value, "systemInstruction")
    return ContextUpdate(instructions=text_of(instructions) if instructions else None)


_READERS: dict[str, Any] = {
    "realtimeInput": _read_realtime,
    "clientContent": _read_client_content,
    "toolResponse": _read_tool_response,
    "contextUpdate": _read_context_update,
    "setup": lambda value: Setup(raw=value),
}


def dump(message: Mapping[str, Any]) -> bytes:
    return json.dumps(message, separators=(",", ":")).encode()


def setup_complete(session_id: str) -> bytes:
    return dump({"setupComplete": {"sessionId": session_id}})


def audio_frame(pcm: bytes) -> bytes:
    """A piece of the model's speech, 24 kHz."""
    data = base64.b64encode(pcm).decode()
    blob = {"mimeType": f"audio/pcm;rate={OUTPUT_RATE_HZ}", "data": data}
    return dump({"serverContent": {"modelTurn": {"parts": [{"inlineData": blob}]}}})


def text_frame(text: str) -> bytes:
    """A piece of the model's text, for sessions whose response modality is TEXT."""
    return dump({"serverContent": {"modelTurn": {"parts": [{"text": text}]}}})


def input_transcription(text: str) -> bytes:
    return dump({"serverContent": {"inputTranscription": {"text": text}}})


def output_transcription(text: str) -> bytes:
    return dump({"serverContent": {"outputTranscription": {"text": text}}})


def generation_complete() -> bytes:
    return dump({"serverContent": {"generationComplete": True}})


def interrupted() -> bytes:
    return dump({"serverContent": {"interrupted": True}})


def turn_complete(usage: Mapping[str, Any] | None, *, idle: bool = False) -> bytes:
    """The end of a turn, with its usage beside it; `idle` adds the 3.8 models' status."""
    content: dict[str, Any] = {"turnComplete": True}
    if idle:
        content["interactionStatus"] = "IDLE"
    return dump(_with_usage({"serverContent": content}, usage))


def tool_call(
    calls: Iterable[tuple[str, str, Mapping[str, Any]]], usage: Mapping[str, Any] | None
) -> bytes:
    """Function calls as (id, name, args), with the usage of the generation that made them."""
    functions = [{"id": i, "name": name, "args": dict(args)} for i, name, args in calls]
    return dump(_with_usage({"toolCall": {"functionCalls": functions}}, usage))


def tool_call_cancellation(ids: Iterable[str]) -> bytes:
    return dump({"toolCallCancellation": {"ids": list(ids)}})


def go_away(time_left_s: float) -> bytes:
    return dump({"goAway": {"timeLeft": f"{time_left_s:g}s"}})


def resumption_update(handle: str | None) -> bytes:
    """A new handle, or None for "not resumable at this point"."""
    update = {"newHandle": handle, "resumable": True} if handle else {}
    return dump({"sessionResumptionUpdate": update})


def _with_usage(message: dict[str, Any], usage: Mapping[str, Any] | None) -> dict[str, Any]:
    if usage is not None:
        message["usageMetadata"] = dict(usage)
    return message
