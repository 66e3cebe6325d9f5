"""Runs one session in this process with audio in memory: everything real but the room.

The budget is the real, pure one (``fleet.budget.accounts``), asked without Ray between.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import aiohttp
from livekit.agents.utils import http_context
from pydantic import SecretStr

from agent_actor.contract import ActorId, SessionId, parse_tolerant
from agent_actor.journal import EventKind
from agent_actor.journal_writer import JournalWriter
from agent_actor.memory_transport import MemoryTransport
from agent_actor.messages import (
    PICO_PER_MICRO,
    Allowance,
    Assignment,
    SessionResult,
    UsageReport,
)
from agent_actor.providers.base import nothing_opened
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings
from fleet.budget.accounts import Accounts, Limits
from fleet.budget.costs import SessionCost
from fleet.budget.policy import GrantPolicy
from fleet.local.simulators import Simulator


def rehearsal_contract(provider: str, *, padding: int = 0, **changes: Any) -> str:
    """Metadata for one long phase that only money ends. ``padding``: bytes of instructions."""
    rehearsal = {"speed": 4, "arrives_after_s": 0.1, "speech_s": [0.6, 1.2], "thinks_s": [0.1, 0.3]}
    settings = {
        "provider": provider,
        "instructions": f"Interview {uuid.uuid4()}, about parks.\n" + "Listen. " * (padding // 8),
        "phases": [{"id": "core", "name": "Core", "duration_seconds": 600}],
        "vad_config": {"silence_duration_ms": 300},
        "budget_limit_usd": 5.0,
        **changes,
        "rehearsal": {**rehearsal, **changes.get("rehearsal", {})},
    }
    return parse_tolerant(json.dumps(settings)).model_dump_json(exclude_none=True)


class Journal(JournalWriter):
    """Keeps what a session writes down; Redis is not asked."""

    attempt = 1

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
    invoices: list[dict[str, Any]]
    """One for each of its connections."""
    journal: Journal

    @property
    def billed_pico_usd(self) -> int:
        return sum(int(invoice["total_pico_usd"]) for invoice in self.invoices)

    @property
    def responses(self) -> list[dict[str, Any]]:
        return [line for invoice in self.invoices for line in invoice["responses"]]

    @property
    def left_share(self) -> float:
        """Of the limit, what was left unused."""
        return 1 - self.billed_pico_usd / (self.cost.limit_micro_usd * PICO_PER_MICRO)


async def rehearse(
    simulator: Simulator,
    metadata: str,
    *,
    script: dict[str, Any] | None = None,
    fault: str | None = None,
    settings: dict[str, Any] | None = None,
    opened: Callable[[str], Awaitable[Any | None]] = nothing_opened,
) -> Rehearsed:
    """To its end. ``script`` and ``fault`` are the simulator's, for this session alone."""
    config = parse_tolerant(metadata)
    async with aiohttp.ClientSession() as http:
        control = Control(http, simulator, match=config.instructions.splitlines()[0])
        await control.add("scripts", **(script or {}))
        if fault is not None:
            await control.add("faults", kind=fault)
        result, cost, journal = await _run(simulator, metadata, settings or {}, opened)
        return Rehearsed(
            result=result, cost=cost, invoices=await control.invoices(), journal=journal
        )


@dataclass
class Control:
    """The simulator's own side, for the sessions whose instructions contain ``match``."""

    http: aiohttp.ClientSession
    simulator: Simulator
    match: str

    async def add(self, what: str, **body: Any) -> None:
        url = f"{self.simulator.control_url}/{what}"
        async with self.http.post(url, json={"match": self.match, **body}) as answer:
            assert answer.status == 201, await answer.text()

    async def invoices(self) -> list[dict[str, Any]]:
        url = f"{self.simulator.control_url}/invoices"
        async with self.http.get(url, params={"match": self.match}) as answer:
            return list((await answer.json())["invoices"])


async def _run(
    simulator: Simulator,
    metadata: str,
    settings: dict[str, Any],
    opened: Callable[[str], Awaitable[Any | None]],
) -> tuple[SessionResult, SessionCost, Journal]:
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

    async def ask(report: UsageReport) -> Allowance:
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
            **settings,
        ),
        transport=MemoryTransport(metadata),
        journal=journal,
        ask_budget=ask,
        on_joined=lambda report: None,
        actor_id=ActorId("in-process"),
        opened=opened,
    )
    async with http_context.open():
        result = await session.run()
    cost = accounts.close(session_id, time.time())
    assert cost is not None
    return result, cost, journal
