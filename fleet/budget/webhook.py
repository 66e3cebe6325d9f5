"""Delivers the budget's notices to the operator's webhook, signed as Standard Webhooks says.

What is to be delivered stands in the ledger's outbox until the receiver has taken it (2xx), so a
notice outlives whoever was delivering it: at least once, always under the same id. Nobody waits
for it: ``hand`` only notes it down, and what does not fit into memory stays in the outbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import random
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Protocol

import httpx
import structlog
from pydantic import SecretStr

from fleet.budget.thresholds import Notice
from fleet.errors import BudgetUnavailable
from fleet.signing import signed_headers, signing_key

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class WebhookConfig:
    url: str = field(repr=False)
    """It may hold a secret itself, so it is never logged."""
    secret: SecretStr
    timeout_s: float = 15.0
    first_retry_s: float = 2.0
    """Doubled with each failure, …"""
    longest_retry_s: float = 900.0
    """… up to this, and shortened by up to a half at random."""
    give_up_s: float = 24 * 3600.0
    """After the event."""
    workers: int = 4
    most_waiting: int = 10_000
    """In memory; the rest waits in the outbox."""


class Outbox(Protocol):
    """The ledger's part. Raises BudgetUnavailable."""

    async def outbox(self, limit: int) -> list[Notice]: ...

    async def in_outbox(self, notice_id: str) -> bool: ...

    async def take_out(self, notice_id: str) -> None: ...


@dataclass(order=True)
class _Waiting:
    due_at: float
    number: int
    notice: Notice = field(compare=False)
    tries: int = field(default=0, compare=False)
    delivered: bool = field(default=False, compare=False)


class Courier:
    """``run`` until cancelled. One event loop."""

    def __init__(
        self,
        config: WebhookConfig,
        outbox: Outbox,
        *,
        now: Callable[[], float] = time.time,
        rng: random.Random | None = None,
    ) -> None:
        self._config = config
        self._outbox = outbox
        self._key = signing_key(config.secret.get_secret_value())
        self._now = now
        self._rng = rng or random.Random()
        self._waiting: list[_Waiting] = []
        self._ids: set[str] = set()
        self._numbers = itertools.count()
        self._left_out = True
        self._over = False
        self._news = asyncio.Event()

    def hand(self, notices: Iterable[Notice]) -> None:
        """Notices that have just been written to the outbox."""
        for notice in notices:
            if notice.id in self._ids:
                continue
            if len(self._ids) >= self._config.most_waiting:
                self._left_out = True
                return
            self._ids.add(notice.id)
            self._put(_Waiting(due_at=0.0, number=next(self._numbers), notice=notice))

    async def run(self) -> None:
        timeout = httpx.Timeout(self._config.timeout_s)
        async with (
            httpx.AsyncClient(timeout=timeout, follow_redirects=False) as client,
            asyncio.TaskGroup() as group,
        ):
            for _ in range(self._config.workers):
                group.create_task(self._deliver_all(client))
            try:
                await self._look_into_outbox()
            finally:
                # A cancellation that comes while a client library waits may stop there.
                self._over = True
                self._news.set()

    # Inside

    async def _look_into_outbox(self) -> None:
        """At the beginning, and whenever some had to be left out and there is room again."""
        while True:
            if self._left_out and len(self._ids) <= self._config.most_waiting // 2:
                with contextlib.suppress(BudgetUnavailable):
                    found = await self._outbox.outbox(self._config.most_waiting + 1)
                    self._left_out = False
                    self.hand(found)
            await asyncio.sleep(self._config.first_retry_s)

    async def _deliver_all(self, client: httpx.AsyncClient) -> None:
        while waiting := await self._next_due():
            try:
                done = await self._try(client, waiting)
            except BudgetUnavailable:
                done = False
            if done:
                self._ids.discard(waiting.notice.id)
            else:
                waiting.tries += 1
                waiting.due_at = time.monotonic() + self._pause_s(waiting.tries)
                self._put(waiting)

    async def _next_due(self) -> _Waiting | None:
        while not self._over:
            now = time.monotonic()
            if self._waiting and self._waiting[0].due_at <= now:
                return heapq.heappop(self._waiting)
            self._news.clear()
            pause_s = self._waiting[0].due_at - now if self._waiting else None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._news.wait()
        return None

    async def _try(self, client: httpx.AsyncClient, waiting: _Waiting) -> bool:
        """Whether there is nothing left to do for it."""
        notice = waiting.notice
        if waiting.tries and not await self._outbox.in_outbox(notice.id):
            return True  # delivered by another, before or after this one's time
        if not waiting.delivered:
            waiting.delivered = await self._post(client, notice, waiting.tries)
        if not waiting.delivered:
            if self._now() - notice.at < self._config.give_up_s:
                return False
            log.error("budget_notice_given_up", event_id=notice.id, tries=waiting.tries + 1)
        await self._outbox.take_out(notice.id)
        return True

    async def _post(self, client: httpx.AsyncClient, notice: Notice, tries: int) -> bool:
        body = notice.body.encode()
        headers = signed_headers(self._key, notice.id, int(self._now()), body)
        try:
            async with (
                asyncio.timeout(self._config.timeout_s),
                client.stream("POST", self._config.url, content=body, headers=headers) as answer,
            ):
                why = f"status {answer.status_code}"
                if answer.is_success:
                    return True
        except Exception as error:
            # Whatever it was: the notice waits, and those after it go on.
            why = type(error).__name__
        log.warning("budget_notice_not_delivered", event_id=notice.id, tries=tries + 1, reason=why)
        return False

    def _pause_s(self, tries: int) -> float:
        longest = min(
            self._config.first_retry_s * 2.0 ** min(tries - 1, 30), self._config.longest_retry_s
        )
        return longest * (0.5 + 0.5 * self._rng.random())

    def _put(self, waiting: _Waiting) -> None:
        heapq.heappush(self._waiting, waiting)
        self._news.set()
