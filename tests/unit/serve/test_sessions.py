from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from agent_actor.contract import EndReason, Provider, SessionState
from agent_actor.errors import MetadataTimeout, ModelRetired
from agent_actor.journal import EventKind, LiveState
from agent_actor.messages import PhaseTiming
from fleet.errors import (
    DispatchFailed,
    DispatchTimeout,
    FleetDraining,
    FleetFull,
    RegistryUnavailable,
)
from serve.body import MAX_JSON_BYTES
from serve.requests import EXAMPLE_BODY, EXAMPLE_SPLIT_BODY
from tests.unit.serve.fakes import NOW, FakeFleet, cost, record

BODY: dict[str, Any] = {
    "provider": "openai_realtime",
    "instructions": "Ask.",
    "phases": [{"id": "a", "name": "A", "duration_seconds": 60}],
}


# POST


async def test_create_answers_when_the_agent_is_in_the_room(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    answer = await api.post("/v1/sessions", json=EXAMPLE_BODY)
    assert answer.status_code == 201
    said = answer.json()
    assert said["session_id"] == "s-1"
    assert said["room"] == "interview-s-1"
    assert said["livekit_url"] == "ws://127.0.0.1:7880"
    assert said["participant_token"] == "token-for-s-1"
    assert said["participant_token_expires_at"] == "2026-11-23T10:30:00.000Z"
    assert said["provider"] == "openai_realtime"
    assert said["state"] == "joined"
    assert said["timings_ms"] == {"validate": 0.4, "join": 250.0}
    assert (said["limit_micro_usd"], said["limit_usd"]) == (4_000_000, "4.000000")
    assert said["links"]["events"] == "/v1/sessions/s-1/events"
    assert answer.headers["Location"] == "/v1/sessions/s-1"
    assert answer.headers["Cache-Control"] == "no-store"
    [request] = fleet.starter.requests
    assert request.participant_name == "Participant 42"
    assert not request.respond_async


async def test_create_passes_a_split_on(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    answer = await api.post("/v1/sessions", json=EXAMPLE_SPLIT_BODY)
    assert answer.status_code == 201
    assert fleet.starter.requests[0].split == {
        Provider.OPENAI_REALTIME: 0.5,
        Provider.GEMINI_LIVE: 0.5,
    }


@pytest.mark.parametrize("prefer", ["respond-async", "wait=10, Respond-Async; x=y"])
async def test_prefer_respond_async_is_answered_202(
    api: httpx.AsyncClient, fleet: FakeFleet, prefer: str
) -> None:
    answer = await api.post("/v1/sessions", json=BODY, headers={"Prefer": prefer})
    assert answer.status_code == 202
    assert answer.json()["state"] == "queued"
    assert answer.json()["participant_token"] == "token-for-s-1"
    assert answer.headers["Preference-Applied"] == "respond-async"
    assert fleet.starter.requests[0].respond_async


async def test_other_preferences_are_ignored(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    answer = await api.post("/v1/sessions", json=BODY, headers={"Prefer": "return=minimal"})
    assert answer.status_code == 201
    assert "Preference-Applied" not in answer.headers


async def test_same_key_and_body_is_the_same_session(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    headers = {"Idempotency-Key": "visit-1"}
    first = await api.post("/v1/sessions", json=BODY, headers=headers)
    again = await api.post("/v1/sessions", json=dict(reversed(BODY.items())), headers=headers)
    assert (first.status_code, again.status_code) == (201, 200)
    assert again.json()["session_id"] == first.json()["session_id"]
    assert again.headers["Idempotent-Replayed"] == "true"
    assert "Idempotent-Replayed" not in first.headers


async def test_same_key_while_it_starts_is_answered_202(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "visit-1", "Prefer": "respond-async"}
    await api.post("/v1/sessions", json=BODY, headers=headers)
    again = await api.post("/v1/sessions", json=BODY, headers={"Idempotency-Key": "visit-1"})
    assert again.status_code == 202


async def test_same_key_after_its_end_tells_the_end_and_gives_no_token(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    headers = {"Idempotency-Key": "visit-1"}
    await api.post("/v1/sessions", json=BODY, headers=headers)
    await fleet.starter.stop("s-1", reason=EndReason.NO_SHOW, at_once=True)
    again = await api.post("/v1/sessions", json=BODY, headers=headers)
    assert again.status_code == 200
    assert again.json()["end_reason"] == "no_show"
    assert again.json()["participant_token"] is None


async def test_same_key_with_another_body_is_a_conflict(api: httpx.AsyncClient) -> None:
    headers = {"Idempotency-Key": "visit-1"}
    await api.post("/v1/sessions", json=BODY, headers=headers)
    other = await api.post("/v1/sessions", json=BODY | {"study_id": "x"}, headers=headers)
    assert other.status_code == 409
    assert other.json()["code"] == "idempotency_conflict"
    assert other.json()["session_id"] == "s-1"


@pytest.mark.parametrize("key", ["", "two words", "ü", "k" * 256])
async def test_a_key_that_cannot_be_one_is_refused(api: httpx.AsyncClient, key: str) -> None:
    headers = {"Idempotency-Key": key.encode("latin-1")}
    answer = await api.post("/v1/sessions", json=BODY, headers=headers)  # type: ignore[arg-type]
    assert answer.status_code == 400
    assert answer.json()["code"] == "header_invalid"


async def test_bad_fields_are_named(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    body = BODY | {"budget_limit_usd": 0, "vad_config": {"treshold": 1}}
    answer = await api.post("/v1/sessions", json=body)
    assert answer.status_code == 422
    assert answer.headers["Content-Type"] == "application/problem+json"
    said = answer.json()
    assert said["type"] == "urn:problem-type:interview-fleet:contract_invalid"
    assert said["status"] == 422
    assert [e["field"] for e in said["errors"]] == ["vad_config.treshold", "budget_limit_usd"]
    assert fleet.starter.requests == []


@pytest.mark.parametrize(
    ("content", "content_type", "status", "code"),
    [
        (b"{", "application/json", 400, "body_not_json"),
        (b"", "application/json", 400, "body_not_json"),
        (b"[1]", "application/json", 400, "body_not_json"),
        (b"{}", "text/plain", 415, "media_type_wrong"),
        (b"a=b", "application/x-www-form-urlencoded", 415, "media_type_wrong"),
        (b'{"a":"' + b"x" * MAX_JSON_BYTES + b'"}', "application/json", 413, "body_too_large"),
    ],
)
async def test_bad_bodies(
    api: httpx.AsyncClient, content: bytes, content_type: str, status: int, code: str
) -> None:
    headers = {"Content-Type": content_type}
    answer = await api.post("/v1/sessions", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_contract_too_large_for_a_room_is_413(api: httpx.AsyncClient) -> None:
    phase = {"name": "P", "duration_seconds": 1, "prompt_suffix": "x" * 16_000}
    body = BODY | {"phases": [phase | {"id": f"p{i}"} for i in range(5)]}
    answer = await api.post("/v1/sessions", json=body)
    assert (answer.status_code, answer.json()["code"]) == (413, "contract_too_large")
    assert answer.json()["limit_bytes"] == 65536


@pytest.mark.parametrize(
    ("failure", "status", "code", "retry_after"),
    [
        (FleetFull(retry_after_s=4.2), 503, "fleet_full", "5"),
        (FleetFull(retry_after_s=0.01), 503, "fleet_full", "1"),
        (FleetDraining(), 503, "fleet_draining", None),
        (RegistryUnavailable("create"), 503, "registry_unavailable", "2"),
        (
            DispatchTimeout(session_id="s-1", step="join", waited_s=10),
            504,
            "dispatch_timeout",
            None,
        ),
        (MetadataTimeout(waited_s=5, last_problem=None), 504, "metadata_timeout", None),
        (ModelRetired("retired"), 422, "model_retired", None),
    ],
)
async def test_failures_to_start(
    api: httpx.AsyncClient,
    fleet: FakeFleet,
    failure: Exception,
    status: int,
    code: str,
    retry_after: str | None,
) -> None:
    fleet.starter.failure = failure
    answer = await api.post("/v1/sessions", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers.get("Retry-After") == retry_after
    assert answer.json()["retryable"] is failure.retryable  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("cause", "status"),
    [
        ("provider_refused", 502),
        ("provider_unavailable", 503),
        ("model_retired", 422),
        ("metadata_timeout", 504),
        ("of_a_newer_agent", 502),
    ],
)
async def test_a_failed_dispatch_names_its_step_and_cause(
    api: httpx.AsyncClient, fleet: FakeFleet, cause: str, status: int
) -> None:
    fleet.starter.failure = DispatchFailed(
        session_id="s-9", step="join", cause_code=cause, reason="why"
    )
    answer = await api.post("/v1/sessions", json=BODY)
    assert (answer.status_code, answer.json()["code"]) == (status, "dispatch_failed")
    said = answer.json()
    assert (said["session_id"], said["step"], said["cause_code"]) == ("s-9", "join", cause)


async def test_a_start_outlives_the_caller_who_hung_up(app: FastAPI, fleet: FakeFleet) -> None:
    reached, go_on, finished = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def gate() -> None:
        reached.set()
        await go_on.wait()
        finished.set()

    fleet.starter.gate = gate
    transport = httpx.ASGITransport(app=app)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as api:
        call = asyncio.create_task(api.post("/v1/sessions", json=BODY))
        await reached.wait()
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        go_on.set()
        await finished.wait()
        await app.state.tasks.aclose()
    assert list(fleet.sessions.records) == ["s-1"]


# GET


async def test_get_shows_the_record_and_what_it_does_now(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    phases = (PhaseTiming(phase_id="a", entered_s=0.5, left_s=None, cause="started"),)
    fleet.sessions.put(
        record(state=SessionState.LIVE, joined_at=NOW + 1, phases=phases, unmapped=("voice",))
    )
    fleet.journal.lives["s-1"] = LiveState(state="live", phase_id="a", spent_micro_usd=1_500_000)
    said = (await api.get("/v1/sessions/s-1")).json()
    assert said["created_at"] == "2026-11-23T09:30:00.000Z"
    assert said["joined_at"] == "2026-11-23T09:30:01.000Z"
    assert said["live"]["phase_id"] == "a"
    assert said["live"]["spent_usd"] == "1.500000"
    assert said["phases"] == [
        {"phase_id": "a", "entered_s": 0.5, "left_s": None, "cause": "started"}
    ]
    assert said["unmapped"] == ["voice"]
    assert said["error"] is None


async def test_a_gone_session_tells_why_and_is_not_live(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.journal.lives["s-1"] = LiveState(state="live")
    fleet.sessions.put(
        record(
            state=SessionState.GONE,
            end_reason=EndReason.PROVIDER_FAILED,
            error_code="provider_refused",
            error="no quota",
        )
    )
    said = (await api.get("/v1/sessions/s-1")).json()
    assert said["end_reason"] == "provider_failed"
    assert said["error"] == {"code": "provider_refused", "detail": "no quota"}
    assert said["live"] is None


@pytest.mark.parametrize("path", ["", "/cost", "/events", "/transcript"])
async def test_an_unknown_session_is_404(api: httpx.AsyncClient, path: str) -> None:
    answer = await api.get(f"/v1/sessions/s-none{path}")
    assert (answer.status_code, answer.json()["code"]) == (404, "session_not_found")
    assert answer.json()["session_id"] == "s-none"


async def test_an_impossible_session_id_is_422(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/sessions/-x")
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == ["session_id"]


async def test_list_filters_and_pages(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    for i in range(5):
        fleet.sessions.put(record(f"s-{i}", study_id="a" if i % 2 else "b"))
    fleet.sessions.put(record("s-5", state=SessionState.LIVE))
    first = await api.get("/v1/sessions", params={"limit": 4})
    assert [s["session_id"] for s in first.json()["sessions"]] == ["s-5", "s-4", "s-3", "s-2"]
    link = first.headers["Link"]
    assert link.endswith('; rel="next"')
    rest = await api.get(link.partition(">")[0].removeprefix("<"))
    assert [s["session_id"] for s in rest.json()["sessions"]] == ["s-1", "s-0"]
    assert rest.json()["next_cursor"] is None
    assert "Link" not in rest.headers
    live = await api.get("/v1/sessions", params={"state": "live"})
    assert [s["session_id"] for s in live.json()["sessions"]] == ["s-5"]
    study = await api.get("/v1/sessions", params={"study_id": "a"})
    assert [s["session_id"] for s in study.json()["sessions"]] == ["s-3", "s-1"]


async def test_a_list_tells_what_each_does_this_second_if_asked(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    for name, state in (("s-1", SessionState.JOINED), ("s-2", SessionState.QUEUED)):
        fleet.sessions.put(record(name, state=state))
    fleet.sessions.put(record("s-3", state=SessionState.GONE, end_reason=EndReason.COMPLETED))
    for name in ("s-1", "s-3"):
        fleet.journal.lives[name] = LiveState(state="live", phase_id="a")
    plain = (await api.get("/v1/sessions")).json()["sessions"]
    assert [s["live"] for s in plain] == [None, None, None]
    told = (await api.get("/v1/sessions", params={"live": "true"})).json()["sessions"]
    assert [s["live"] and s["live"]["phase_id"] for s in told] == [None, None, "a"]


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"state": "asleep"}, "state"),
        ({"limit": "0"}, "limit"),
        ({"limit": "201"}, "limit"),
        ({"study_id": "*"}, "study_id"),
        ({"status": "live"}, "status"),
    ],
)
async def test_bad_filters_are_named(
    api: httpx.AsyncClient, params: dict[str, str], field: str
) -> None:
    answer = await api.get("/v1/sessions", params=params)
    assert answer.status_code == 422
    assert [e["field"] for e in answer.json()["errors"]] == [field]


async def test_a_foreign_cursor_is_400(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/sessions", params={"cursor": "mine"})
    assert (answer.status_code, answer.json()["code"]) == (400, "cursor_invalid")


# Cost


async def test_cost_is_the_accounts(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(model="gpt-realtime"))
    fleet.money.costs["s-1"] = cost()
    said = (await api.get("/v1/sessions/s-1/cost")).json()
    assert (said["spent_micro_usd"], said["spent_usd"]) == (431_200, "0.431200")
    assert said["estimate_usd"] == "0.009100"
    assert said["limit_usd"] == "4.000000"
    assert said["tokens"]["input_audio"] == 5_120
    assert said["unpriced_responses"] == 1
    assert said["verdict"] == "go_on"
    assert said["minutes"] == [
        {
            "minute": "2026-11-23T09:30:00.000Z",
            "provider": "openai_realtime",
            "micro_usd": 431_200,
            "usd": "0.431200",
        }
    ]


async def test_cost_of_a_session_without_account_is_its_records(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, spent_micro_usd=77))
    said = (await api.get("/v1/sessions/s-1/cost")).json()
    assert said["spent_usd"] == "0.000077"
    assert said["tokens"] is None
    assert said["closed"] is True


# DELETE


async def test_delete_ends_a_live_session_with_a_goodbye(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    answer = await api.delete("/v1/sessions/s-1")
    assert answer.status_code == 202
    assert answer.json()["state"] == "ending"
    assert fleet.starter.stops == [("s-1", EndReason.OPERATOR, False)]
    assert fleet.journal.erased == []


async def test_delete_leaves_an_ended_session_as_it_is(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, end_reason=EndReason.COMPLETED))
    answer = await api.delete("/v1/sessions/s-1")
    assert answer.status_code == 200
    assert answer.json()["end_reason"] == "completed"
    assert fleet.starter.stops == []


async def test_erase_takes_the_words_and_leaves_the_money(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, spent_micro_usd=9))
    fleet.money.costs["s-1"] = cost()
    fleet.journal.add("s-1", EventKind.TURN, speaker="participant", text="hello")
    answer = await api.delete("/v1/sessions/s-1", params={"erase": "true"})
    assert answer.status_code == 200
    assert answer.json()["erased"] == ["journal", "transcript", "checkpoints"]
    assert answer.json()["session"]["erased_at"] == "2026-11-23T09:30:00.000Z"
    assert answer.json()["session"]["participant_identity"] == ""
    transcript = await api.get("/v1/sessions/s-1/transcript")
    assert transcript.json()["turns"] == []
    assert (await api.get("/v1/sessions/s-1/cost")).json()["spent_micro_usd"] == 431_200
    again = await api.delete("/v1/sessions/s-1", params={"erase": "true"})
    assert again.status_code == 200


async def test_erase_ends_a_live_session_first(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    answer = await api.delete("/v1/sessions/s-1", params={"erase": "true"})
    assert answer.status_code == 200
    assert answer.json()["session"]["state"] == "gone"
    assert fleet.starter.stops == [("s-1", EndReason.OPERATOR, True)]


async def test_erase_says_so_if_the_session_does_not_end(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    fleet.starter.ends_when_stopped = False
    answer = await api.delete("/v1/sessions/s-1", params={"erase": "true"})
    assert (answer.status_code, answer.json()["code"]) == (503, "still_ending")
    assert answer.headers["Retry-After"] == "5"
    assert fleet.journal.erased == ["s-1"]
    assert fleet.sessions.records["s-1"].participant_identity == "p-1"


async def test_delete_takes_no_unknown_parameter(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    answer = await api.delete("/v1/sessions/s-1", params={"erased": "true"})
    assert answer.status_code == 422
    assert fleet.starter.stops == []
