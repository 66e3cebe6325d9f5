"""The accounts and their ledger together: apply, write, then answer.

Many answers share one write: whatever was applied while a write was under way goes into the
next. What could not be written stays to be written, and nobody is answered until it is; a
session then goes on within the allowance it has.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import chain

import structlog

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport
from fleet.budget.accounts import Accounts
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost
from fleet.budget.ledger import BudgetFenced, Ledger
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Change, Limits
from fleet.budget.thresholds import MarkChange, Notice
from fleet.errors import BudgetUnavailable

log = structlog.get_logger(__name__)

MOST_IN_A_WRITE = 500
"""Accounts in one script call: a few milliseconds in which Redis does nothing else."""
RETRY_S = 0.25
MOST_LOOKUPS = 8
"""At once, each on a connection of its own."""
MOST_CLOSED_IN_MEMORY = 5_000


def _nobody(_notices: Sequence[Notice]) -> None:
    pass


@dataclass(frozen=True, kw_only=True)
class BookConfig:
    policy: GrantPolicy = field(default_factory=GrantPolicy)
    limits: Limits = field(default_factory=Limits)
    fractions_ppm: tuple[int, ...] = ()
    """Of any limit: whoever takes the notices is told when they are reached."""


class Book:
    """``start`` before anything else, ``aclose`` at the end. One event loop.

    Every method raises BudgetUnavailable when the ledger does not take what has to be written:
    the call may be made again. BudgetFenced means that a younger book has taken over, for good.
    """

    def __init__(
        self,
        ledger: Ledger,
        config: BookConfig,
        now: Callable[[], float],
        on_notices: Callable[[Sequence[Notice]], None] = _nobody,
    ) -> None:
        """``on_notices`` is called when notices are in the ledger's outbox; it returns at once."""
        self._ledger = ledger
        self._config = config
        self._now = now
        self._accounts = Accounts(policy=config.policy, limits=config.limits.copy())
        self._unwritten: dict[SessionId, Change] = {}
        self._unwritten_marks: dict[str, MarkChange] = {}
        self._on_notices = on_notices
        self._next: asyncio.Future[None] | None = None
        self._writer: asyncio.Task[None] | None = None
        self._writes = 0
        self._fenced: BudgetFenced | None = None
        self._closed: deque[SessionId] = deque()
        self._lookups = asyncio.Semaphore(MOST_LOOKUPS)

    @property
    def epoch(self) -> int:
        return self._accounts.epoch

    async def start(self) -> None:
        """Take over the ledger and load it."""
        durability = await self._ledger.durability()
        if not durability.full:
            log.warning(
                "ledger is not durable: Redis should run appendonly yes, appendfsync always",
                appendonly=durability.appendonly,
                appendfsync=durability.appendfsync,
            )
        epoch = await self._ledger.take_over()
        accounts = Accounts(
            policy=self._config.policy,
            limits=self._config.limits.copy(),
            epoch=epoch,
            fractions_ppm=self._config.fractions_ppm,
        )
        await self._ledger.load(accounts)
        accounts.look_again(self._now())
        self._accounts = accounts
        await self._write()
        log.info("ledger taken over", epoch=epoch, open_sessions=accounts.fleet.figures.open)

    async def aclose(self) -> None:
        """Stop writing. What is unwritten was never answered."""
        if self._writer is not None:
            self._writer.cancel()
            await asyncio.gather(self._writer, return_exceptions=True)
        await self._ledger.aclose()

    async def open(
        self, *, session_id: SessionId, study_id: str, provider: str, limit_micro_usd: int
    ) -> Allowance:
        await self._find(session_id)
        allowance = self._accounts.open(
            session_id=session_id,
            study_id=study_id,
            provider=provider,
            limit_micro_usd=limit_micro_usd,
            now=self._now(),
        )
        await self._write()
        return allowance

    async def report(self, report: UsageReport) -> Allowance:
        return (await self.report_batch([report]))[0]

    async def report_batch(self, reports: Sequence[UsageReport]) -> list[Allowance]:
        """Allowances in the order of the reports."""
        await self._find(*(report.session_id for report in reports))
        now = self._now()
        allowances = [self._accounts.apply(report, now) for report in reports]
        await self._write()
        return allowances

    async def close(
        self, session_id: SessionId, reports: Sequence[UsageReport] = ()
    ) -> SessionCost | None:
        """``reports``: its attempts' last ones, which may have found nobody when they were sent."""
        await self._find(session_id)
        now = self._now()
        if session_id in self._accounts:
            for report in reports:
                self._accounts.apply(report, now)
        cost = self._accounts.close(session_id, now)
        if cost is not None:
            await self._write()
            self._let_go(session_id)
        return cost

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None:
        await self._find(session_id)
        allowance = self._accounts.set_limit(session_id, micro_usd, self._now())
        await self._write()
        return allowance

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]:
        """New allowances for the open sessions of the study, to be handed on to them."""
        self._check()
        await self._ledger.set_limit(self.epoch, f"study:{study_id}", micro_usd)
        allowances = self._accounts.set_study_limit(study_id, micro_usd, self._now())
        await self._write()
        return allowances

    async def set_fleet_limit(self, micro_usd: int | None) -> list[Allowance]:
        self._check()
        await self._ledger.set_limit(self.epoch, "fleet", micro_usd)
        allowances = self._accounts.set_fleet_limit(micro_usd, self._now())
        await self._write()
        return allowances

    async def cost(self, session_id: SessionId) -> SessionCost | None:
        await self._find(session_id)
        return self._accounts.cost(session_id)

    def overdue(self, grace_s: float) -> list[SessionId]:
        """Sessions that should have ended more than ``grace_s`` ago and have not."""
        self._check()
        return self._accounts.overdue(grace_s, self._now())

    def open_sessions(self) -> list[SessionId]:
        self._check()
        return self._accounts.open_sessions()

    def study_cost(self, study_id: str) -> StudyCost | None:
        return self._accounts.study_cost(study_id)

    def totals(self) -> BudgetTotals:
        return self._accounts.totals(self._now())

    # Inside

    def _check(self) -> None:
        if self._fenced is not None:
            raise BudgetFenced(self._fenced.epoch)

    async def _find(self, *session_ids: SessionId) -> None:
        """A closed account may be in the ledger only."""
        self._check()
        unknown = [id_ for id_ in session_ids if id_ not in self._accounts]
        if not unknown:
            return
        async with self._lookups:
            found = await self._ledger.accounts(unknown)
        for account in found:
            if account.session_id not in self._accounts:
                self._accounts.adopt(account)
                self._let_go(account.session_id)

    def _let_go(self, session_id: SessionId) -> None:
        self._closed.append(session_id)
        while len(self._closed) > MOST_CLOSED_IN_MEMORY:
            self._accounts.forget(self._closed.popleft())

    async def _write(self) -> None:
        """Return when all that was changed so far is in the ledger."""
        self._check()
        if self._next is None:
            self._next = asyncio.get_running_loop().create_future()
        written = self._next
        if self._writer is None or self._writer.done():
            self._writer = asyncio.create_task(self._write_all(), name="ledger writer")
            self._writer.add_done_callback(_seen)
        # Shared with other callers: one that gives up must not cancel it for the others.
        await asyncio.shield(written)

    async def _write_all(self) -> None:
        while self._next is not None or self._unwritten or self._unwritten_marks:
            waiting, self._next = self._next, None
            try:
                await self._write_changes()
            except BaseException as error:
                _refuse(waiting, error)
                if isinstance(error, BudgetFenced):
                    self._fenced = error
                    log.error("fenced: a younger budget actor has taken over", epoch=error.epoch)
                if isinstance(error, BudgetFenced) or not isinstance(error, BudgetUnavailable):
                    _refuse(self._next, error)
                    self._next = None
                    raise
                log.warning("ledger write failed", reason=str(error), accounts=len(self._unwritten))
                await asyncio.sleep(RETRY_S)
            else:
                if waiting is not None and not waiting.done():
                    waiting.set_result(None)

    async def _write_changes(self) -> None:
        for change in self._accounts.take_changes():
            earlier = self._unwritten.get(change.session_id)
            self._unwritten[change.session_id] = change.after(earlier) if earlier else change
        for mark in self._accounts.take_marks():
            before = self._unwritten_marks.get(mark.scope)
            self._unwritten_marks[mark.scope] = mark.after(before) if before else mark
        while self._unwritten or self._unwritten_marks:
            batch = list(self._unwritten.values())[:MOST_IN_A_WRITE]
            last = len(batch) == len(self._unwritten)
            marks = list(self._unwritten_marks.values()) if last else []
            self._writes += 1
            await self._ledger.write(self.epoch, self._writes, batch, marks)
            for change in batch:
                del self._unwritten[change.session_id]
            for mark in marks:
                del self._unwritten_marks[mark.scope]
            notices = [*(c.notices for c in batch), *(m.notices for m in marks)]
            self._on_notices(list(chain.from_iterable(notices)))


def _seen(writer: asyncio.Task[None]) -> None:
    """Its error went to those who waited."""
    if not writer.cancelled():
        writer.exception()


def _refuse(waiting: asyncio.Future[None] | None, error: BaseException) -> None:
    if waiting is None or waiting.done():
        return
    if isinstance(error, asyncio.CancelledError):
        error = BudgetUnavailable("the budget actor is stopping")
    waiting.set_exception(error)
    waiting.exception()  # its waiters may all have gone
