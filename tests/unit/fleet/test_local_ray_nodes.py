"""What several nodes on one machine are told, so that they do not get into each other's way."""

from __future__ import annotations

import sys

import pytest

from fleet.local.ray_nodes import NodeSettings, RayNode
from fleet.local.run_dir import run_dir

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's loopback addresses")


def test_a_node_need_not_wait_for_what_its_agent_chooses() -> None:
    with run_dir(keep=False) as run:
        node = RayNode(run, NodeSettings(), ["--head"])
        told = dict(each.split("=", 1) for each in node._arguments if "=" in each)
    assert int(told["--runtime-env-agent-port"]) > 0


def test_each_has_an_address_and_a_folder_of_its_own() -> None:
    with run_dir(keep=False) as run:
        nodes = [RayNode(run, NodeSettings(), []) for _ in range(3)]
    assert len({node.address for node in nodes}) == len({node.folder for node in nodes}) == 3
