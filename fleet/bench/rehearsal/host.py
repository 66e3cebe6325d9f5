"""One cluster of the rehearsal with its control plane and API, in a process of its own: Ray is one
of a process. Redis, LiveKit and the simulators are the environment's.

``python -m fleet.bench.rehearsal.host PORT`` prints a JSON line once its API answers there, and
ends in order on SIGTERM.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from fleet.cli.up import stop_on_signals
from fleet.local.autoscaled_nodes import NodeGroup, autoscaled_nodes
from fleet.local.ray_cluster import RayCluster, joined_ray
from fleet.local.ray_nodes import SURVIVES_ITS_HEAD, NodeSettings
from fleet.local.run_dir import RunDir
from fleet.local.stack import Providers, StackOptions, environment, local_fleet
from fleet.logs import configure_logs
from fleet.ray_calls import SLOT_RESOURCE

SLOTS = 2
"""Interviews that a node takes."""
MOST_NODES = 3
LEASE_S = 20.0
"""Shorter than an interview: a cluster that is drained must still be given money for its own."""
CONTROL = "fleet_control"
"""What control actors ask for: a node that goes is never theirs."""
SETTINGS = {
    "autoscale": "true",
    "min_nodes": "1",
    "max_nodes": str(MOST_NODES),
    "node_slots": str(SLOTS),
    "node_start_s": "20",
    "scale_every_s": "1",
    "scale_calm_s": "5",
    "warm_actors": "1",
    "max_sessions": str(MOST_NODES * SLOTS),
    "max_starting_actors": "2",
    "allowance_lease_s": str(LEASE_S),
    "control_resource": CONTROL,
}
GROUP = NodeGroup(
    node=NodeSettings(resources={SLOT_RESOURCE: SLOTS}),
    most=MOST_NODES,
    idle_s=5.0,
    head=NodeSettings(resources={CONTROL: 100}),
)


async def _serve(port: int) -> None:
    stop = stop_on_signals()
    # The simulators stand in the environment as the providers would.
    options = StackOptions(
        providers=Providers.REAL, settings=SETTINGS, api_port=port, cluster=_cluster
    )
    async with local_fleet(options, _tell):
        stop.rearm()
        sys.stdout.write(json.dumps({"ready": True}) + "\n")
        sys.stdout.flush()
        await stop.asked.wait()


@contextmanager
def _cluster(run: RunDir) -> Iterator[RayCluster]:
    with (
        environment(SURVIVES_ITS_HEAD),
        autoscaled_nodes(run, GROUP) as cluster,
        joined_ray(cluster.address) as address,
    ):
        yield RayCluster(address=address, own=True)


def _tell(line: str) -> None:
    sys.stderr.write(line + "\n")


if __name__ == "__main__":
    configure_logs("rehearsal", level="ERROR")
    asyncio.run(_serve(int(sys.argv[1])))
