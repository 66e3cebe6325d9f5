"""Changing what a session or a study may spend while it runs.

First the budget actor decides and writes it down, then the new allowances go straight to the
sessions. Where that fails the change still holds: a session learns of it with its next report.
Setting the same limit again changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance
from fleet.errors import FleetError

log = structlog.get_logger(__name__)


class LimitBook(Protocol):
    """The budget actor's part. Raises BudgetUnavailable."""

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None: ...

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]: ...


class Restrainer(Protocol):
    """The supervisor's part."""

    async def restrain(self, allowances: Sequence[Allowance], *, stop: bool) -> int: ...


@dataclass(frozen=True, kw_only=True)
class LimitChange:
    """``told``: how many running sessions have taken it already."""

    allowances: tuple[Allowance, ...]
    told: int


class LimitChanger:
    def __init__(self, book: LimitBook, sessions: Restrainer) -> None:
        self._book = book
        self._sessions = sessions

    async def of_session(self, session_id: str, micro_usd: int) -> LimitChange | None:
        """Zero ends it at once. None: no such account. Raises BudgetUnavailable."""
        allowance = await self._book.set_limit(SessionId(session_id), micro_usd)
        return None if allowance is None else await self._told((allowance,), stop=micro_usd == 0)

    async def of_study(self, study_id: str, micro_usd: int | None) -> LimitChange:
        """None: no limit but the fleet's. Zero ends all its sessions at once. A study that has
        no session yet may be given its limit too. Raises BudgetUnavailable.
        """
        allowances = await self._book.set_study_limit(study_id, micro_usd)
        return await self._told(tuple(allowances), stop=micro_usd == 0)

    async def _told(self, allowances: tuple[Allowance, ...], *, stop: bool) -> LimitChange:
        told = 0
        try:
            if allowances:
                told = await self._sessions.restrain(allowances, stop=stop)
        except FleetError as error:
            log.warning("limit_not_handed_on", sessions=len(allowances), error=str(error))
        return LimitChange(allowances=allowances, told=told)
