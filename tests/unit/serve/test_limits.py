from __future__ import annotations

import httpx
import pytest

from agent_actor.contract import SessionState
from serve.errors import RequestInvalid
from serve.limits import parse_limit
from tests.unit.serve.fakes import FakeFleet, cost, record


@pytest.mark.parametrize(
    ("body", "micro"),
    [
        ({"limit_usd": "2.50"}, 2_500_000),
        ({"limit_usd": 4.1}, 4_100_000),
        ({"limit_usd": 0}, 0),
        ({"limit_usd": "0.000001"}, 1),
        ({"limit_micro_usd": 7}, 7),
    ],
)
def test_a_limit_is_whole_micro_dollars(body: dict[str, object], micro: int) -> None:
    assert parse_limit(body, most_usd=10) == micro


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"limit_usd": 1, "limit_micro_usd": 1},
        {"limit_usd": 1, "limit": 1},
        {"limit_usd": None},
        {"limit_usd": True},
        {"limit_usd": -1},
        {"limit_usd": "10.000001"},
        {"limit_usd": "0.0000001"},
        {"limit_usd": "NaN"},
        {"limit_usd": "Infinity"},
        {"limit_usd": "much"},
        {"limit_usd": [1]},
        {"limit_micro_usd": 1.0},
        {"limit_micro_usd": "1"},
        {"limit_micro_usd": 10_000_001},
    ],
)
def test_anything_else_is_refused(body: dict[str, object]) -> None:
    with pytest.raises(RequestInvalid):
        parse_limit(body, most_usd=10)


def test_null_takes_a_studys_limit_away() -> None:
    assert parse_limit({"limit_usd": None}, most_usd=10, nullable=True) is None


async def test_a_running_sessions_limit_changes(fleet: FakeFleet, api: httpx.AsyncClient) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    fleet.money.costs["s-1"] = cost()
    for _ in range(2):
        answer = await api.patch("/v1/sessions/s-1/limit", json={"limit_usd": "2.5"})
        assert answer.status_code == 200
        assert answer.json() == {
            "session_id": "s-1",
            "limit_micro_usd": 2_500_000,
            "limit_usd": "2.500000",
            "allowance_micro_usd": 2_500_000,
            "verdict": "go_on",
            "told": True,
        }
    assert fleet.money.limits == [("s-1", 2_500_000)] * 2


async def test_a_session_that_has_ended_has_no_limit_to_change(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.GONE))
    fleet.money.costs["s-1"] = cost(closed=True)
    answer = await api.patch("/v1/sessions/s-1/limit", json={"limit_usd": 1})
    assert (answer.status_code, answer.json()["code"]) == (409, "session_over")
    unknown = await api.patch("/v1/sessions/s-2/limit", json={"limit_usd": 1})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "session_not_found")
    assert fleet.money.limits == []


async def test_a_bad_limit_is_named(fleet: FakeFleet, api: httpx.AsyncClient) -> None:
    fleet.sessions.put(record("s-1", state=SessionState.LIVE))
    answer = await api.patch("/v1/sessions/s-1/limit", json={"limit_usd": -1})
    assert (answer.status_code, answer.json()["code"]) == (422, "request_invalid")
    assert [e["field"] for e in answer.json()["errors"]] == ["limit_usd"]


async def test_a_studys_limit_is_set_before_and_while_it_runs(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    fleet.money.told = 0
    answer = await api.patch("/v1/studies/study-7/limit", json={"limit_usd": None})
    assert answer.json() == {
        "study_id": "study-7",
        "limit_micro_usd": None,
        "limit_usd": None,
        "sessions": 0,
        "told": 0,
    }
    fleet.money.costs["s-1"] = cost()
    answer = await api.patch("/v1/studies/study-7/limit", json={"limit_micro_usd": 0})
    assert (answer.json()["sessions"], answer.json()["told"]) == (1, 0)
    assert fleet.money.limits == [("study-7", None), ("study-7", 0)]
