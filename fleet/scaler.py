"""Keeps nodes and warm actors at what ``autoscaler.scaling`` wants, every few seconds.

It runs beside the supervisor, in its process. Each round stands by itself: it looks at Ray and the
roster, tells the roster how many actors to keep warm and where, and Ray's autoscaler which nodes
are to stay and how many more to start. A round in which one of them does not answer is skipped;
what was told before holds until then. Nodes are ended by Ray alone, and only without an actor.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol

import structlog

from autoscaler.demand import Arrivals
from autoscaler.packing import Layout, NodeLoad, lay_out
from autoscaler.scaling import (
    Observation,
    ScalingBounds,
    ScalingState,
    ScalingTuning,
    Wanted,
    decide_scale,
)
from autoscaler.starts import NodeStarts, few_exceed_s
from fleet.endings import Sleep
from fleet.errors import FleetError
from fleet.metrics import Metrics
from fleet.pool import PoolSnapshot
from fleet.ray_calls import RayNode
from fleet.roster_model import ActorState, Arrangement, NodeId, RosterSnapshot

REMEMBER_EVERY_S = 300.0
"""How much of what came is forgotten if this process is killed."""

log = structlog.get_logger(__name__)


class Books(Protocol):
    """The roster. Raises ControlPlaneUnavailable."""

    async def snapshot(self) -> PoolSnapshot: ...

    async def arrange(self, arrangement: Arrangement) -> None: ...


class AskForNodes(Protocol):
    """See ``ray_calls.ask_for_nodes``. Raises ControlPlaneUnavailable."""

    async def __call__(
        self,
        keep: Sequence[str],
        more: int,
        slots: int,
        *,
        without: Collection[str],
        deadline_s: float,
    ) -> None: ...


class ArrivalBook(Protocol):
    """Raises RegistryUnavailable."""

    async def load(self) -> Arrivals: ...

    async def save(self, arrivals: Arrivals) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ScaleParts:
    books: Books
    nodes: Callable[[], Awaitable[list[RayNode]]]
    """Those that are alive. Raises ControlPlaneUnavailable."""
    ask: AskForNodes
    arrivals: ArrivalBook
    metrics: Metrics
    sleep: Sleep
    now: Callable[[], float] = time.time


@dataclass(frozen=True, kw_only=True)
class ScaleLimits:
    bounds: ScalingBounds
    node_slots: int
    node_start_s: float
    """Until some have shown it."""
    every_s: float
    deadline_s: float = 5.0
    tuning: ScalingTuning = field(default_factory=ScalingTuning)


class Scaler:
    """``keep_scaling`` is a task of the supervisor's process."""

    def __init__(self, parts: ScaleParts, limits: ScaleLimits) -> None:
        self._parts = parts
        self._limits = limits
        self._state = ScalingState()
        self._starts = NodeStarts()
        self._counts: tuple[int, int] | None = None
        """How many had asked, and been turned away, when the roster was looked at last."""
        self._remembered_at: float | None = None
        self._failing: set[str] = set()
        """Steps that did not succeed when they were last tried."""

    async def keep_scaling(self) -> None:
        """For ever: whatever a round fails with, the next one is made."""
        while True:
            await self._attempt("remember", self._remember())
            await self._attempt("scale", self.scale())
            await self._parts.sleep(self._limits.every_s)

    async def scale(self) -> Wanted:
        """One round. Raises ControlPlaneUnavailable."""
        pool, found = await self._parts.books.snapshot(), await self._parts.nodes()
        books = pool.books
        draining = {n.node_id for n in found if NodeId(n.node_id) in books.draining_nodes}
        nodes = [n for n in found if n.slots and n.node_id not in draining]
        loads = node_loads(nodes, books)
        now = self._parts.now()
        self._starts = self._counted(self._starts.seen([n.node_id for n in nodes], now))
        seen = self._seen(now, pool, loads)
        wanted, self._state = decide_scale(
            seen, self._limits.bounds, self._state, self._limits.tuning
        )
        more = max(0, wanted.nodes - len(nodes))
        self._starts = self._starts.wanted(more, now)
        layout = lay_out(loads, wanted.nodes)
        self._show(seen, wanted)
        await self._carry_out(wanted, layout, more, loads, draining)
        return wanted

    async def _attempt(self, name: str, step: Awaitable[object]) -> None:
        try:
            await step
        except Exception as error:
            # Once and not each time: an outage may last.
            if name not in self._failing:
                defect = not isinstance(error, FleetError)
                log.warning("scaling_skipped", step=name, error=str(error), exc_info=defect)
            self._failing.add(name)
        else:
            self._failing.discard(name)

    async def _carry_out(
        self,
        wanted: Wanted,
        layout: Layout,
        more: int,
        loads: Sequence[NodeLoad],
        draining: Collection[str],
    ) -> None:
        await self._parts.books.arrange(
            Arrangement(
                warm_target=wanted.warm,
                slots={NodeId(load.node_id): load.slots for load in loads},
                leave=frozenset(NodeId(node_id) for node_id in layout.leave),
            )
        )
        limits = self._limits
        await self._parts.ask(
            layout.keep, more, limits.node_slots, without=draining, deadline_s=limits.deadline_s
        )

    def _seen(self, now: float, pool: PoolSnapshot, loads: Sequence[NodeLoad]) -> Observation:
        limits, books = self._limits, pool.books
        arrived, turned_away = self._arrived(books)
        return Observation(
            now=now,
            arrived=arrived,
            turned_away=turned_away,
            live=books.reserved + books.live,
            waiting=books.waiting,
            nodes=len(loads),
            occupied=sum(load.busy > 0 for load in loads),
            node_slots=limits.node_slots,
            node_start_s=few_exceed_s(self._starts.took_s, limits.node_start_s) + limits.every_s,
            actor_start_s=few_exceed_s(pool.warm_s, books.expected_warm_s),
        )

    def _arrived(self, books: RosterSnapshot) -> tuple[int, int]:
        """Since the look before: whoever was given an actor, waits for one or was sent away, and
        the last of these alone. A roster that was restarted counts from nothing again."""
        away = sum(books.turned_away_total.values())
        asked_for = books.granted_total + books.waiting + away
        before, self._counts = self._counts, (asked_for, away)
        if before is None or asked_for < before[0] or away < before[1]:
            return 0, 0
        return asked_for - before[0], away - before[1]

    def _counted(self, starts: NodeStarts) -> NodeStarts:
        came = len(self._starts.ordered_at) - len(starts.ordered_at)
        for took_s in starts.took_s[len(starts.took_s) - came :]:
            self._parts.metrics.histogram("fleet_node_start_seconds").observe(took_s)
        return starts

    def _show(self, seen: Observation, wanted: Wanted) -> None:
        counts = {"up": seen.nodes, "occupied": seen.occupied, "wanted": wanted.nodes}
        for which, count in counts.items():
            self._parts.metrics.gauge("fleet_nodes", which=which).set(count)
        self._parts.metrics.gauge("fleet_reserve_slots").set(wanted.reserve)
        if wanted.nodes != seen.nodes:
            log.info("nodes_wanted", **counts, live=seen.live, reserve=wanted.reserve)

    async def _remember(self) -> None:
        """What came on other days, at the beginning from and then now and then to the book."""
        now, since = self._parts.now(), self._remembered_at
        if since is None:
            self._state = replace(self._state, arrivals=await self._parts.arrivals.load())
        elif now - since < REMEMBER_EVERY_S:
            return
        else:
            await self._parts.arrivals.save(self._state.arrivals)
        self._remembered_at = now


def node_loads(nodes: Sequence[RayNode], books: RosterSnapshot) -> list[NodeLoad]:
    idle = (ActorState.WARM, ActorState.STARTING)
    waits = Counter(actor.node_id for actor in books.actors if actor.state in idle)
    works = Counter(actor.node_id for actor in books.actors if actor.state not in idle)
    return [
        NodeLoad(
            node_id=node.node_id,
            slots=node.slots,
            busy=works[NodeId(node.node_id)],
            idle=waits[NodeId(node.node_id)],
        )
        for node in nodes
    ]
