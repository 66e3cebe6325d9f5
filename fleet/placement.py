"""Which warm actor a session gets, where a new one goes and which goes first. Pure.

On one machine, or until the scaler has said anything: the oldest, wherever Ray puts it, the oldest.
Then nodes are filled one after the other, so that others empty (``autoscaler.packing``).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace
from typing import Protocol, TypeVar

from autoscaler.packing import NodeLoad, fullness, place
from fleet.roster_model import ActorState, Arrangement, NodeId

_BUSY = (ActorState.RESERVED, ActorState.LIVE)
_IDLE = (ActorState.WARM, ActorState.STARTING)


class Placed(Protocol):
    @property
    def state(self) -> ActorState: ...
    @property
    def node_id(self) -> NodeId | None: ...


A = TypeVar("A", bound=Placed)


@dataclass(frozen=True, kw_only=True)
class Placement:
    """``arrangement`` None: nobody has said anything."""

    arrangement: Arrangement | None = None

    @property
    def leave(self) -> frozenset[NodeId]:
        """Nodes that are to be left empty. Their idle actors are out of the pool."""
        return self.arrangement.leave if self.arrangement else frozenset()

    def opened(self) -> Placement:
        """While somebody waits: every node that is there will do."""
        if self.arrangement is None:
            return self
        return Placement(arrangement=replace(self.arrangement, leave=frozenset()))

    def in_pool(self, actor: Placed) -> bool:
        return actor.state not in _IDLE or actor.node_id not in self.leave

    def slots(self, busy_elsewhere: int) -> int | None:
        """That the nodes in the pool have, those that others carry added; None: as many as one
        likes."""
        if self.arrangement is None:
            return None
        kept = (n for node, n in self.arrangement.slots.items() if node not in self.leave)
        return sum(kept) + busy_elsewhere

    def busy_elsewhere(self, actors: Iterable[Placed]) -> int:
        """Sessions on nodes that are not in the pool."""
        if self.arrangement is None:
            return 0
        pool = self.arrangement.slots.keys() - self.leave
        return sum(a.state in _BUSY and a.node_id not in pool for a in actors)

    def to_give(self, warm: list[A], actors: Iterable[Placed]) -> A | None:
        if not warm or self.arrangement is None:
            return warm[0] if warm else None
        loads = _loads(self.arrangement, actors)
        # Of equals the oldest, which is the first.
        return max(warm, key=lambda a: (_there(a, loads), fullness(_load_of(a, loads))))

    def to_retire(self, warm: list[A], count: int, actors: Iterable[Placed]) -> list[A]:
        """Of those in the pool, on the emptiest nodes."""
        pooled = [actor for actor in warm if self.in_pool(actor)]
        if self.arrangement is None:
            return pooled[:count]
        loads = _loads(self.arrangement, actors)
        return sorted(pooled, key=lambda a: fullness(_load_of(a, loads)))[:count]

    def to_clear_out(self, warm: Iterable[A]) -> list[A]:
        return [actor for actor in warm if not self.in_pool(actor)]

    def node_for_start(self, actors: Iterable[Placed], not_on: Set[NodeId]) -> NodeId | None:
        """None: no node has a free slot. Ask only when ``arranged``."""
        if self.arrangement is None:
            return None
        shut = self.leave | not_on
        loads = [n for n in _loads(self.arrangement, actors).values() if n.node_id not in shut]
        chosen = place(loads, frozenset())
        return None if chosen is None else NodeId(chosen.node_id)


def _loads(arrangement: Arrangement, actors: Iterable[Placed]) -> dict[NodeId, NodeLoad]:
    busy: Counter[NodeId] = Counter()
    idle: Counter[NodeId] = Counter()
    for actor in actors:
        if actor.node_id is not None:
            # One that is dying still has its slot.
            (idle if actor.state in _IDLE else busy)[actor.node_id] += 1
    return {
        node: NodeLoad(node_id=node, slots=slots, busy=busy[node], idle=idle[node])
        for node, slots in arrangement.slots.items()
    }


def _there(actor: Placed, loads: dict[NodeId, NodeLoad]) -> bool:
    return actor.node_id in loads


def _load_of(actor: Placed, loads: dict[NodeId, NodeLoad]) -> NodeLoad:
    nowhere = NodeLoad(node_id="", slots=0)
    return nowhere if actor.node_id is None else loads.get(actor.node_id, nowhere)
