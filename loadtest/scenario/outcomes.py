"""What came of an interview, and the file of those: a JSON line each, written as they end."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from loadtest.scenario.fates import Plan

CUT_OFF = "cut_off"
"""The run ended before the interview did."""


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One interview as its backend saw it. Epochs in seconds; None: it never came so far."""

    number: int
    identity: str
    fate: str
    provider: str
    asked_epoch_s: float
    meant: str
    """The end reason that it was to have."""
    session_id: str | None = None
    end_reason: str | None = None
    """`cut_off` where the run ended first."""
    problem: str | None = None
    dispatch_s: float | None = None
    """From the request to the session's actor in the room."""
    turned_away: int = 0
    asked: int = 1
    """Requests for it that reached no answer or a refusal that may pass, and the last."""
    created_at: str | None = None
    joined_at: str | None = None
    ended_at: str | None = None
    error_code: str | None = None
    attempt: int = 0
    limit_micro_usd: int = 0
    spent_micro_usd: int = 0
    responses: int = 0

    @property
    def as_meant(self) -> bool:
        return self.problem is None and self.end_reason in (self.meant, CUT_OFF)

    def as_json(self) -> dict[str, Any]:
        return {**asdict(self), "as_meant": self.as_meant}


def of_record(
    plan: Plan,
    record: Mapping[str, Any],
    cost: Mapping[str, Any],
    *,
    cut_off: bool = False,
    **seen: Any,
) -> Outcome:
    """From a session's record and cost, as the API has them, and what its backend saw itself."""
    error = record.get("error") or {}
    return Outcome(
        number=plan.number,
        fate=plan.fate.value,
        provider=record.get("provider", plan.provider),
        meant=plan.end_reason,
        session_id=record.get("session_id"),
        end_reason=CUT_OFF if cut_off else record.get("end_reason"),
        created_at=record.get("created_at"),
        joined_at=record.get("joined_at"),
        ended_at=record.get("ended_at"),
        error_code=error.get("code"),
        attempt=record.get("attempt", 0),
        limit_micro_usd=cost.get("limit_micro_usd", record.get("limit_micro_usd", 0)),
        spent_micro_usd=cost.get("spent_micro_usd", record.get("spent_micro_usd", 0)),
        responses=cost.get("responses", 0),
        **seen,
    )


class OutcomeFile:
    """Appends; `path` None: nowhere. A line is written whole, in one call."""

    def __init__(self, path: Path | None) -> None:
        self._path = path
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)

    def write(self, outcome: Outcome) -> None:
        if self._path is not None:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(outcome.as_json()) + "\n")
