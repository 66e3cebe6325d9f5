"""One session in a process of its own: ``python -m fleet.bench.live_session``, by fleet.bench.live.

What it is to do stands in the environment variable ORDER (it holds a token). Tells, in one line,
how much memory the process has when all is warm and nothing assigned; then the session runs until
the process is told to end, or it is over by itself: then it tells, in a second line, what it and
its telemetry have spent.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from typing import Any

from livekit.agents.utils import http_context
from pydantic import SecretStr

from agent_actor.contract import ActorId, SessionId
from agent_actor.journal_writer import JournalWriter
from agent_actor.messages import Allowance, Assignment, UsageReport
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings, RoomOutputKind
from agent_actor.transport import LiveKitTransport
from agent_actor.warm import warm_process
from fleet.bench.processes import pss_mib
from fleet.bench.timed_tracer import TimedTracer

ORDER = "FLEET_BENCH_ORDER"
LIMIT_MICRO_USD = 50_000_000
LEASE_S = 3_600.0
TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@dataclass(frozen=True, kw_only=True)
class Order:
    session_id: str
    url: str
    token: str = field(repr=False)
    redis_url: str
    openai_base_url: str
    framework_output: bool

    def as_env(self) -> dict[str, str]:
        return {ORDER: json.dumps(asdict(self))}


async def _run(order: Order) -> None:
    settings = AgentSettings(
        redis_url=order.redis_url,
        openai_base_url=order.openai_base_url,
        openai_api_key=SecretStr("sim-key"),
    )
    await warm_process(settings)
    tracer = TimedTracer()
    cpu_before_s = time.process_time()
    sys.stdout.write(json.dumps({"warm_pss_mib": pss_mib(os.getpid())}) + "\n")
    sys.stdout.flush()
    session_id = SessionId(order.session_id)
    allowance = Allowance(
        session_id=session_id,
        up_to_micro_usd=LIMIT_MICRO_USD,
        limit_micro_usd=LIMIT_MICRO_USD,
        expires_at=time.time() + LEASE_S,
    )

    async def ask_budget(_: UsageReport) -> Allowance:
        return allowance

    journal = JournalWriter(settings.redis_url, "bench", session_id, 1, ttl_s=60).start()
    session = InterviewSession(
        assignment=Assignment(
            session_id=session_id,
            attempt=1,
            livekit_url=order.url,
            room=order.session_id,
            token=order.token,
            agent_identity="agent",
            allowance=allowance,
            assigned_at=time.time(),
            traceparent=TRACEPARENT,
        ),
        settings=settings,
        transport=LiveKitTransport(
            url=order.url,
            token=order.token,
            connect_timeout_s=settings.room_connect_timeout_s,
            output=(RoomOutputKind.FRAMEWORK if order.framework_output else RoomOutputKind.PACED),
        ),
        journal=journal,
        ask_budget=ask_budget,
        on_joined=lambda _: None,
        actor_id=ActorId("bench"),
        tracer=tracer,
    )
    try:
        async with http_context.open():
            await session.run()
    finally:
        await journal.aclose()
    # The last batch is sent by a thread that is gone afterwards; nothing else runs meanwhile.
    cpu_s, tracing_s = time.process_time(), tracer.cpu_s
    await tracer.flush()
    flush_s = time.process_time() - cpu_s
    told = {
        "cpu_s": round(cpu_s + flush_s - cpu_before_s, 4),
        "telemetry_cpu_s": round(tracing_s + flush_s, 4),
        "spans": tracer.spans,
        "lost": tracer.lost,
    }
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    told: dict[str, Any] = json.loads(os.environ[ORDER])
    asyncio.run(_run(Order(**told)))
