"""Which warm actor a session gets, where a new one goes and which goes first. Pure.

On one machine, or until the scaler has said anything: the oldest, wherever Ray puts it, the oldest.
Then nodes are filled one after the other, so that others empty (``autoscaler.packing``).
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, replace

from autoscaler.packing import NodeLoad, fullness, place
from fleet.roster_actors import Actor, ActorBook
from fleet.roster_model import ActorState, Arrangement, NodeId

_BUSY = (ActorState.RESERVED, ActorState.LIVE)
_IDLE = (ActorState.WARM, ActorState.STARTING)
_NOWHERE = NodeLoad(node_id="", slots=0)


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

    def pool(self, actors: ActorBook) -> Mapping[ActorState, int]:
        """How many actors of each state are in it. Sessions are in it wherever they are."""
        counted = {state: actors.count(state) for state in ActorState}
        for node in self.leave:
            for state in _IDLE:
                counted[state] -= actors.count_on(node, state)
        return counted

    def slots(self, actors: ActorBook) -> int | None:
        """That the nodes in the pool have, and those that sessions elsewhere take; None: as many
        as one likes."""
        if self.arrangement is None:
            return None
        kept = self.arrangement.slots.keys() - self.leave
        busy = sum(actors.count(state) for state in _BUSY)
        busy_here = sum(actors.count_on(node, state) for node in kept for state in _BUSY)
        return sum(self.arrangement.slots[node] for node in kept) + busy - busy_here

    def to_give(self, actors: ActorBook) -> Actor | None:
        if self.arrangement is None:
            return actors.first(ActorState.WARM)
        loads = self._loads(actors)
        # Of equals the oldest, which is the first.
        return max(
            actors.of(ActorState.WARM),
            key=lambda a: (a.node_id in loads, fullness(_load_of(a, loads))),
            default=None,
        )

    def to_retire(self, count: int, actors: ActorBook) -> list[Actor]:
        """Of those in the pool, on the emptiest nodes."""
        pooled = [a for a in actors.of(ActorState.WARM) if a.node_id not in self.leave]
        if self.arrangement is None or not count:
            return pooled[:count]
        loads = self._loads(actors)
        return sorted(pooled, key=lambda a: fullness(_load_of(a, loads)))[:count]

    def to_clear_out(self, actors: ActorBook) -> list[Actor]:
        return [a for a in actors.of(ActorState.WARM) if a.node_id in self.leave]

    def node_for_start(self, actors: ActorBook, not_on: Set[NodeId]) -> NodeId | None:
        """None: no node has a free slot. Ask only when there is an arrangement."""
        shut = self.leave | not_on
        open_nodes = (n for n in self._loads(actors).values() if n.node_id not in shut)
        chosen = place(open_nodes, frozenset())
        return None if chosen is None else NodeId(chosen.node_id)

    def _loads(self, actors: ActorBook) -> dict[NodeId, NodeLoad]:
        arranged = self.arrangement.slots if self.arrangement else {}
        return {node: _load(node, slots, actors) for node, slots in arranged.items()}


def _load(node: NodeId, slots: int, actors: ActorBook) -> NodeLoad:
    idle = sum(actors.count_on(node, state) for state in _IDLE)
    # One that is dying still has its slot.
    busy = sum(actors.count_on(node, state) for state in ActorState) - idle
    return NodeLoad(node_id=node, slots=slots, busy=busy, idle=idle)


def _load_of(actor: Actor, loads: Mapping[NodeId, NodeLoad]) -> NodeLoad:
    return _NOWHERE if actor.node_id is None else loads.get(actor.node_id, _NOWHERE)
