"""What a client asked for in its setup frame; pure.

Defaults are those of the Gemini API: audio out, server activity detection at high sensitivity,
the start of activity interrupts, a user's turn holds only activity (silence is not billed).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.simulators.gemini.wire import WireError, pick, text_of
from loadtest.simulators.script import Tool

CLOSE_INVALID_ARGUMENT = 1007
CLOSE_POLICY = 1008
CLOSE_INTERNAL = 1011

SILENCE_HIGH_MS = 500
SILENCE_LOW_MS = 1_000
ONSET_MS = 60


class SetupError(WireError):
    """A setup that is refused. `code` and the message are those of the close frame."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@dataclass(frozen=True, kw_only=True)
class ActivityDetection:
    """How the server hears that the user speaks; `disabled` leaves it to the client's signals.

    Speech must last `onset_ms` (the protocol's prefixPaddingMs, which is not a padding here)
    before its start is committed, and be followed by `silence_ms` of silence before its end is.
    """

    disabled: bool = False
    sensitive_start: bool = True
    onset_ms: int = ONSET_MS
    silence_ms: int = SILENCE_HIGH_MS


@dataclass(frozen=True, kw_only=True)
class Compression:
    """Sliding window: once the context exceeds `trigger`, keep about `target` tokens."""

    trigger: int
    target: int


@dataclass(frozen=True, kw_only=True)
class SessionSetup:
    """`resumption` says that handles are wanted; `handle` is the one to carry on from."""

    model: str
    instructions: str = ""
    tools: tuple[Tool, ...] = ()
    tools_json_chars: int = 0
    audio_out: bool = True
    max_output_tokens: int | None = None
    thinking_budget: int = 0
    activity: ActivityDetection = ActivityDetection()
    interruptible: bool = True
    silence_in_turn: bool = False
    resumption: bool = False
    handle: str | None = None
    compression: Compression | None = None
    input_transcription: bool = False
    output_transcription: bool = False

    @property
    def transcribes_input(self) -> bool:
        """gemini-3.1-flash-live-preview does so whether asked or not."""
        return self.input_transcription or self.generation == "3.1"

    @property
    def generation(self) -> str:
        """One of "2.5", "3.1" and "3.8", which answer odd turns differently."""
        return next((tag for tag in ("3.8", "3.1") if tag in self.model), "2.5")


# Compression without explicit figures: 80 % of the model's limit triggers, half is kept.
DEFAULT_TRIGGER = 104_857


def read_setup(raw: Mapping[str, Any], known_models: frozenset[str], version: str) -> SessionSetup:
    """Raises SetupError where the real server closes the connection."""
    model = str(raw.get("model") or "").removeprefix("models/")
    if model not in known_models:
        raise SetupError(
            CLOSE_POLICY,
            f"models/{model} is not found for API version {version}, "
            "or is not supported for bidiGenerateContent.",
        )
    generation = _section(raw, "generationConfig")
    modalities = pick(generation, "responseModalities") or ["AUDIO"]
    if len(modalities) != 1 or modalities[0] not in ("AUDIO", "TEXT"):
        raise _invalid()
    realtime = _section(raw, "realtimeInputConfig")
    resumption = pick(raw, "sessionResumption")
    functions = _functions(raw)
    return SessionSetup(
        model=model,
        instructions=text_of(pick(raw, "systemInstruction")),
        tools=tuple(Tool(name=str(f.get("name")), parameters=_schema(f)) for f in functions),
        tools_json_chars=sum(len(json.dumps(f)) for f in functions),
        audio_out=modalities[0] == "AUDIO",
        max_output_tokens=_optional_int(pick(generation, "maxOutputTokens")),
        thinking_budget=_int(pick(_section(generation, "thinkingConfig"), "thinkingBudget"), 0),
        activity=_activity(_section(realtime, "automaticActivityDetection")),
        interruptible=pick(realtime, "activityHandling") != "NO_INTERRUPTION",
        silence_in_turn=pick(realtime, "turnCoverage") == "TURN_INCLUDES_ALL_INPUT",
        resumption=resumption is not None,
        handle=(resumption or {}).get("handle") or None,
        compression=_compression(pick(raw, "contextWindowCompression")),
        input_transcription=pick(raw, "inputAudioTranscription") is not None,
        output_transcription=pick(raw, "outputAudioTranscription") is not None,
    )


def _functions(raw: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        function
        for tool in raw.get("tools") or []
        for function in pick(tool, "functionDeclarations") or []
    ]


def _schema(function: Mapping[str, Any]) -> Mapping[str, Any]:
    return function.get("parameters") or pick(function, "parametersJsonSchema") or {}


def _activity(raw: Mapping[str, Any]) -> ActivityDetection:
    slow_end = pick(raw, "endOfSpeechSensitivity") == "END_SENSITIVITY_LOW"
    return ActivityDetection(
        disabled=bool(raw.get("disabled", False)),
        sensitive_start=pick(raw, "startOfSpeechSensitivity") != "START_SENSITIVITY_LOW",
        onset_ms=_int(pick(raw, "prefixPaddingMs"), ONSET_MS),
        silence_ms=_int(
            pick(raw, "silenceDurationMs"), SILENCE_LOW_MS if slow_end else SILENCE_HIGH_MS
        ),
    )


def _compression(raw: Mapping[str, Any] | None) -> Compression | None:
    if raw is None:
        return None
    trigger = _int(pick(raw, "triggerTokens"), DEFAULT_TRIGGER)
    window = _section(raw, "slidingWindow")
    target = _int(pick(window, "targetTokens"), trigger // 2)
    if target >= trigger:
        raise _invalid()
    return Compression(trigger=trigger, target=target)


def _section(raw: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = pick(raw, key) or {}
    if not isinstance(value, Mapping):
        raise _invalid()
    return value


def _int(value: Any, default: int) -> int:
    number = _optional_int(value)
    return default if number is None else number


def _optional_int(value: Any) -> int | None:
    # The JSON form of a 64-bit integer may be a string.
    if value is None:
        return None
    try:
        number = int(value)
    except (TypeError, ValueError):
        raise _invalid() from None
    if number < -1:
        raise _invalid()
    return number


def _invalid() -> SetupError:
    return SetupError(CLOSE_INVALID_ARGUMENT, "Request contains an invalid argument.")
