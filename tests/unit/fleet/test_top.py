"""``fleet top``: what it makes of the API's answers, and how it gathers them."""

from __future__ import annotations

import io
import re
from typing import Any

import pytest
from rich.console import Console

from fleet.cli.client import ApiProblem
from fleet.cli.top import MOST_SESSIONS, PAGE, take_look
from fleet.cli.top_rows import Look, Order, micro_usd_an_hour, rows, warnings
from fleet.cli.top_view import Manner, age, frame

NOW = 1_795_426_200.0
"""2026-11-23T09:30:00Z."""
WIDTH = 150


def session(name: str, *, live: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    return {
        "session_id": name,
        "study_id": "study-7",
        "provider": "openai_realtime",
        "state": "joined",
        "attempt": 1,
        "created_at": "2026-11-23T09:20:00.000Z",
        "spent_micro_usd": 0,
        "limit_micro_usd": 4_000_000,
        "live": live,
        **changes,
    }


def live(**changes: Any) -> dict[str, Any]:
    return {
        "state": "live",
        "phase_id": "core",
        "phase_index": 1,
        "phase_count": 3,
        "speaking": "participant",
        "spent_micro_usd": 431_200,
        "estimate_micro_usd": 9_100,
        **changes,
    }


def node(address: str, **changes: Any) -> dict[str, Any]:
    return {
        "node_id": "7f3c1e0b5a9d4e66128f3b21",
        "address": address,
        "host": "session-workers-x2k9f",
        "state": "active",
        "drain": None,
        "live": 1,
        "ready": 2,
        "slots": 32,
        **changes,
    }


def look(
    sessions: tuple[dict[str, Any], ...] = (),
    nodes: tuple[dict[str, Any], ...] = (),
    fleet_drain: dict[str, str] | None = None,
    **changes: Any,
) -> Look:
    fleet = {
        "actors": {"warm": 2, "reserved": 0, "live": len(sessions), "starting": 1},
        "slots": {"total": 200, "free": 197},
        "queue": 0,
        "estimated_wait_s": 0.0,
        "sessions": {"joined": len(sessions), "gone": 41},
        "budget": {"spent_micro_usd": 18_250_000, "limit_micro_usd": 500_000_000},
        "providers": [],
        **changes,
    }
    seen = {"nodes": list(nodes), "fleet_drain": fleet_drain, "live": len(sessions)}
    return Look(at=NOW, url="http://fleet:8000", fleet=fleet, nodes=seen, sessions=sessions)


def drawn(seen: Look, width: int = WIDTH, **manner: Any) -> list[str]:
    console = Console(file=io.StringIO(), width=width)
    console.print(frame(seen, Manner(**{"order": Order.SPEND, **manner})))
    return [line.rstrip() for line in console.file.getvalue().splitlines()]


def test_a_narrow_terminal_leaves_out_columns_before_it_cuts_a_session_s_id():
    name = "s-0123456789abcdef01234567"
    lines = drawn(look((session(name, live=live()),)), width=80)
    [row] = [line for line in lines if name in line]
    assert {"2/3 core", "live", "0.4403"} <= set(re.split(r"  +", row))
    assert "speaks" not in "".join(lines)


def test_a_running_session_shows_what_it_does_and_spends_this_second():
    [row] = rows(look((session("s-1", live=live()),)), Order.SPEND)
    assert (row.state, row.phase, row.speaking) == ("live", "2/3 core", "participant")
    assert row.spent_micro_usd == 440_300
    assert row.age_s == 600.0
    [line] = [line for line in drawn(look((session("s-1", live=live()),))) if "s-1" in line]
    assert line.split() == [
        *("s-1", "study-7", "openai", "live", "2/3", "core", "participant", "10:00"),
        *("0.4403", "4.00", "━─────────"),
    ]


def test_one_whose_actor_has_said_nothing_yet_is_as_its_record():
    [row] = rows(look((session("s-1", state="assigned"),)), Order.SPEND)
    assert (row.state, row.phase, row.spent_micro_usd) == ("assigned", "", 0)


def test_what_an_earlier_attempt_was_billed_is_not_forgotten():
    [row] = rows(look((session("s-1", spent_micro_usd=900_000, live=live()),)), Order.SPEND)
    assert row.spent_micro_usd == 900_000


@pytest.mark.parametrize(
    ("order", "first"), [(Order.SPEND, "dear"), (Order.LIMIT, "tight"), (Order.AGE, "old")]
)
def test_what_is_most_comes_first(order: Order, first: str):
    seen = look(
        (
            session("dear", live=live(spent_micro_usd=2_000_000), limit_micro_usd=9_000_000),
            session("tight", live=live(spent_micro_usd=900_000), limit_micro_usd=1_000_000),
            session("old", created_at="2026-11-23T08:00:00.000Z"),
        )
    )
    assert rows(seen, order)[0].session_id == first


def test_the_orders_come_round():
    assert [order.next for order in Order] == [Order.LIMIT, Order.AGE, Order.SPEND]


def test_a_limit_of_zero_is_all_spent():
    assert rows(look((session("s-1", limit_micro_usd=0),)), Order.LIMIT)[0].share == 1


class TestWarnings:
    def test_none_where_all_is_well(self):
        assert warnings(look((session("s-1", live=live()),), (node("10.0.0.1"),))) == []

    def test_drains(self):
        drain = {"since": "2026-11-23T09:29:00.000Z", "deadline": "2026-11-23T09:40:00.000Z"}
        nodes = (
            node("10.0.0.1", state="draining", drain=drain, live=14),
            node("10.0.0.2", state="drained", drain=drain, live=0),
        )
        assert warnings(look((), nodes, fleet_drain=drain)) == [
            "the whole fleet drains until 09:40:00, 0 live",
            "node 10.0.0.1 drains until 09:40:00, 14 live",
            "node 10.0.0.2 is drained",
        ]

    def test_crowding(self):
        full = {"total": 200, "free": 0}
        assert warnings(look(queue=3, slots=full, estimated_wait_s=4.2)) == [
            "3 waiting for an actor, about 4 s",
            "all slots are taken",
        ]
        actors = {"warm": 0, "reserved": 0, "live": 0, "starting": 2}
        assert warnings(look(actors=actors, queue=1, estimated_wait_s=None)) == [
            "1 waiting for an actor, nobody knows how long",
            "no actor is warm",
        ]

    def test_money(self):
        budget = {"spent_micro_usd": 460_000_000, "limit_micro_usd": 500_000_000}
        near = session("s-1", live=live(spent_micro_usd=3_700_000))
        assert warnings(look((near, session("s-2")), budget=budget)) == [
            "the fleet has spent 92% of its limit",
            "1 near the limit: 90% spent or more",
        ]
        assert warnings(look(budget={"spent_micro_usd": 1, "limit_micro_usd": None})) == []

    def test_a_simulator_is_called_one(self):
        providers = [{"provider": "gemini_live", "simulated": True, "endpoint": None}]
        assert warnings(look(providers=providers)) == [
            "gemini_live: a simulator speaks, no real model"
        ]


class TestCostByTheHour:
    def test_is_that_of_the_readings_span(self):
        assert micro_usd_an_hour([(NOW, 1_000_000), (NOW + 2, 0), (NOW + 60, 1_200_000)]) == (
            12_000_000
        )

    def test_is_not_known_from_one_reading_or_two_close_ones(self):
        assert micro_usd_an_hour([]) is None
        assert micro_usd_an_hour([(NOW, 5)]) is None
        assert micro_usd_an_hour([(NOW, 5), (NOW + 2, 900)]) is None

    def test_is_shown(self):
        assert "$18.25 of $500.00, $12.40 an hour" in "\n".join(
            drawn(look(), an_hour_micro_usd=12_400_000)
        )


class TestFrame:
    def test_of_a_terminal_is_never_taller_than_it(self):
        sessions = tuple(session(f"s-{n:03}", live=live()) for n in range(500))
        nodes = tuple(node(f"10.0.0.{n}") for n in range(30))
        for lines in (24, 40, 60):
            shown = drawn(look(sessions, nodes), lines=lines)
            assert len(shown) == lines
            assert "and 22 more" in "\n".join(shown)
            left = 500 - sum("study-7" in line for line in shown)
            assert f"and {left} more, by spend" in shown[-1]

    def test_without_one_shows_every_session(self):
        sessions = tuple(session(f"s-{n:03}") for n in range(500))
        assert sum("study-7" in line for line in drawn(look(sessions))) == 500

    def test_says_when_it_is_not_of_now(self):
        shown = drawn(look(), problem="http://fleet:8000 does not answer: refused")
        assert "! http://fleet:8000 does not answer: refused; this is 09:30:00's" in shown

    def test_many_warnings_leave_room_for_sessions(self):
        drain = {"since": "2026-11-23T09:29:00.000Z", "deadline": "2026-11-23T09:40:00.000Z"}
        nodes = tuple(node(f"10.0.0.{n}", state="draining", drain=drain) for n in range(30))
        shown = drawn(look((session("s-1"),), nodes), lines=24)
        assert sum(line.startswith("!") for line in shown) == 5
        assert "! and 26 more" in shown

    def test_takes_names_as_they_are(self):
        shown = "\n".join(drawn(look((session("s-1", study_id="[red]x"),), (node("[b]"),))))
        assert "[red]x" in shown
        assert "[b]" in shown


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.9, "0:00"), (61, "1:01"), (3599, "59:59"), (3661, "1:01:01")]
)
def test_ages(seconds: float, said: str):
    assert age(seconds) == said


class FakeApi:
    """Sessions by state, in pages, newest first, as the real one has them."""

    url = "http://fleet:8000"

    def __init__(self, **by_state: int) -> None:
        self.asked: list[str] = []
        self._by_state = by_state

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
        self.asked.append(path)
        if path == "/v1/sessions":
            return self._page(params or {})
        if path == "/v1/fleet":
            return look().fleet | {"sessions": self._by_state}
        return look().nodes

    def _page(self, asked: dict[str, Any]) -> Any:
        assert asked["live"] is True
        begin, state = int(asked.get("cursor", 0)), asked["state"]
        end = begin + min(asked["limit"], 200)
        found = [session(f"{state}-{n}", state=state) for n in range(self._by_state[state])]
        return {
            "sessions": found[begin:end],
            "next_cursor": str(end) if end < len(found) else None,
        }


class TestTakingALook:
    def test_every_session_that_runs_is_asked_for_page_by_page(self):
        api = FakeApi(queued=0, joined=2 * PAGE + 1, ending=3, gone=10_000)
        seen = take_look(api, NOW)
        assert len(seen.sessions) == seen.running == 2 * PAGE + 4
        assert api.asked.count("/v1/sessions") == 4

    def test_of_very_many_it_takes_the_newest(self):
        api = FakeApi(joined=MOST_SESSIONS + PAGE, ending=1)
        seen = take_look(api, NOW)
        assert len(seen.sessions) == MOST_SESSIONS
        assert seen.running == MOST_SESSIONS + PAGE + 1
        assert api.asked.count("/v1/sessions") == MOST_SESSIONS // PAGE

    def test_a_refusal_comes_through(self):
        class Refusing(FakeApi):
            def get(self, path: str, params: dict[str, Any] | None = None) -> Any:
                raise ApiProblem("HTTP 401: no such key", 401)

        with pytest.raises(ApiProblem, match="no such key"):
            take_look(Refusing(), NOW)
