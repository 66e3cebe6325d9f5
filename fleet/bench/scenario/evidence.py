"""What everybody says of each session once it is over: the fleet, its ledger, the providers."""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx

PICO_PER_MICRO = 1_000_000
ANSWER_S = 120.0
LOOK_S = 1.0
_NEVER = "9999"
"""After every time of ISO 8601."""
PAGE = 200


@dataclass(frozen=True, kw_only=True)
class Told:
    """One session. ``seen``: as its backend wrote it down; None: that knows nothing of it."""

    record: Mapping[str, Any]
    ledger_micro_usd: int
    invoice_pico_usd: int
    unpriced: int
    seen: Mapping[str, Any] | None

    @property
    def over_micro_usd(self) -> int:
        """What the provider bills beyond the session's limit."""
        limit_pico = int(self.record["limit_micro_usd"]) * PICO_PER_MICRO
        return max(0, self.invoice_pico_usd - limit_pico) // PICO_PER_MICRO

    @property
    def ledger_less_invoice_micro_usd(self) -> int:
        """The ledger rounds each provider's part up to micro-dollars."""
        return self.ledger_micro_usd - -(-self.invoice_pico_usd // PICO_PER_MICRO)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    sessions: tuple[Told, ...]
    outcomes: tuple[Mapping[str, Any], ...]
    orphan_pico_usd: int
    """Billed for provider sessions that no session's record knows."""
    doubled: int
    """Participants for whom two agents were in rooms at once, or who have two sessions that came
    to pass. A dispatch that failed leaves a record too, and the same key then makes a session."""
    lost: int
    """Sessions that have no end, whether a backend knows of them or the fleet alone."""


def read_lines(path: Path) -> list[Any]:
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


async def gather(
    api_url: str,
    study: str,
    simulators: Sequence[str],
    outcomes: Sequence[Mapping[str, Any]],
) -> Evidence:
    """``simulators``: their control URLs. Raises httpx.HTTPError."""
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        records = await records_of(http, api_url, study)
        ledger = await _ledger(http, api_url, study)
        invoices: dict[str, dict[str, Any]] = {}
        for url in simulators:
            answer = await http.get(f"{url}/invoices", params={"match": f"[{study}/"})
            answer.raise_for_status()
            invoices |= {each["session_id"]: each for each in answer.json()["invoices"]}
    return combine(records, ledger, invoices, outcomes)


async def end_all(api_url: str, study: str, deadline_s: float) -> bool:
    """End what is left of a study whose backends have gone. Whether all was gone by the deadline.

    One may have been asked for in the very moment in which its backend went.
    """
    until, told = time.monotonic() + deadline_s, set[str]()
    async with httpx.AsyncClient(timeout=ANSWER_S) as http:
        while time.monotonic() < until:
            left = [
                record["session_id"]
                for record in await records_of(http, api_url, study)
                if record["state"] != "gone"
            ]
            if not left:
                return True
            for session_id in set(left) - told:
                await http.delete(f"{api_url}/v1/sessions/{session_id}")
                told.add(session_id)
            await asyncio.sleep(LOOK_S)
    return False


async def records_of(http: httpx.AsyncClient, api_url: str, study: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    cursor: str | None = None
    while True:
        parameters = {"study_id": study, "limit": str(PAGE)}
        answer = await http.get(
            f"{api_url}/v1/sessions", params=parameters | ({"cursor": cursor} if cursor else {})
        )
        answer.raise_for_status()
        page = answer.json()
        found += page["sessions"]
        cursor = page["next_cursor"]
        if cursor is None:
            return found


async def _ledger(http: httpx.AsyncClient, api_url: str, study: str) -> dict[str, int]:
    answer = await http.get(f"{api_url}/v1/studies/{study}/cost.csv")
    answer.raise_for_status()
    sums: Counter[str] = Counter()
    for row in csv.DictReader(io.StringIO(answer.text)):
        sums[row["session_id"]] += int(row["micro_usd"])
    return dict(sums)


def _doubled(records: Sequence[Mapping[str, Any]]) -> int:
    stays: dict[str, list[tuple[str, str, bool]]] = defaultdict(list)
    for record in records:
        if record["joined_at"]:
            stay = (record["joined_at"], record["ended_at"] or _NEVER, record["error"] is None)
            stays[record["participant_identity"]].append(stay)
    return sum(
        _overlap(of_one) or sum(passed for *_, passed in of_one) > 1 for of_one in stays.values()
    )


def _overlap(stays: list[tuple[str, str, bool]]) -> bool:
    return any(one[1] > other[0] for one, other in pairwise(sorted(stays)))


def combine(
    records: Sequence[Mapping[str, Any]],
    ledger: Mapping[str, int],
    invoices: Mapping[str, Mapping[str, Any]],
    outcomes: Sequence[Mapping[str, Any]],
) -> Evidence:
    """Pure. ``invoices``: by the provider's session id; ``ledger``: by ours."""
    seen = {each["session_id"]: each for each in outcomes if each["session_id"]}
    claimed: set[str] = set()
    sessions = []
    for record in records:
        own = [invoices[s] for s in dict.fromkeys(record["provider_sessions"]) if s in invoices]
        claimed |= {each["session_id"] for each in own}
        told = [line["usage_sent"] for each in own for line in each["responses"]]
        sessions.append(
            Told(
                record=record,
                ledger_micro_usd=ledger.get(record["session_id"], 0),
                invoice_pico_usd=sum(each["total_pico_usd"] for each in own),
                unpriced=told.count(False),
                seen=seen.get(record["session_id"]),
            )
        )
    ended = {record["session_id"] for record in records if record["state"] == "gone"}
    return Evidence(
        sessions=tuple(sessions),
        outcomes=tuple(outcomes),
        orphan_pico_usd=sum(
            invoice["total_pico_usd"] for key, invoice in invoices.items() if key not in claimed
        ),
        doubled=_doubled(records),
        lost=len((set(seen) | {record["session_id"] for record in records}) - ended),
    )
