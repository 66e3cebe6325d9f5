"""Charts as inline SVG: lines and dots over one axis. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from html import escape

from fleet.bench.svg import text

WIDTH, HEIGHT = 760, 250
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 34, 40
COLOURS = ("#1b6ca8", "#c8553d", "#b08900", "#4b8b3b", "#7a4ea3", "#5b6770", "#d1779a", "#2aa198")
TICKS = 5
LEGEND_STEP = 150

Point = tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class Series:
    name: str
    points: Sequence[Point]
    dots: bool = False


@dataclass(frozen=True, kw_only=True)
class Chart:
    title: str
    x_name: str
    y_name: str
    series: Sequence[Series]


def svg(chart: Chart) -> str:
    """Empty charts say so."""
    points = [point for each in chart.series for point in each.points]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'role="img" aria-label="{escape(chart.title)}" font-family="sans-serif">'
    )
    parts = [head, _label(8, 16, chart.title, size=13, weight="bold")]
    if not points:
        return "".join(
            [*parts, _label(LEFT, HEIGHT / 2, "nothing was measured", size=12), "</svg>"]
        )
    scale = _Scale(
        x_least=min(x for x, _ in points),
        x_most=max(x for x, _ in points),
        y_most=max(max(y for _, y in points), 1e-9) * 1.05,
    )
    parts += _axes(chart, scale)
    for number, series in enumerate(chart.series):
        parts += _drawn(series, scale, COLOURS[number % len(COLOURS)])
    parts += _legend(chart.series)
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, kw_only=True)
class _Scale:
    x_least: float
    x_most: float
    y_most: float

    def x(self, value: float) -> float:
        span = (self.x_most - self.x_least) or 1.0
        return LEFT + (WIDTH - LEFT - RIGHT) * (value - self.x_least) / span

    def y(self, value: float) -> float:
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * max(value, 0.0) / self.y_most


def _axes(chart: Chart, scale: _Scale) -> Iterator[str]:
    for tick in range(TICKS + 1):
        value = scale.y_most * tick / TICKS
        y = scale.y(value)
        yield f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#ddd"/>'
        yield _label(LEFT - 6, y + 4, f"{value:.3g}", size=10, anchor="end")
        at = scale.x_least + (scale.x_most - scale.x_least) * tick / TICKS
        yield _label(scale.x(at), HEIGHT - BOTTOM + 14, f"{at:.4g}", size=10, anchor="middle")
    yield _label(WIDTH - RIGHT, HEIGHT - BOTTOM + 28, chart.x_name, size=10, anchor="end")
    yield _label(WIDTH - RIGHT, 16, chart.y_name, size=10, anchor="end")


def _drawn(series: Series, scale: _Scale, colour: str) -> Iterator[str]:
    at = [(scale.x(x), scale.y(y)) for x, y in series.points]
    if series.dots:
        for x, y in at:
            yield f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}" opacity=".5"/>'
    elif at:
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in at)
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.5"/>'


def _legend(series: Sequence[Series]) -> Iterator[str]:
    if len(series) == 1 and not series[0].name:
        return
    fits = max(1, (WIDTH - LEFT - RIGHT - 70) // LEGEND_STEP)
    for number, each in enumerate(series):
        x = LEFT + LEGEND_STEP * (number % fits)
        y = TOP - 8 + 11 * (number // fits)
        colour = COLOURS[number % len(COLOURS)]
        yield f'<rect x="{x}" y="{y - 8}" width="9" height="9" fill="{colour}"/>'
        yield _label(x + 13, y, each.name, size=10)


_label = partial(text, colour="#333")
