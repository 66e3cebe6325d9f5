"""How many nodes and warm actors there should be: what is seen in, what is wanted out.

Pure, and level-triggered: each answer stands by itself, a lost one costs nothing. Whoever applies
it owns the clock, the nodes and the actors. Nothing here knows of CPU: a node holds exactly so many
sessions, and whether that many run well on it was measured before (docs/operations.md).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from autoscaler.demand import Arrivals, DemandTuning, expected, watched


@dataclass(frozen=True, kw_only=True)
class ScalingBounds:
    """``max_nodes`` gives way to live sessions alone: nodes that carry one are always wanted.
    ``min_warm`` asks for no node: where there is none, it waits for one."""

    min_nodes: int = 0
    max_nodes: int
    min_warm: int = 1
    max_warm: int

    def __post_init__(self) -> None:
        if not 0 <= self.min_nodes <= self.max_nodes:
            raise ValueError("min_nodes must lie between 0 and max_nodes")
        if not 0 <= self.min_warm <= self.max_warm:
            raise ValueError("min_warm must lie between 0 and max_warm")


@dataclass(frozen=True, kw_only=True)
class ScalingTuning:
    caution: float = 1.5
    """Standard deviations of chance that the reserve of slots is to bear."""
    negligible: float = 0.02
    """Sessions expected before a node could be there that are not worth one kept for them."""
    calm_s: float = 120.0
    """A node or a warm actor goes when it has not been wanted for so long: another one would cost
    a start."""
    demand: DemandTuning = field(default_factory=DemandTuning)


@dataclass(frozen=True, kw_only=True)
class Observation:
    """The fleet at one moment. ``now`` is Unix time: forecasts go by the time of day in it."""

    now: float
    arrived: int
    """Sessions asked for since the observation before, whatever became of them."""
    turned_away: int = 0
    """Those among them that were given nothing."""
    live: int
    """Sessions that have an actor."""
    waiting: int = 0
    """Sessions that wait for one."""
    nodes: int
    """Nodes that are up."""
    occupied: int
    """Those among them with a session."""
    node_slots: int
    """Sessions that a node carries."""
    node_start_s: float
    """From asking for a node to its being up, as measured: what few starts exceed."""
    actor_start_s: float
    """The same of an actor."""

    def __post_init__(self) -> None:
        if self.node_slots < 1:
            raise ValueError("node_slots must be at least 1")
        sessions = (self.arrived, self.turned_away, self.live, self.waiting)
        if min(*sessions, self.nodes, self.occupied) < 0:
            raise ValueError("nothing can be counted below 0")
        if min(self.node_start_s, self.actor_start_s) < 0:
            raise ValueError("nothing starts in less than no time")


@dataclass(frozen=True, kw_only=True)
class ScalingState:
    """What one step hands to the next. An empty one is a good beginning."""

    arrivals: Arrivals = field(default_factory=Arrivals)
    live: int = 0
    nodes: tuple[tuple[float, int], ...] = ()
    """How many were wanted lately and when, each fewer than the one before it."""
    warm: tuple[tuple[float, int], ...] = ()
    """The same."""


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """``nodes``: never fewer than carry a session. ``reserve``: for how many sessions slots are
    to be free, of all of which actors are kept warm: the fork costs the same sooner or later."""

    nodes: int
    warm: int
    reserve: int


def decide_scale(
    seen: Observation,
    bounds: ScalingBounds,
    state: ScalingState,
    tuning: ScalingTuning = ScalingTuning(),
) -> tuple[Wanted, ScalingState]:
    """What is wanted now, and the state for the next step."""
    # Whoever was turned away comes again, and has not left: a slot that nobody had is not free.
    taken = seen.arrived - seen.turned_away
    left = max(0, state.live + taken - seen.live - seen.waiting)
    arrivals = watched(state.arrivals, seen.now, seen.arrived, left, tuning.demand)
    reserve = _reserve(arrivals, seen.node_start_s + seen.actor_start_s, tuning)
    needed = math.ceil((seen.live + seen.waiting + reserve) / seen.node_slots)
    nodes = _still_wanted(state.nodes, seen.now, needed, tuning.calm_s)
    warm = _still_wanted(state.warm, seen.now, reserve, tuning.calm_s)
    free = max(0, seen.nodes * seen.node_slots - seen.live)
    answer = Wanted(
        nodes=max(_within(nodes[0][1], bounds.min_nodes, bounds.max_nodes), seen.occupied),
        warm=min(_within(warm[0][1], bounds.min_warm, bounds.max_warm), free),
        reserve=reserve,
    )
    live = seen.live + seen.waiting
    return answer, ScalingState(arrivals=arrivals, live=live, nodes=nodes, warm=warm)


def _reserve(arrivals: Arrivals, within_s: float, tuning: ScalingTuning) -> int:
    """Slots that will be taken before a node asked for now is there, bar chance. Those that become
    free meanwhile count as far as sessions end now: in a burst none do."""
    coming = expected(arrivals, within_s, tuning.demand)
    if coming < tuning.negligible:
        return 0
    going = arrivals.leaving * within_s
    return math.ceil(max(0.0, coming - going) + tuning.caution * math.sqrt(coming + going))


def _still_wanted(
    before: tuple[tuple[float, int], ...], now: float, count: int, calm_s: float
) -> tuple[tuple[float, int], ...]:
    """``before`` without what is over, or no more than ``count``, which is added."""
    kept = tuple((at, n) for at, n in before if now - calm_s < at <= now and n > count)
    return (*kept, (now, count))


def _within(count: int, least: int, most: int) -> int:
    return min(max(count, least), most)
