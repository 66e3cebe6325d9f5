"""The scripted interviewer: what a response says, how long, and which tool it calls. Pure.

The interviewer obeys two tokens, looked for literally: `[closing]` in the instructions, in the
response's own instructions or in the latest function output makes it say goodbye; `[wrap-up]` in
the instructions makes it say one closing remark and call `end_interview` if it has that tool.
Otherwise, after `turns_per_phase` user turns it calls `advance_phase`, if it has that tool.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from random import Random
from typing import Any

from loadtest.simulators.sentences import (
    ACKNOWLEDGEMENTS,
    GOODBYES,
    GREETINGS,
    QUESTIONS,
    TRANSITIONS,
    WRAP_UPS,
)

CLOSING_TOKEN = "[closing]"
WRAP_UP_TOKEN = "[wrap-up]"
ADVANCE_TOOL = "advance_phase"
END_TOOL = "end_interview"
MIN_TURN_MS = 300
SHORT_SPEECH_S = (0.8, 1.4)


@dataclass(frozen=True, kw_only=True)
class Script:
    """How one interviewer behaves. Ranges are (low, high), drawn from uniformly.

    `acknowledge` is the share of tool calls preceded by a short spoken acknowledgement;
    `disobey` ignores both tokens and never calls a tool.
    """

    turns_per_phase: int = 2
    speech_s: tuple[float, float] = (1.5, 4.0)
    ttfa_ms: tuple[float, float] = (250.0, 350.0)
    acknowledge: float = 0.5
    disobey: bool = False

    def __post_init__(self) -> None:
        if self.turns_per_phase < 1:
            raise ValueError("turns_per_phase must be at least 1")
        for low, high in (self.speech_s, self.ttfa_ms):
            if not 0 <= low <= high:
                raise ValueError("a range is (low, high) with 0 <= low <= high")
        if not 0 <= self.acknowledge <= 1:
            raise ValueError("acknowledge is a share between 0 and 1")


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool on offer; `parameters` is its JSON schema."""

    name: str
    parameters: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prompt:
    """What the interviewer knows when it must respond.

    `required_tool`: None leaves it free, "" demands any tool, a name demands that one.
    `response_instructions` are those of this response alone, if the protocol has them.
    """

    instructions: str = ""
    response_instructions: str = ""
    tools: Sequence[Tool] = ()
    last_tool_output: str | None = None
    required_tool: str | None = None


class ReplyKind(StrEnum):
    GREETING = "greeting"
    QUESTION = "question"
    TRANSITION = "transition"
    TOOL_CALL = "tool_call"
    WRAP_UP = "wrap_up"
    GOODBYE = "goodbye"


@dataclass(frozen=True, kw_only=True)
class ToolCall:
    """A function call with its arguments as JSON text."""

    name: str
    arguments: str


@dataclass(frozen=True, kw_only=True)
class Reply:
    """One response: `text` spoken in `speech_ms` (both empty for a bare tool call), then `tool`."""

    kind: ReplyKind
    text: str
    speech_ms: int
    ttfa_ms: float
    tool: ToolCall | None = None


class Interviewer:
    """One session's interviewer. Deterministic: the same seed and calls give the same replies."""

    def __init__(self, *, seed: int, script: Script) -> None:
        self.script = script
        self.phase = 0
        self.turns_in_phase = 0
        self._random = Random(seed)
        self._greeted = False
        self._advanced = False
        self._ended = False
        self._before = self._state()

    def user_turn(self, speech_ms: int) -> None:
        """Count a turn of the user, unless it was too short to mean anything."""
        if speech_ms >= MIN_TURN_MS:
            self.turns_in_phase += 1

    def carry_on(self) -> None:
        """The conversation began on another connection: no greeting any more."""
        self._greeted = True

    def reply(self, prompt: Prompt) -> Reply:
        """Decide the next response and advance the script's state."""
        self._before = self._state()
        if not self.script.disobey:
            told = self._told_to_end(prompt) or self._demanded_tool(prompt)
            if told is not None:
                return told
            if self._due(prompt):
                return self._call(ReplyKind.TOOL_CALL, ADVANCE_TOOL, prompt)
        return self._conversation()

    def take_back(self, reply: Reply) -> None:
        """Undo the tool call of the latest `reply`: it was cut off before the call went out."""
        if reply.tool is None:
            return
        since = self.turns_in_phase if reply.tool.name == ADVANCE_TOOL else 0
        self.phase, turns, self._greeted, self._advanced, self._ended = self._before
        self.turns_in_phase = turns + since

    def _state(self) -> tuple[int, int, bool, bool, bool]:
        return (self.phase, self.turns_in_phase, self._greeted, self._advanced, self._ended)

    def _told_to_end(self, prompt: Prompt) -> Reply | None:
        texts = (prompt.instructions, prompt.response_instructions)
        if any(CLOSING_TOKEN in text for text in (*texts, prompt.last_tool_output or "")):
            return self._speak(ReplyKind.GOODBYE, GOODBYES, SHORT_SPEECH_S)
        if self._ended:
            return self._speak(ReplyKind.GOODBYE, GOODBYES, SHORT_SPEECH_S)
        if any(WRAP_UP_TOKEN in text for text in texts):
            if _has(prompt, END_TOOL):
                return self._call(ReplyKind.WRAP_UP, END_TOOL, prompt)
            return self._speak(ReplyKind.WRAP_UP, WRAP_UPS, SHORT_SPEECH_S)
        return None

    def _demanded_tool(self, prompt: Prompt) -> Reply | None:
        if prompt.required_tool is None or not prompt.tools:
            return None
        names = [tool.name for tool in prompt.tools]
        if prompt.required_tool in names:
            return self._call(ReplyKind.TOOL_CALL, prompt.required_tool, prompt)
        preferred = ADVANCE_TOOL if ADVANCE_TOOL in names else names[0]
        return self._call(ReplyKind.TOOL_CALL, preferred, prompt)

    def _due(self, prompt: Prompt) -> bool:
        return self.turns_in_phase >= self.script.turns_per_phase and _has(prompt, ADVANCE_TOOL)

    def _call(self, kind: ReplyKind, name: str, prompt: Prompt) -> Reply:
        arguments = json.dumps(_arguments(prompt, name))
        if name == ADVANCE_TOOL:
            self.phase += 1
            self.turns_in_phase = 0
            self._advanced = self._greeted = True
        if name == END_TOOL:
            self._ended = True
        lines = WRAP_UPS if kind is ReplyKind.WRAP_UP else ACKNOWLEDGEMENTS
        # A wrap-up always says its remark; a tool call sometimes comes without a word.
        spoken = self._speak(kind, lines, SHORT_SPEECH_S)
        silent = kind is ReplyKind.TOOL_CALL and self._random.random() >= self.script.acknowledge
        call = ToolCall(name=name, arguments=arguments)
        if silent:
            return replace(spoken, text="", speech_ms=0, tool=call)
        return replace(spoken, tool=call)

    def _conversation(self) -> Reply:
        if not self._greeted:
            self._greeted = True
            return self._speak(ReplyKind.GREETING, GREETINGS, self.script.speech_s)
        if self._advanced:
            self._advanced = False
            return self._speak(ReplyKind.TRANSITION, TRANSITIONS, self.script.speech_s)
        return self._speak(ReplyKind.QUESTION, QUESTIONS, self.script.speech_s)

    def _speak(self, kind: ReplyKind, lines: Sequence[str], span_s: tuple[float, float]) -> Reply:
        return Reply(
            kind=kind,
            text=self._random.choice(lines),
            speech_ms=round(self._random.uniform(*span_s) * 50) * 20,
            ttfa_ms=self._random.uniform(*self.script.ttfa_ms),
        )


def _has(prompt: Prompt, name: str) -> bool:
    return any(tool.name == name for tool in prompt.tools)


def _arguments(prompt: Prompt, name: str) -> dict[str, Any]:
    for tool in prompt.tools:
        if tool.name == name:
            return arguments_for(tool.parameters)
    return {}


_SAMPLES: dict[str, Any] = {
    "string": "The topic has been covered.",
    "integer": 1,
    "number": 1.0,
    "boolean": True,
    "array": [],
    "object": {},
}


def arguments_for(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Plausible arguments for a JSON schema: a value for each required property.

    Type names may be upper case, as one of the providers writes them.
    """
    properties = schema.get("properties") or {}
    return {name: _sample(properties.get(name, {})) for name in schema.get("required") or ()}


def _sample(schema: Mapping[str, Any]) -> Any:
    if schema.get("enum"):
        return schema["enum"][0]
    if "default" in schema:
        return schema["default"]
    for option in schema.get("anyOf") or ():
        if option.get("type") != "null":
            return _sample(option)
    return _SAMPLES.get(str(schema.get("type", "string")).lower(), "")


@dataclass(frozen=True, kw_only=True)
class _Override:
    match: str
    changes: Mapping[str, Any]


class ScriptBook:
    """The default script and overrides for sessions whose instructions contain a text."""

    FIELDS = frozenset({"turns_per_phase", "speech_s", "ttfa_ms", "acknowledge", "disobey"})

    def __init__(self, default: Script) -> None:
        self.default = default
        self._overrides: list[_Override] = []

    def add(self, *, match: str, changes: Mapping[str, Any]) -> Script:
        """Override fields where `match` occurs. Raises ValueError on unknown or bad values."""
        unknown = set(changes) - self.FIELDS
        if unknown:
            raise ValueError(f"unknown script fields: {', '.join(sorted(unknown))}")
        # Lists are what JSON has for ranges.
        plain: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in changes.items()
        }
        script = replace(self.default, **plain)
        self._overrides.append(_Override(match=match, changes=plain))
        return script

    def resolve(self, instructions: str) -> Script:
        """The default with every matching override applied, later ones over earlier ones."""
        script = self.default
        for override in self._overrides:
            if override.match in instructions:
                script = replace(script, **override.changes)
        return script

    def clear(self) -> int:
        count = len(self._overrides)
        self._overrides.clear()
        return count

    def as_json(self) -> list[dict[str, Any]]:
        return [{"match": o.match, **o.changes} for o in self._overrides]
