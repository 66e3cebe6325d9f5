"""Changing what a session or a study may spend while it runs.

First the budget actor decides and writes it down, then the new allowances go straight to the
sessions, and a session's record is told its new limit. Where those fail the change still holds:
a session learns of it with its next report, the record with the next change.
Setting the same limit again changes nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, Unpack

import structlog

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance
from fleet.errors import FleetError
from fleet.records import RecordFacts

log = structlog.get_logger(__name__)

MOST_RACES = 5


class LimitBook(Protocol):
    """The budget actor's part. Raises BudgetUnavailable."""

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None: ...

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]: ...

    async def limit_of(self, session_id: SessionId) -> int | None: ...


class Restrainer(Protocol):
    """The supervisor's part."""

    async def restrain(self, allowances: Sequence[Allowance], *, stop: bool) -> int: ...


class LimitRecords(Protocol):
    """The registry's part."""

    async def add_facts(self, session_id: str, **facts: Unpack[RecordFacts]) -> object: ...


@dataclass(frozen=True, kw_only=True)
class LimitChange:
    """``told``: how many running sessions have taken it already."""

    allowances: tuple[Allowance, ...]
    told: int


class LimitChanger:
    def __init__(self, book: LimitBook, sessions: Restrainer, records: LimitRecords) -> None:
        self._book = book
        self._sessions = sessions
        self._records = records

    async def of_session(self, session_id: str, micro_usd: int) -> LimitChange | None:
        """Zero ends it at once. None: no such account. Raises BudgetUnavailable."""
        allowance = await self._book.set_limit(SessionId(session_id), micro_usd)
        if allowance is None:
            return None
        change, _ = await asyncio.gather(
            self._told((allowance,), stop=micro_usd == 0),
            self._record(SessionId(session_id), allowance.limit_micro_usd),
        )
        return change

    async def of_study(self, study_id: str, micro_usd: int | None) -> LimitChange:
        """None: no limit but the fleet's. Zero ends all its sessions at once. A study that has
        no session yet may be given its limit too. Raises BudgetUnavailable.
        """
        allowances = await self._book.set_study_limit(study_id, micro_usd)
        return await self._told(tuple(allowances), stop=micro_usd == 0)

    async def _record(self, session_id: SessionId, limit: int) -> None:
        """Of two changes at once, the one that the book took last stands in the record too."""
        try:
            for _ in range(MOST_RACES):
                await self._records.add_facts(session_id, limit_micro_usd=limit)
                in_force = await self._book.limit_of(session_id)
                if in_force is None or in_force == limit:
                    return
                limit = in_force
        except FleetError as error:
            log.warning("limit_not_recorded", session_id=session_id, error=str(error))

    async def _told(self, allowances: tuple[Allowance, ...], *, stop: bool) -> LimitChange:
        told = 0
        try:
            if allowances:
                told = await self._sessions.restrain(allowances, stop=stop)
        except FleetError as error:
            log.warning("limit_not_handed_on", sessions=len(allowances), error=str(error))
        return LimitChange(allowances=allowances, told=told)
