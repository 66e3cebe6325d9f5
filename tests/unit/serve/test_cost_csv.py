from __future__ import annotations

import csv
import io

import httpx
import pytest
from pydantic import TypeAdapter, ValidationError

from agent_actor.contract import Identifier
from fleet.budget.export import CostRow
from fleet.errors import BudgetUnavailable
from serve.cost_csv import COLUMNS, cell, prefers_csv
from tests.unit.serve.fakes import FakeFleet, record


def row(session_id: str = "s-1", micro_usd: int = 431_200, model: str = "gpt-realtime") -> CostRow:
    return CostRow(
        study_id="study-7",
        session_id=session_id,
        provider="openai_realtime",
        model=model,
        minute_epoch=1_795_426_200,
        micro_usd=micro_usd,
    )


def parsed(answer: httpx.Response) -> list[list[str]]:
    assert answer.status_code == 200
    return list(csv.reader(io.StringIO(answer.text)))


async def test_a_studys_rows(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.money.rows = [(row("s-1"), row("s-2", -5)), (), (row("s-3", 1),)]
    answer = await api.get("/v1/studies/study-7/cost.csv")
    assert answer.headers["Content-Type"].startswith("text/csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="cost-study-7.csv"'
    assert answer.text.endswith("\r\n")
    head, *rows = parsed(answer)
    assert tuple(head) == COLUMNS
    what = ["study-7", "s-1", "openai_realtime", "gpt-realtime", "2026-11-23T09:30:00.000Z"]
    assert rows[0] == [*what, "431200", "0.431200"]
    assert [r[-2:] for r in rows[1:]] == [["-5", "-0.000005"], ["1", "0.000001"]]


async def test_the_same_by_accept(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    fleet.money.rows = [(row(),)]
    named = await api.get("/v1/studies/study-7/cost.csv")
    asked = await api.get("/v1/studies/study-7/cost", headers={"Accept": "text/csv"})
    assert (asked.text, asked.headers["Vary"]) == (named.text, "Accept")


@pytest.mark.parametrize(
    ("accept", "csv_wanted"),
    [
        (None, False),
        ("*/*", False),
        ("application/json, text/csv", False),
        ("text/csv", True),
        ("text/html, Text/CSV;q=0.9, application/json;q=0.1", True),
    ],
)
def test_csv_is_asked_for_by_name(accept: str | None, csv_wanted: bool) -> None:
    assert prefers_csv(accept) is csv_wanted


async def test_a_study_without_sessions_and_a_ledger_that_is_away(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    for path in ("cost.csv", "cost"):
        answer = await api.get(f"/v1/studies/no/{path}", headers={"Accept": "text/csv"})
        assert (answer.status_code, answer.json()["code"]) == (404, "study_not_found")
    fleet.money.error = BudgetUnavailable("away")
    answer = await api.get("/v1/studies/study-7/cost.csv")
    assert (answer.status_code, answer.json()["code"]) == (503, "budget_unavailable")


async def test_what_breaks_off_does_not_look_complete(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    fleet.money.rows, fleet.money.rows_end = [(row(),)], BudgetUnavailable("gone meanwhile")
    # Which is how a server learns to cut the connection.
    with pytest.raises(RuntimeError, match="response already started"):
        await api.get("/v1/studies/study-7/cost.csv")


async def test_a_sessions_rows(api: httpx.AsyncClient, fleet: FakeFleet) -> None:
    assert (await api.get("/v1/sessions/s-1/cost.csv")).status_code == 404
    fleet.sessions.put(record())
    assert len(parsed(await api.get("/v1/sessions/s-1/cost.csv"))) == 1
    fleet.money.rows = [(row("s-1"), row("s-2"))]
    answer = await api.get("/v1/sessions/s-1/cost.csv")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="cost-s-1.csv"'
    assert [r[1] for r in parsed(answer)[1:]] == ["s-1"]


@pytest.mark.parametrize("start", list("=+-@\t\r\n,\"' "))
def test_no_identifier_begins_like_a_formula_or_needs_quotes(start: str) -> None:
    for text in (f"{start}1+1", f"a{start}b" if start in "\t\r\n,\"' " else start):
        with pytest.raises(ValidationError):
            TypeAdapter(Identifier).validate_python(text)


def test_a_models_name_is_no_formula() -> None:
    assert cell("=cmd|' /C calc'!A0") == "'=cmd|' /C calc'!A0"
    assert cell("gpt-realtime-2025-08-28") == "gpt-realtime-2025-08-28"
