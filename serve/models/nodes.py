"""Nodes and their drains, as they are answered."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict

from fleet.draining import Drain
from fleet.nodes import FleetNodes, Node, NodeState
from serve.models.base import View, rfc3339


class DrainView(View):
    since: str
    deadline: str
    """Until then sessions go on undisturbed."""

    @classmethod
    def of(cls, drain: Drain | None) -> Self | None:
        if drain is None:
            return None
        since, deadline = rfc3339(drain.since), rfc3339(drain.deadline)
        assert since
        assert deadline
        return cls(since=since, deadline=deadline)


class NodeView(View):
    node_id: str
    """Ray's own."""
    address: str
    host: str
    state: NodeState
    """`drained`: draining, and no session and no warm actor is on it any more."""
    drain: DrainView | None
    live: int
    """Sessions."""
    ready: int
    """Actors that are warm, or set aside for a session."""
    slots: int
    """Sessions that it may carry; 0 where it says nothing of them, as on a head that takes none."""

    @classmethod
    def of(cls, node: Node) -> Self:
        return cls(
            node_id=node.node_id,
            address=node.address,
            host=node.host,
            state=node.state,
            drain=DrainView.of(node.drain),
            live=node.live,
            ready=node.ready,
            slots=node.slots,
        )


class NodesView(View):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "nodes": [
                    {
                        "node_id": "7f3c1e0b5a9d4e66128f3b21c07a9d4e6612f0ab34c07a9d4e6612f0",
                        "address": "10.0.3.17",
                        "host": "session-workers-x2k9f",
                        "state": "draining",
                        "drain": {
                            "since": "2026-11-28T09:30:00.000Z",
                            "deadline": "2026-11-28T09:40:00.000Z",
                        },
                        "live": 14,
                        "ready": 0,
                        "slots": 32,
                    }
                ],
                "fleet_drain": None,
                "live": 61,
            }
        }
    )

    nodes: list[NodeView]
    fleet_drain: DrainView | None
    """Of the whole fleet."""
    live: int
    """Sessions, wherever they are."""

    @classmethod
    def of(cls, seen: FleetNodes) -> Self:
        return cls(
            nodes=[NodeView.of(node) for node in seen.nodes],
            fleet_drain=DrainView.of(seen.fleet_drain),
            live=seen.live,
        )
