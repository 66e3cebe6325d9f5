from __future__ import annotations

import httpx

from agent_actor.contract import SessionState, json_schema
from agent_actor.messages import TokenCounts
from fleet.budget.costs import MinuteCost, ProviderCost, StudyCost
from fleet.errors import BudgetUnavailable
from tests.unit.serve.fakes import FakeFleet, record


async def test_the_fleet_at_a_glance(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.sessions.put(record(state=SessionState.LIVE))
    said = (await api.get("/v1/fleet")).json()
    assert said["actors"] == {"warm": 2, "reserved": 0, "live": 3, "starting": 1}
    assert said["slots"] == {"total": 200, "free": 197}
    assert said["queue"] == 0
    assert said["estimated_wait_s"] == 0.0
    assert said["sessions"]["live"] == 1
    assert said["sessions"]["gone"] == 0
    assert said["budget"]["spent_usd"] == "1.250000"
    assert said["budget"]["limit_usd"] is None
    assert said["providers"] == [
        {"provider": "openai_realtime", "simulated": True, "endpoint": "ws://127.0.0.1:1"},
        {"provider": "gemini_live", "simulated": False, "endpoint": None},
    ]


async def test_the_fleet_without_its_budget_actor(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.money.error = BudgetUnavailable("no answer")
    answer = await api.get("/v1/fleet")
    assert (answer.status_code, answer.json()["code"]) == (503, "budget_unavailable")


async def test_a_studys_cost(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.money.studies["study-7"] = StudyCost(
        study_id="study-7",
        committed_micro_usd=2_000_001,
        open_sessions=0,
        spent_micro_usd=2_000_001,
        estimate_micro_usd=0,
        limit_micro_usd=9_000_000,
        sessions=2,
        tokens=TokenCounts(output_audio=7),
        responses=9,
        unpriced_responses=1,
        by_provider=(
            ProviderCost(provider="gemini_live", spent_micro_usd=1, sessions=1),
            ProviderCost(provider="openai_realtime", spent_micro_usd=2_000_000, sessions=2),
        ),
        minutes=(
            MinuteCost(minute_epoch=1_795_426_200, provider="gemini_live", micro_usd=1),
            MinuteCost(minute_epoch=1_795_426_200, provider="openai_realtime", micro_usd=2_000_000),
        ),
    )
    said = (await api.get("/v1/studies/study-7/cost")).json()
    assert said["study_id"] == "study-7"
    assert (said["spent_usd"], said["limit_usd"]) == ("2.000001", "9.000000")
    assert (said["committed_usd"], said["open_sessions"]) == ("2.000001", 0)
    assert [(p["provider"], p["spent_usd"], p["sessions"]) for p in said["providers"]] == [
        ("gemini_live", "0.000001", 1),
        ("openai_realtime", "2.000000", 2),
    ]
    assert (said["tokens"]["output_audio"], said["responses"]) == (7, 9)
    assert said["unpriced_responses"] == 1
    assert said["minutes"][0] == {
        "minute": "2026-11-23T09:30:00.000Z",
        "provider": "gemini_live",
        "micro_usd": 1,
        "usd": "0.000001",
    }
    unknown = await api.get("/v1/studies/other/cost")
    assert (unknown.status_code, unknown.json()["code"]) == (404, "study_not_found")


async def test_the_contracts_schema(api: httpx.AsyncClient) -> None:
    answer = await api.get("/v1/contract/schema")
    assert answer.headers["Content-Type"] == "application/schema+json"
    assert answer.json() == json_schema()
