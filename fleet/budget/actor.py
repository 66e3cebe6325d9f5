"""The named Ray actor "budget": a Book behind remote methods.

It restarts without limit and finds everything again in the ledger; each of its methods can be
called again after any failure. All of them raise BudgetUnavailable. Once another cluster's has
taken the ledger over it passes on what its sessions ask (``fleet.budget.succession``).
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

import structlog

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport
from agent_actor.owned_tasks import OwnedTasks
from agent_actor.redis_client import open_redis
from fleet.budget.book import Book, BookConfig
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost
from fleet.budget.ledger import BudgetFenced, Ledger
from fleet.budget.succession import METHODS, Deputy, Line, serve_deputies
from fleet.budget.webhook import Courier, WebhookConfig
from fleet.collector import Collector
from fleet.errors import BudgetUnavailable
from fleet.logs import configure_logs

T = TypeVar("T")

log = structlog.get_logger(__name__)


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
        self._deputy: Deputy | None = None
        self._book: Book | None = None
        self._tasks = OwnedTasks("budget")
        self._starting = asyncio.Lock()

    async def open(
        self, session_id: str, study_id: str, provider: str, limit_micro_usd: int
    ) -> Allowance:
        """An account for a session, or a further attempt of one. An allowance that says END
        means that study or fleet have nothing left: do not start it.
        """
        return await self._do(
            lambda book: book.open(
                session_id=SessionId(session_id),
                study_id=study_id,
                provider=provider,
                limit_micro_usd=limit_micro_usd,
            ),
            "open",
            *(session_id, study_id, provider, limit_micro_usd),
        )

    async def report(self, report: UsageReport) -> Allowance:
        """Take a cumulative report, answer what the session may spend from now on."""
        return (await self.report_batch([report]))[0]

    async def report_batch(self, reports: list[UsageReport]) -> list[Allowance]:
        """Many at once: one message, one write. Allowances in the order of the reports."""
        return await self._do(lambda book: book.report_batch(reports), "report_batch", reports)

    async def close(
        self, session_id: str, reports: Sequence[UsageReport] = ()
    ) -> SessionCost | None:
        """The session is over; what it did not spend returns. ``reports``: the last ones of its
        attempts, as their results carry them: they may not have been delivered before. None:
        there was no account.
        """
        id_ = SessionId(session_id)
        return await self._do(lambda book: book.close(id_, reports), "close", id_, list(reports))

    async def cost(self, session_id: str) -> SessionCost | None:
        id_ = SessionId(session_id)
        return await self._do(lambda book: book.cost(id_), "cost", id_)

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

        async def work(book: Book) -> list[SessionId]:
            return book.overdue(grace_s)

        return await self._do(work, "overdue", grace_s)

    async def open_sessions(self) -> list[SessionId]:
        """Every session with an open account."""

        async def work(book: Book) -> list[SessionId]:
            return book.open_sessions()

        return await self._do(work, "open_sessions")

    async def pid(self) -> int:
        """Of its process, for those who test its end."""
        return os.getpid()

    async def ping(self) -> int:
        """The epoch under which it grants."""
        return (await self._ready()).epoch

    async def _do(self, work: Callable[[Book], Awaitable[T]], method: str, *arguments: Any) -> T:
        """By our own book, or by the budget actor that has taken over from us."""
        book = await self._ready()
        try:
            return await work(book)
        except BudgetFenced:
            return cast(T, await self._pass_on(method, *arguments))

    async def _pass_on(self, method: str, *arguments: Any) -> Any:
        if self._deputy is None:
            log.warning("budget_deputy", reason="another cluster's budget actor has taken over")
            self._deputy = Deputy(self._line())
        try:
            return await self._deputy.ask(method, *arguments)
        except BudgetUnavailable:
            if self._deputy.is_alone:
                log.warning("budget_alone", reason="whoever had taken over is gone")
                # Ray starts another process, which takes the ledger over.
                os._exit(1)
            raise

    def _line(self) -> Line:
        config = self._config
        redis = open_redis(config.redis_url, timeout_s=config.redis_timeout_s)
        return Line(redis, config.redis_namespace)

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
        methods = {name: getattr(self, name) for name in METHODS}
        self._tasks.start(serve_deputies(self._line(), book.epoch, methods))
        # A collection of all accounts would keep everyone waiting, again and again.
        Collector().install()
        return book
