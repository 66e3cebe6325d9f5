"""The last resort against a session that was told to end and does not: it is stopped from outside.

A session heeds its allowance by itself. One whose loop is blocked, or that has a defect, does not,
and nothing inside its process will notice. So the budget actor, which gave out the allowances, is
asked again and again who ought to be over; those are told to stop at once, and killed if they do
not (see ``fleet.attempt_run``).

An account may also be left open by a session that is over, whose supervisor went before it could
close it: it is closed here, so that what it did not spend returns.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_actor.contract import SessionId
from fleet.endings import Sleep
from fleet.errors import FleetError, SessionNotFound
from fleet.metrics import Metrics
from fleet.parts import BudgetClient, Records

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class EscalationTiming:
    grace_s: float = 25.0
    """Between the verdict (or the end of the lease) and the order to stop at once: a goodbye and
    the final report fit into it."""
    every_s: float = 1.0
    """Between two looks, give or take a fifth."""


class Stop(Protocol):
    def __call__(self, session_id: SessionId) -> bool:
        """Order it to stop at once. False: it is not under way."""


class Escalation:
    """``keep_looking`` is a task of the supervisor's. The budget actor may be away: nobody is
    stopped then, the sessions' own leases run out meanwhile.
    """

    def __init__(
        self,
        *,
        budget: BudgetClient,
        records: Records,
        metrics: Metrics,
        stop: Stop,
        timing: EscalationTiming,
        sleep: Sleep,
        dice: Callable[[float, float], float] = random.uniform,
    ) -> None:
        self._budget = budget
        self._records = records
        self._metrics = metrics
        self._stop = stop
        self._timing = timing
        self._sleep = sleep
        self._dice = dice
        self._told: set[SessionId] = set()
        self._away = False

    async def keep_looking(self) -> None:
        """For ever: whatever a look fails with, the next one is made."""
        while True:
            await self._sleep(self._timing.every_s * self._dice(0.8, 1.2))
            try:
                await self.look()
            except FleetError as error:
                # Once and not each second: an outage may last.
                if not self._away:
                    log.warning("overdue_sessions_unknown", error=str(error))
                self._away = True
            except Exception:
                log.exception("escalation_failed")
            else:
                self._away = False

    async def look(self) -> None:
        """Once. Raises BudgetUnavailable, RegistryUnavailable."""
        overdue = await self._budget.overdue(self._timing.grace_s)
        left = [session_id for session_id in overdue if not self._escalate(session_id)]
        self._told.intersection_update(overdue)
        for session_id in left:
            await self._close_if_over(session_id)

    def _escalate(self, session_id: SessionId) -> bool:
        """False if there is nobody to stop."""
        if not self._stop(session_id):
            return False
        if session_id not in self._told:
            self._told.add(session_id)
            self._metrics.counter("fleet_overdue_sessions_total").inc()
            log.warning("session_overdue", session_id=session_id)
        return True

    async def _close_if_over(self, session_id: SessionId) -> None:
        """One that a dispatcher is still at work on, or that is not adopted yet, is left alone."""
        try:
            if not (await self._records.get(session_id)).is_gone:
                return
        except SessionNotFound:
            # Expired or withdrawn: its record came before its account, so none will come any more.
            pass
        log.warning("account_left_open", session_id=session_id)
        spent = await self._budget.close(session_id)
        if spent is not None:
            with contextlib.suppress(SessionNotFound):
                await self._records.add_facts(session_id, spent_micro_usd=spent)
