"""A fleet under Ray's own autoscaler, in a process of its own: Ray is one of a process.

From no node to a burst that needs all there may be, and back to the one that still carries a
session, the last that was started. Session actors are scripted; nodes, autoscaler, Redis and
LiveKit are real. Prints one JSON object: what was there at each step.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, replace

from agent_actor.contract import ActorId, SessionState
from fleet import ray_calls
from fleet.local.autoscaled_nodes import NodeGroup, autoscaled_nodes
from fleet.local.livekit import LiveKitServer
from fleet.local.ray_cluster import joined_ray
from fleet.local.ray_nodes import SURVIVES_ITS_HEAD, NodeSettings
from fleet.local.redis import RedisServer
from fleet.local.run_dir import run_dir
from fleet.local.stack import environment
from fleet.ray_calls import SLOT_RESOURCE
from fleet.settings import FleetSettings
from tests.integration.test_control_plane import SCRIPTED, own_fleet, settings_for, until

SLOTS = 3
"""Of a node."""
MOST_NODES = 2
BURST = 4
IDLE_S = 3.0
CALM_S = 4.0
WITHIN_S = 200.0
"""On a busy machine a node takes half a minute, and may have to be started again."""
SCALING = {
    "autoscale": True,
    "min_nodes": 0,
    "max_nodes": MOST_NODES,
    "node_slots": SLOTS,
    "node_start_s": 15.0,
    "scale_every_s": 0.5,
    "scale_calm_s": CALM_S,
    "warm_actors": 1,
    "max_sessions": MOST_NODES * SLOTS,
    "dispatch_deadline_s": WITHIN_S,
    "refill_calm_s": 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Seen:
    """Sessions that are live by the node that they are on. ``nodes``: all that take sessions.
    ``elsewhere``: session actors on nodes that take none."""

    at_s: float
    nodes: list[str]
    live: Mapping[str, int]
    elsewhere: int


async def main() -> None:
    group = NodeGroup(
        node=NodeSettings(resources={SLOT_RESOURCE: SLOTS}), most=MOST_NODES, idle_s=IDLE_S
    )
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        redis = await stack.enter_async_context(RedisServer(run))
        livekit = (await stack.enter_async_context(LiveKitServer(run))).access
        settings = settings_for(redis.url, livekit, **SCALING)
        stack.enter_context(environment(SURVIVES_ITS_HEAD))
        cluster = stack.enter_context(autoscaled_nodes(run, group))
        stack.enter_context(joined_ray(cluster.address))
        told = await _grow_and_shrink(stack, settings)
    sys.stdout.write(json.dumps(told) + "\n")


async def _grow_and_shrink(stack: AsyncExitStack, settings: FleetSettings) -> dict[str, object]:
    began = time.monotonic()
    fleet = await stack.enter_async_context(own_fleet(settings, replace(SCRIPTED, needs_slot=True)))

    async def look() -> Seen:
        pool = await fleet.plane.roster.snapshot()
        found = await ray_calls.nodes_soon(deadline_s=5.0)
        nodes = [node.node_id for node in found if node.slots]
        on = [pool.nodes[a.actor_id] for a in pool.books.actors if a.actor_id in pool.nodes]
        live = [pool.nodes.get(a.actor_id, "") for a in pool.books.actors if a.state == "live"]
        return Seen(
            at_s=round(time.monotonic() - began, 1),
            nodes=nodes,
            live={node: live.count(node) for node in sorted(set(live))},
            elsewhere=sum(node not in nodes for node in on),
        )

    at_first = await look()
    given = await asyncio.gather(*(fleet.dispatch() for _ in range(BURST)))
    grown = await look()
    assert all(each.record.state is SessionState.JOINED for each in given)
    last_node = max(grown.live)  # the provider counts up its nodes' ids
    on = (await fleet.plane.roster.snapshot()).nodes
    stays = next(e.record for e in given if on[ActorId(e.record.actor_id or "")] == last_node)
    pid = await fleet.pid_of(stays)
    ids = [e.record.session_id for e in given if e.record.session_id != stays.session_id]
    await asyncio.gather(*(fleet.end(each) for each in ids))
    ended = await look()

    async def one_node() -> Seen | None:
        seen = await look()
        return seen if len(seen.nodes) == 1 else None

    shrunk: Seen = await until(one_node, within_s=WITHIN_S, poll_s=0.5)
    record = await fleet.registry.get(stays.session_id)
    same_actor = (record.attempt, await fleet.pid_of(record)) == (1, pid)
    return {
        "at_first": asdict(at_first),
        "grown": asdict(grown),
        "ended": asdict(ended),
        "shrunk": asdict(shrunk),
        "last_node": last_node,
        "same_actor": same_actor,
        "all_s": round(time.monotonic() - began, 1),
    }


if __name__ == "__main__":
    asyncio.run(main())
