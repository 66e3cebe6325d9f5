"""Runs interview sessions, many at once, in one process. A Ray actor's class.

Import it on a process's main thread: livekit's plugins register themselves there.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

from livekit.agents.utils import http_context
from pydantic import SecretStr

from agent_actor.contract import ActorId, EndReason, Provider, SessionId
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.memory_transport import MemoryTransport
from agent_actor.messages import (
    Allowance,
    Assignment,
    SessionResult,
    StopMode,
    StopOrder,
    UsageReport,
)
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings
from agent_actor.warm import warm_process
from fleet.bench.budget.spec import MAX_RESPONSE_S, Outcome, SessionSpec
from fleet.logs import configure_logs

LOST, TWICE, LATE = 0.1, 0.15, 0.15
LATE_S = (0.2, 2.0)


@dataclass(frozen=True, kw_only=True)
class HostConfig:
    openai_base_url: str
    gemini_base_url: str
    gemini_ca_cert: Path | None
    redis_url: str = field(repr=False)
    namespace: str


class SessionHost:
    def __init__(self, config: HostConfig) -> None:
        configure_logs("session-host", level="ERROR")
        self._config = config
        self._settings = AgentSettings(
            redis_url=config.redis_url,
            redis_namespace=config.namespace,
            openai_api_key=SecretStr("simulator"),
            google_api_key=SecretStr("simulator"),
            openai_base_url=config.openai_base_url,
            gemini_base_url=config.gemini_base_url,
            gemini_ca_cert=config.gemini_ca_cert,
            max_response_s=MAX_RESPONSE_S,
        )

    async def warm(self) -> None:
        await warm_process(self._settings)

    async def run(
        self, spec: SessionSpec, allowance: Allowance, budget: Any
    ) -> tuple[SessionResult, Outcome]:
        """One session, to its end."""
        journal = Diary(self._config, SessionId(spec.tag)).start()
        reports = Reports(budget, Random(spec.seed), trouble=spec.trouble)
        session = InterviewSession(
            assignment=_assignment(spec, allowance),
            settings=self._settings,
            transport=MemoryTransport(spec.metadata),
            journal=journal,
            ask_budget=reports.ask,
            on_joined=lambda report: None,
            actor_id=ActorId("host"),
        )
        stop = None
        if spec.stop_after_s is not None:
            order = StopOrder(reason=EndReason.OPERATOR, mode=StopMode.NOW)
            stop = asyncio.get_running_loop().call_later(spec.stop_after_s, session.stop, order)
        try:
            async with http_context.open():
                result = await session.run()
        finally:
            if stop is not None:
                stop.cancel()
            await reports.aclose()
            await journal.aclose()
        return result, replace(
            journal.outcome(spec, result),
            reports_lost=reports.lost,
            reports_twice=reports.twice,
            reports_late=reports.late,
        )


def _assignment(spec: SessionSpec, allowance: Allowance) -> Assignment:
    return Assignment(
        session_id=SessionId(spec.tag),
        attempt=1,
        livekit_url="",
        room="",
        token="",
        agent_identity="interviewer",
        allowance=allowance,
        assigned_at=time.time(),
    )


class Reports:
    """The way to the budget actor; with ``trouble`` a bad one. What is late is delivered after
    later reports, what is lost may have been lost on either way.
    """

    def __init__(self, budget: Any, rng: Random, *, trouble: bool) -> None:
        self._budget = budget
        self._rng = rng
        self._trouble = trouble
        self._late: set[asyncio.Task[None]] = set()
        self.lost = self.twice = self.late = 0

    async def ask(self, report: UsageReport) -> Allowance | None:
        drawn = self._rng.random() if self._trouble else 1.0
        if drawn < LOST:
            self.lost += 1
            if drawn < LOST / 2:
                await self._budget.report.remote(report)
            raise ConnectionError("lost on the way")
        if drawn < LOST + TWICE:
            self.twice += 1
            await self._budget.report.remote(report)
        elif drawn < LOST + TWICE + LATE:
            self.late += 1
            self._late.add(asyncio.create_task(self._deliver_late(report)))
        allowance: Allowance = await self._budget.report.remote(report)
        return allowance

    async def aclose(self) -> None:
        await asyncio.gather(*self._late, return_exceptions=True)

    async def _deliver_late(self, report: UsageReport) -> None:
        await asyncio.sleep(self._rng.uniform(*LATE_S))
        await self._budget.report.remote(report)


class Diary(JournalWriter):
    """The session's journal, which goes to Redis as always; what is asked about it is kept."""

    def __init__(self, config: HostConfig, session_id: SessionId) -> None:
        super().__init__(config.redis_url, config.namespace, session_id, 1)
        self._began = time.monotonic()
        self._at_s: dict[str, float] = {}
        self._usage_at: list[float] = []
        self._wrapped_up = False

    def record(self, kind: EventKind, **data: Any) -> None:
        super().record(kind, **data)
        match kind, data:
            case EventKind.BUDGET, {"verdict": "end"}:
                self._mark("end")
            case EventKind.BUDGET, {"verdict": "wrap_up"}:
                self._wrapped_up = True
            case EventKind.PHASE, {"change": "goodbye" | "goodbye_over" as change}:
                self._mark(change)
            case EventKind.PROVIDER, {"change": "disconnected"}:
                self._at_s["closed"] = self._now_s()
            case EventKind.USAGE, _:
                self._usage_at.append(time.time())

    def live(self, state: LiveState) -> None:
        """Hundreds of sessions in two processes: what is for tables is left out."""

    def outcome(self, spec: SessionSpec, result: SessionResult) -> Outcome:
        return Outcome(
            tag=spec.tag,
            end_reason=result.end_reason.value,
            error=result.error,
            at_s=self._at_s,
            wrapped_up=self._wrapped_up,
            usage_at=tuple(self._usage_at),
        )

    def _mark(self, name: str) -> None:
        self._at_s.setdefault(name, self._now_s())

    def _now_s(self) -> float:
        return time.monotonic() - self._began


def simulator_of(provider: Provider) -> str:
    return "openai" if provider is Provider.OPENAI_REALTIME else "gemini"
