from __future__ import annotations

import json
from collections.abc import Iterator

import httpx

from agent_actor.contract import EndReason, SessionState
from fleet.errors import BudgetUnavailable
from tests.unit.serve.fakes import FakeFleet, cost, record
from tests.unit.serve.test_events import frames

URL = "/v1/sessions/s-1/cost/stream"


def play(fleet: FakeFleet, *spent: int) -> None:
    """A session that is seen at each of these costs, then ends at the last."""
    fleet.sessions.put(record(state=SessionState.LIVE))
    steps: Iterator[int] = iter(spent)
    fleet.money.costs["s-1"] = cost(spent_micro_usd=next(steps))

    def meanwhile() -> None:
        now = next(steps, None)
        if now is not None:
            fleet.money.costs["s-1"] = cost(spent_micro_usd=now)
            return
        fleet.money.costs["s-1"] = cost(spent_micro_usd=spent[-1], closed=True)
        fleet.sessions.put(record(state=SessionState.GONE, end_reason=EndReason.COMPLETED))

    fleet.meanwhile = meanwhile


async def test_each_change_is_told_once_and_the_end_has_the_last_figures(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    play(fleet, 100, 100, 250, 250, 300)
    answer = await api.get(URL)
    assert answer.headers["content-type"].startswith("text/event-stream")
    told = [(f["event"], json.loads(f["data"])) for f in frames(answer.text)]
    seen = [(event, data["spent_micro_usd"], data["closed"]) for event, data in told]
    assert seen == [
        ("cost", 100, False),
        ("cost", 250, False),
        ("cost", 300, False),
        ("end", 300, True),
    ]


async def test_silence_is_broken_by_a_comment(fleet: FakeFleet, api: httpx.AsyncClient) -> None:
    play(fleet, *[100] * 20)
    assert (await api.get(URL)).text.count(": still here") == 1


async def test_one_that_has_ended_says_so_at_once(fleet: FakeFleet, api: httpx.AsyncClient) -> None:
    fleet.sessions.put(record(state=SessionState.GONE, spent_micro_usd=70))
    (end,) = frames((await api.get(URL)).text)
    assert (end["event"], json.loads(end["data"])["spent_micro_usd"]) == ("end", 70)


async def test_what_fails_before_the_stream_is_a_problem_after_it_a_comment(
    fleet: FakeFleet, api: httpx.AsyncClient
) -> None:
    assert (await api.get(URL)).status_code == 404
    play(fleet, 100)
    fleet.meanwhile = lambda: setattr(fleet.money, "error", BudgetUnavailable("down"))
    assert ": interrupted: budget_unavailable" in (await api.get(URL)).text
    assert (await api.get(URL)).status_code == 503
