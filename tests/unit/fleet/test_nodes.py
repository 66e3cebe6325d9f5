from dataclasses import replace

import pytest

from agent_actor.contract import ActorId, SessionId
from fleet.draining import WHOLE_FLEET, Drain
from fleet.errors import NodeNotFound
from fleet.nodes import NodeState, find, fleet_nodes
from fleet.ray_calls import RayNode
from fleet.roster_model import ActorState, ActorView, NodeId

N1 = RayNode(node_id="aaaaaa11", address="10.0.0.1", host="worker", slots=32)
N2 = RayNode(node_id="aaaaaa22", address="10.0.0.2", host="worker")
N3 = RayNode(node_id="bbbbbb33", address="10.0.0.3", host="head")
FOUND = [N2, N1, N3]
DRAIN = Drain(since=1.0, deadline=2.0)


def actor(node: RayNode, state: ActorState) -> ActorView:
    return ActorView(
        actor_id=ActorId(f"{node.node_id}-{state}"),
        state=state,
        session_id=SessionId("s") if state is ActorState.LIVE else None,
        since_s=0.0,
        node_id=NodeId(node.node_id),
    )


def test_each_node_with_what_it_carries() -> None:
    actors = [
        actor(N1, ActorState.LIVE),
        actor(N1, ActorState.LIVE),
        actor(N1, ActorState.DYING),
        actor(N2, ActorState.WARM),
        actor(N2, ActorState.RESERVED),
    ]
    drains = {NodeId(N1.node_id): DRAIN, NodeId(N3.node_id): DRAIN}
    seen = fleet_nodes(FOUND, actors, drains)
    assert [(n.address, n.live, n.ready, n.state) for n in seen.nodes] == [
        ("10.0.0.1", 2, 0, NodeState.DRAINING),
        ("10.0.0.2", 0, 2, NodeState.ACTIVE),
        ("10.0.0.3", 0, 0, NodeState.DRAINED),
    ]
    assert [n.slots for n in seen.nodes] == [32, 0, 0]
    assert (seen.live, seen.fleet_drain) == (2, None)
    assert fleet_nodes(FOUND, actors, {WHOLE_FLEET: DRAIN}).fleet_drain == DRAIN


def test_no_node_is_drained_while_a_session_may_be_on_it() -> None:
    elsewhere = actor(N2, ActorState.LIVE)
    drains = {NodeId(N1.node_id): DRAIN}
    found = [replace(elsewhere, node_id=None), elsewhere]
    (first, *_) = fleet_nodes(FOUND, found, drains).nodes
    assert (first.live, first.state) == (0, NodeState.DRAINING)
    (first, *_) = fleet_nodes(FOUND, found[1:], drains).nodes
    assert first.state is NodeState.DRAINED


@pytest.mark.parametrize("wanted", ["aaaaaa11", "aaaaaa1", "10.0.0.1"])
def test_a_node_goes_by_its_id_the_beginning_of_it_or_its_address(wanted: str) -> None:
    assert find(FOUND, wanted) == N1.node_id


def test_and_by_its_host_name() -> None:
    assert find(FOUND, "head") == N3.node_id


@pytest.mark.parametrize("wanted", ["aaaaaa", "worker"])
def test_what_fits_several_is_none(wanted: str) -> None:
    with pytest.raises(NodeNotFound, match="several"):
        find(FOUND, wanted)


@pytest.mark.parametrize("wanted", ["bbbbb", "10.0.0.9", "", "*"])
def test_what_fits_none(wanted: str) -> None:
    with pytest.raises(NodeNotFound, match="no node"):
        find(FOUND, wanted)
