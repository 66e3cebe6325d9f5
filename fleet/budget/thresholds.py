"""Which chosen fractions of a limit were crossed, and what is told of it. Pure.

A scope (a session, a study, the fleet) keeps a mark: the limit it was last looked at under, and
the fractions reached. What follows from a new standing is the new mark and the crossings to tell.
The mark is written together with its notices, so each is told from the ledger, once decided.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any

from agent_actor.contract import utc_iso
from fleet.budget.costs import usd_string

PPM = 1_000_000
EVENT_TYPE = "budget.fraction_reached"


class ScopeKind(StrEnum):
    SESSION = "session"
    STUDY = "study"
    FLEET = "fleet"


@dataclass(frozen=True, kw_only=True)
class Scope:
    kind: ScopeKind
    id: str | None = None
    """None for the fleet."""

    @property
    def name(self) -> str:
        return self.kind.value if self.id is None else f"{self.kind.value}:{self.id}"


@dataclass(frozen=True, kw_only=True)
class Mark:
    limit: int | None = None
    reached_ppm: tuple[int, ...] = ()
    told: int = 0
    """Crossings so far: the number of the last one."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), separators=(",", ":"))

    @classmethod
    def from_json(cls, text: str) -> Mark:
        return cls.of(json.loads(text))

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Mark:
        return cls(**{**state, "reached_ppm": tuple(state["reached_ppm"])})


@dataclass(frozen=True, kw_only=True)
class Crossing:
    number: int
    fraction_ppm: int
    limit: int
    spent: int


@dataclass(frozen=True, kw_only=True)
class Notice:
    """What is delivered, as it is sent each time."""

    id: str
    body: str

    @property
    def at(self) -> float:
        """When it happened, epoch seconds."""
        return datetime.fromisoformat(json.loads(self.body)["timestamp"]).timestamp()


@dataclass(frozen=True, kw_only=True)
class MarkChange:
    """A study's or the fleet's new mark, with the notices that it brought."""

    scope: str
    mark: str
    notices: tuple[Notice, ...] = ()

    def after(self, earlier: MarkChange) -> MarkChange:
        """This one, with the notices of an earlier, unwritten one."""
        notices = (*earlier.notices, *self.notices)
        return MarkChange(scope=self.scope, mark=self.mark, notices=notices)


def step(
    mark: Mark, fractions_ppm: Sequence[int], limit: int | None, spent: int
) -> tuple[Mark, tuple[Crossing, ...]]:
    """A fraction is told once under a limit, however ``spent`` moves after. A raised limit arms
    those again that are not reached under it; a lowered one tells those that it makes reached. A
    limit of none or zero has no fractions: whoever set that to zero needs not be told.
    """
    if not limit:
        return mark, ()
    reached = tuple(f for f in fractions_ppm if spent * PPM >= f * limit)
    raised = mark.limit is not None and limit > mark.limit
    before = tuple(f for f in mark.reached_ppm if f in reached) if raised else mark.reached_ppm
    new = sorted(set(reached) - set(before))
    crossings = tuple(
        Crossing(number=mark.told + n, fraction_ppm=f, limit=limit, spent=spent)
        for n, f in enumerate(new, start=1)
    )
    return Mark(limit=limit, reached_ppm=(*before, *new), told=mark.told + len(new)), crossings


def notice_of(crossing: Crossing, scope: Scope, *, ledger_id: str, at: float) -> Notice:
    """The id follows from what happened, so finding it again after a crash gives the same one."""
    event = f"{ledger_id}/{scope.name}/{crossing.number}"
    id_ = "evt_" + hashlib.sha256(event.encode()).hexdigest()[:32]
    when = utc_iso(datetime.fromtimestamp(at, UTC))
    data = {
        "scope": {"kind": scope.kind.value, "id": scope.id},
        "fraction": crossing.fraction_ppm / PPM,
        "limit_micro_usd": crossing.limit,
        "limit_usd": usd_string(crossing.limit),
        "spent_micro_usd": crossing.spent,
        "spent_usd": usd_string(crossing.spent),
        "at": when,
    }
    body = {"id": id_, "type": EVENT_TYPE, "timestamp": when, "data": data}
    return Notice(id=id_, body=json.dumps(body, separators=(",", ":")))
