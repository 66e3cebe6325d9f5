"""Rules that say how many nodes there should be: this fleet's, and those that others use.

The others keep every free slot warm, which is more than they have: a session is cold with them only
when there is no slot.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from autoscaler.demand import Arrivals, watched
from autoscaler.scaling import (
    Observation,
    ScalingBounds,
    ScalingState,
    ScalingTuning,
    decide_scale,
)
from fleet.simulation.scaling.days import DAY_S, Visit
from fleet.simulation.scaling.nodes import RUN_IN_S, Orders, View

MOST_NODES = 200
FIRST_DAY = 20_000
"""The judged day, in days since 1970: any."""


class Ours:
    """``autoscaler.scaling``, asked as often as ``fleet.scaler`` does."""

    packs, drains, every_s = True, False, 5.0

    def __init__(self, tuning: ScalingTuning, history: Sequence[Sequence[Visit]] = ()) -> None:
        self._tuning = tuning
        self._bounds = ScalingBounds(max_nodes=MOST_NODES, min_warm=0, max_warm=10_000)
        self._state = ScalingState(arrivals=_remembered(history, tuning))

    def step(self, view: View) -> Orders:
        seen = Observation(
            now=FIRST_DAY * DAY_S + view.now,
            arrived=view.arrived,
            live=view.live,
            waiting=view.waiting,
            nodes=view.nodes,
            occupied=view.occupied,
            node_slots=view.node_slots,
            node_start_s=view.node_start_s + self.every_s,
            actor_start_s=view.actor_start_s,
        )
        wanted, self._state = decide_scale(seen, self._bounds, self._state, self._tuning)
        return Orders(nodes=wanted.nodes, warm=wanted.warm)


@dataclass(frozen=True, kw_only=True)
class FixedPool:
    """So many nodes, always."""

    nodes: int
    packs = True
    drains = False
    every_s = 60.0

    def step(self, view: View) -> Orders:
        return Orders(nodes=self.nodes)


@dataclass(frozen=True, kw_only=True)
class ReservePerCall:
    """Free slots for so many seconds of calls at the rate of the busiest minute of the days before:
    ``calls per second × 30`` with Pipecat Cloud, where an agent takes 30 s to start."""

    peak_a_second: float
    seconds: float = 30.0
    packs = True
    drains = False
    every_s = 5.0

    def step(self, view: View) -> Orders:
        slots = view.live + view.waiting + self.peak_a_second * self.seconds
        return Orders(nodes=min(MOST_NODES, max(1, math.ceil(slots / view.node_slots))))


class CpuTarget:
    """Kubernetes' HorizontalPodAutoscaler on CPU, a pod for a node.

    Every 15 s: nodes × CPU ÷ target, rounded up, left alone within a tenth of the target. Up at
    once, by four pods or the double at most in 15 s; down to the most that was wanted in the last
    300 s. A full node is at ``full_load`` of its CPU, LiveKit's threshold for refusing jobs.
    """

    packs, drains, every_s = False, True, 15.0

    def __init__(self, target: float = 0.5, full_load: float = 0.7) -> None:
        self._target, self._full_load = target, full_load
        self._lately: deque[tuple[float, int]] = deque()

    def step(self, view: View) -> Orders:
        there = view.nodes + view.coming
        # Pods that are not ready count as idle when scaling up.
        cpu = view.load * self._full_load * (view.nodes / there if there else 0.0)
        ratio = cpu / self._target
        wanted = there if abs(ratio - 1.0) <= 0.1 else math.ceil(there * ratio)
        self._lately.append((view.now, max(1, wanted)))
        while self._lately[0][0] <= view.now - 300.0:
            self._lately.popleft()
        stable = max(nodes for _, nodes in self._lately)
        if stable > there:
            return Orders(nodes=min(stable, max(there + 4, 2 * there), MOST_NODES))
        return Orders(nodes=stable)


def busiest_minute(days: Sequence[Sequence[Visit]]) -> float:
    """Calls a second in it."""
    most = 0
    for day in days:
        minutes = [0] * int(DAY_S // 60)
        for visit in day:
            minutes[int(visit.at // 60)] += 1
        most = max([most, *minutes])
    return most / 60.0


def _remembered(history: Sequence[Sequence[Visit]], tuning: ScalingTuning) -> Arrivals:
    """What has been taken in of the days before, up to the run-in."""
    begins = (FIRST_DAY - len(history)) * DAY_S
    times = iter(sorted(begins + n * DAY_S + v.at for n, day in enumerate(history) for v in day))
    arrivals, following = Arrivals(), next(times, math.inf)
    now = begins
    while now <= FIRST_DAY * DAY_S - RUN_IN_S:
        count = 0
        while following < now:
            count, following = count + 1, next(times, math.inf)
        arrivals = watched(arrivals, now, count, 0, tuning.demand)
        now += 60.0
    return arrivals
