from __future__ import annotations

import httpx
import pytest

from agent_actor.contract import EndReason, SessionState
from fleet.errors import RegistryUnavailable
from serve.app import create_app
from serve.join import OUTCOMES
from serve.models.join import Outcome, join_url
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import LIVEKIT_URL, NOW, FakeFleet, record

TOKEN = "interview-s-1/p-1"
EXPIRED = f"{TOKEN}/expired"
BODY = {
    "provider": "gemini_live",
    "instructions": "Ask.",
    "phases": [{"id": "one", "name": "One", "duration_seconds": 60}],
}


async def ask(api: httpx.AsyncClient, token: str | None = TOKEN) -> httpx.Response:
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    return await api.get("/join/s-1/state", headers=headers)


async def test_a_participant_is_told_where_the_interview_is(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(
        record(
            state=SessionState.LIVE,
            language="de",
            joined_at=NOW - 5,
            first_joined_at=NOW - 65,
            session_timeout_s=1800,
        )
    )
    answer = await ask(api)
    assert answer.status_code == 200
    # All of it: no provider, no study, no money, no words of the protocol.
    assert answer.json() == {
        "stage": "open",
        "outcome": None,
        "language": "de",
        "livekit_url": LIVEKIT_URL,
        "expired": False,
        "elapsed_s": 65.0,
        "limit_s": 1800.0,
    }
    assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("state", "stage"),
    [
        (SessionState.QUEUED, "starting"),
        (SessionState.ASSIGNED, "open"),
        (SessionState.JOINED, "open"),
        (SessionState.CONFIGURED, "open"),
        (SessionState.LIVE, "open"),
        (SessionState.ENDING, "ending"),
    ],
)
async def test_each_state_is_a_stage(
    api: httpx.AsyncClient, fleet: FakeFleet, state: SessionState, stage: str
) -> None:
    fleet.sessions.put(record(state=state))
    told = (await ask(api)).json()
    assert (told["stage"], told["elapsed_s"]) == (stage, None)


@pytest.mark.parametrize("token", [TOKEN, EXPIRED])
async def test_how_it_ended_is_told_whatever_the_tokens_age(
    api: httpx.AsyncClient, fleet: FakeFleet, token: str
) -> None:
    ended = record(
        state=SessionState.GONE,
        end_reason=EndReason.BUDGET_EXCEEDED,
        joined_at=NOW - 600,
        ended_at=NOW - 500,
    )
    fleet.sessions.put(ended)
    told = (await ask(api, token)).json()
    assert told["stage"] == "over"
    assert told["outcome"] == "closed"
    assert told["livekit_url"] is None
    assert told["elapsed_s"] == 100.0


async def test_an_expired_token_opens_no_room(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    told = (await ask(api, EXPIRED)).json()
    assert (told["stage"], told["expired"], told["livekit_url"]) == ("open", True, None)


@pytest.mark.parametrize(
    "token",
    [None, "nonsense", "interview-s-2/p-1", "interview-s-1/p-2", "interview-s-1/observer-1"],
)
async def test_nobody_else_is_told_anything(
    api: httpx.AsyncClient, fleet: FakeFleet, token: str | None
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    answer = await ask(api, token)
    assert answer.status_code == 401
    assert answer.json()["code"] == "link_invalid"
    assert answer.headers["WWW-Authenticate"] == 'Bearer realm="interview"'


async def test_without_a_token_not_even_whether_there_is_such_a_session(
    api: httpx.AsyncClient,
) -> None:
    assert (await ask(api, None)).status_code == 401
    assert (await ask(api)).status_code == 404


async def test_after_a_deletion_request_the_token_is_nobodys(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, end_reason=EndReason.COMPLETED))
    await fleet.sessions.anonymise("s-1", now=NOW)
    assert (await ask(api)).status_code == 401


async def test_a_registry_that_is_away_is_told_as_such(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.error = RegistryUnavailable("away")
    answer = await ask(api)
    assert answer.status_code == 503
    assert answer.json()["retryable"]


def test_every_end_reason_has_words_for_the_participant() -> None:
    assert set(OUTCOMES) == set(EndReason)
    assert set(OUTCOMES.values()) == set(Outcome)


@pytest.mark.parametrize(
    "base", ["https://interviews.example.org", "https://interviews.example.org/"]
)
def test_a_link(base: str) -> None:
    assert join_url(base, "s-1", "abc") == "https://interviews.example.org/join/s-1#abc"


async def test_the_link_leads_to_where_the_session_was_asked_for(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    made = (await api.post("/v1/sessions", json=BODY)).json()
    session_id, token = made["session_id"], made["participant_token"]
    assert made["join_url"] == f"http://127.0.0.1:8000/join/{session_id}#{token}"


async def test_behind_a_proxy_it_leads_to_the_public_address(fleet: FakeFleet) -> None:
    fleet.public_url = "https://interviews.example.org/talk"
    async with client_of(create_app(fleet.ports())) as api:
        made = (await api.post("/v1/sessions", json=BODY)).json()
    assert made["join_url"] == "https://interviews.example.org/talk/join/s-1#token-for-s-1"
