"""The demo's tables: the live one while it runs, the summary after."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rich.table import Table

from fleet.demo.plan import DemoInterview
from fleet.demo.results import (
    Outcome,
    cost_per_minute,
    first_audio_s,
    invoice_micro_usd,
    judge,
)


@dataclass
class Row:
    """One interview as the table shows it; ``session`` is the API's last answer."""

    interview: DemoInterview
    session: Mapping[str, Any] = field(default_factory=dict)
    cost: Mapping[str, Any] = field(default_factory=dict)


def live_table(rows: Sequence[Row]) -> Table:
    table = Table(title="four interviews at once", expand=True)
    for column in ("interview", "provider", "phase", "elapsed", "tokens in/out", "spent / limit"):
        table.add_column(column)
    table.add_column("state")
    for row in rows:
        table.add_row(*_cells(row))
    return table


def _cells(row: Row) -> tuple[str, ...]:
    session, live = row.session, row.session.get("live") or {}
    name = f"{row.interview.name}\n[dim]{row.interview.title}[/dim]"
    if not session:
        return name, row.interview.provider.value, "", "", "", "", "asked for"
    tokens = row.cost.get("tokens") or {}
    tokens_in = live.get("tokens_in", tokens.get("input_text", 0) + tokens.get("input_audio", 0))
    tokens_out = live.get(
        "tokens_out", tokens.get("output_text", 0) + tokens.get("output_audio", 0)
    )
    spent = row.cost.get("spent_usd") or live.get("spent_usd") or session["spent_usd"]
    return (
        name,
        row.interview.provider.value,
        _phase(session, live),
        f"{_elapsed_s(session):.0f} s",
        f"{tokens_in} / {tokens_out}",
        f"${spent} / ${float(session['limit_usd']):.2f}",
        _state(session, live),
    )


def _phase(session: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    if live.get("phase_id"):
        return f"{live['phase_id']} {live['phase_index'] + 1}/{live['phase_count']}"
    phases = session.get("phases") or []
    return f"{phases[-1]['phase_id']}" if phases else "-"


def _state(session: Mapping[str, Any], live: Mapping[str, Any]) -> str:
    if session["state"] == "gone":
        return f"[bold]{session['end_reason']}[/bold]"
    if live.get("speaking"):
        return f"{session['state']}, {live['speaking']} speaks"
    return str(session["state"])


def _elapsed_s(session: Mapping[str, Any]) -> float:
    began = datetime.fromisoformat(session["created_at"]).timestamp()
    ended = session.get("ended_at")
    return (datetime.fromisoformat(ended).timestamp() if ended else time.time()) - began


def summary_table(outcomes: Sequence[Outcome], *, simulated: bool) -> Table:
    caption = "providers: simulators spoke, no real model" if simulated else "providers: real"
    table = Table(title="how they ended", caption=caption, expand=True)
    for column in (
        "interview",
        "POST → agent in room",
        "POST → first audio",
        "phases",
        "$ per minute",
        "ledger = invoice, µ$",
        "end reason",
        "as it should",
    ):
        table.add_column(column)
    for outcome in outcomes:
        table.add_row(*_summary_cells(outcome))
    return table


def _summary_cells(outcome: Outcome) -> tuple[str, ...]:
    verdict = judge(outcome)
    audio = first_audio_s(outcome)
    phases = ", ".join(
        f"{p['phase_id']} {p['left_s'] - p['entered_s']:.0f} s"
        for p in outcome.record.get("phases", [])
        if p["left_s"] is not None
    )
    spent, billed = outcome.cost.get("spent_micro_usd"), invoice_micro_usd(outcome)
    return (
        outcome.interview.name,
        f"{outcome.post_s * 1000:.0f} ms",
        "-" if audio is None else f"{audio * 1000:.0f} ms",
        phases or "-",
        cost_per_minute(outcome),
        f"{spent}" if billed is None else f"{spent} {'=' if spent == billed else '≠'} {billed}",
        str(outcome.record.get("end_reason")),
        "[green]yes[/green]" if verdict.passed else f"[red]{'; '.join(verdict.problems)}[/red]",
    )
