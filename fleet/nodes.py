"""The nodes that session actors are on: what each carries, which are draining, and asking for that.

Everything here is what Ray, the roster and the supervisor say this moment; nothing is kept.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from fleet import ray_calls
from fleet.draining import WHOLE_FLEET, Drain
from fleet.errors import NodeNotFound
from fleet.pool import PoolSnapshot
from fleet.ray_calls import RayNode
from fleet.roster_model import ActorState, ActorView, NodeId

LIST_DEADLINE_S = 5.0
SHORTEST_PREFIX = 6
"""Of a node's id, to stand for it."""


class NodeState(StrEnum):
    ACTIVE = "active"
    DRAINING = "draining"
    DRAINED = "drained"
    """Draining, and no actor of a session is on it any more."""


@dataclass(frozen=True, kw_only=True)
class Node:
    node_id: NodeId
    address: str
    host: str
    drain: Drain | None
    live: int
    """Sessions."""
    ready: int
    """Actors that are warm, or set aside for a session."""
    slots: int = 0
    """Sessions that it may carry; 0 where it says nothing of them."""
    unplaced: int = 0
    """Sessions of which it is not known yet on which node they are: a restarted roster asks."""

    @property
    def state(self) -> NodeState:
        if self.drain is None:
            return NodeState.ACTIVE
        carries = self.live or self.ready or self.unplaced
        return NodeState.DRAINING if carries else NodeState.DRAINED


@dataclass(frozen=True, kw_only=True)
class FleetNodes:
    nodes: tuple[Node, ...]
    fleet_drain: Drain | None
    """Of the whole fleet."""
    live: int
    """Sessions, wherever they are."""


class Roster(Protocol):
    async def snapshot(self) -> PoolSnapshot: ...


class Supervisor(Protocol):
    async def drain(self, node_id: NodeId, deadline_s: float) -> Drain: ...

    async def undrain(self, node_id: NodeId) -> bool: ...

    async def drains(self) -> dict[NodeId, Drain]: ...


async def alive_nodes() -> frozenset[NodeId]:
    """Raises ControlPlaneUnavailable."""
    found = await ray_calls.nodes_soon(deadline_s=LIST_DEADLINE_S)
    return frozenset(NodeId(node.node_id) for node in found)


class NodeDesk:
    """Raises ControlPlaneUnavailable, and RegistryUnavailable where a drain is to be written."""

    def __init__(self, roster: Roster, supervisor: Supervisor) -> None:
        self._roster = roster
        self._supervisor = supervisor

    async def look(self) -> FleetNodes:
        found, pool, drains = await asyncio.gather(
            ray_calls.nodes_soon(deadline_s=LIST_DEADLINE_S),
            self._roster.snapshot(),
            self._supervisor.drains(),
        )
        return fleet_nodes(found, pool.books.actors, drains)

    async def drain(self, wanted: str | None, deadline_s: float) -> FleetNodes:
        """``wanted``: see ``find``; None: the whole fleet. Returns once it refuses."""
        await self._supervisor.drain(await self._find(wanted), deadline_s)
        return await self.look()

    async def undrain(self, wanted: str | None) -> FleetNodes:
        """Raises NodeNotFound; one that is not draining is left as it is."""
        await self._supervisor.undrain(await self._find(wanted))
        return await self.look()

    async def _find(self, wanted: str | None) -> NodeId:
        if wanted is None:
            return WHOLE_FLEET
        return find(await ray_calls.nodes_soon(deadline_s=LIST_DEADLINE_S), wanted)


def fleet_nodes(
    found: Sequence[RayNode], actors: Sequence[ActorView], drains: Mapping[NodeId, Drain]
) -> FleetNodes:
    live = [a.node_id for a in actors if a.state is ActorState.LIVE]
    ready = [a.node_id for a in actors if a.state in (ActorState.WARM, ActorState.RESERVED)]
    nodes = [
        Node(
            node_id=NodeId(node.node_id),
            address=node.address,
            host=node.host,
            drain=drains.get(NodeId(node.node_id)),
            live=live.count(NodeId(node.node_id)),
            ready=ready.count(NodeId(node.node_id)),
            slots=node.slots,
            unplaced=live.count(None),
        )
        for node in sorted(found, key=lambda node: (node.address, node.node_id))
    ]
    return FleetNodes(nodes=tuple(nodes), fleet_drain=drains.get(WHOLE_FLEET), live=len(live))


def find(found: Sequence[RayNode], wanted: str) -> NodeId:
    """By its Ray id, the beginning of it, its address or its host name. Raises NodeNotFound, also
    where several fit."""
    fits = {
        NodeId(node.node_id)
        for node in found
        if wanted in (node.node_id, node.address, node.host)
        or (len(wanted) >= SHORTEST_PREFIX and node.node_id.startswith(wanted))
    }
    if len(fits) != 1:
        raise NodeNotFound(wanted, several=len(fits) > 1)
    return fits.pop()
