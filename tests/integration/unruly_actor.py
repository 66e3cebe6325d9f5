"""The real session actor with a defect, named in the session's id ("s-blocked-…", "s-deaf-…").

blocked: its event loop stands still from when the test says so.
deaf: it neither heeds its allowance nor any order, and goes on interviewing.
"""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path
from typing import Any

from agent_actor.actor import SessionActor
from agent_actor.messages import Allowance, Assignment, SessionResult, StopOrder
from agent_actor.permits import Permit
from agent_actor.spending import Spending

SIGNALS_VARIABLE = "UNRULY_ACTOR_SIGNALS"
"""A folder: a file with a session's name blocks it; one with ``.ordered`` says that it was told."""
BLOCKED_S = 600.0
POLL_S = 0.02


def signal_to(folder: Path, session_id: str) -> Path:
    return folder / session_id


def ordered(folder: Path, session_id: str) -> Path:
    return folder / f"{session_id}.ordered"


class UnrulyActor(SessionActor):
    async def run(self, assignment: Assignment, budget: Any | None = None) -> SessionResult:
        self._folder = Path(os.environ[SIGNALS_VARIABLE])
        self._defect = assignment.session_id.split("-")[1]
        if self._defect == "deaf":
            # The process serves one session and ends with it.
            Spending._judge = lambda self: None  # type: ignore[method-assign]
            Spending._still_short = lambda self: None  # type: ignore[method-assign]
            Spending.permit = lambda self: Permit()  # type: ignore[method-assign]
        blocking = asyncio.create_task(self._block(signal_to(self._folder, assignment.session_id)))
        try:
            return await super().run(assignment, budget)
        finally:
            blocking.cancel()

    async def restrain(self, allowance: Allowance) -> None:
        if self._defect != "deaf":
            await super().restrain(allowance)

    async def stop(self, order: StopOrder) -> None:
        if self._defect != "deaf":
            await super().stop(order)
            return
        assert self._assigned is not None
        ordered(self._folder, self._assigned).write_text(order.mode, "utf-8")

    async def _block(self, signal: Path) -> None:
        while not signal.exists():
            await asyncio.sleep(POLL_S)
        time.sleep(BLOCKED_S)
