"""What a participant does in an interview, as data.

A script is JSON with the keys of `Script`; unknown keys, wrong types and impossible values are
errors that name the key. Ranges are `[shortest, longest]` in seconds; the actual length of each is
drawn by the behaviour from its seed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.participants.errors import BadScript

Range = tuple[float, float]
"""Shortest and longest, in seconds."""

Parser = Callable[[str, Any], Any]


@dataclass(frozen=True, kw_only=True)
class Pause:
    """Silence in the middle of an answer: the microphone stays open, nothing is said."""

    answer: int
    """Which answer, counted from 1."""
    after_s: float
    """How much of the answer is spoken before the pause."""
    pause_s: float


@dataclass(frozen=True, kw_only=True)
class Interruption:
    """A barge-in: speaking while the agent speaks."""

    utterance: int
    """Which of the agent's talk spurts, counted from 1."""
    after_s: float
    """How long the participant listens to it before cutting in."""
    speech_s: float = 1.5
    """How long the participant then speaks."""


@dataclass(frozen=True, kw_only=True)
class Departure:
    """Leaving the room, at a time or after an answer."""

    at_s: float | None = None
    """Seconds after the first join. Exactly one of `at_s` and `after_answers` is given."""
    after_answers: int | None = None
    """Leaves when this many answers have been given."""
    away_s: float | None = None
    """Comes back after this long; None: never."""


@dataclass(frozen=True, kw_only=True)
class Script:
    """How a participant behaves. Departures happen in the order given."""

    name: str
    think_s: Range = (0.6, 1.6)
    """Between noticing the end of the agent's speech and answering."""
    answer_s: Range = (2.0, 5.0)
    """Speech of one answer, pauses not counted."""
    turn_gap_s: float = 0.4
    """The agent's speech is over after this much silence."""
    pauses: tuple[Pause, ...] = ()
    interruptions: tuple[Interruption, ...] = ()
    departures: tuple[Departure, ...] = ()
    silent: bool = False
    """Never says anything, with an open microphone."""
    muted: bool = False
    """Never says anything, with the microphone muted in the room."""
    noise_dbfs: float | None = None
    """Background noise under everything, also under silence; None: digital silence."""
    speaks_up_after_s: float | None = None
    """Speaks unasked when neither has spoken for this long; None: waits for ever."""

    @property
    def speaks(self) -> bool:
        return not (self.silent or self.muted)


def script_from_mapping(raw: Mapping[str, Any], default_name: str = "custom") -> Script:
    """The script that a decoded JSON object describes. Raises BadScript."""
    values = _parse("script", raw, _SCRIPT)
    values.setdefault("name", default_name)
    script = Script(**values)
    _check_unique("pauses.answer", [pause.answer for pause in script.pauses])
    _check_unique("interruptions.utterance", [cut.utterance for cut in script.interruptions])
    if any(leave.away_s is None for leave in script.departures[:-1]):
        raise BadScript("script.departures: only the last departure can be for good")
    return script


def _parse(where: str, raw: Any, parsers: Mapping[str, Parser]) -> dict[str, Any]:
    if not isinstance(raw, Mapping):
        raise BadScript(f"{where}: expected an object, got {type(raw).__name__}")
    unknown = sorted(set(raw) - set(parsers))
    if unknown:
        raise BadScript(f"{where}.{unknown[0]}: unknown key")
    return {key: parsers[key](f"{where}.{key}", value) for key, value in raw.items()}


def _check_unique(where: str, values: list[int]) -> None:
    if len(set(values)) != len(values):
        raise BadScript(f"script.{where}: the same number twice")


def _text(where: str, value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise BadScript(f"{where}: expected a non-empty text")
    return value


def _flag(where: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise BadScript(f"{where}: expected true or false")
    return value


def _number(where: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadScript(f"{where}: expected a number")
    return float(value)


def _seconds(where: str, value: Any) -> float:
    seconds = _number(where, value)
    if not 0 <= seconds <= 86_400:
        raise BadScript(f"{where}: expected seconds between 0 and 86400")
    return seconds


def _dbfs(where: str, value: Any) -> float:
    level = _number(where, value)
    if not -96 <= level <= 0:
        raise BadScript(f"{where}: expected dBFS between -96 and 0")
    return level


def _count(where: str, value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 1:
        raise BadScript(f"{where}: expected a whole number from 1")
    return value


def _range(where: str, value: Any) -> Range:
    if not isinstance(value, list | tuple) or len(value) != 2:
        raise BadScript(f"{where}: expected [shortest, longest]")
    low, high = _seconds(where, value[0]), _seconds(where, value[1])
    if low > high:
        raise BadScript(f"{where}: shortest is longer than longest")
    return low, high


def _or_none(parser: Parser) -> Parser:
    return lambda where, value: None if value is None else parser(where, value)


def _each(kind: type, parsers: Mapping[str, Parser]) -> Parser:
    required = [
        field.name for field in dataclasses.fields(kind) if field.default is dataclasses.MISSING
    ]

    def parse(where: str, value: Any) -> tuple[Any, ...]:
        if not isinstance(value, list | tuple):
            raise BadScript(f"{where}: expected a list")
        return tuple(one(f"{where}[{index}]", raw) for index, raw in enumerate(value))

    def one(where: str, raw: Any) -> Any:
        values = _parse(where, raw, parsers)
        missing = [name for name in required if name not in values]
        if missing:
            raise BadScript(f"{where}.{missing[0]}: missing")
        if kind is Departure and (values.get("at_s") is None) == (
            values.get("after_answers") is None
        ):
            raise BadScript(f"{where}: give either at_s or after_answers")
        return kind(**values)

    return parse


_PAUSE: Mapping[str, Parser] = {"answer": _count, "after_s": _seconds, "pause_s": _seconds}
_INTERRUPTION: Mapping[str, Parser] = {
    "utterance": _count,
    "after_s": _seconds,
    "speech_s": _seconds,
}
_DEPARTURE: Mapping[str, Parser] = {
    "at_s": _or_none(_seconds),
    "after_answers": _or_none(_count),
    "away_s": _or_none(_seconds),
}
_SCRIPT: Mapping[str, Parser] = {
    "name": _text,
    "think_s": _range,
    "answer_s": _range,
    "turn_gap_s": _seconds,
    "pauses": _each(Pause, _PAUSE),
    "interruptions": _each(Interruption, _INTERRUPTION),
    "departures": _each(Departure, _DEPARTURE),
    "silent": _flag,
    "muted": _flag,
    "noise_dbfs": _or_none(_dbfs),
    "speaks_up_after_s": _or_none(_seconds),
}
