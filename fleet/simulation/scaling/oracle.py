"""Who knows the future: how little node time the same sessions could have taken.

Two of them. The *oracle* knows when every session comes: each node is up at the very moment at
which its first session does, and an empty one is kept only if that is cheaper than starting it
again. It places sessions like everybody, the fullest node first, as it does not know how long they
last. The *floor* is below what anybody can do: sessions could be moved at any moment, and nodes
take no time to start.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from autoscaler.packing import fullness
from fleet.simulation.scaling.days import DAY_S, Visit
from fleet.simulation.scaling.nodes import Hardware


@dataclass(kw_only=True)
class _Node:
    node_id: str
    slots: int
    busy: int = 0
    idle: int = 0
    paid: list[tuple[float, float]] = field(default_factory=list)
    """From when to when, the starts included."""
    since: float = 0.0

    @property
    def free(self) -> int:
        return self.slots - self.busy


class Oracle:
    """``visits``: as for the simulation, in order."""

    def __init__(self, visits: Sequence[Visit], hardware: Hardware, rng: Random) -> None:
        self._visits = visits
        self._hardware = hardware
        self._rng = rng
        self._nodes: list[_Node] = []
        self._ends: list[tuple[float, int]] = []
        """When a session ends, and on which of the nodes."""

    def node_hours(self) -> float:
        for visit in self._visits:
            self._end_until(visit.at)
            index = self._room(visit.at)
            self._nodes[index].busy += 1
            heapq.heappush(self._ends, (visit.at + visit.lasts_s, index))
        self._end_until(float("inf"))
        return sum(_within_day(*span) for node in self._nodes for span in node.paid) / 3600

    def _end_until(self, when: float) -> None:
        while self._ends and self._ends[0][0] <= when:
            ended, index = heapq.heappop(self._ends)
            node = self._nodes[index]
            node.busy -= 1
            if node.busy == 0:
                node.paid.append((node.since, ended))

    def _room(self, now: float) -> int:
        """The fullest node that has room; else the one that has been empty for the shortest time;
        else a new one."""
        used = [i for i, node in enumerate(self._nodes) if node.busy and node.free]
        if used:
            return max(used, key=lambda i: fullness(self._nodes[i]))
        start_s = self._rng.uniform(*self._hardware.node_start_s)
        empty = [i for i, node in enumerate(self._nodes) if not node.busy]
        if not empty:
            slots = self._hardware.node_slots
            self._nodes.append(_Node(node_id=f"n{len(self._nodes):07}", slots=slots))
            self._nodes[-1].since = now - start_s
            return len(self._nodes) - 1
        latest = max(empty, key=lambda i: self._nodes[i].paid[-1][1])
        node = self._nodes[latest]
        kept = now - node.paid[-1][1] <= start_s
        node.since = node.paid.pop()[0] if kept else now - start_s
        return latest


def floor_node_hours(visits: Sequence[Visit], node_slots: int) -> float:
    """Live sessions over slots, rounded up at every moment of the day."""
    changes = sorted([(visit.at, 1) for visit in visits] + [(v.at + v.lasts_s, -1) for v in visits])
    total, live, before = 0.0, 0, changes[0][0] if changes else 0.0
    for at, change in changes:
        total += -(-live // node_slots) * _within_day(before, at)
        live, before = live + change, at
    return total / 3600


def _within_day(since: float, until: float) -> float:
    return max(0.0, min(until, DAY_S) - max(since, 0.0))
