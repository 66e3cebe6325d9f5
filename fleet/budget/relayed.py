"""The budget actor as a session sees it where its node has a relay."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, cast

import structlog

from agent_actor.messages import Allowance, UsageReport
from fleet import ray_calls
from fleet.budget.relay import find_or_start_relay
from fleet.errors import ActorLost, BudgetUnavailable, ControlPlaneUnavailable
from fleet.ray_calls import RemoteActor

RELAY_DEADLINE_S = 0.75
DIRECT_DEADLINE_S = 1.25
"""Together no longer than a session waits for an answer, ``agent_actor.spending.ASK_TIMEOUT_S``."""
ASIDE_S = 10.0

log = structlog.get_logger(__name__)

Way = Callable[[UsageReport], Awaitable[Allowance]]


class TwoWays:
    """By the relay; and where that fails, and for ``aside_s`` after, directly.

    What the budget actor itself refuses is refused on every way: BudgetUnavailable is raised as
    it comes. Reports are cumulative, so one that went both ways counts once.
    """

    def __init__(
        self,
        *,
        relay: Way,
        direct: Way,
        aside_s: float = ASIDE_S,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._relay = relay
        self._direct = direct
        self._aside_s = aside_s
        self._now = now
        self._aside_until = 0.0

    async def report(self, report: UsageReport) -> Allowance:
        if self._now() >= self._aside_until:
            try:
                return await self._relay(report)
            except BudgetUnavailable:
                raise
            except Exception as error:  # whatever a relay does, a report finds its way
                self._aside_until = self._now() + self._aside_s
                log.warning(
                    "relay left aside", error_type=type(error).__name__, for_s=self._aside_s
                )
        return await self._direct(report)


class RelayedBudget:
    """Goes to a session in place of the budget actor's handle, and is asked as that is:
    ``await budget.report.remote(report)``. Pickles; finds its node's relay when first asked.
    """

    def __init__(self, budget: str, namespace: str) -> None:
        self._address = (budget, namespace)
        self._budget = RemoteActor(budget, namespace)
        self._relay: Any = None
        self.report = _Remote(TwoWays(relay=self._by_relay, direct=self._directly).report)

    def __reduce__(self) -> tuple[type[RelayedBudget], tuple[str, str]]:
        return RelayedBudget, self._address

    async def _by_relay(self, report: UsageReport) -> Allowance:
        if self._relay is None:
            # On a thread of its own: a session's audio is on this loop.
            self._relay = await asyncio.to_thread(find_or_start_relay, *self._address)
        if self._relay is None:
            raise ControlPlaneUnavailable("budget relay", "being started")
        ref = self._relay.report.remote(report)
        try:
            answer = await ray_calls.answer(ref, part="budget relay", deadline_s=RELAY_DEADLINE_S)
        except ActorLost:
            self._relay = None
            raise
        return cast(Allowance, answer)

    async def _directly(self, report: UsageReport) -> Allowance:
        # Looked up on a thread too: with the head away that takes Ray a minute.
        await asyncio.to_thread(self._budget.handle)
        answer = await self._budget.call("report", report, deadline_s=DIRECT_DEADLINE_S)
        return cast(Allowance, answer)


class _Remote:
    """One method, called as a Ray actor's is."""

    def __init__(self, method: Way) -> None:
        self.remote = method
