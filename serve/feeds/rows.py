"""What the feeds tell, as rows of ``serve.feeds.tables``.

Money is micro-dollars, times are epoch seconds, both as JSON numbers: a page divides and formats.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from fleet.budget.costs import BudgetTotals, MinuteCost, SessionCost
from fleet.journal import JournalEntry, LiveState
from fleet.nodes import FleetNodes
from fleet.records import SessionRecord
from serve.feeds.tables import Row
from serve.ports import Crew


def session_row(record: SessionRecord) -> Row:
    """What its record says, but for the money: see ``spending``."""
    return {
        "study": record.study_id,
        "participant": record.participant_identity,
        "provider": record.provider,
        "model": record.model,
        "state": record.state.value,
        "attempt": record.attempt,
        "created": round(record.created_at, 3),
        "joined": _moment(record.first_joined_at or record.joined_at),
        "limit": record.limit_micro_usd,
        "node": record.node_id,
    }


def ended_row(record: SessionRecord) -> Row:
    """Beside ``session_row``, for a session's own page."""
    return {
        "room": record.room,
        "language": record.language,
        "ended": _moment(record.ended_at),
        "end_reason": record.end_reason.value if record.end_reason else None,
        "error": record.error_code,
        "erased": record.erased_at is not None,
        "timeout_s": record.session_timeout_s,
    }


def live_row(live: LiveState | None) -> Row:
    """What its actor says of this second."""
    if live is None:
        return {"phase": None, "phase_id": None, "phases": 0, "speaking": None, "present": False}
    return {
        "phase": live.phase_index,
        "phase_id": live.phase_id,
        "phases": live.phase_count,
        "speaking": live.speaking,
        "present": live.participant_present,
    }


def spending(record: SessionRecord, live: LiveState | None) -> Row:
    """The actor knows first; what is lost with it stands in the record."""
    spent = max(record.spent_micro_usd, live.spent_micro_usd if live else 0)
    under_way = live.estimate_micro_usd if live and not record.is_gone else 0
    return {"spent": spent, "estimate": under_way}


def fleet_row(crew: Crew | None, totals: BudgetTotals | None) -> Row:
    """Only what could be read."""
    row: dict[str, Any] = {"crew_known": crew is not None, "money_known": totals is not None}
    if crew is not None:
        row |= {
            "warm": crew.warm,
            "reserved": crew.reserved,
            "live": crew.live,
            "starting": crew.starting,
            "slots": crew.slots,
            "free": crew.free,
            "queue": crew.queue,
            "wait_s": None if crew.estimated_wait_s is None else round(crew.estimated_wait_s, 1),
        }
    if totals is not None:
        row |= {
            "spent": totals.spent_micro_usd,
            "estimate": totals.estimate_micro_usd,
            "limit": totals.limit_micro_usd,
        }
    return row


def node_rows(nodes: FleetNodes) -> dict[str, Row]:
    return {
        node.node_id: {
            "address": node.address,
            "host": node.host,
            "state": node.state.value,
            "live": node.live,
            "ready": node.ready,
            "deadline": node.drain.deadline if node.drain else None,
        }
        for node in nodes.nodes
    }


def cost_row(cost: SessionCost) -> Row:
    """The budget's figures of a session."""
    return {
        "allowance": cost.allowance_micro_usd,
        "verdict": cost.verdict.value,
        "responses": cost.responses,
        "unpriced": cost.unpriced_responses,
        "tokens_in": cost.tokens.input_total,
        "tokens_out": cost.tokens.output_total,
    }


def minute_rows(minutes: Iterable[MinuteCost]) -> dict[str, dict[str, int]]:
    """By minute (epoch seconds, as text): what each provider cost in it."""
    rows: dict[str, dict[str, int]] = {}
    for minute in minutes:
        rows.setdefault(str(minute.minute_epoch), {})[minute.provider] = minute.micro_usd
    return rows


def entry_row(entry: JournalEntry) -> Row:
    event = entry.event
    return {
        "kind": event.kind.value,
        "at": round(event.at, 3),
        "attempt": event.attempt,
        "data": event.data,
    }


def _moment(at: float | None) -> float | None:
    return None if at is None else round(at, 3)
