"""A cluster of several Ray nodes on this machine, for faults that strike whole ones."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import httpx

from fleet.bench.chaos.fault import AT_ONCE, Needs
from fleet.bench.waiting import until
from fleet.local.errors import LocalPartError
from fleet.local.ray_cluster import RayCluster, joined_ray
from fleet.local.ray_nodes import SURVIVES_ITS_HEAD, NodeSettings, RayNode, RayNodes, ray_nodes
from fleet.local.run_dir import RunDir
from fleet.local.stack import environment
from fleet.ray_calls import SLOT_RESOURCE

if TYPE_CHECKING:
    from fleet.bench.chaos.stage import Stage

PLACES = 16
UNDER_WAY = max(2, AT_ONCE - 2)
"""Interviews: a node that starts takes as much of this machine as several of them."""
WARM_S = 120.0
BUSY_S = 60.0
ANSWER_S = 60.0
_NODE = NodeSettings(num_cpus=PLACES, resources={SLOT_RESOURCE: PLACES})


class SeveralNodes:
    """To be a fault's ``Needs.cluster``: a head without places for session actors, and ``count``
    nodes with them. ``head_may_go``: its books outlive it, and we are a driver on the first node,
    as a driver goes with its node.
    """

    def __init__(self, count: int, *, head_may_go: bool = False) -> None:
        self._count = count
        self._head_may_go = head_may_go
        self._cluster: RayNodes | None = None

    @contextmanager
    def __call__(self, run: RunDir) -> Iterator[RayCluster]:
        settings = [_NODE] * self._count
        with (
            environment(SURVIVES_ITS_HEAD),
            ray_nodes(run, settings, durable=self._head_may_go) as cluster,
            joined_ray(
                cluster.address,
                node_address=cluster.nodes[0].address if self._head_may_go else None,
            ),
        ):
            self._cluster = cluster
            try:
                yield RayCluster(address=cluster.address, own=True)
            finally:
                self._cluster = None

    @property
    def cluster(self) -> RayNodes:
        """While a stage is open."""
        assert self._cluster is not None
        return self._cluster

    async def add(self) -> None:
        await asyncio.to_thread(self.cluster.add, _NODE)

    async def complete(self) -> None:
        """Where a trial before left a node too few. Raises LocalPartError."""
        while len(self.cluster.nodes) < self._count:
            await self.add()

    async def take_away(self, node: RayNode) -> None:
        """As Kubernetes ends a pod."""
        await asyncio.to_thread(node.close)
        self.cluster.nodes.remove(node)

    async def lose(self, node: RayNode) -> None:
        """With all that runs on it, as if the machine were gone."""
        await asyncio.to_thread(node.kill)
        self.cluster.nodes.remove(node)


async def seen(stage: Stage) -> dict[str, Any]:
    """``all_seen`` by address, which is each node's own but the head's: that keeps it."""
    return {node["address"]: node for node in await all_seen(stage)}


async def all_seen(stage: Stage) -> list[Any]:
    """What ``GET /v1/nodes`` says. An ingress that is just being replaced is asked again. Raises
    LocalPartError."""

    async def answered() -> list[Any] | None:
        try:
            answer = await stage.http.get("/v1/nodes")
        except httpx.HTTPError:
            return None
        return None if answer.is_error else list(answer.json()["nodes"])

    nodes = await until(answered, ANSWER_S)
    if nodes is None:
        raise LocalPartError(f"the API did not say what nodes there are within {ANSWER_S:g} s")
    return nodes


async def drain(stage: Stage, node: RayNode, deadline_s: float) -> None:
    """By the API, as an operator does. Raises LocalPartError."""

    async def accepted() -> bool:
        path, params = f"/v1/nodes/{node.address}/drain", {"deadline_s": deadline_s}
        try:
            return (await stage.http.post(path, params=params)).is_success
        except httpx.HTTPError:
            return False

    if not await until(accepted, ANSWER_S):
        raise LocalPartError(f"no node was drained within {ANSWER_S:g} s")


async def full_pool(stage: Stage) -> bool:
    """Whether it is, by the deadline: without warm actors whoever is struck waits for a start, and
    on a node that has just joined for its first, which is slow."""

    async def warm() -> bool:
        actors = await stage.pool()
        return actors is not None and actors["warm"] >= NEEDS.warm

    return bool(await until(warm, WARM_S))


async def busy(stage: Stage, among: Sequence[RayNode]) -> list[tuple[str, RayNode]]:
    """Those that carry an interview, with their ids, once there are any. Raises LocalPartError."""

    async def some() -> list[tuple[str, RayNode]]:
        found = await seen(stage)
        known = [(found[node.address], node) for node in among if node.address in found]
        return [(about["node_id"], node) for about, node in known if about["live"]]

    found = await until(some, BUSY_S, poll_s=0.2)
    if found is None:
        raise LocalPartError(f"no node carried an interview within {BUSY_S:g} s")
    return found


REPLACED = SeveralNodes(2)
NEEDS = Needs(
    warm=4,
    cluster=REPLACED,
    # A node every quarter of a minute: some interviews lose several.
    settings={"ingress_replicas": "2", "max_recoveries": "20"},
)
"""Of the faults that replace nodes, which thereby share a stage."""
