"""The dispatches as a picture: every one a dot, by scenario and arm. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fleet.bench.peer.found import EAGER, FLEET, PEER
from fleet.bench.svg import picture, text

WIDTH = 860
LEFT, RIGHT, TOP, ROW = 240, 30, 60, 34
GROUP_GAP = 14
COLOURS = {FLEET: "#1b6ca8", PEER: "#c8553d", EAGER: "#b08900"}
MEASURES = (("in_room_s", "request → agent in room"), ("audio_s", "request → first audible sample"))
_TICKS = 6


def svg(dispatches: Sequence[Mapping[str, Any]], circumstances: str) -> str:
    """``dispatches``: as the result's JSON has them. Lost ones are counted beside their row."""
    rows = list(_rows(dispatches))
    most = max((value for row in rows for value in row[2]), default=1.0) * 1.05
    parts = [text(LEFT, 20, "One dispatch: this fleet and a livekit-agents worker", size=15)]
    parts.append(text(LEFT, 38, circumstances, size=10, colour="#666"))
    y = float(TOP)
    for title, arm, values, lost in rows:
        if title:
            y += GROUP_GAP
            parts.append(text(8, y + 4, title, size=11, colour="#333"))
            y += ROW / 2
        parts.extend(_row(y, arm, values, lost, most))
        y += ROW * 0.6
    parts.extend(_axis(y + 10, most))
    height = y + 44
    return picture(parts, width=WIDTH, height=height)


def _rows(
    dispatches: Sequence[Mapping[str, Any]],
) -> Iterator[tuple[str, str, list[float], int]]:
    for scenario in dict.fromkeys(each["scenario"] for each in dispatches):
        for of, name in MEASURES:
            for number, arm in enumerate(COLOURS):
                mine = [d for d in dispatches if (d["scenario"], d["arm"]) == (scenario, arm)]
                if not mine:
                    continue
                values = [d[of] for d in mine if d["lost"] is None and d[of] is not None]
                title = "" if number else f"{scenario}: {name}"
                yield title, arm, values, sum(d["lost"] is not None for d in mine)


def _row(y: float, arm: str, values: Sequence[float], lost: int, most: float) -> Iterator[str]:
    label = f"{arm}, {lost} lost" if lost else arm
    yield text(LEFT - 8, y + 4, label, size=11, colour=COLOURS[arm], anchor="end")
    for value in values:
        x = _x(value, most)
        yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{COLOURS[arm]}" opacity="0.45"/>'


def _axis(y: float, most: float) -> Iterator[str]:
    yield f'<line x1="{LEFT}" y1="{y:.1f}" x2="{WIDTH - RIGHT}" y2="{y:.1f}" stroke="#999"/>'
    for tick in range(_TICKS + 1):
        value = most * tick / _TICKS
        yield text(_x(value, most), y + 16, f"{value:.2g} s", size=10, anchor="middle")


def _x(value: float, most: float) -> float:
    return LEFT + (WIDTH - LEFT - RIGHT) * value / most
