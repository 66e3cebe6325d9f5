from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from fleet.errors import ControlPlaneUnavailable, RegistryUnavailable
from fleet.metrics import Metrics
from tests.unit.serve.fakes import FakeFleet


def samples(text: str) -> dict[tuple[str, tuple[str, ...]], float]:
    return {
        (s.name, tuple(s.labels.values())): s.value
        for family in text_string_to_metric_families(text)
        for s in family.samples
    }


async def test_alive(api: httpx.AsyncClient) -> None:
    assert (await api.get("/healthz")).json() == {"status": "ok"}


async def test_alive_even_if_nothing_else_is(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.problems = dict.fromkeys(fleet.problems, "down")
    assert (await api.get("/healthz")).status_code == 200


async def test_ready(api: httpx.AsyncClient) -> None:
    said = (await api.get("/readyz")).json()
    assert said["ready"]
    assert [c["name"] for c in said["checks"]] == ["roster", "redis", "livekit", "warm"]


@pytest.mark.parametrize(
    ("problem", "says"),
    [
        ("0 warm actors", "0 warm actors"),
        (RegistryUnavailable("ping", "ConnectionError"), "registry unavailable at ping"),
        (OSError("redis://user:secret@10.0.0.1"), "OSError"),
    ],
)
async def test_not_ready_says_which_and_why(
    api: httpx.AsyncClient, fleet: FakeFleet, problem: str | Exception, says: str
) -> None:
    fleet.problems["redis"] = problem
    answer = await api.get("/readyz")
    assert answer.status_code == 503
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert said["code"] == "not_ready"
    assert [c["name"] for c in said["checks"] if not c["ready"]] == ["redis"]
    assert said["detail"].startswith(f"redis: {says}")
    assert "secret" not in answer.text


async def test_metrics_of_requests_and_dispatch(api: httpx.AsyncClient) -> None:
    body = {
        "provider": "gemini_live",
        "instructions": "Ask.",
        "phases": [{"id": "a", "name": "A", "duration_seconds": 60}],
    }
    await api.post("/v1/sessions", json=body)
    await api.get("/v1/sessions/s-1")
    await api.get("/v1/sessions/s-none")
    await api.get("/nowhere/at/all")
    got = samples((await api.get("/metrics")).text)
    route = "/v1/sessions/{session_id}"
    assert got["ingress_requests_total", ("GET", route, "200")] == 1
    assert got["ingress_requests_total", ("GET", route, "404")] == 1
    assert got["ingress_requests_total", ("GET", "unmatched", "404")] == 1
    assert got["ingress_request_seconds_count", ("POST", "/v1/sessions")] == 1
    assert got["ingress_dispatch_step_seconds_sum", ("join",)] == 0.25


async def test_metrics_of_the_fleet(api: httpx.AsyncClient) -> None:
    got = samples((await api.get("/metrics")).text)
    assert got["fleet_actors", ("warm",)] == 2
    assert got["fleet_slots", ()] == 200
    assert got["fleet_sessions", ("live",)] == 0
    assert got["fleet_spent_usd", ()] == 1.25
    assert got["fleet_scrape_failed", ("roster",)] == 0


async def test_metrics_go_on_without_a_part(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.roster.error = ControlPlaneUnavailable("roster")
    got = samples((await api.get("/metrics")).text)
    assert got["fleet_scrape_failed", ("roster",)] == 1
    assert got["fleet_scrape_failed", ("budget",)] == 0
    assert ("fleet_slots", ()) not in got
    assert got["fleet_spent_usd", ()] == 1.25


async def test_metrics_of_the_control_actors_are_added_up(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    roster, supervisor = Metrics(), Metrics()
    roster.histogram("fleet_actor_warm_seconds").observe(0.3)
    for metrics in (roster, supervisor):
        metrics.counter("fleet_dispatch_retries_total", cause="metadata_timeout").inc()
    fleet.expositions = [roster.exposition(), supervisor.exposition()]
    text = (await api.get("/metrics")).text
    got = samples(text)
    assert got["fleet_actor_warm_seconds_count", ()] == 1
    assert got["fleet_dispatch_retries_total", ("metadata_timeout",)] == 2
    assert text.count("# TYPE fleet_actor_warm_seconds ") == 1


async def test_the_lifespan_closes_what_the_app_was_made_of(app: FastAPI, fleet: FakeFleet) -> None:
    async with app.router.lifespan_context(app):
        assert fleet.closed == 0
    assert fleet.closed == 1
