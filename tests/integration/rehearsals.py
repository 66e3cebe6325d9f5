"""Runs one session in this process with audio in memory: everything real but the room.

The budget is the real, pure one (``fleet.budget.accounts``), asked without Ray between.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from livekit.agents.utils import http_context
from pydantic import SecretStr

from agent_actor.contract import ActorId, SessionId, parse_tolerant
from agent_actor.journal import EventKind
from agent_actor.journal_writer import JournalWriter
from agent_actor.memory_transport import MemoryTransport
from agent_actor.messages import Allowance, Assignment, SessionResult, UsageReport
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings
from fleet.budget.accounts import Accounts, Limits
from fleet.budget.costs import SessionCost
from fleet.budget.policy import GrantPolicy
from fleet.local.simulators import Simulator


def rehearsal_contract(provider: str, **changes: Any) -> str:
    """Metadata for one long phase that only money ends."""
    rehearsal = {"speed": 4, "arrives_after_s": 0.1, "speech_s": [0.6, 1.2], "thinks_s": [0.1, 0.3]}
    settings = {
        "provider": provider,
        "instructions": f"You interview people about parks. {uuid.uuid4()}",
        "phases": [{"id": "core", "name": "Core", "duration_seconds": 600}],
        "vad_config": {"silence_duration_ms": 300},
        "budget_limit_usd": 5.0,
        "rehearsal": {**rehearsal, **changes.pop("rehearsal", {})},
        **changes,
    }
    return parse_tolerant(json.dumps(settings)).model_dump_json(exclude_none=True)


class Journal(JournalWriter):
    """Keeps what a session writes down; Redis is not asked."""

    def __init__(self) -> None:
        self.kept: list[tuple[float, EventKind, dict[str, Any]]] = []

    def record(self, kind: EventKind, **data: Any) -> None:
        self.kept.append((time.monotonic(), kind, data))

    def live(self, state: object) -> None:
        pass

    def seen(self, kind: EventKind, **match: Any) -> list[dict[str, Any]]:
        return [
            d
            for _, k, d in self.kept
            if k is kind and all(d.get(key) == value for key, value in match.items())
        ]


@dataclass
class Rehearsed:
    """A session that is over."""

    result: SessionResult
    cost: SessionCost
    invoice: dict[str, Any]
    journal: Journal
    reports: list[UsageReport] = field(default_factory=list)

    @property
    def invoice_micro_usd(self) -> float:
        return float(self.invoice["total_pico_usd"]) / 1e6

    @property
    def left_share(self) -> float:
        """Of the limit, what was left unused."""
        return 1 - self.invoice_micro_usd / self.cost.limit_micro_usd


async def rehearse(
    simulator: Simulator, metadata: str, *, settings: dict[str, Any] | None = None
) -> Rehearsed:
    config = parse_tolerant(metadata)
    session_id = SessionId(f"r-{uuid.uuid4().hex[:12]}")
    accounts = Accounts(policy=GrantPolicy(), limits=Limits(), epoch=1)
    allowance = accounts.open(
        session_id=session_id,
        study_id="study",
        provider=config.provider.value,
        limit_micro_usd=config.budget_limit_micro_usd,
        now=time.time(),
    )
    reports: list[UsageReport] = []

    async def ask(report: UsageReport) -> Allowance:
        reports.append(report)
        return accounts.apply(report, time.time())

    journal = Journal()
    session = InterviewSession(
        assignment=Assignment(
            session_id=session_id,
            attempt=1,
            livekit_url="",
            room="",
            token="",
            agent_identity="interviewer",
            allowance=allowance,
            assigned_at=time.time(),
        ),
        settings=AgentSettings(
            openai_api_key=SecretStr("simulator"),
            google_api_key=SecretStr("simulator"),
            openai_base_url=simulator.base_url,
            gemini_base_url=simulator.base_url,
            gemini_ca_cert=simulator.ca_cert,
            **(settings or {}),
        ),
        transport=MemoryTransport(metadata),
        journal=journal,
        ask_budget=ask,
        on_joined=lambda report: None,
        actor_id=ActorId("in-process"),
    )
    async with http_context.open():
        result = await session.run()
    cost = accounts.close(session_id, time.time())
    assert cost is not None
    return Rehearsed(
        result=result,
        cost=cost,
        invoice=await invoice_of(simulator, config.instructions),
        journal=journal,
        reports=reports,
    )


async def invoice_of(simulator: Simulator, match: str) -> dict[str, Any]:
    """The one invoice of the session whose instructions contain ``match``."""
    async with aiohttp.ClientSession() as http:
        url = f"{simulator.control_url}/invoices"
        async with http.get(url, params={"match": match}) as answer:
            body = await answer.json()
    await asyncio.sleep(0)
    (invoice,) = body["invoices"]
    return dict(invoice)
