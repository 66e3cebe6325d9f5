"""The thin Ray actor around one session. One assignment, then gone.

Nothing of an interview outlives it: after ``run`` has returned, the actor waits ``linger_s`` to
be collected by the supervisor and then exits by itself.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import ray
import structlog

from agent_actor import priority
from agent_actor.contract import ActorId, SessionId
from agent_actor.errors import ActorBusy, AgentError
from agent_actor.journal_writer import JournalWriter
from agent_actor.logs import configure_logs
from agent_actor.memory_transport import MemoryTransport
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    Pulse,
    SessionResult,
    StopOrder,
    UsageReport,
    WarmReport,
)
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings, TransportKind
from agent_actor.telemetry import FLUSH_DEADLINE_S, open_tracer, trace_id_of
from agent_actor.transport import LiveKitTransport, Transport
from agent_actor.warm import WarmParts, warm_process

PASSING_FLUSH_S = 0.1


class SessionActor:
    """Made a Ray actor by ``remote_class``. Every method is async: one event loop, no locks."""

    def __init__(self, actor_id: ActorId) -> None:
        self._started = time.monotonic()
        self._actor_id = actor_id
        configure_logs("session-actor")
        self._settings = AgentSettings()
        if self._settings.transport is TransportKind.MEMORY:
            self._settings.check_rehearsal()
        self._joined: asyncio.Future[JoinReport] = asyncio.get_event_loop().create_future()
        # The outcome is also in run()'s result; nobody needs to have asked for it here.
        self._joined.add_done_callback(lambda f: f.cancelled() or f.exception())
        self._warm = WarmParts(self._settings)
        self._tracer = open_tracer("session-actor")
        self._assigned: SessionId | None = None
        self._session: InterviewSession | None = None
        self._orders: list[Callable[[InterviewSession], None]] = []
        """That came before it."""

    async def warm(self) -> WarmReport:
        """Returns when the next ``run`` has nothing left to load. Idempotent."""
        await warm_process(self._settings)
        await self._warm.open()
        priority.restore()
        return WarmReport(
            actor_id=self._actor_id,
            pid=os.getpid(),
            node_id=ray.get_runtime_context().get_node_id(),
            warm_s=time.monotonic() - self._started,
        )

    async def run(self, assignment: Assignment, budget: Any | None = None) -> SessionResult:
        """The whole session. ``budget`` is the budget actor's handle; without one the session
        lives on its first allowance alone.

        Raises ActorBusy for a second assignment, and nothing else: see SessionResult.
        """
        if self._assigned is not None:
            raise ActorBusy(f"actor {self._actor_id} already serves session {self._assigned}")
        self._assigned = assignment.session_id
        try:
            priority.restore()
            await self._warm.open()
            serving = asyncio.create_task(
                self._serve(assignment, budget), context=self._warm.context
            )
            await self._warm.expect(assignment.provider, assignment.model)
            result = await serving
            self._settle_joined(result)
            return result
        finally:
            asyncio.get_running_loop().call_later(self._settings.linger_s, os._exit, 0)

    async def joined(self, session_id: SessionId) -> JoinReport:
        """Resolves when the agent is in the room; raises the AgentError that prevented it."""
        if self._assigned not in (None, session_id):
            raise ActorBusy(f"actor {self._actor_id} serves session {self._assigned}")
        return await asyncio.shield(self._joined)

    async def stop(self, order: StopOrder) -> None:
        """Ask the session to end; returns at once, the end is ``run``'s result."""
        self._tell(lambda session: session.stop(order))

    async def hand_over(self, patience_s: float) -> None:
        """Ask the session to leave the interview to another actor; returns at once, ``run``'s
        result then says ``handed_over``, if the interview did not end before."""
        self._tell(lambda session: session.hand_over(patience_s))

    async def restrain(self, allowance: Allowance) -> None:
        """A new allowance out of turn: the limit was changed."""
        self._tell(lambda session: session.restrain(allowance))

    async def observe(self, observers: Sequence[str]) -> None:
        """All who are told what the session costs, from now on. Call once it has joined."""
        if self._session is not None:
            self._session.observe(observers)

    async def ping(self) -> Pulse:
        ahead = self._warm.preopened
        return Pulse(
            age_s=time.monotonic() - self._started,
            node_id=ray.get_runtime_context().get_node_id(),
            ahead_open=ahead is not None and ahead.open,
            ahead={} if ahead is None else {fate.value: n for fate, n in ahead.fates.items()},
        )

    async def _serve(self, assignment: Assignment, budget: Any | None) -> SessionResult:
        structlog.contextvars.bind_contextvars(session_id=assignment.session_id)
        if (trace_id := trace_id_of(assignment.traceparent)) is not None:
            structlog.contextvars.bind_contextvars(trace_id=trace_id)
        journal = JournalWriter(
            self._settings.redis_url,
            self._settings.redis_namespace,
            assignment.session_id,
            assignment.attempt,
            ttl_s=self._settings.journal_ttl_s,
        ).start()
        transport = self._transport(assignment)

        async def ask_budget(report: UsageReport) -> Allowance | None:
            return None if budget is None else await budget.report.remote(report)

        self._session = InterviewSession(
            assignment=assignment,
            settings=self._settings,
            transport=transport,
            journal=journal,
            ask_budget=ask_budget,
            on_joined=self._on_joined,
            actor_id=self._actor_id,
            opened=self._warm.opened,
            tracer=self._tracer,
        )
        orders, self._orders = self._orders, []
        for order in orders:
            order(self._session)
        try:
            result = await self._session.run()
            await self._warm.aclose()
            # Whoever has the result may end this process at once. For a successor to begin it is
            # needed first: then a collector is not waited for as long.
            passed_on = result.handed_over or result.falls_over
            await self._tracer.flush(PASSING_FLUSH_S if passed_on else FLUSH_DEADLINE_S)
            ahead = (await self.ping()).ahead
            return replace(result, preopened=ahead, spans_lost=self._tracer.lost)
        finally:
            await journal.aclose()

    def _tell(self, order: Callable[[InterviewSession], None]) -> None:
        """What comes before there is a session, but when it is known whose, waits for it."""
        if self._session is not None:
            order(self._session)
        elif self._assigned is not None:
            self._orders.append(order)

    def _transport(self, assignment: Assignment) -> Transport:
        if self._settings.transport is TransportKind.MEMORY:
            return MemoryTransport(assignment.metadata or "")
        return LiveKitTransport(
            url=assignment.livekit_url,
            token=assignment.token,
            connect_timeout_s=self._settings.room_connect_timeout_s,
            metadata=assignment.metadata,
            first_comer_as=assignment.first_comer_as,
            output=self._settings.room_output,
        )

    def _on_joined(self, report: JoinReport) -> None:
        if not self._joined.done():
            self._joined.set_result(report)

    def _settle_joined(self, result: SessionResult) -> None:
        if not self._joined.done():
            error = AgentError(result.error or "the session ended before the agent joined")
            error.code = result.error_code or error.code
            error.retryable = result.retryable
            self._joined.set_exception(error)


def remote_class() -> Any:
    """The Ray actor class. Restarts would put a second interview into a used process."""
    return ray.remote(max_restarts=0, max_task_retries=0)(SessionActor)
