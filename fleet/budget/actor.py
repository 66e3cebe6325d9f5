"""The named Ray actor "budget": a Book behind remote methods.

It restarts without limit and finds everything again in the ledger; each of its methods can be
called again after any failure. All of them raise BudgetUnavailable.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport
from agent_actor.redis_client import open_redis
from fleet.budget.book import Book, BookConfig
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost
from fleet.budget.ledger import Ledger
from fleet.budget.webhook import Courier, WebhookConfig
from fleet.collector import Collector
from fleet.logs import configure_logs
from fleet.owned_tasks import OwnedTasks


@dataclass(frozen=True, kw_only=True)
class BudgetConfig:
    redis_url: str = field(repr=False)
    redis_namespace: str
    redis_timeout_s: float
    book: BookConfig
    webhook: WebhookConfig | None = None


class BudgetActor:
    def __init__(self, config: BudgetConfig) -> None:
        configure_logs("budget")
        self._config = config
        self._book: Book | None = None
        self._tasks = OwnedTasks("budget")
        self._starting = asyncio.Lock()

    async def open(
        self, session_id: str, study_id: str, provider: str, limit_micro_usd: int
    ) -> Allowance:
        """An account for a session, or a further attempt of one. An allowance that says END
        means that study or fleet have nothing left: do not start it.
        """
        book = await self._ready()
        return await book.open(
            session_id=SessionId(session_id),
            study_id=study_id,
            provider=provider,
            limit_micro_usd=limit_micro_usd,
        )

    async def report(self, report: UsageReport) -> Allowance:
        """Take a cumulative report, answer what the session may spend from now on."""
        return await (await self._ready()).report(report)

    async def report_batch(self, reports: list[UsageReport]) -> list[Allowance]:
        """Many at once: one message, one write. Allowances in the order of the reports."""
        return await (await self._ready()).report_batch(reports)

    async def close(
        self, session_id: str, reports: Sequence[UsageReport] = ()
    ) -> SessionCost | None:
        """The session is over; what it did not spend returns. ``reports``: the last ones of its
        attempts, as their results carry them: they may not have been delivered before. None:
        there was no account.
        """
        return await (await self._ready()).close(SessionId(session_id), reports)

    async def cost(self, session_id: str) -> SessionCost | None:
        return await (await self._ready()).cost(SessionId(session_id))

    async def study_cost(self, study_id: str) -> StudyCost | None:
        return (await self._ready()).study_cost(study_id)

    async def totals(self) -> BudgetTotals:
        return (await self._ready()).totals()

    async def set_limit(self, session_id: str, micro_usd: int) -> Allowance | None:
        """Raise, lower, or 0 to stop now. Hand the answer to the session (``restrain``): it would
        otherwise learn of it with its next report. None: no such account.
        """
        return await (await self._ready()).set_limit(SessionId(session_id), micro_usd)

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]:
        """New allowances of the study's open sessions, to be handed to them."""
        return await (await self._ready()).set_study_limit(study_id, micro_usd)

    async def set_fleet_limit(self, micro_usd: int | None) -> list[Allowance]:
        return await (await self._ready()).set_fleet_limit(micro_usd)

    async def overdue(self, grace_s: float) -> list[SessionId]:
        """Sessions that should have ended more than ``grace_s`` ago and have not: told to end, or
        silent since their lease ran out. The longest first; for whoever can make them.
        """
        return (await self._ready()).overdue(grace_s)

    async def open_sessions(self) -> list[SessionId]:
        """Every session with an open account."""
        return (await self._ready()).open_sessions()

    async def pid(self) -> int:
        """Of its process, for those who test its end."""
        return os.getpid()

    async def ping(self) -> int:
        """The epoch under which it grants."""
        return (await self._ready()).epoch

    async def _ready(self) -> Book:
        if self._book is not None:
            return self._book
        async with self._starting:
            if self._book is None:
                self._book = await self._started()
        return self._book

    async def _started(self) -> Book:
        config = self._config
        redis = open_redis(config.redis_url, timeout_s=config.redis_timeout_s)
        ledger = Ledger(redis, config.redis_namespace)
        if config.webhook is None:
            book = Book(ledger, config.book, now=time.time)
        else:
            courier = Courier(config.webhook, ledger)
            book = Book(ledger, config.book, now=time.time, on_notices=courier.hand)
        try:
            await book.start()
        except BaseException:
            await book.aclose()
            raise
        if config.webhook is not None:
            self._tasks.start(courier.run())
        # A collection of all accounts would keep everyone waiting, again and again.
        Collector().install()
        return book
