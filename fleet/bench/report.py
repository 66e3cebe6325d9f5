"""What a benchmark found, and whether it is good enough. Pure.

A bar is made by ``at_most``, ``at_least`` or ``exactly``, which judge the figure as they say it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from typing import Any


class Judgement(StrEnum):
    HELD = "held"
    MISSED = "missed"
    NOT_JUDGED = "not judged"


@dataclass(frozen=True, kw_only=True)
class Bar:
    """One figure against what it must be. ``figure`` None: it could not be measured."""

    name: str
    figure: float | None
    unit: str
    bar: str
    judgement: Judgement
    detail: str = ""

    def not_judged(self, why: str) -> Bar:
        """The figure is shown and does not count."""
        detail = f"{self.detail}; {why}" if self.detail else why
        return replace(self, judgement=Judgement.NOT_JUDGED, detail=detail)


def at_most(name: str, figure: float | None, most: float, unit: str, detail: str = "") -> Bar:
    return _bar(name, figure, unit, "≤", most, figure is not None and figure <= most, detail)


def at_least(name: str, figure: float | None, least: float, unit: str, detail: str = "") -> Bar:
    return _bar(name, figure, unit, "≥", least, figure is not None and figure >= least, detail)


def exactly(name: str, figure: float | None, wanted: float, unit: str, detail: str = "") -> Bar:
    return _bar(name, figure, unit, "=", wanted, figure == wanted, detail)


def only_shown(name: str, figure: float | None, unit: str, detail: str = "") -> Bar:
    """A figure without a bar."""
    return Bar(
        name=name,
        figure=figure,
        unit=unit,
        bar="-",
        judgement=Judgement.NOT_JUDGED,
        detail=detail,
    )


def with_unit(figure: float | None, unit: str) -> str:
    """As it is shown: whole numbers exactly, others to three digits."""
    if figure is None:
        return "not measured"
    whole = isinstance(figure, int) or abs(figure) >= 100
    number = f"{figure:,.0f}" if whole else f"{figure:.3g}"
    return f"{number}{'' if unit in _GLUED else ' '}{unit}".strip()


@dataclass(frozen=True, kw_only=True)
class Machine:
    cores: int
    memory_gib: float
    kernel: str
    cpu: str
    python: str


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What a benchmark returns. ``data``: whatever else it counted, as JSON can hold it."""

    bars: tuple[Bar, ...]
    seeds: tuple[int, ...] = ()
    data: Mapping[str, Any] = field(default_factory=dict)


def together(parts: Mapping[str, Measured]) -> Measured:
    """Several benchmarks as one; the bars and data of each go under its name."""
    return Measured(
        bars=tuple(
            replace(bar, name=f"{name}: {bar.name}")
            for name, part in parts.items()
            for bar in part.bars
        ),
        seeds=tuple(dict.fromkeys(seed for part in parts.values() for seed in part.seeds)),
        data={name: part.data for name, part in parts.items()},
    )


@dataclass(frozen=True, kw_only=True)
class BenchResult:
    """``date``: UTC, when it began. ``load_before``: the machine's load average (1 min) then."""

    name: str
    measured: Measured
    smoke: bool
    machine: Machine
    date: str
    load_before: float
    duration_s: float

    @property
    def missed(self) -> tuple[Bar, ...]:
        return tuple(bar for bar in self.measured.bars if bar.judgement is Judgement.MISSED)

    @property
    def file_name(self) -> str:
        """A short run does not take the place of a long one's result."""
        return f"{self.name}{'.smoke' if self.smoke else ''}.json"

    def to_json(self) -> str:
        return json.dumps({"passed": not self.missed, **asdict(self)}, indent=2, ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> BenchResult:
        state: dict[str, Any] = json.loads(text)
        del state["passed"]
        measured = state.pop("measured")
        bars = (Bar(**{**b, "judgement": Judgement(b["judgement"])}) for b in measured["bars"])
        return cls(
            **{
                **state,
                "machine": Machine(**state["machine"]),
                "measured": Measured(
                    bars=tuple(bars), seeds=tuple(measured["seeds"]), data=measured["data"]
                ),
            }
        )


_GLUED = ("/s", "×")


def _bar(
    name: str, figure: float | None, unit: str, sign: str, wanted: float, held: bool, detail: str
) -> Bar:
    return Bar(
        name=name,
        figure=figure,
        unit=unit,
        bar=f"{sign} {with_unit(wanted, unit)}",
        judgement=Judgement.HELD if held else Judgement.MISSED,
        detail=detail,
    )
