"""The switch that stops a session: thrown once, hurried at most once, watched by whoever runs."""

from __future__ import annotations

import asyncio
from typing import Any

from agent_actor.contract import EndReason
from agent_actor.messages import StopMode, StopOrder


class StopSwitch:
    """The first reason stays; ordering again can only hurry."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()
        """Also set if the first order was to stop at once."""
        self._reason: EndReason | None = None

    @property
    def reason(self) -> EndReason | None:
        return self._reason

    def throw(self, reason: EndReason, mode: StopMode) -> None:
        self._reason = self._reason or reason
        self.asked.set()
        if mode is StopMode.NOW:
            self.hurry.set()

    def order(self, mode: StopMode = StopMode.GOODBYE) -> StopOrder | None:
        """What to tell the actor; None while nobody asked."""
        return None if self._reason is None else StopOrder(reason=self._reason, mode=mode)


async def first_of(
    *things: asyncio.Future[Any] | asyncio.Event, timeout_s: float | None = None
) -> bool:
    """Wait until one of them is done or set; whether one was, within the time. Futures given
    here are left as they are, done or not.
    """
    watches = [asyncio.create_task(t.wait()) for t in things if isinstance(t, asyncio.Event)]
    futures = [t for t in things if not isinstance(t, asyncio.Event)]
    try:
        done, _ = await asyncio.wait(
            [*watches, *futures], timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED
        )
        return bool(done)
    finally:
        for watch in watches:
            watch.cancel()
        await asyncio.gather(*watches, return_exceptions=True)


async def cancelled(*futures: asyncio.Future[Any]) -> None:
    """Cancel them and return when they are over; what they end with is of no interest."""
    for future in futures:
        future.cancel()
    await asyncio.gather(*futures, return_exceptions=True)
