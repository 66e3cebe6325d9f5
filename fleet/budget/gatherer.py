"""Many sessions' single reports, sent on in batches.

A report that finds nothing under way goes out at once: few sessions wait for nobody. What comes
while a batch is under way gathers, until that is answered, or enough have come, or the oldest of
them has waited long enough; the next batch then goes beside the one before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from agent_actor.messages import Allowance, UsageReport

SendBatch = Callable[[list[UsageReport]], Awaitable[list[Allowance]]]
"""Allowances in the order of the reports, or an error that holds for all of them."""

MOST_IN_A_BATCH = 100
OLDEST_S = 0.1

_Waiting = tuple[UsageReport, "asyncio.Future[Allowance]"]


class Gatherer:
    """One event loop; ``aclose`` at the end, which leaves nobody waiting."""

    def __init__(
        self, send: SendBatch, *, most: int = MOST_IN_A_BATCH, oldest_s: float = OLDEST_S
    ) -> None:
        self._send = send
        self._most = most
        self._oldest_s = oldest_s
        self._gathered: list[_Waiting] = []
        self._under_way: set[asyncio.Task[None]] = set()
        self._too_old: asyncio.TimerHandle | None = None

    async def report(self, report: UsageReport) -> Allowance:
        """Raises what ``send`` raised for the report's batch. Cancelled, the report still goes."""
        answer: asyncio.Future[Allowance] = asyncio.get_running_loop().create_future()
        self._gathered.append((report, answer))
        if not self._under_way or len(self._gathered) >= self._most:
            self._send_gathered()
        elif self._too_old is None:
            loop = asyncio.get_running_loop()
            self._too_old = loop.call_later(self._oldest_s, self._send_gathered)
        return await answer

    async def aclose(self) -> None:
        """What is under way or gathered is given up: its callers are cancelled."""
        self._forget_age()
        for _, answer in self._gathered:
            answer.cancel()
        self._gathered = []
        for batch in self._under_way:
            batch.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _send_gathered(self) -> None:
        self._forget_age()
        batch, self._gathered = self._gathered, []
        if batch:
            task = asyncio.create_task(self._deliver(batch), name="batch of reports")
            self._under_way.add(task)
            task.add_done_callback(self._delivered)

    def _forget_age(self) -> None:
        if self._too_old is not None:
            self._too_old.cancel()
            self._too_old = None

    async def _deliver(self, batch: Sequence[_Waiting]) -> None:
        try:
            allowances = await self._send([report for report, _ in batch])
            for (_, answer), allowance in zip(batch, allowances, strict=True):
                if not answer.done():
                    answer.set_result(allowance)
        except asyncio.CancelledError:
            for _, answer in batch:
                answer.cancel()
            raise
        except Exception as error:
            for _, answer in batch:
                if not answer.done():
                    answer.set_exception(error)

    def _delivered(self, task: asyncio.Task[None]) -> None:
        self._under_way.discard(task)
        if not task.cancelled() and not self._under_way:
            self._send_gathered()
