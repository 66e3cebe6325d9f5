from __future__ import annotations

import httpx
import pytest
from fastapi import FastAPI

from agent_actor.contract import EndReason, SessionState
from fleet.errors import ControlPlaneUnavailable
from serve.app import create_app
from serve.body import MAX_WEBHOOK_BYTES
from serve.webhook import SeenEvents
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import FakeFleet, record

URL = "/v1/livekit/webhook"
SIGNED = {"Authorization": "signed", "Content-Type": "application/webhook+json"}


@pytest.fixture
def app(fleet: FakeFleet) -> FastAPI:
    # With keys: the webhook has its own signature and needs none.
    return create_app(fleet.ports(), keys=["some-key-0123456789"])


async def test_a_signed_event_is_received(api: httpx.AsyncClient) -> None:
    answer = await api.post(URL, content="room_started interview-s-1 e1", headers=SIGNED)
    assert answer.status_code == 200
    assert answer.json() == {"received": "room_started"}


@pytest.mark.parametrize("authorization", ["", "forged", "Bearer some-key-0123456789"])
async def test_an_unsigned_event_is_refused(
    app: FastAPI, fleet: FakeFleet, authorization: str
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    async with client_of(app) as api:
        answer = await api.post(
            URL,
            content="room_finished interview-s-1 e1",
            headers={"Authorization": authorization} if authorization else {},
        )
    assert (answer.status_code, answer.json()["code"]) == (401, "webhook_rejected")
    assert fleet.starter.stops == []
    count = app.state.metrics.registry.get_sample_value(
        "ingress_webhooks_total", {"kind": "rejected"}
    )
    assert count == 1


async def test_a_body_too_large_is_refused_before_its_signature(api: httpx.AsyncClient) -> None:
    answer = await api.post(URL, content=b"x" * (MAX_WEBHOOK_BYTES + 1), headers=SIGNED)
    assert answer.status_code == 413


@pytest.mark.parametrize("state", [SessionState.JOINED, SessionState.CONFIGURED, SessionState.LIVE])
async def test_a_room_closed_under_a_session_ends_it_once(
    api: httpx.AsyncClient, fleet: FakeFleet, state: SessionState
) -> None:
    fleet.sessions.put(record(state=state))
    for _ in range(2):
        answer = await api.post(URL, content="room_finished interview-s-1 e1", headers=SIGNED)
        assert answer.status_code == 200
    assert fleet.starter.stops == [("s-1", EndReason.OPERATOR, True)]


@pytest.mark.parametrize(
    "state", [SessionState.QUEUED, SessionState.ASSIGNED, SessionState.ENDING, SessionState.GONE]
)
async def test_a_room_closed_before_or_after_changes_nothing(
    api: httpx.AsyncClient, fleet: FakeFleet, state: SessionState
) -> None:
    fleet.sessions.put(record(state=state))
    await api.post(URL, content="room_finished interview-s-1 e1", headers=SIGNED)
    assert fleet.starter.stops == []


async def test_rooms_that_are_not_ours_are_no_error(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    answer = await api.post(URL, content="room_finished lobby e1", headers=SIGNED)
    assert answer.status_code == 200


async def test_an_event_that_could_not_be_dealt_with_counts_when_it_comes_again(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    fleet.sessions.error = ControlPlaneUnavailable("registry")
    failed = await api.post(URL, content="room_finished interview-s-1 e1", headers=SIGNED)
    assert failed.status_code == 503
    fleet.sessions.error = None
    again = await api.post(URL, content="room_finished interview-s-1 e1", headers=SIGNED)
    assert again.status_code == 200
    assert len(fleet.starter.stops) == 1


def test_seen_events_forget_the_oldest() -> None:
    seen = SeenEvents(capacity=2)
    for event_id in "abc":
        seen.add(event_id)
    assert [e in seen for e in "abc"] == [False, True, True]
