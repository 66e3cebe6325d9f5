from __future__ import annotations

import httpx

from agent_actor.contract import EndReason, SessionState
from tests.unit.serve.fakes import FakeFleet, record

HERE = "/v1/sessions/s-1/observers"


async def test_an_observer_gets_all_it_needs_to_join(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    answer = await api.post(HERE)
    assert answer.status_code == 201
    assert answer.json() == {
        "session_id": "s-1",
        "identity": "observer-1",
        "room": "interview-s-1",
        "livekit_url": "ws://127.0.0.1:7880",
        "token": "token-for-observer-1",
        "expires_at": "2026-11-23T10:30:00.000Z",
        "told": True,
    }


async def test_asking_again_gives_another(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.JOINED))
    both = [(await api.post(HERE)).json()["identity"] for _ in range(2)]
    assert len(set(both)) == 2


async def test_more_than_there_may_be(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    fleet.observers.most = 0
    answer = await api.post(HERE)
    assert answer.status_code == 409
    assert answer.json()["code"] == "too_many_observers"


async def test_a_session_that_is_over(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, end_reason=EndReason.COMPLETED))
    answer = await api.post(HERE)
    assert (answer.status_code, answer.json()["code"]) == (409, "session_over")
    assert "Retry-After" not in answer.headers


async def test_a_session_without_a_room(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record())
    answer = await api.post(HERE)
    assert (answer.status_code, answer.json()["code"]) == (409, "session_starting")
    assert answer.headers["Retry-After"] == "1"


async def test_an_unknown_session(api: httpx.AsyncClient) -> None:
    answer = await api.post(HERE)
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
