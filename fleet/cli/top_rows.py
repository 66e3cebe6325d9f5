"""What ``fleet top`` shows, worked out of what the API said: rows, warnings, the cost by the hour.
Pure.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any

Json = Mapping[str, Any]

NEAR_ITS_LIMIT = Decimal("0.9")
SHORTEST_SPAN_S = 5.0
"""Two readings of what was spent that lie closer together say nothing about an hour."""
MICRO = 1_000_000


@dataclass(frozen=True, kw_only=True)
class Look:
    """The API's answers of one moment (``at``, epoch seconds). ``sessions``: those that are not
    gone, each as in ``GET /v1/sessions?live=true``; fewer than ``running`` if those are many."""

    at: float
    url: str
    fleet: Json
    nodes: Json
    sessions: Sequence[Json]

    @property
    def running(self) -> int:
        return sum(n for state, n in self.fleet["sessions"].items() if state != "gone")


class Order(StrEnum):
    """Of the sessions: what is most of it comes first."""

    SPEND = "spend"
    LIMIT = "limit"
    """The share of its limit that is spent."""
    AGE = "age"

    @property
    def next(self) -> Order:
        orders = list(Order)
        return orders[(orders.index(self) + 1) % len(orders)]


@dataclass(frozen=True, kw_only=True)
class SessionRow:
    """``spent_micro_usd``: billed, and the response under way. ``phase``: which of how many, and
    its id; empty before the first."""

    session_id: str
    study_id: str
    provider: str
    state: str
    phase: str
    speaking: str
    attempt: int
    age_s: float
    spent_micro_usd: int
    limit_micro_usd: int

    @property
    def share(self) -> Decimal:
        """Of its limit; 1 where that is zero."""
        if self.limit_micro_usd <= 0:
            return Decimal(1)
        return Decimal(self.spent_micro_usd) / self.limit_micro_usd


def rows(look: Look, order: Order) -> list[SessionRow]:
    found = (_row(session, look.at) for session in look.sessions)
    # By name among equals, or they would change places from frame to frame.
    by_name = sorted(found, key=lambda row: row.session_id)
    return sorted(by_name, key=lambda row: _measure(row, order), reverse=True)


def warnings(look: Look) -> list[str]:
    """What somebody should know of, the gravest first; each is one line."""
    return [*_drains(look), *_crowding(look), *_money(look), *_simulated(look)]


def micro_usd_an_hour(readings: Sequence[tuple[float, int]]) -> int | None:
    """Of what was spent in all (epoch seconds, micro-dollars), oldest first. None: not known."""
    if len(readings) < 2:
        return None
    (began, before), (ended, after) = readings[0], readings[-1]
    if ended - began < SHORTEST_SPAN_S:
        return None
    return max(0, round((after - before) * 3600 / (ended - began)))


def clock(rfc3339: str) -> str:
    """Its time of day, to the second."""
    return f"{datetime.fromisoformat(rfc3339):%H:%M:%S}"


def _measure(row: SessionRow, order: Order) -> Decimal:
    match order:
        case Order.SPEND:
            return Decimal(row.spent_micro_usd)
        case Order.LIMIT:
            return row.share
        case Order.AGE:
            return Decimal(row.age_s)


def _row(session: Json, now: float) -> SessionRow:
    live: Json = session.get("live") or {}
    spent = live.get("spent_micro_usd", 0) + live.get("estimate_micro_usd", 0)
    return SessionRow(
        session_id=session["session_id"],
        study_id=session["study_id"],
        provider=session["provider"],
        state=live.get("state") or session["state"],
        phase=_phase(live),
        speaking=live.get("speaking") or "",
        attempt=session["attempt"],
        age_s=max(0.0, now - datetime.fromisoformat(session["created_at"]).timestamp()),
        # The record's is written at the end of an attempt, and may then be the higher one.
        spent_micro_usd=max(spent, session["spent_micro_usd"]),
        limit_micro_usd=session["limit_micro_usd"],
    )


def _phase(live: Json) -> str:
    index = live.get("phase_index")
    return "" if index is None else f"{index + 1}/{live['phase_count']} {live['phase_id']}"


def _drains(look: Look) -> Iterator[str]:
    if fleet := look.nodes["fleet_drain"]:
        yield f"the whole fleet drains until {clock(fleet['deadline'])}, {look.nodes['live']} live"
    for node in look.nodes["nodes"]:
        if node["drain"] is None:
            continue
        if node["state"] == "drained":
            yield f"node {node['address']} is drained"
        else:
            until = clock(node["drain"]["deadline"])
            yield f"node {node['address']} drains until {until}, {node['live']} live"


def _crowding(look: Look) -> Iterator[str]:
    fleet = look.fleet
    if fleet["queue"]:
        wait = fleet["estimated_wait_s"]
        expected = "nobody knows how long" if wait is None else f"about {wait:.0f} s"
        yield f"{fleet['queue']} waiting for an actor, {expected}"
    if fleet["slots"]["free"] <= 0:
        yield "all slots are taken"
    elif not fleet["actors"]["warm"]:
        yield "no actor is warm"


def _money(look: Look) -> Iterator[str]:
    budget = look.fleet["budget"]
    limit = budget["limit_micro_usd"]
    if limit is not None and budget["spent_micro_usd"] >= NEAR_ITS_LIMIT * limit:
        yield f"the fleet has spent {_percent(budget['spent_micro_usd'], limit)} of its limit"
    near = sum(row.share >= NEAR_ITS_LIMIT for row in rows(look, Order.LIMIT))
    if near:
        yield f"{near} near the limit: {NEAR_ITS_LIMIT:.0%} spent or more"


def _simulated(look: Look) -> Iterator[str]:
    for provider in look.fleet["providers"]:
        if provider["simulated"]:
            yield f"{provider['provider']}: a simulator speaks, no real model"


def _percent(part: int, whole: int) -> str:
    return "100%" if whole <= 0 else f"{Decimal(part) / whole:.0%}"
