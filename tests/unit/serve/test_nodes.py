from __future__ import annotations

import httpx
import pytest

from fleet.errors import ControlPlaneUnavailable
from tests.unit.serve.fakes import DRAIN_DEADLINE_S, FakeFleet


async def test_each_node_and_what_it_carries(api: httpx.AsyncClient) -> None:
    said = (await api.get("/v1/nodes")).json()
    assert said["nodes"] == [
        {
            "node_id": "aaaaaa11",
            "address": "10.0.0.1",
            "host": "worker-1",
            "state": "active",
            "drain": None,
            "live": 3,
            "ready": 2,
            "slots": 32,
        }
    ]
    assert (said["fleet_drain"], said["live"]) == (None, 3)


async def test_draining_a_node(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    answer = await api.post("/v1/nodes/10.0.0.1/drain", params={"deadline_s": 30})
    assert answer.status_code == 202
    (node,) = answer.json()["nodes"]
    assert node["state"] == "draining"
    assert set(node["drain"]) == {"since", "deadline"}
    assert fleet.nodes.asked == [("10.0.0.1", 30.0)]
    (node,) = (await api.delete("/v1/nodes/10.0.0.1/drain")).json()["nodes"]
    assert (node["state"], node["drain"]) == ("active", None)


async def test_the_whole_fleet_by_the_settings_deadline(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    answer = await api.post("/v1/fleet/drain")
    assert (answer.status_code, fleet.nodes.asked) == (202, [(None, DRAIN_DEADLINE_S)])
    assert answer.json()["fleet_drain"]
    assert (await api.delete("/v1/fleet/drain")).json()["fleet_drain"] is None


async def test_a_node_that_is_none(api: httpx.AsyncClient) -> None:
    for answer in (
        await api.post("/v1/nodes/10.9.9.9/drain"),
        await api.delete("/v1/nodes/10.9.9.9/drain"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "node_not_found")


@pytest.mark.parametrize("deadline", ["-1", "86401", "nan", "soon"])
async def test_a_deadline_that_is_none(api: httpx.AsyncClient, deadline: str) -> None:
    for path in ("/v1/nodes/10.0.0.1/drain", "/v1/fleet/drain"):
        answer = await api.post(path, params={"deadline_s": deadline})
        assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")


async def test_while_the_roster_is_away(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.nodes.error = ControlPlaneUnavailable("roster")
    answer = await api.get("/v1/nodes")
    assert (answer.status_code, answer.json()["code"]) == (503, "control_plane_unavailable")
