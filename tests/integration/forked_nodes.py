"""Two nodes of a cluster on this machine, in a process of its own: Ray is one of a process.

Prints one JSON object: of each node its raylet, the servers its actors were forked by, and
whether these were gone soon after the node.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("RAY_AUTH_MODE", "token")
os.environ.setdefault("RAY_AUTH_TOKEN", secrets.token_hex(32))

import ray
from ray.cluster_utils import Cluster

from agent_actor import forkserver
from agent_actor.forkserver import ray_private
from tests.integration.forked_actor import Forked, ended


def main() -> None:
    skip = sys.argv[1:] == ["skip"] and ray_private.skip_setup_worker()
    cluster = Cluster(initialize_head=True, shutdown_at_exit=False, head_node_args={"num_cpus": 4})
    nodes = [cluster.head_node, cluster.add_node(num_cpus=4, resources={"second": 4})]
    try:
        ray.init(address=cluster.address, log_to_driver=False)
        first, second = actors_on({}, 2), actors_on({"second": 1}, 2)
        told = [
            [ray.get(each.about.remote(), timeout=90) for each in pair] for pair in (first, second)
        ]
        servers = [told[0][0]["forked_by"], told[1][0]["forked_by"]]
        cluster.remove_node(nodes.pop())
        second_gone = ended([servers[1], *(each["pid"] for each in told[1])], within_s=10)
        first_lives = not ended([servers[0]], within_s=0)
        still = ray.get(first[0].about.remote(), timeout=10)["pid"] == told[0][0]["pid"]
    finally:
        ray.shutdown()
        cluster.shutdown()
    first_gone = ended([servers[0], *(each["pid"] for each in told[0])], within_s=10)
    answer = {
        "told": told,
        "skip": skip,
        "second_gone": second_gone,
        "first_lives": first_lives and still,
        "first_gone": first_gone,
    }
    sys.stdout.write(json.dumps(answer) + "\n")


def actors_on(resources: dict[str, float], count: int) -> list[Any]:
    options = {"resources": resources, "runtime_env": {"py_executable": forkserver.command()}}
    if not resources:
        # The first node has nothing of its own: its head resource is Ray's.
        options["resources"] = {"node:__internal_head__": 0.01}
    actor: Any = ray.remote(num_cpus=0.1)(Forked)
    return [actor.options(**options).remote() for _ in range(count)]


if __name__ == "__main__":
    main()
