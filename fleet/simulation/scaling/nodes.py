"""A day on simulated nodes: sessions come, nodes take minutes to start, a rule says how many.

Event by event on a virtual clock. Warm actors are kept by the very ``autoscaler.policy`` that the
roster uses, sessions are placed by ``autoscaler.packing``; a rule is asked as often as it asks to
be. A node is paid for from when it is asked for until it is gone.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import Protocol

from autoscaler.packing import fullness, lay_out, place, to_give, to_thin
from autoscaler.policy import PoolBounds, PoolCounts, decide
from autoscaler.starts import few_exceed_s
from fleet.simulation.scaling.days import DAY_S, Visit

EVERY_FREE_SLOT = 1_000_000
"""As a number of warm actors: no slot stays empty."""
RUN_IN_S = 7200.0
"""Simulated before the day that is judged, so that it begins as a day does."""
AFTER_S = 1200.0
"""And after it, for whoever still waits."""
SAMPLE_S = 300.0


@dataclass(frozen=True, kw_only=True)
class Hardware:
    """What is the same for every rule."""

    node_slots: int = 32
    node_start_s: tuple[float, float] = (60.0, 180.0)
    """Evenly between."""
    actor_start_s: float = 0.25
    max_starting: int = 8
    refill_calm_s: float = 2.0
    max_refill_hold_s: float = 6.0
    idle_timeout_s: float = 60.0
    """Ray's: how long a node has had no actor before it is ended."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What a rule sees, at ``now`` seconds since the day began."""

    now: float
    arrived: int
    """Since it looked last."""
    live: int
    waiting: int
    nodes: int
    """Up and not being drained."""
    coming: int
    """Asked for and not up."""
    occupied: int
    load: float
    """Of the nodes that are up, how much of their slots is live: what their CPU follows."""
    node_slots: int
    node_start_s: float
    actor_start_s: float


@dataclass(frozen=True, kw_only=True)
class Orders:
    nodes: int
    warm: int = EVERY_FREE_SLOT


class Rule(Protocol):
    every_s: float
    """How often it is asked."""
    packs: bool
    """New sessions go to the fullest node; if not, to the emptiest, as LiveKit's dispatch does."""
    drains: bool
    """Nodes too many are closed at once, the youngest first, and go when their last session ends,
    as in Kubernetes; if not, they go once they are empty, as with Ray."""

    def step(self, view: View) -> Orders: ...


@dataclass(kw_only=True)
class Node:
    node_id: str
    slots: int
    ordered_at: float
    up_at: float | None = None
    busy: int = 0
    warm: int = 0
    starting: int = 0
    closed: bool = False
    empty_since: float | None = None
    gone_at: float | None = None

    @property
    def idle(self) -> int:
        return self.warm + self.starting

    @property
    def free(self) -> int:
        return 0 if self.closed else self.slots - self.busy - self.idle


@dataclass(frozen=True, kw_only=True)
class Sample:
    at: float
    live: int
    nodes: int
    """Paid for."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Of the sessions asked for within the day, and of its node time."""

    waits_s: tuple[float, ...]
    """In order of size. 0 for a session that found a warm actor; all others are cold starts."""
    node_hours: float
    samples: tuple[Sample, ...] = ()

    @property
    def cold(self) -> int:
        return sum(wait > 0 for wait in self.waits_s)

    def waited_over(self, seconds: float) -> int:
        return sum(wait > seconds for wait in self.waits_s)


@dataclass
class _Waiting:
    visit: Visit
    since: float


class Simulation:
    """One rule through one day. ``visits``: of the run-in (before 0) and of the day, in order."""

    def __init__(
        self, rule: Rule, visits: Sequence[Visit], hardware: Hardware, rng: Random
    ) -> None:
        self._rule = rule
        self._visits = visits
        self._hardware = hardware
        self._rng = rng
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._now = -RUN_IN_S
        self._nodes: dict[str, Node] = {}
        self._gone: list[Node] = []
        self._leave: frozenset[str] = frozenset()
        self._queue: deque[_Waiting] = deque()
        self._warm_target = 0
        self._arrived = 0
        self._live = 0
        self._waits: list[float] = []
        self._starts_s: list[float] = []
        self._refill_at = self._held_since = -RUN_IN_S
        self._samples: list[Sample] = []

    def run(self) -> Outcome:
        self._at(self._now, self._tick)
        self._at(0.0, self._sample)
        for visit in self._visits:
            self._until(visit.at)
            self._arrive(visit)
        self._until(DAY_S + AFTER_S)
        self._waits.extend(
            self._now - each.since for each in self._queue if 0 <= each.visit.at < DAY_S
        )
        return Outcome(
            waits_s=tuple(sorted(self._waits)),
            node_hours=sum(map(_paid_s, [*self._gone, *self._nodes.values()])) / 3600,
            samples=tuple(self._samples),
        )

    # Time

    def _at(self, when: float, do: Callable[[], None]) -> None:
        self._number += 1
        heapq.heappush(self._events, (when, self._number, do))

    def _until(self, when: float) -> None:
        while self._events and self._events[0][0] <= when:
            self._now, _, do = heapq.heappop(self._events)
            do()
        self._now = when

    def _tick(self) -> None:
        orders = self._rule.step(self._view())
        self._arrived = 0
        self._warm_target = orders.warm
        self._scale(orders.nodes)
        self._balance()
        self._at(self._now + self._rule.every_s, self._tick)

    def _sample(self) -> None:
        self._samples.append(Sample(at=self._now, live=self._live, nodes=len(self._nodes)))
        if self._now < DAY_S:
            self._at(self._now + SAMPLE_S, self._sample)

    def _view(self) -> View:
        open_nodes = list(self._open())
        busy = sum(node.busy for node in open_nodes)
        slots = self._hardware.node_slots
        return View(
            now=self._now,
            arrived=self._arrived,
            live=self._live,
            waiting=len(self._queue),
            nodes=len(open_nodes),
            coming=sum(node.up_at is None for node in self._nodes.values()),
            occupied=sum(node.busy > 0 for node in open_nodes),
            load=busy / (slots * len(open_nodes)) if open_nodes else 0.0,
            node_slots=slots,
            node_start_s=few_exceed_s(self._starts_s, self._hardware.node_start_s[1]),
            actor_start_s=self._hardware.actor_start_s,
        )

    def _open(self) -> Iterator[Node]:
        return (n for n in self._nodes.values() if n.up_at is not None and not n.closed)

    # Nodes

    def _scale(self, wanted: int) -> None:
        there = [node for node in self._nodes.values() if not node.closed]
        for _ in range(wanted - len(there)):
            self._order()
        if self._rule.drains:
            youngest = sorted(there, key=lambda node: -node.ordered_at)
            for node in youngest[: max(0, len(there) - wanted)]:
                self._close(node)
        else:
            self._leave = lay_out(self._open(), wanted).leave
            self._end_idle_nodes()

    def _order(self) -> None:
        self._number += 1
        node = Node(
            node_id=f"n{self._number:07}",
            slots=self._hardware.node_slots,
            ordered_at=self._now,
        )
        self._nodes[node.node_id] = node
        self._at(
            self._now + self._rng.uniform(*self._hardware.node_start_s), lambda: self._up(node)
        )

    def _up(self, node: Node) -> None:
        if node.gone_at is not None:
            return
        node.up_at = node.empty_since = self._now
        self._starts_s.append(self._now - node.ordered_at)
        self._balance()

    def _close(self, node: Node) -> None:
        node.closed = True
        node.warm = 0
        if node.busy == 0:
            self._end(node)

    def _end_idle_nodes(self) -> None:
        for node_id in self._leave:
            node = self._nodes[node_id]
            empty_since = node.empty_since
            if node.busy or node.idle or empty_since is None:
                continue
            if self._now - empty_since >= self._hardware.idle_timeout_s:
                self._end(node)

    def _end(self, node: Node) -> None:
        node.gone_at = self._now
        self._gone.append(self._nodes.pop(node.node_id))

    # Sessions

    def _arrive(self, visit: Visit) -> None:
        self._arrived += 1
        self._queue.append(_Waiting(visit, self._now))
        self._serve()
        self._balance()

    def _serve(self) -> None:
        while self._queue:
            ready = [node for node in self._open() if node.warm]
            node = to_give(ready) if self._rule.packs else min(ready, key=fullness, default=None)
            if node is None:
                return
            self._begin(node, self._queue.popleft())

    def _begin(self, node: Node, waiting: _Waiting) -> None:
        node.warm -= 1
        node.busy += 1
        node.empty_since = None
        self._live += 1
        if 0 <= waiting.visit.at < DAY_S:
            self._waits.append(self._now - waiting.since)
        self._at(self._now + waiting.visit.lasts_s, lambda: self._over(node))
        self._hold_refill()

    def _over(self, node: Node) -> None:
        node.busy -= 1
        self._live -= 1
        self._emptied(node)
        if node.closed and node.busy == 0:
            self._end(node)
        self._balance()

    def _emptied(self, node: Node) -> None:
        if node.busy == 0 and node.idle == 0:
            node.empty_since = self._now

    # Warm actors

    def _hold_refill(self) -> None:
        if self._now >= self._refill_at:
            self._held_since = self._now
        latest = self._held_since + self._hardware.max_refill_hold_s
        self._refill_at = min(self._now + self._hardware.refill_calm_s, latest)
        self._at(self._refill_at, self._balance)

    def _balance(self) -> None:
        """Nodes that are to be left are out of the pool, unless somebody waits: others get their
        warm actors, and when these are ready theirs are ended."""
        leave = frozenset() if self._queue else self._leave
        kept = [node for node in self._open() if node.node_id not in leave]
        counts = PoolCounts(
            warm=sum(node.warm for node in kept),
            starting=sum(node.starting for node in kept),
            busy=sum(node.busy for node in kept),
            waiting=len(self._queue),
        )
        bounds = PoolBounds(
            warm_target=self._warm_target,
            slots=sum(node.slots for node in kept),
            max_starting=self._hardware.max_starting,
        )
        decision = decide(counts, bounds)
        for _ in range(decision.retire):
            self._retire(kept)
        if self._now >= self._refill_at or self._queue:
            for _ in range(decision.start):
                self._start(kept)
        if not self._queue and counts.warm >= min(bounds.warm_target, bounds.slots - counts.busy):
            self._clear_out()

    def _start(self, kept: Sequence[Node]) -> None:
        node = place(kept, self._leave)
        if node is None:
            return
        node.starting += 1
        node.empty_since = None
        self._at(self._now + self._hardware.actor_start_s, lambda: self._warmed(node))

    def _warmed(self, node: Node) -> None:
        node.starting -= 1
        if node.closed:
            return
        node.warm += 1
        self._serve()
        self._balance()

    def _retire(self, kept: Sequence[Node]) -> None:
        node = to_thin((node for node in kept if node.warm), self._leave)
        if node is not None:
            node.warm -= 1
            self._emptied(node)

    def _clear_out(self) -> None:
        for node_id in self._leave:
            node = self._nodes.get(node_id)
            if node is not None and node.warm:
                node.warm = 0
                self._emptied(node)


def _paid_s(node: Node) -> float:
    """Within the day."""
    ends = DAY_S if node.gone_at is None else node.gone_at
    return max(0.0, min(ends, DAY_S) - max(node.ordered_at, 0.0))
