"""How long starts take, learned from those that were. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

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


@dataclass(frozen=True, kw_only=True)
class NodeStarts:
    """Orders of nodes that have not come up, oldest first, and how long those took that have."""

    known: frozenset[str] | None = None
    """None: nothing has been seen yet."""
    ordered_at: tuple[float, ...] = ()
    took_s: tuple[float, ...] = ()

    def seen(self, up: Collection[str], now: float) -> NodeStarts:
        """Nodes that are new answer the oldest orders; of any others nobody knows."""
        here = frozenset(up)
        if self.known is None:
            return replace(self, known=here)
        count = min(len(here - self.known), len(self.ordered_at))
        came = tuple(max(0.0, now - at) for at in self.ordered_at[:count])
        took_s = (*self.took_s, *came)[-REMEMBERED:]
        return replace(self, known=here, ordered_at=self.ordered_at[count:], took_s=took_s)

    def wanted(self, missing: int, now: float) -> NodeStarts:
        """So many more than are up are asked for: new orders, or the newest taken back."""
        kept = self.ordered_at[: max(0, missing)]
        return replace(self, ordered_at=kept + (now,) * (max(0, missing) - len(kept)))
