"""Figures over time for the fleet's plots: how long dispatch took, how fast money goes. Pure."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from fleet.bench.percentiles import percentile
from fleet.budget.costs import MINUTE_S, minute_of
from fleet.records import SessionRecord
from serve.feeds.tables import Row

SHOWN_MINUTES = 60


@dataclass
class Dispatches:
    """From the request to the agent in the room, by the minute of the request.

    Each session counts once, however often it is seen.
    """

    minutes: dict[int, dict[str, float]] = field(default_factory=dict)
    """Minute (epoch seconds) → session → milliseconds."""

    def see(self, record: SessionRecord) -> None:
        joined_at = record.first_joined_at or record.joined_at
        if joined_at is None:
            return
        took_ms = max(0.0, (joined_at - record.created_at) * 1000)
        minute = self.minutes.setdefault(minute_of(record.created_at), {})
        minute.setdefault(record.session_id, took_ms)

    def forget_before(self, at: float) -> None:
        for minute in [m for m in self.minutes if m < at]:
            del self.minutes[minute]

    def rows(self) -> dict[str, Row]:
        return {str(minute): _summary(seen) for minute, seen in self.minutes.items()}


class CostRate:
    """Micro-dollars a minute, over the last minute that was seen."""

    def __init__(self, over_s: float = MINUTE_S) -> None:
        self._over_s = over_s
        self._seen: deque[tuple[float, int]] = deque()

    def see(self, now: float, micro_usd: int) -> int | None:
        """``micro_usd``: spent so far, the responses under way included. None: not known yet."""
        if self._seen and now <= self._seen[-1][0]:
            return None
        self._seen.append((now, micro_usd))
        while len(self._seen) > 2 and self._seen[1][0] <= now - self._over_s:
            self._seen.popleft()
        began, before = self._seen[0]
        if now == began:
            return None
        # An estimate may turn out to have been too high.
        return max(0, round((micro_usd - before) * MINUTE_S / (now - began)))


def milliseconds(values: Sequence[float], share: float) -> float | None:
    value = percentile(values, share)
    return None if value is None else round(value, 1)


def _summary(seen: dict[str, float]) -> Row:
    took = list(seen.values())
    return {
        "dispatches": len(took),
        "dispatch_p50_ms": milliseconds(took, 0.5),
        "dispatch_p95_ms": milliseconds(took, 0.95),
    }
