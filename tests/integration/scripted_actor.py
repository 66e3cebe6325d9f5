"""A session actor for tests of the control plane alone: it has the real one's methods, but no
room and no provider. What it does with a session stands in the session's id ("s-deaf-…").
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

import ray

from agent_actor.contract import EndReason, Provider
from agent_actor.errors import ActorBusy, AgentError, RoomTokenRejected, RoomUnreachable
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    SessionResult,
    StopMode,
    StopOrder,
    TokenCounts,
    UsageReport,
    Verdict,
    WarmReport,
)

SPENT_PICO_USD = 1_234_567_000_001
"""Billed by each attempt that got into the room; rounds up to 1,234,568 micro-dollars."""
BRIEF_S = 0.5
"""What a session lasts that ends by itself, but not before others have come."""


class ScriptedActor:
    def __init__(self, actor_id: str) -> None:
        self._actor_id = actor_id
        self._began = time.monotonic()
        self._assignment: Assignment | None = None
        self._joined: asyncio.Future[JoinReport] = asyncio.get_event_loop().create_future()
        self._joined.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._stops: asyncio.Queue[StopOrder] = asyncio.Queue()
        self._observers: tuple[str, ...] = ()
        self._observed = asyncio.Event()

    async def warm(self) -> WarmReport:
        return WarmReport(
            actor_id=self._actor_id,
            pid=os.getpid(),
            node_id=ray.get_runtime_context().get_node_id(),
            warm_s=time.monotonic() - self._began,
        )

    async def ping(self) -> float:
        return time.monotonic() - self._began

    async def joined(self, session_id: str) -> JoinReport:
        return await asyncio.shield(self._joined)

    async def stop(self, order: StopOrder) -> None:
        self._stops.put_nowait(order)

    async def restrain(self, allowance: Allowance) -> None:
        if allowance.verdict is Verdict.END:
            self._stops.put_nowait(StopOrder(reason=EndReason.BUDGET_EXCEEDED))

    async def observe(self, observers: tuple[str, ...]) -> None:
        self._observers = observers
        self._observed.set()

    async def run(self, assignment: Assignment, budget: Any) -> SessionResult:
        if self._assignment is not None:
            raise ActorBusy(f"{self._actor_id} is busy")
        self._assignment = assignment
        self._observers = assignment.observers
        script = assignment.session_id.split("-")[1]
        first = assignment.attempt == 1
        if script == "diesfirst" and first:
            os._exit(1)
        if script == "hangs" and first:
            await asyncio.Event().wait()
        if script == "refused":
            return self._kept_out(RoomTokenRejected("the token is not for this room"))
        if script == "noroom" and first:
            return self._kept_out(RoomUnreachable("no answer"))
        if script == "neverroom":
            return self._kept_out(RoomUnreachable("no answer"))
        self._joined.set_result(
            JoinReport(session_id=assignment.session_id, actor_id=self._actor_id, connect_s=0.001)
        )
        usage = self._usage(assignment)
        await budget.report.remote(usage)
        if script == "nometa" and first:
            return self._result(EndReason.METADATA_TIMEOUT, "metadata_timeout", True, usage)
        if script == "watched" and first:
            await self._observed.wait()
            return self._result(EndReason.METADATA_TIMEOUT, "metadata_timeout", True, usage)
        if script == "brief":
            await asyncio.sleep(BRIEF_S)
        if script in ("short", "brief"):
            return self._result(EndReason.COMPLETED, None, False, usage)
        return self._result(await self._stopped(script), None, False, usage)

    async def _stopped(self, script: str) -> EndReason:
        while True:
            order = await self._stops.get()
            if script == "deaf" or (script == "rude" and order.mode is StopMode.GOODBYE):
                continue
            return order.reason

    def _kept_out(self, error: AgentError) -> SessionResult:
        self._joined.set_exception(error)
        return self._result(EndReason.ROOM_FAILED, error.code, error.retryable, None)

    def _usage(self, assignment: Assignment) -> UsageReport:
        return UsageReport(
            session_id=assignment.session_id,
            attempt=assignment.attempt,
            seq=1,
            at=time.time(),
            provider=Provider.OPENAI_REALTIME,
            model="gpt-realtime",
            tokens=TokenCounts(input_audio=100, output_audio=200),
            spent_pico_usd=SPENT_PICO_USD,
            responses=1,
            final=True,
        )

    def _result(
        self, reason: EndReason, code: str | None, retryable: bool, usage: UsageReport | None
    ) -> SessionResult:
        assert self._assignment is not None
        return SessionResult(
            session_id=self._assignment.session_id,
            attempt=self._assignment.attempt,
            end_reason=reason,
            error_code=code,
            error=code,
            retryable=retryable,
            usage=usage,
            duration_s=0.1,
            provider_sessions=(f"sess-{self._actor_id}",) if usage else (),
            # A field of the record that shows what this actor was told.
            unmapped=self._observers,
        )
