"""Gemini Live's server messages, read for what they say about cost and connection. Pure.

``GeminiWire.read`` takes a ``google.genai`` LiveServerMessage, its ``model_dump()``, or the JSON
object of the wire in camelCase, and returns what it means for the meter. Take messages before
the plugin does: it edits them.

The protocol names no responses, so numbers are given here: a response begins with its first
content and is over when its usage arrives, which may be with a function call, with or before
``turnComplete``, or after it. Every usage is one generation's bill and is counted once, also
where no content came with it. Each turn bills the whole conversation again as input.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from agent_actor.billing import ResponseUsage
from agent_actor.wire_events import (
    AudioDelta,
    GoAway,
    ProviderSession,
    ResponseCreated,
    ResponseDone,
    ResponseEnded,
    TextDelta,
    UserTurn,
    WireEvent,
)

PCM_BYTES_PER_MS = 48
"""24 kHz, mono, 16 bit."""


class GeminiWire:
    """One connection's reader: which response is under way, and which waits for its usage."""

    def __init__(self, prefix: str = "g") -> None:
        """``prefix`` keeps the numbers of one connection apart from the next one's."""
        self._prefix = prefix
        self._number = 0
        self._open: str | None = None
        self._waiting: str | None = None

    def read(self, message: Any) -> tuple[WireEvent, ...]:
        events: list[WireEvent] = []
        if (setup := _get(message, "setup_complete")) is not None:
            session_id = _get(setup, "session_id")
            events.append(ProviderSession(id=session_id if isinstance(session_id, str) else None))
        content = _get(message, "server_content")
        if _get(_get(content, "input_transcription"), "text"):
            events.append(UserTurn())
        call = _get(message, "tool_call")
        events += self._generated(content, call)
        usage = read_usage(_get(message, "usage_metadata"))
        interrupted = bool(_get(content, "interrupted"))
        if _get(content, "turn_complete") or (interrupted and usage is not None):
            # What waits has had its turn's end: this is another's, of which there was not a word.
            self._waiting = None
        if usage is not None:
            events += self._billed(usage, "interrupted" if interrupted else "completed")
        if _get(content, "turn_complete"):
            events += self._ended("interrupted" if interrupted else "completed")
        if (go_away := _get(message, "go_away")) is not None:
            events.append(GoAway(time_left_s=seconds_of(_get(go_away, "time_left"))))
        return tuple(events)

    def _generated(self, content: Any, call: Any) -> list[WireEvent]:
        found: list[WireEvent] = []
        audio_bytes, text_bytes = _size(_get(content, "model_turn"))
        text_bytes += _utf8(_get(_get(content, "output_transcription"), "text"))
        for function in _items(_get(call, "function_calls")):
            text_bytes += _utf8(_get(function, "name")) + len(str(_get(function, "args") or ""))
        if not (audio_bytes or text_bytes or call is not None):
            return found
        if self._open is None:
            found.append(self._begin())
        if audio_bytes:
            found.append(AudioDelta(ms=audio_bytes / PCM_BYTES_PER_MS, id=self._open))
        if text_bytes:
            found.append(TextDelta(utf8_bytes=text_bytes, id=self._open))
        return found

    def _begin(self) -> ResponseCreated:
        self._number += 1
        self._open = f"{self._prefix}{self._number}"
        self._waiting = None
        return ResponseCreated(id=self._open)

    def _billed(self, usage: ResponseUsage, status: str) -> list[WireEvent]:
        begun: list[WireEvent] = []
        id_ = self._open or self._waiting
        if id_ is None:
            created = self._begin()
            # Cut off before a word of it: it answered the user, not us, or it would have been ours
            # to wait for. What we asked for is still to come.
            begun = [] if status == "interrupted" else [created]
            id_ = created.id
        self._open = self._waiting = None
        return [*begun, ResponseDone(id=id_, status=status, usage=usage)]

    def _ended(self, status: str) -> list[WireEvent]:
        if self._open is None:
            return []
        self._waiting, self._open = self._open, None
        return [ResponseEnded(id=self._waiting, status=status)]


def read_usage(usage: Any) -> ResponseUsage | None:
    """``usageMetadata``; None where it states no token. Thoughts are billed as output text.

    Results of the provider's own tools are input beside the prompt. Details may leave out a part
    of the total (25 to 51 tokens a turn in captures of gemini-3.8-live): that part stays open
    and is priced at its dearest.
    """
    if usage is None:
        return None
    prompt = _details(_get(usage, "prompt_tokens_details"))
    tools = _details(_get(usage, "tool_use_prompt_tokens_details"))
    cached = _details(_get(usage, "cache_tokens_details"))
    response = _details(_get(usage, "response_tokens_details"))
    thoughts = _count(_get(usage, "thoughts_token_count"))
    generated = _count(_get(usage, "response_token_count"))
    inputs = _sum(prompt, tools)
    read = ResponseUsage(
        input_tokens=_count(_get(usage, "prompt_token_count"))
        + _count(_get(usage, "tool_use_prompt_token_count")),
        output_tokens=max(generated, sum(response.values())) + thoughts,
        input_text=inputs.get("TEXT"),
        input_audio=inputs.get("AUDIO"),
        input_image=_rest(inputs),
        cached_tokens=_count(_get(usage, "cached_content_token_count")),
        cached_text=cached.get("TEXT"),
        cached_audio=cached.get("AUDIO"),
        cached_image=_rest(cached),
        output_text=response.get("TEXT", 0) + thoughts,
        output_audio=response.get("AUDIO"),
    )
    return read if read.input_tokens or read.output_tokens or inputs else None


def _details(entries: Any) -> dict[str, int]:
    found: dict[str, int] = {}
    for entry in _items(entries):
        modality = _get(entry, "modality")
        name = str(getattr(modality, "value", modality)).upper()
        found[name] = found.get(name, 0) + _count(_get(entry, "token_count"))
    return found


def _sum(one: Mapping[str, int], other: Mapping[str, int]) -> dict[str, int]:
    return {k: one.get(k, 0) + other.get(k, 0) for k in [*one, *other]}


def _rest(counts: Mapping[str, int]) -> int | None:
    """Images, video, documents: priced as images."""
    rest = [n for name, n in counts.items() if name not in ("TEXT", "AUDIO")]
    return sum(rest) if rest else None


def _size(turn: Any) -> tuple[int, int]:
    """(bytes of audio, bytes of text) in a model's turn."""
    audio = text = 0
    for part in _items(_get(turn, "parts")):
        data = _get(_get(part, "inline_data"), "data")
        if isinstance(data, bytes):
            audio += len(data)
        elif isinstance(data, str):
            audio += len(data) * 3 // 4 - data[-2:].count("=")
        text += _utf8(_get(part, "text"))
    return audio, text


def _get(value: Any, name: str) -> Any:
    """A field by its snake_case name, of a model, a dump or a wire object; None if not there."""
    if value is None:
        return None
    if not isinstance(value, Mapping):
        return getattr(value, name, None)
    if name in value:
        return value[name]
    head, *rest = name.split("_")
    return value.get(head + "".join(part.capitalize() for part in rest))


def _items(value: Any) -> Iterable[Any]:
    return value if isinstance(value, list | tuple) else ()


def _count(value: Any) -> int:
    return value if type(value) is int and value > 0 else 0


def _utf8(text: Any) -> int:
    return len(text.encode("utf-8", "surrogatepass")) if isinstance(text, str) else 0


def seconds_of(duration: Any) -> float | None:
    """A protobuf duration in JSON ("9.5s"); None for what is none."""
    try:
        return float(str(duration).removesuffix("s"))
    except ValueError:
        return None
