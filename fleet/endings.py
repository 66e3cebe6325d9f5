"""Clearing up after a session: every step is tried though another failed, and what failed is
owed, tried again until it works.
"""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import structlog

from agent_actor.contract import SessionId

STEP_DEADLINE_S = 5.0
FIRST_PAUSE_S = 1.0
LONGEST_PAUSE_S = 30.0
MOST_OWED = 10_000

Sleep = Callable[[float], Awaitable[None]]

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class EndStep:
    """``work`` may be done any number of times."""

    name: str
    work: Callable[[], Awaitable[object]]


@dataclass(frozen=True, kw_only=True)
class _Owed:
    session_id: SessionId
    step: EndStep


class Endings:
    """Runs end steps in order. ``failures`` counts them by step since the beginning."""

    def __init__(self, sleep: Sleep = asyncio.sleep) -> None:
        self._sleep = sleep
        self.failures: Counter[str] = Counter()
        # Bounded: during a long outage the oldest debts are the first that LiveKit's own
        # timeouts and the next start's recovery settle without us.
        self._owed: deque[_Owed] = deque(maxlen=MOST_OWED)
        self._being_paid: Sequence[_Owed] = ()
        self._wake = asyncio.Event()

    @property
    def owed(self) -> int:
        return len(self._owed)

    @property
    def debtors(self) -> frozenset[SessionId]:
        """The sessions of which anything is owed."""
        return frozenset(debt.session_id for debt in (*self._owed, *self._being_paid))

    async def run(self, session_id: SessionId, steps: Sequence[EndStep]) -> bool:
        """False if any failed; those are tried again by ``keep_paying``."""
        results = [await self._try(session_id, step) for step in steps]
        for step, worked in zip(steps, results, strict=True):
            if not worked:
                self._owed.append(_Owed(session_id=session_id, step=step))
                self._wake.set()
        return all(results)

    async def keep_paying(self) -> None:
        """For ever: try what is owed, with pauses that double while nothing works."""
        pause_s = FIRST_PAUSE_S
        while True:
            await self._wake.wait()
            await self._sleep(pause_s)
            pause_s = FIRST_PAUSE_S if await self.pay() else min(2 * pause_s, LONGEST_PAUSE_S)
            if not self._owed:
                self._wake.clear()

    async def pay(self) -> bool:
        """Try all that is owed once. True if nothing is left."""
        debts, self._owed = self._owed, deque(maxlen=MOST_OWED)
        self._being_paid = debts
        for debt in debts:
            if not await self._try(debt.session_id, debt.step):
                self._owed.append(debt)
        self._being_paid = ()
        return not self._owed

    async def _try(self, session_id: SessionId, step: EndStep) -> bool:
        try:
            async with asyncio.timeout(STEP_DEADLINE_S):
                await step.work()
        except Exception as error:
            self.failures[step.name] += 1
            log.warning(
                "end_step_failed",
                session_id=session_id,
                step=step.name,
                error=f"{type(error).__name__}: {error}",
            )
            return False
        return True
