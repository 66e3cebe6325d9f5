"""What a study or a session cost, as rows: one for each session, provider and minute.

Read from the ledger, a page of sessions at a time: closed accounts are nowhere else, and a study
may have more rows than fit in memory. A page is one moment of each of its sessions; a study that
is under way goes on while it is read. Raises BudgetUnavailable.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

from agent_actor.contract import SessionId
from fleet.budget.account import Account
from fleet.budget.costs import as_minutes
from fleet.budget.ledger import Ledger

PAGE_SESSIONS = 100


@dataclass(frozen=True, kw_only=True)
class CostRow:
    """``model``: the last one that the session used of this provider."""

    study_id: str
    session_id: str
    provider: str
    model: str
    minute_epoch: int
    micro_usd: int


class CostExport:
    """Reads only; it needs no epoch and no budget actor."""

    def __init__(self, ledger: Ledger, page_sessions: int = PAGE_SESSIONS) -> None:
        self._ledger = ledger
        self._page_sessions = page_sessions

    async def of_study(self, study_id: str) -> AsyncIterator[tuple[CostRow, ...]]:
        """A tuple for each page, also an empty one; none at all if no session has an account. In
        order of session, minute, provider.
        """
        after = ""
        while ids := await self._ledger.sessions_of(study_id, after, self._page_sessions):
            accounts = {a.session_id: a for a in await self._ledger.accounts(ids)}
            yield tuple(row for id_ in ids if id_ in accounts for row in rows_of(accounts[id_]))
            after = ids[-1]

    async def of_session(self, session_id: str) -> tuple[CostRow, ...]:
        """Empty also where there is no account."""
        accounts = await self._ledger.accounts([SessionId(session_id)])
        return tuple(row for account in accounts for row in rows_of(account))

    async def aclose(self) -> None:
        await self._ledger.aclose()


def rows_of(account: Account) -> tuple[CostRow, ...]:
    models = {r.provider: r.model for _, r in sorted(account.reports.items())}
    return tuple(
        CostRow(
            study_id=account.study_id,
            session_id=account.session_id,
            provider=minute.provider,
            model=models.get(minute.provider, ""),
            minute_epoch=minute.minute_epoch,
            micro_usd=minute.micro_usd,
        )
        for minute in as_minutes(account.minutes)
    )
