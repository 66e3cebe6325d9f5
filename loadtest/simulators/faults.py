"""What goes wrong on request. Pure: a book of pending faults, each taken a number of times."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


class FaultKind(StrEnum):
    """Every fault a simulator may know; each provider names those it supports."""

    DROP_MID_RESPONSE = "drop_mid_response"
    HTTP_429 = "http_429"
    INSUFFICIENT_QUOTA = "insufficient_quota"
    MALFORMED_EVENT = "malformed_event"
    NO_USAGE = "no_usage"
    SLOW = "slow"
    REFUSE = "refuse"
    NEVER_ANSWER = "never_answer"
    GO_AWAY = "go_away"
    FORGET_HANDLE = "forget_handle"


# These strike before a session is configured, so they can only match the model or the key's end.
CONNECTION_FAULTS = frozenset({FaultKind.HTTP_429, FaultKind.REFUSE, FaultKind.NEVER_ANSWER})


@dataclass(kw_only=True)
class Fault:
    """A pending fault. `remaining` None means until it is deleted; `match` None means anyone."""

    fault_id: str
    kind: FaultKind
    match: str | None = None
    remaining: int | None = 1
    params: dict[str, Any] = field(default_factory=dict)

    def applies_to(self, subjects: Iterable[str]) -> bool:
        return self.match is None or any(self.match in subject for subject in subjects)

    def number(self, name: str, default: float) -> float:
        """A numeric parameter. Raises ValueError when it is not a number."""
        return float(self.params.get(name, default))

    def texts(self, default: str) -> list[str]:
        """What to send instead of events: the parameter ``texts``, or ``text``, or the default."""
        given = self.params.get("texts") or [self.params.get("text", default)]
        return [str(text) for text in given]


class FaultBook:
    """Pending faults, oldest first."""

    def __init__(self, *, supported: Iterable[FaultKind] = FaultKind) -> None:
        self.supported = frozenset(supported)
        self._faults: list[Fault] = []
        self._added = 0
        self.struck: dict[str, int] = {}

    def add(
        self,
        *,
        kind: str,
        match: str | None = None,
        count: int | None = 1,
        params: dict[str, Any] | None = None,
    ) -> Fault:
        """Queue a fault. Raises ValueError on a kind this provider lacks or a count under 1."""
        chosen = FaultKind(kind)
        if chosen not in self.supported:
            raise ValueError(f"this provider has no fault {kind!r}")
        if count is not None and count < 1:
            raise ValueError("count must be at least 1, or null for no limit")
        self._added += 1
        fault = Fault(
            fault_id=f"fault_{self._added}",
            kind=chosen,
            match=match,
            remaining=count,
            params=params or {},
        )
        self._faults.append(fault)
        return fault

    def take(self, kind: FaultKind, *subjects: str) -> Fault | None:
        """The oldest fault of `kind` that applies to one of `subjects`; uses it up by one."""
        for fault in self._faults:
            if fault.kind is kind and fault.applies_to(subjects):
                self.struck[kind] = self.struck.get(kind, 0) + 1
                if fault.remaining is not None:
                    fault.remaining -= 1
                    if fault.remaining == 0:
                        self._faults.remove(fault)
                return fault
        return None

    def clear(self) -> int:
        """Forget all pending faults; returns how many there were."""
        count = len(self._faults)
        self._faults.clear()
        return count

    def as_json(self) -> list[dict[str, Any]]:
        return [asdict(fault) for fault in self._faults]
