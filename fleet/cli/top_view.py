"""``fleet top`` as it is drawn: a look and its rows in, one frame out. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.table import Table
from rich.text import Text

from fleet.cli.top_rows import MICRO, Json, Look, Order, SessionRow, rows, warnings

NODES_SHOWN = 8
WARNINGS_SHOWN = 5
FIXED_LINES = 8
"""Head (3 lines), the nodes' and the sessions' headings with a blank line each, the last line."""
LEAST_SESSIONS = 3
BAR_CELLS = 10
ID_CELLS = 26
WIDE = 110
"""Cells, from which everything fits."""
_STATES = {"live": "green", "active": "green", "ending": "yellow", "draining": "yellow"}
_SHORT = {"openai_realtime": "openai", "gemini_live": "gemini"}


@dataclass(frozen=True, kw_only=True)
class Manner:
    """``lines``: of the terminal; None: as many as it takes. ``problem``: why there is no newer
    look."""

    order: Order
    lines: int | None = None
    an_hour_micro_usd: int | None = None
    problem: str | None = None


def frame(look: Look, manner: Manner) -> RenderableType:
    told = warnings(look)
    if manner.problem is not None:
        told = [f"{manner.problem}; this is {_clock(look.at)}'s", *told]
    shown_warnings = _some(told, WARNINGS_SHOWN if manner.lines else None)
    nodes = _nodes(look.nodes["nodes"], NODES_SHOWN if manner.lines else None)
    ordered = rows(look, manner.order)
    most = None
    if manner.lines is not None:
        taken = FIXED_LINES + len(shown_warnings) + nodes.row_count
        most = max(LEAST_SESSIONS, manner.lines - taken)
    parts: list[RenderableType] = [
        *_head(look, manner),
        *(
            Text(f"! {line}", "yellow", no_wrap=True, overflow="ellipsis")
            for line in shown_warnings
        ),
        Text(),
        nodes,
        Text(),
        _Sessions(ordered[:most]),
    ]
    if manner.lines is not None:
        parts.append(_last_line(len(ordered[:most]), look.running, manner.order))
    return Group(*parts)


def _head(look: Look, manner: Manner) -> list[Text]:
    fleet, budget = look.fleet, look.fleet["budget"]
    limit = budget["limit_micro_usd"]
    an_hour = manner.an_hour_micro_usd
    running = {state: n for state, n in fleet["sessions"].items() if n and state != "gone"}
    return [
        Text.assemble(("fleet ", "bold"), (look.url, "cyan"), f"  {_clock(look.at)} UTC"),
        _line("sessions", {**running, "waiting": fleet["queue"]}).append(
            f"   slots {fleet['slots']['free']} of {fleet['slots']['total']} free"
        ),
        _line("actors", fleet["actors"]).append(
            f"   spent ${_dollars(budget['spent_micro_usd'])}"
            f" of {'no limit' if limit is None else f'${_dollars(limit)}'}"
            + ("" if an_hour is None else f", ${_dollars(an_hour)} an hour")
        ),
    ]


def _line(name: str, figures: Json) -> Text:
    line = Text(f"{name:<9}", no_wrap=True, overflow="ellipsis")
    for number, (what, count) in enumerate(figures.items()):
        line.append("  " if number else "").append(str(count), "bold").append(f" {what}")
    return line


def _nodes(found: Sequence[Json], most: int | None) -> Table:
    table = _table("node", "address", "host", "state")
    for name in ("live", "ready"):
        table.add_column(name, justify="right", no_wrap=True)
    shown = found[:most]
    for node in shown:
        table.add_row(
            Text(node["node_id"][:12]),
            Text(node["address"]),
            Text(node["host"]),
            Text(node["state"], _STATES.get(node["state"], "")),
            f"{node['live']}/{node['slots']}" if node.get("slots") else str(node["live"]),
            str(node["ready"]),
        )
    if len(shown) < len(found):
        table.add_row(f"and {len(found) - len(shown)} more")
    return table


@dataclass(frozen=True)
class _Sessions:
    """On a narrow terminal a session's id is whole, and what can be looked up by it is left out."""

    shown: Sequence[SessionRow]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield _sessions(self.shown, wide=options.max_width >= WIDE)


def _sessions(shown: Sequence[SessionRow], *, wide: bool) -> Table:
    table = _table("session", *(["study"] if wide else []), "provider", "state", "phase")
    table.columns[0].min_width = ID_CELLS
    if wide:
        table.add_column("speaks", no_wrap=True, overflow="ellipsis")
    for name in ("age", "spent", "limit"):
        table.add_column(name, justify="right", no_wrap=True, min_width=len("0.0000"))
    if wide:
        table.add_column("", no_wrap=True, min_width=BAR_CELLS)
    for row in shown:
        again = f" ({row.attempt})" if row.attempt > 1 else ""
        table.add_row(
            Text(row.session_id),
            *([Text(row.study_id)] if wide else []),
            Text(_SHORT.get(row.provider, row.provider)),
            Text(row.state + again, _STATES.get(row.state, "")),
            Text(row.phase),
            *([row.speaking] if wide else []),
            age(row.age_s),
            _dollars(row.spent_micro_usd, 4),
            _dollars(row.limit_micro_usd),
            *([_bar(row.share)] if wide else []),
        )
    return table


def _table(*columns: str) -> Table:
    table = Table(box=None, pad_edge=False, header_style="dim", expand=True)
    for name in columns:
        table.add_column(name, no_wrap=True, overflow="ellipsis")
    return table


def _last_line(shown: int, running: int, order: Order) -> Text:
    more = f"and {running - shown} more, " if running > shown else ""
    return Text(f"{more}by {order.value}   s: other order   q: quit", "dim")


def _bar(share: Decimal) -> Text:
    full = min(BAR_CELLS, int(share * BAR_CELLS))
    colour = "red" if share >= Decimal("0.9") else "yellow" if share >= Decimal("0.5") else "green"
    return Text.assemble(("━" * full, colour), ("─" * (BAR_CELLS - full), "dim"))


def age(seconds: float) -> str:
    minutes, left = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def _some(lines: Sequence[str], most: int | None) -> list[str]:
    if most is None or len(lines) <= most:
        return list(lines)
    return [*lines[: most - 1], f"and {len(lines) - most + 1} more"]


def _dollars(micro_usd: int, places: int = 2) -> str:
    return f"{Decimal(micro_usd) / MICRO:.{places}f}"


def _clock(at: float) -> str:
    return f"{datetime.fromtimestamp(at, UTC):%H:%M:%S}"
