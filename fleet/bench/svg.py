"""What the benchmarks' pictures are made of. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape


def picture(parts: Sequence[str], *, width: float, height: float) -> str:
    """A whole file, on white."""
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" font-family="sans-serif">'
    )
    ground = f'<rect width="{width:.0f}" height="{height:.0f}" fill="white"/>'
    return "\n".join([head, ground, *parts, "</svg>", ""])


def text(
    x: float,
    y: float,
    words: str,
    *,
    size: int,
    colour: str = "#000",
    anchor: str = "start",
    weight: str = "normal",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" '
        f'fill="{colour}" text-anchor="{anchor}">{escape(words)}</text>'
    )
