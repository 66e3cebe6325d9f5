"""The nodes that interviews are on, and emptying one, or the whole fleet, of them."""

from typing import Annotated

from fastapi import APIRouter, Path, Query

from serve.context import PortsDep, TasksDep
from serve.models.nodes import NodesView
from serve.problems import responses

router = APIRouter(prefix="/v1", tags=["fleet"])

MOST_DEADLINE_S = 24 * 3600

NodePath = Annotated[
    str,
    Path(
        max_length=253,
        description="Its Ray id, the first six digits of it or more, its address or its host name.",
        examples=["10.0.3.17"],
    ),
]
Deadline = Annotated[
    float | None,
    Query(
        ge=0,
        le=MOST_DEADLINE_S,
        allow_inf_nan=False,
        description="How long sessions may go on undisturbed; by default FLEET_DRAIN_DEADLINE_S.",
    ),
]


@router.get("/nodes", response_model=NodesView, responses=responses(401, 503))
async def get_nodes(ports: PortsDep) -> NodesView:
    """Every node of the Ray cluster: what it carries, and whether it is draining."""
    return NodesView.of(await ports.nodes.look())


@router.post(
    "/nodes/{node}/drain",
    status_code=202,
    response_model=NodesView,
    responses=responses(401, 404, 422, 503),
)
async def drain_node(
    node: NodePath, ports: PortsDep, tasks: TasksDep, deadline_s: Deadline = None
) -> NodesView:
    """Empty a node: no session begins there any more, those on it may end by themselves until the
    deadline, and are then moved to other nodes, where they carry on. Asking again sets another
    deadline. It is empty when its `state` is `drained`.
    """
    work = ports.nodes.drain(node, _seconds(ports, deadline_s))
    return NodesView.of(await tasks.finish(work, name="drain_node"))


@router.delete(
    "/nodes/{node}/drain", response_model=NodesView, responses=responses(401, 404, 422, 503)
)
async def undrain_node(node: NodePath, ports: PortsDep, tasks: TasksDep) -> NodesView:
    """Use a node again. Sessions that have left it stay where they are."""
    return NodesView.of(await tasks.finish(ports.nodes.undrain(node), name="undrain_node"))


@router.post(
    "/fleet/drain", status_code=202, response_model=NodesView, responses=responses(401, 422, 503)
)
async def drain_fleet(ports: PortsDep, tasks: TasksDep, deadline_s: Deadline = None) -> NodesView:
    """Empty the whole fleet: new sessions are refused, those under way may end by themselves until
    the deadline, and are then ended with a goodbye, reason `drained`.
    """
    work = ports.nodes.drain(None, _seconds(ports, deadline_s))
    return NodesView.of(await tasks.finish(work, name="drain_fleet"))


@router.delete("/fleet/drain", response_model=NodesView, responses=responses(401, 503))
async def undrain_fleet(ports: PortsDep, tasks: TasksDep) -> NodesView:
    """Take new sessions again."""
    return NodesView.of(await tasks.finish(ports.nodes.undrain(None), name="undrain_fleet"))


def _seconds(ports: PortsDep, deadline_s: float | None) -> float:
    return ports.drain_deadline_s if deadline_s is None else deadline_s
