"""The result as two pictures: the frontier of every rule, and a day of each shape. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fleet.bench.svg import picture, text

WIDTH, HEIGHT = 900, 640
PANEL_W, PANEL_H = 360, 210
LEFT, TOP, ACROSS, DOWN = 70, 90, 430, 275
COLOURS = {
    "this fleet": "#1b6ca8",
    "fixed pool": "#777777",
    "calls per second × 30": "#b08900",
    "CPU at 50 %": "#c8553d",
}
_COLD_TICKS = (0.0, 0.1, 1.0, 10.0, 100.0)
_RATIO_TICKS = (0.8, 1.0, 1.2, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_WIDE_TICKS = (1.0, 2.0, 3.0, 5.0, 10.0, 20.0)
_LEAST_RATIO, _MOST_RATIO = 0.8, 26.0


def frontier_svg(
    scores: Mapping[str, Sequence[Mapping[str, Any]]], most_cold: float, most_ratio: float
) -> str:
    """``scores``: by shape, as the result's JSON has them. ``most_cold`` in percent."""
    parts = [
        text(20, 26, "Cold starts against node-hours, every rule at several settings", size=16),
        *_legend(48),
    ]
    for number, (shape, found) in enumerate(scores.items()):
        x, y = _corner(number)
        shown = [s for s in found if _LEAST_RATIO <= s["to_oracle"] <= _MOST_RATIO]
        across = max([2.0, *(s["to_oracle"] * 1.1 for s in shown)])
        parts.extend(_frontier_frame(x, y, shape, most_cold, most_ratio, across))
        for rule, colour in COLOURS.items():
            points = [
                (
                    _ratio_x(x, s["to_oracle"], across),
                    _cold_y(y, 100 * s["cold"] / s["sessions"]),
                    s,
                )
                for s in shown
                if s["rule"] == rule
            ]
            points.sort(key=lambda point: point[0])
            parts.append(_line([(px, py) for px, py, _ in points], colour))
            parts.extend(
                f'<circle cx="{px:.1f}" cy="{py:.1f}" r="{6 if s["judged"] else 3}" '
                f'fill="{colour}"><title>{escape(s["setting"])}</title></circle>'
                for px, py, s in points
            )
    return picture(parts, width=WIDTH, height=HEIGHT)


def days_svg(days: Mapping[str, Mapping[str, Sequence[Sequence[float]]]], node_slots: int) -> str:
    """``days``: by shape and rule, (hour, live sessions, nodes) at each moment."""
    parts = [
        text(20, 26, "A day of each shape: live sessions, and slots paid for", size=16),
        *_legend(48, only=[rule for rule in COLOURS if any(rule in by for by in days.values())]),
        text(620, 48, "filled: live sessions", size=12, colour="#555"),
    ]
    for number, (shape, by_rule) in enumerate(days.items()):
        x, y = _corner(number)
        most = max(nodes * node_slots for line in by_rule.values() for _, _, nodes in line) * 1.05
        hours = _busy_hours(by_rule)
        parts.extend(_day_frame(x, y, shape, most, hours))
        for rule, whole in by_rule.items():
            line = [point for point in whole if hours[0] <= point[0] <= hours[1]]
            if rule == "this fleet":
                live = [(_hour_x(x, hour, hours), _count_y(y, n, most)) for hour, n, _ in line]
                parts.append(_area(live, y + PANEL_H))
            steps = [(_hour_x(x, h, hours), _count_y(y, n * node_slots, most)) for h, _, n in line]
            parts.append(_line(steps, COLOURS[rule]))
    return picture(parts, width=WIDTH, height=HEIGHT)


def _corner(number: int) -> tuple[float, float]:
    return LEFT + ACROSS * (number % 2), TOP + DOWN * (number // 2)


def _frontier_frame(
    x: float, y: float, shape: str, most_cold: float, most_ratio: float, across: float
) -> Iterator[str]:
    right, bottom = _ratio_x(x, most_ratio, across), y + PANEL_H
    held = _cold_y(y, most_cold)
    yield (
        f'<rect x="{x:.1f}" y="{held:.1f}" width="{right - x:.1f}" height="{bottom - held:.1f}" '
        f'fill="#dff0d8"/>'
    )
    yield from _frame(x, y, shape)
    for cold in _COLD_TICKS:
        yield text(x - 8, _cold_y(y, cold) + 4, f"{cold:g} %", size=10, anchor="end")
    ticks = _RATIO_TICKS if across < 4 else _WIDE_TICKS
    for ratio in (tick for tick in ticks if tick <= across):
        yield text(_ratio_x(x, ratio, across), bottom + 14, f"{ratio:g}×", size=10, anchor="middle")
    yield text(
        x + PANEL_W / 2,
        bottom + 30,
        "node-hours, the oracle's being 1",
        size=11,
        colour="#555",
        anchor="middle",
    )


def _busy_hours(by_rule: Mapping[str, Sequence[Sequence[float]]]) -> tuple[int, int]:
    """From an hour before the first session to an hour after the last."""
    busy = [hour for line in by_rule.values() for hour, live, _ in line if live] or [0.0, 24.0]
    return max(0, math.floor(min(busy)) - 1), min(24, math.ceil(max(busy)) + 1)


def _day_frame(
    x: float, y: float, shape: str, most: float, hours: tuple[int, int]
) -> Iterator[str]:
    yield from _frame(x, y, shape)
    step = 10 ** math.floor(math.log10(max(most, 10) / 2))
    step *= 2 if most / step > 8 else 1
    for count in range(0, int(most) + 1, step):
        yield text(x - 8, _count_y(y, count, most) + 4, f"{count}", size=10, anchor="end")
    for hour in range(hours[0], hours[1] + 1, max(1, (hours[1] - hours[0]) // 6)):
        yield text(
            _hour_x(x, hour, hours), y + PANEL_H + 14, f"{hour:02}:00", size=10, anchor="middle"
        )


def _frame(x: float, y: float, title: str) -> Iterator[str]:
    yield text(x, y - 8, title, size=13)
    yield (
        f'<rect x="{x:.1f}" y="{y:.1f}" width="{PANEL_W}" height="{PANEL_H}" fill="none" '
        f'stroke="#999"/>'
    )


def _cold_y(y: float, percent: float) -> float:
    """Logarithmic above a tenth of a percent, from nothing to that in proportion."""
    share = percent if percent < 0.1 else 0.1 * (1 + math.log10(percent / 0.1) * 2.0)
    most = 0.1 * (1 + 3 * 2.0)
    return y + PANEL_H * (1 - 0.04 - 0.92 * share / most)


def _ratio_x(x: float, ratio: float, across: float) -> float:
    within = math.log(ratio / _LEAST_RATIO) / math.log(across / _LEAST_RATIO)
    return x + PANEL_W * within


def _hour_x(x: float, hour: float, hours: tuple[int, int]) -> float:
    return x + PANEL_W * (hour - hours[0]) / (hours[1] - hours[0])


def _count_y(y: float, count: float, most: float) -> float:
    return y + PANEL_H * (1 - count / most)


def _legend(y: float, only: Sequence[str] = tuple(COLOURS)) -> Iterator[str]:
    x = 20.0
    for rule in only:
        yield f'<circle cx="{x + 5:.1f}" cy="{y - 4:.1f}" r="5" fill="{COLOURS[rule]}"/>'
        yield text(x + 15, y, rule, size=12)
        x += 40 + 7 * len(rule)


def _line(points: Sequence[tuple[float, float]], colour: str) -> str:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    return f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _area(points: Sequence[tuple[float, float]], bottom: float) -> str:
    path = " ".join(f"{px:.1f},{py:.1f}" for px, py in points)
    first, last = points[0][0], points[-1][0]
    return (
        f'<polygon points="{first:.1f},{bottom:.1f} {path} {last:.1f},{bottom:.1f}" '
        f'fill="#d5dde5"/>'
    )
