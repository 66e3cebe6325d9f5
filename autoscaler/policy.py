"""How many warm actors there should be: the fleet's state in, what to start and retire out.

Pure. A fixed pool: a number of warm actors is kept ready beside the busy ones, inside the
number of slots. Whoever applies a decision owns the clock and the actors.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class PoolBounds:
    """What the pool may do."""

    warm_target: int
    """Actors to keep ready while none is asked for."""
    slots: int
    """Actors that may exist at once, in whatever state."""
    max_starting: int
    """Actors that may be starting at once: each takes seconds of CPU."""

    def __post_init__(self) -> None:
        if self.warm_target < 0 or self.slots < 0:
            raise ValueError("warm_target and slots must not be negative")
        if self.max_starting < 1:
            raise ValueError("max_starting must be at least 1")


@dataclass(frozen=True, kw_only=True)
class PoolCounts:
    """Actors by state, and sessions that wait for one (they have no actor yet)."""

    warm: int = 0
    starting: int = 0
    busy: int = 0
    """Reserved for a session or running one."""
    dying: int = 0
    """Told to go, but still in their slot."""
    waiting: int = 0

    @property
    def total(self) -> int:
        return self.warm + self.starting + self.busy + self.dying


@dataclass(frozen=True, kw_only=True)
class PoolDecision:
    """``start`` new actors, ``retire`` warm ones. Never both at once."""

    start: int = 0
    retire: int = 0


def decide(counts: PoolCounts, bounds: PoolBounds) -> PoolDecision:
    """Bring ready + starting actors to the warm target, one more for each waiting session.

    Only warm actors beyond what is wanted are retired. While others still start they stay:
    a warm one in the hand serves at once.
    """
    room = max(0, bounds.slots - counts.busy - counts.dying)
    wanted = min(bounds.warm_target + counts.waiting, room)
    missing = wanted - counts.warm - counts.starting
    if missing > 0:
        free_starts = max(0, bounds.max_starting - counts.starting)
        return PoolDecision(start=min(missing, free_starts))
    return PoolDecision(retire=max(0, counts.warm - wanted))
