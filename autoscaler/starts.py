"""How long starts take, learned from those that were. Pure."""

from __future__ import annotations

from collections.abc import Sequence

REMEMBERED = 20
ENOUGH = 5
_SHARE = 0.9


def few_exceed_s(lately_s: Sequence[float], otherwise_s: float) -> float:
    """What nine of ten starts stay within, of the last ``REMEMBERED``; ``otherwise_s`` until
    ``ENOUGH`` have been seen."""
    kept = sorted(lately_s[-REMEMBERED:])
    if len(kept) < ENOUGH:
        return otherwise_s
    return kept[min(len(kept) - 1, int(_SHARE * len(kept)))]
