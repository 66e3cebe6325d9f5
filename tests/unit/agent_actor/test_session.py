"""What a session does that needs neither a room nor a provider."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from agent_actor.checkpoint import Checkpoint
from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.journal import EventKind
from agent_actor.journal_writer import JournalWriter
from agent_actor.lifecycle import LifeAges, Stage
from agent_actor.memory_transport import MemoryTransport
from agent_actor.messages import Allowance, Assignment, PhaseTiming, SessionResult, UsageReport
from agent_actor.phases import Cause, PhaseState, Visit
from agent_actor.providers.base import nothing_opened
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings

GOODBYE_SAID = Checkpoint(
    attempt=1,
    at=time.time(),
    life=LifeAges(stage=Stage.ENDED, joined_s=90.0, since_s=1.0, reason=EndReason.COMPLETED),
    interview_s=88.0,
    phases=PhaseState(
        index=0,
        closed=True,
        visits=(Visit(phase_id="core", cause=Cause.STARTED, entered_s=0.5, left_s=88.0),),
    ),
)


class Journal(JournalWriter):
    """Of an actor that was lost: ``left`` is what it kept."""

    attempt = 2

    def __init__(self, left: Checkpoint) -> None:
        self._left = left

    async def recall(self, deadline_s: float = 0.0) -> Checkpoint | None:
        return self._left

    def record(self, kind: EventKind, **data: Any) -> None: ...

    def keep(self, texts: object) -> None: ...

    def live(self, state: object) -> None: ...


async def succeed(left: Checkpoint) -> SessionResult:
    """The result of the actor that comes after it."""
    allowance = Allowance(
        session_id=SessionId("s-1"),
        up_to_micro_usd=1,
        limit_micro_usd=1,
        expires_at=time.time() + 60.0,
    )

    async def ask(report: UsageReport) -> Allowance:
        return allowance

    session = InterviewSession(
        assignment=Assignment(
            session_id=SessionId("s-1"),
            attempt=2,
            livekit_url="",
            room="",
            token="",
            agent_identity="interviewer",
            allowance=allowance,
            assigned_at=time.time(),
        ),
        settings=AgentSettings(),
        transport=MemoryTransport(json.dumps({"rehearsal": {}})),
        journal=Journal(left),
        ask_budget=ask,
        on_joined=lambda report: None,
        actor_id=ActorId("a-2"),
        opened=nothing_opened,
    )
    return await asyncio.wait_for(session.run(), 5)


async def test_one_that_was_over_when_its_actor_was_lost_keeps_its_end_and_phases() -> None:
    result = await succeed(GOODBYE_SAID)
    assert (result.attempt, result.end_reason) == (2, EndReason.COMPLETED)
    assert result.error is None
    assert result.phases == (
        PhaseTiming(phase_id="core", entered_s=0.5, left_s=88.0, cause="started"),
    )
