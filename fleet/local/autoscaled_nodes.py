"""A Ray cluster on this machine whose nodes Ray's own autoscaler (v2) starts and ends. Linux only.

Ray's fake multi-node provider keeps the books of the nodes; each is a ``ray start`` of its own on
its own address, as in ``fleet.local.ray_nodes``. The provider runs in a process of the head's.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

from fleet.local.errors import LocalPartError
from fleet.local.processes import free_ports
from fleet.local.ray_nodes import NodeSettings, RayNode, RayNodes, agree_on_a_token
from fleet.local.run_dir import RunDir

NODE_TYPE = "sessions"
_HEAD_ENV = {
    "RAY_enable_autoscaler_v2": "1",
    "RAY_FAKE_CLUSTER": "1",
    "AUTOSCALER_UPDATE_INTERVAL_S": "1",
    "RAY_OVERRIDE_NODE_ID_FOR_TESTING": FAKE_HEAD_NODE_ID,
    "RAY_CLOUD_INSTANCE_ID": FAKE_HEAD_NODE_ID,
    # The autoscaler may see the head among Ray's nodes before it does among the provider's.
    "RAY_NODE_TYPE_NAME": FAKE_HEAD_NODE_TYPE,
    # A node that the autoscaler ends is empty, and one of ours at the end of it all may be cut off.
    "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
}
"""The nodes have it from the head, but for their own ids."""


@dataclass(frozen=True, kw_only=True)
class NodeGroup:
    """What every node that the autoscaler starts is like, how many there may be, and how long one
    is idle before it is ended. ``head``: of which there is one, and which no interview is on."""

    node: NodeSettings
    most: int
    idle_s: float
    head: NodeSettings = field(default_factory=NodeSettings)


@contextmanager
def autoscaled_nodes(run: RunDir, group: NodeGroup, *, name: str = "a") -> Iterator[RayNodes]:
    """A head without places for session actors, and the autoscaler beside it. This process joins
    as a driver by itself, see ``ray_cluster.joined_ray``. ``name``: of one letter, that no other
    cluster of this run has.
    """
    agree_on_a_token()
    with ExitStack() as stack:
        (port,) = free_ports(1)
        config = run.path / f"autoscaler-{name}.json"
        arguments = ["--head", f"--port={port}", "--include-dashboard=false"]
        arguments.append(f"--autoscaling-config={config}")
        head = RayNode(run, group.head, arguments)
        cluster = RayNodes(run, head.with_env(_HEAD_ENV), f"{head.address}:{port}")
        config.write_text(json.dumps(_config(run, group, cluster.address, name)), "utf-8")
        stack.callback(cluster.close)
        head.start()
        yield cluster


def _config(run: RunDir, group: NodeGroup, address: str, name: str) -> dict[str, Any]:
    """As Ray's cluster launcher takes it. The provider goes by its class: by its type name Ray
    would look for a file of defaults that its wheel does not have."""
    node = group.node
    return {
        "cluster_name": "interview-fleet",
        "max_workers": group.most,
        "idle_timeout_minutes": group.idle_s / 60,
        "provider": {
            "type": "external",
            "module": f"{__name__}.NodesWithAddresses",
            "head_node_id": FAKE_HEAD_NODE_ID,
            "gcs_address": address,
            "run_dir": str(run.path),
            "prefix": name,
            "disable_node_updaters": True,
            "disable_launch_config_check": True,
        },
        "head_node_type": FAKE_HEAD_NODE_TYPE,
        "available_node_types": {
            FAKE_HEAD_NODE_TYPE: {"resources": {}, "node_config": {}, "max_workers": 0},
            NODE_TYPE: {
                "resources": {"CPU": node.num_cpus, **node.resources},
                "node_config": {},
                "max_workers": group.most,
            },
        },
        # Ray reads these whether there is anything to set up or not.
        "setup_commands": [],
        "head_setup_commands": [],
        "worker_setup_commands": [],
        "cluster_synced_files": [],
    }


class NodesWithAddresses(FakeMultiNodeProvider):
    """Called from several threads: ``lock`` is the books', and never held while a node starts or
    ends, as the autoscaler looks into them every second."""

    def __init__(self, provider_config: dict[str, Any], cluster_name: str) -> None:
        super().__init__(provider_config, cluster_name)
        self._run = RunDir(path=Path(provider_config["run_dir"]))
        self._address = str(provider_config["gcs_address"])
        self._prefix = str(provider_config["prefix"])

    def create_node_with_resources_and_labels(
        self,
        node_config: dict[str, Any],
        tags: dict[str, str],
        count: int,
        resources: dict[str, float],
        labels: dict[str, str],
    ) -> None:
        """Returns when they have joined the cluster. Raises LocalPartError: those that have not are
        in no books then."""
        started = [self._launch(tags, resources) for _ in range(count)]
        problems: list[LocalPartError] = []
        for node_id, node in started:
            try:
                node.wait()
            except LocalPartError as problem:
                problems.append(problem)
                self.terminate_node(node_id)
        if problems:
            raise problems[0]

    @property
    def _books(self) -> dict[str, Any]:
        return cast(dict[str, Any], self._nodes)

    def terminate_node(self, node_id: str) -> None:
        """Beside the caller, who looks after all nodes: an orderly end takes seconds."""
        with self.lock:
            node: RayNode = self._books.pop(node_id)["node"]
        threading.Thread(target=node.close, name=f"end-{node_id}").start()

    def _launch(
        self, tags: Mapping[str, str], resources: Mapping[str, float]
    ) -> tuple[str, RayNode]:
        custom = {name: value for name, value in resources.items() if name != "CPU"}
        settings = NodeSettings(num_cpus=int(resources["CPU"]), resources=custom)
        with self.lock:
            node_id = str(self._next_hex_node_id())  # type: ignore[no-untyped-call]
            folder = f"{self._prefix}{self._next_node_id:x}"
            node = RayNode(self._run, settings, [f"--address={self._address}"], folder=folder)
            self._books[node_id] = {"tags": dict(tags), "node": node}
        node.with_env(
            {
                "RAY_OVERRIDE_NODE_ID_FOR_TESTING": node_id,
                "RAY_CLOUD_INSTANCE_ID": node_id,
                "RAY_NODE_TYPE_NAME": NODE_TYPE,
            }
        )
        node.launch()
        return node_id, node
