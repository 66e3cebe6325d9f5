"""Bad input for whatever reads what others wrote: hypothesis strategies, for tests and for chaos.

Mostly right is worse than noise: a document that is good is changed in one place or a few, so that
what reads it gets as far as it can. ``documents`` are JSON values, ``texts`` are JSON that was
mutated, or text that was garbled after.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, TypeVar

from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

T = TypeVar("T")
JsonPath = tuple[str | int, ...]

CONTRACT: dict[str, Any] = {
    "provider": "openai_realtime",
    "model": "gpt-realtime",
    "voice": "marin",
    "instructions": "Ask about the parks of their city.",
    "vad_config": {"threshold": 0.5, "silence_duration_ms": 600, "prefix_padding_ms": 300},
    "phases": [
        {"id": "warmup", "name": "Warm-up", "duration_seconds": 60, "prompt_suffix": "Be brief."},
        {"id": "core", "name": "Core", "duration_seconds": 120},
    ],
    "budget_limit_usd": 2.5,
    "session_timeout_seconds": 600,
    "no_show_seconds": 20,
    "reconnect_grace_seconds": 15,
    "study_id": "fuzz",
    "created_at": "2026-11-23T09:30:00Z",
}
BODY: dict[str, Any] = {
    **{name: value for name, value in CONTRACT.items() if name != "created_at"},
    "provider": {"openai_realtime": 0.5, "gemini_live": 0.5},
    "model": None,
    "voice": None,
    "participant": {"identity": "p-1", "name": "Participant 1"},
}
WEBHOOK: dict[str, Any] = {
    "event": "room_finished",
    "id": "EV_1",
    "createdAt": "1795426500",
    "room": {"name": "interview-s-8f3b21c07a9d4e66", "sid": "RM_1", "numParticipants": 1},
    "participant": {"identity": "p-1", "kind": "STANDARD", "permission": {"canPublish": True}},
}
_USAGE = {
    "total_tokens": 821,
    "input_tokens": 789,
    "output_tokens": 32,
    "input_token_details": {
        "text_tokens": 313,
        "audio_tokens": 476,
        "cached_tokens": 640,
        "cached_tokens_details": {"text_tokens": 256, "audio_tokens": 384},
    },
    "output_token_details": {"text_tokens": 9, "audio_tokens": 23},
}
OPENAI_EVENTS: tuple[dict[str, Any], ...] = (
    {
        "type": "session.created",
        "session": {"id": "sess_1", "instructions": "Hi", "tools": [{"name": "advance_phase"}]},
    },
    {
        "type": "session.updated",
        "session": {"audio": {"input": {"turn_detection": {"create_response": True}}}},
    },
    {"type": "input_audio_buffer.speech_started", "item_id": "i1", "audio_start_ms": 100},
    {"type": "input_audio_buffer.speech_stopped", "item_id": "i1", "audio_end_ms": 2100},
    {"type": "input_audio_buffer.committed", "item_id": "i1"},
    {
        "type": "conversation.item.added",
        "item": {"id": "i1", "content": [{"type": "input_audio", "transcript": "yes"}]},
    },
    {
        "type": "conversation.item.input_audio_transcription.completed",
        "item_id": "i1",
        "transcript": "yes",
        "usage": {"type": "duration", "seconds": 2.0},
    },
    {
        "type": "response.created",
        "response": {
            "id": "r1",
            "max_output_tokens": 4096,
            "metadata": {"client_event_id": "e1"},
        },
    },
    {"type": "response.output_audio.delta", "response_id": "r1", "delta": "AAAA" * 240},
    {"type": "response.output_audio_transcript.delta", "response_id": "r1", "delta": "Good"},
    {
        "type": "error",
        "error": {
            "code": "conversation_already_has_active_response",
            "type": "invalid_request_error",
            "message": "no",
            "event_id": "e1",
        },
    },
    {"type": "response.done", "response": {"id": "r1", "status": "completed", "usage": _USAGE}},
)
"""A session's events, one of each kind that is read, in their order."""
GEMINI_MESSAGES: tuple[dict[str, Any], ...] = (
    {"setupComplete": {"sessionId": "g-1"}},
    {"serverContent": {"inputTranscription": {"text": "yes"}}},
    {
        "serverContent": {
            "modelTurn": {
                "parts": [
                    {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": "AAAA" * 240}},
                    {"text": "Good"},
                ]
            },
            "outputTranscription": {"text": "Good"},
        }
    },
    {"toolCall": {"functionCalls": [{"id": "c1", "name": "advance_phase", "args": {}}]}},
    {"serverContent": {"interrupted": True}},
    {
        "serverContent": {"turnComplete": True},
        "usageMetadata": {
            "promptTokenCount": 700,
            "responseTokenCount": 40,
            "thoughtsTokenCount": 3,
            "cachedContentTokenCount": 12,
            "promptTokensDetails": [
                {"modality": "TEXT", "tokenCount": 300},
                {"modality": "AUDIO", "tokenCount": 400},
            ],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": 40}],
        },
    },
    {"sessionResumptionUpdate": {"resumable": True, "newHandle": "h-1"}},
    {"goAway": {"timeLeft": "9.5s"}},
)

ODD_TEXTS = st.sampled_from(
    (
        *("", " ", "null", "true", "-1", "1e999999", "1e-400", "sNaN", "NaN", "Infinity"),
        *("\x00", "\ud800", "\U0010ffff", "../../x", "'; DROP TABLE x; --", "{{7*7}}", "%s%n"),
        *("a" * 300, "ä" * 40_000, "0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"),
    )
)
ODD_NUMBERS = st.sampled_from(
    (
        *(0, -1, 1, 2**31, 2**53 + 1, 2**63, -(2**64), 10**400, 0.1, -0.0, 5e-324, 1.8e308),
        *(float("inf"), float("-inf"), float("nan")),
    )
)
SCALARS = st.one_of(
    st.none(), st.booleans(), ODD_NUMBERS, ODD_TEXTS, st.integers(), st.floats(), st.text()
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner),
    max_leaves=6,
)
DEEP = "[" * 3_000 + "]" * 3_000


@st.composite
def mutated(draw: st.DrawFn, good: Mapping[str, Any]) -> dict[str, Any]:
    """``good`` with one to three places changed: another value, gone, doubled, or moved."""
    document = deepcopy(dict(good))
    for _ in range(draw(st.integers(1, 3))):
        paths = list(paths_of(document))
        if not paths:
            break
        _change(draw, document, draw(st.sampled_from(paths)))
    return document


def paths_of(value: Any, at: JsonPath = ()) -> Sequence[JsonPath]:
    """The way to every place in a document, its root excepted."""
    found: list[JsonPath] = [at] if at else []
    items: Iterable[tuple[str | int, Any]] = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list):
        items = enumerate(value)
    for name, part in items:
        found += paths_of(part, (*at, name))
    return found


def _change(draw: st.DrawFn, document: dict[str, Any], path: JsonPath) -> None:
    holder: Any = document
    for part in path[:-1]:
        holder = holder[part]
    name: Any = path[-1]
    match draw(st.sampled_from(("replace", "remove", "wrap", "add", "repeat"))):
        case "replace":
            holder[name] = draw(VALUES)
        case "remove":
            del holder[name]
        case "wrap":
            holder[name] = draw(st.sampled_from(([holder[name]], {"x": holder[name]}, [], {})))
        case "add" if isinstance(holder, dict):
            holder[draw(st.text(max_size=12))] = draw(VALUES)
        case _ if isinstance(holder, list):
            holder.extend([deepcopy(holder[name])] * draw(st.integers(1, 120)))


@st.composite
def texts(draw: st.DrawFn, good: Mapping[str, Any]) -> str:
    """What may stand where JSON of ``good`` should: mutated, cut, garbled, or no JSON at all."""
    text = json.dumps(draw(mutated(good)), ensure_ascii=draw(st.booleans()))
    match draw(st.sampled_from(("whole", "whole", "whole", "cut", "garbled", "other"))):
        case "cut":
            return text[: draw(st.integers(0, len(text)))]
        case "garbled":
            at = draw(st.integers(0, len(text)))
            return text[:at] + draw(st.text(max_size=4)) + text[at + draw(st.integers(0, 4)) :]
        case "other":
            return draw(st.sampled_from((DEEP, "[]", "7", "\ufeff" + text, text * 2)) | st.text())
        case _:
            return text


def raw(good: Mapping[str, Any]) -> st.SearchStrategy[bytes]:
    """The same as bytes, which need be no UTF-8."""
    return st.one_of(
        texts(good).map(lambda text: text.encode("utf-8", "surrogatepass")),
        st.binary(max_size=200),
    )


def messages(good: Sequence[Mapping[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """One of a connection's: a real one, or mutated."""
    return st.sampled_from(good).flatmap(lambda m: st.just(dict(m)) | mutated(m))


def streams(good: Sequence[Mapping[str, Any]]) -> st.SearchStrategy[list[dict[str, Any]]]:
    """A connection's messages: real ones, in any order, many of them mutated."""
    return st.lists(messages(good), min_size=1, max_size=20)


HEADER_TEXTS = st.one_of(
    st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80),
    st.binary(max_size=80).map(lambda raw: raw.decode("latin-1")),
)


def drawn(strategy: st.SearchStrategy[T], count: int, number: int) -> list[T]:
    """So many examples, the same for the same ``number``."""
    found: list[T] = []

    @seed(number)
    @settings(
        max_examples=count,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(strategy)
    def take(example: T) -> None:
        found.append(example)

    take()
    return found
