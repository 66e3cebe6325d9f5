"""What Ray's own autoscaler makes of what the scaler asks for. No Ray is started for it.

If a new version of Ray moves its internals this is what has to be looked at again.
"""

from __future__ import annotations

from collections.abc import Sequence

from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
from ray.autoscaler.v2.schema import AutoscalerInstance
from ray.autoscaler.v2.utils import ResourceRequestUtil
from ray.core.generated.autoscaler_pb2 import ClusterResourceConstraint, NodeState, NodeStatus
from ray.core.generated.common_pb2 import LabelSelectorOperator
from ray.core.generated.instance_manager_pb2 import Instance, NodeKind

from fleet.ray_calls import NODE_ID_LABEL, SLOT_RESOURCE, bundles_for

SLOTS = 32
IDLE_TIMEOUT_S = 60.0
LONG_MS = 10 * 60 * 1000


def node(name: str, used: int) -> AutoscalerInstance:
    """One that is up, with so many actors; without one it has been idle for long."""
    return AutoscalerInstance(
        cloud_instance_id=f"cloud-{name}",
        im_instance=Instance(
            instance_id=name,
            instance_type="workers",
            status=Instance.RAY_RUNNING,
            node_id=name,
            cloud_instance_id=f"cloud-{name}",
            node_kind=NodeKind.WORKER,
        ),
        ray_node=NodeState(
            node_id=name.encode(),
            ray_node_type_name="workers",
            instance_id=f"cloud-{name}",
            total_resources={"CPU": 8.0, SLOT_RESOURCE: float(SLOTS)},
            available_resources={"CPU": 8.0 - 0.1 * used, SLOT_RESOURCE: float(SLOTS - used)},
            status=NodeStatus.RUNNING if used else NodeStatus.IDLE,
            idle_duration_ms=0 if used else LONG_MS,
            labels={NODE_ID_LABEL: name},
        ),
    )


def _constraint(key: str, value: str) -> tuple[str, LabelSelectorOperator, list[str]]:
    """As Ray reads a selector: a value, or ``!in(…)``."""
    if value.startswith("!in("):
        values = value.removeprefix("!in(").removesuffix(")").split(",")
        return key, LabelSelectorOperator.LABEL_OPERATOR_NOT_IN, values
    return key, LabelSelectorOperator.LABEL_OPERATOR_IN, [value]


def ask(
    there: Sequence[AutoscalerInstance],
    keep: Sequence[str],
    more: int,
    without: Sequence[str] = (),
) -> tuple[int, set[str]]:
    """How many nodes it starts, and which it ends."""
    bundles, selectors = bundles_for(keep, more, SLOTS, without)
    wanted = [
        ResourceRequestUtil.make(
            bundle, label_selectors=[[_constraint(k, v) for k, v in selector.items()]]
        )
        for bundle, selector in zip(bundles, selectors, strict=True)
    ]
    constraint = ClusterResourceConstraint(
        resource_requests=ResourceRequestUtil.group_by_count(wanted)
    )
    workers = NodeTypeConfig(
        name="workers",
        min_worker_nodes=0,
        max_worker_nodes=100,
        resources={"CPU": 8.0, SLOT_RESOURCE: float(SLOTS)},
    )
    reply = ResourceDemandScheduler(event_logger=None).schedule(
        SchedulingRequest(
            disable_launch_config_check=True,
            node_type_configs={"workers": workers},
            max_num_nodes=100,
            idle_timeout_s=IDLE_TIMEOUT_S,
            cluster_resource_constraints=[constraint],
            current_instances=list(there),
        )
    )
    started = sum(each.count for each in reply.to_launch)
    return started, {each.ray_node_id for each in reply.to_terminate}


def test_nodes_that_are_missing_are_started_at_once():
    assert ask([node("a", used=32)], keep=["a"], more=3) == (3, set())


def test_empty_nodes_go_and_those_with_a_session_stay():
    there = [node("a", used=0), node("b", used=3), node("c", used=0)]
    assert ask(there, keep=["b"], more=0) == (0, {"a", "c"})


def test_an_empty_node_that_is_to_stay_does_and_not_another_in_its_place():
    there = [node("a", used=0), node("b", used=0), node("c", used=32), node("d", used=0)]
    assert ask(there, keep=["c", "d"], more=0) == (0, {"a", "b"})


def test_unnamed_it_would_hold_on_to_an_empty_node_too_many():
    there = [node("a", used=0), node("b", used=0), node("c", used=32)]
    assert ask(there, keep=[], more=2) == (0, set())
    assert ask(there, keep=["b", "c"], more=0) == (0, {"a"})


def test_one_that_drains_is_not_its_own_replacement():
    there = [node("a", used=20), node("b", used=32)]
    assert ask(there, keep=["b"], more=1) == (0, set()), "the trap"
    assert ask(there, keep=["b"], more=1, without=["a"]) == (1, set())
    emptied = [node("a", used=0), node("b", used=32), node("c", used=20)]
    assert ask(emptied, keep=["b", "c"], more=0, without=["a"]) == (0, {"a"})


def test_one_to_stay_that_is_gone_ends_none_that_has_an_actor():
    there = [node("a", used=1), node("b", used=32)]
    assert ask(there, keep=["a", "b", "lost"], more=1) == (0, set())


def test_a_node_with_a_session_stays_though_nobody_asked_for_it():
    assert ask([node("a", used=1), node("b", used=0)], keep=[], more=0) == (0, {"b"})
