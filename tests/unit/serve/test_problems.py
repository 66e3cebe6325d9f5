"""Every error is a problem document, whoever raised it."""

from __future__ import annotations

import httpx
import pytest
from structlog.testing import capture_logs

from agent_actor import errors as agent_errors
from fleet import errors as fleet_errors
from serve import errors as serve_errors
from serve.problems import _CAUSE_STATUS
from tests.unit.serve.fakes import FakeFleet

MEMBERS = {"type", "title", "status", "code", "detail", "retryable", "request_id", "errors"}


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/nowhere", 404, "route_not_found"),
        ("PUT", "/v1/sessions", 405, "method_not_allowed"),
    ],
)
async def test_routing_errors(
    api: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.request(method, path)
    assert answer.status_code == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert set(said) == MEMBERS
    assert (said["status"], said["code"]) == (status, code)
    assert said["type"] == f"urn:problem-type:interview-fleet:{code}"
    assert said["request_id"] == answer.headers["X-Request-Id"]


@pytest.mark.parametrize("error", [RuntimeError("at 10.0.0.1"), fleet_errors.FleetError("inside")])
async def test_a_defect_shows_nothing_of_itself(
    api: httpx.AsyncClient, fleet: FakeFleet, error: Exception
) -> None:
    fleet.sessions.error = error
    with capture_logs() as logs:
        answer = await api.get("/v1/sessions/s-1")
    assert answer.status_code == 500
    assert answer.json()["code"] == "internal_error"
    assert str(error) not in answer.text
    [failed] = [line for line in logs if line["event"] == "request_failed_unexpectedly"]
    assert failed["request_id"] == answer.json()["request_id"]
    assert failed["exc_info"] is error


async def test_request_ids_are_kept_if_they_look_like_one(api: httpx.AsyncClient) -> None:
    kept = await api.get("/healthz", headers={"X-Request-Id": "trace-0123456789"})
    made = await api.get("/healthz", headers={"X-Request-Id": "a b\tc"})
    assert kept.headers["X-Request-Id"] == "trace-0123456789"
    assert made.headers["X-Request-Id"] != "a b\tc"


async def test_one_log_line_a_request_with_route_and_session(api: httpx.AsyncClient) -> None:
    with capture_logs() as logs:
        await api.get("/v1/sessions/s-none", headers={"X-Request-Id": "trace-0123456789"})
    [line] = logs
    assert line["event"] == "request_answered"
    assert (line["route"], line["status"]) == ("/v1/sessions/{session_id}", 404)
    assert (line["session_id"], line["request_id"]) == ("s-none", "trace-0123456789")


def test_every_error_of_an_agent_has_a_status_when_a_dispatch_fails_by_it() -> None:
    kinds = [
        kind
        for kind in vars(agent_errors).values()
        if isinstance(kind, type) and issubclass(kind, agent_errors.AgentError)
    ]
    leaves = [
        kind
        for kind in kinds
        if not kind.__subclasses__() and not issubclass(kind, agent_errors.ContractError)
    ]
    assert len(leaves) > 7
    assert {kind.code for kind in leaves} <= set(_CAUSE_STATUS)


def test_codes_of_the_ingress_are_its_own() -> None:
    mine = {e.code for e in vars(serve_errors).values() if hasattr(e, "code")}
    theirs = {e.code for e in vars(fleet_errors).values() if hasattr(e, "code")}
    assert not mine & (theirs | set(_CAUSE_STATUS))
