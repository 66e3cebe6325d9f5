"""Runs one interview session in this process, on real parts: room, provider, participant."""

from __future__ import annotations

import asyncio
import contextlib
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from livekit.agents.utils import http_context
from pydantic import SecretStr

from agent_actor.contract import ActorId, SessionId
from agent_actor.journal import EventKind
from agent_actor.journal_writer import MAX_BUFFERED, JournalWriter
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    SessionResult,
    UsageReport,
    Verdict,
)
from agent_actor.session import InterviewSession
from agent_actor.settings import AgentSettings
from agent_actor.spending import AskBudget
from agent_actor.transport import LiveKitTransport
from agent_actor.warm import warm_process
from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess
from fleet.local.simulators import Simulator
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.report import ParticipantEvent, ParticipantSummary
from loadtest.participants.script import script_from_mapping
from loadtest.participants.scripts import NAMED


def contract(provider: str = "openai_realtime", **changes: Any) -> dict[str, Any]:
    """Room metadata for a short interview of two phases."""
    return {
        "provider": provider,
        "instructions": "You interview people about how they use their city's parks.",
        "phases": [
            {"id": "warmup", "name": "Warm-up", "duration_seconds": 60},
            {"id": "core", "name": "Core", "duration_seconds": 60},
        ],
        "vad_config": {"silence_duration_ms": 600},
        "budget_limit_usd": 5.0,
        "session_timeout_seconds": 180,
        "no_show_seconds": 20,
        "reconnect_grace_seconds": 15,
        **changes,
    }


@dataclass
class Ledger:
    """Stands where the budget actor is: keeps the reports, answers with a fixed allowance."""

    allowance: Allowance
    reports: list[UsageReport] = field(default_factory=list)

    async def ask(self, report: UsageReport) -> Allowance:
        self.reports.append(report)
        return self.allowance


class Events:
    """What a session wrote into its journal, to look at and to wait on."""

    def __init__(self) -> None:
        self._kept: list[tuple[EventKind, dict[str, Any], float]] = []
        self._changed = asyncio.Event()

    def add(self, kind: EventKind, data: dict[str, Any]) -> None:
        self._kept.append((kind, data, time.time()))
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    def seen(self, kind: EventKind, **match: Any) -> list[dict[str, Any]]:
        return [data for data, _ in self._matching(kind, match)]

    def times(self, kind: EventKind, **match: Any) -> list[float]:
        """When they were written, in epoch seconds."""
        return [at for _, at in self._matching(kind, match)]

    def _matching(
        self, kind: EventKind, match: dict[str, Any]
    ) -> list[tuple[dict[str, Any], float]]:
        return [
            (data, at)
            for seen, data, at in self._kept
            if seen is kind and all(data.get(k) == v for k, v in match.items())
        ]

    async def until(self, true: Callable[[], object], deadline_s: float) -> None:
        """Returns when ``true`` is, looked at after each entry. Raises TimeoutError."""
        async with asyncio.timeout(deadline_s):
            while not true():
                await self._changed.wait()


@dataclass
class Run:
    """A session under way. ``result`` ends with it."""

    session: InterviewSession
    session_id: SessionId
    room: str
    client: LiveKitClient
    livekit: LiveKitAccess
    ledger: Ledger
    joined: asyncio.Future[JoinReport]
    result: asyncio.Task[SessionResult]
    events: Events
    journal: Journal
    heard: list[tuple[float, ParticipantEvent]] = field(default_factory=list)
    """By the participant, with epoch seconds."""

    async def participate(
        self, script: Any, *, max_s: float = 120, seed: int = 1
    ) -> ParticipantSummary:
        named = NAMED[script] if isinstance(script, str) else script_from_mapping(script)
        token = self.client.participant_token(room=self.room, identity="participant", ttl_s=300)
        options = ParticipantOptions(
            url=self.livekit.url,
            token=token,
            script=named,
            seed=seed,
            max_s=max_s,
            started_epoch_s=(began := time.time()),
        )
        return await run_participant(
            options, lambda event: self.heard.append((began + event.t_s, event))
        )

    async def with_participant(
        self, script: Any, *, deadline_s: float, seed: int = 1
    ) -> tuple[SessionResult, ParticipantSummary]:
        """A participant beside the session until that is over; the room then ends as the
        supervisor ends it."""
        there = asyncio.create_task(self.participate(script, max_s=deadline_s, seed=seed))
        try:
            async with asyncio.timeout(deadline_s):
                result = await asyncio.shield(self.result)
                while not there.done():
                    # More than once: who was just joining made a new room of it.
                    await self.client.delete_room(self.room)
                    await asyncio.wait([there], timeout=1)
                return result, there.result()
        finally:
            there.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await there

    async def agent_gone(self, within_s: float = 3.0) -> None:
        """Returns when the server lists the agent no more. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while any(p.is_agent for p in await self.client.list_participants(self.room)):
                await asyncio.sleep(0.05)

    async def until(
        self, kind: EventKind, *, times: int = 1, within_s: float, **match: Any
    ) -> None:
        """Returns when that many such entries are in the journal. Raises TimeoutError."""
        await self.events.until(lambda: len(self.seen(kind, **match)) >= times, within_s)

    def seen(self, kind: EventKind, **match: Any) -> list[dict[str, Any]]:
        return self.events.seen(kind, **match)


class Journal(JournalWriter):
    """A real writer that also keeps what it was given, for assertions."""

    def __init__(self, events: Events, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._events = events

    def record(self, kind: EventKind, **data: Any) -> None:
        self._events.add(kind, data)
        super().record(kind, **data)


def settings_for(redis_url: str, *simulators: Simulator, **changes: Any) -> AgentSettings:
    """Agent settings that point the real plugins at the simulators."""
    values: dict[str, Any] = {"redis_url": redis_url, "redis_namespace": "test", **changes}
    for simulator in simulators:
        if simulator.ca_cert is None:
            values.setdefault("openai_base_url", simulator.base_url)
            values.setdefault("openai_api_key", SecretStr("sim-key"))
        else:
            values.setdefault("gemini_base_url", simulator.base_url)
            values.setdefault("gemini_ca_cert", simulator.ca_cert)
            values.setdefault("google_api_key", SecretStr("sim-key"))
    return AgentSettings(**values)


def allowance_for(session_id: SessionId, limit_usd: float = 5.0, **changes: Any) -> Allowance:
    limit = round(limit_usd * 1_000_000)
    values: dict[str, Any] = {
        "session_id": session_id,
        "up_to_micro_usd": limit,
        "limit_micro_usd": limit,
        "expires_at": time.time() + 600,
        "verdict": Verdict.GO_ON,
        **changes,
    }
    return Allowance(**values)


@asynccontextmanager
async def running(
    livekit: LiveKitAccess,
    settings: AgentSettings,
    metadata: str,
    *,
    token: str | None = None,
    url: str | None = None,
    limit_usd: float = 5.0,
    ask_budget: AskBudget | None = None,
    max_buffered: int = MAX_BUFFERED,
    **allowance: Any,
) -> AsyncIterator[Run]:
    """A room with ``metadata`` and a session in it; both are gone afterwards. ``ask_budget``
    stands where the ledger does otherwise.
    """
    session_id = SessionId(f"s-{uuid.uuid4().hex[:10]}")
    room = f"interview-{session_id}"
    client = LiveKitClient(
        url=livekit.url, api_key=livekit.api_key, api_secret=SecretStr(livekit.api_secret)
    )
    granted = allowance_for(session_id, limit_usd, **allowance)
    ledger = Ledger(granted)
    events = Events()
    journal = Journal(
        events,
        settings.redis_url,
        settings.redis_namespace,
        session_id,
        1,
        max_buffered=max_buffered,
    ).start()
    joined: asyncio.Future[JoinReport] = asyncio.get_running_loop().create_future()
    try:
        # As an actor's process is before it has a session: what is built only once would hold up
        # the loop for half a second, and with it the words of every session in this process.
        await warm_process(settings)
        async with http_context.open():
            await client.create_room(room, metadata=metadata)
            own_token = token or client.agent_token(room=room, identity="agent", ttl_s=300)
            session = InterviewSession(
                assignment=Assignment(
                    session_id=session_id,
                    attempt=1,
                    livekit_url=url or livekit.url,
                    room=room,
                    token=own_token,
                    agent_identity="agent",
                    allowance=granted,
                    assigned_at=time.time(),
                ),
                settings=settings,
                transport=LiveKitTransport(
                    url=url or livekit.url,
                    token=own_token,
                    connect_timeout_s=settings.room_connect_timeout_s,
                    output=settings.room_output,
                ),
                journal=journal,
                ask_budget=ask_budget or ledger.ask,
                on_joined=joined.set_result,
                actor_id=ActorId("test"),
            )
            result = asyncio.create_task(session.run())
            try:
                yield Run(
                    session,
                    session_id,
                    room,
                    client,
                    livekit,
                    ledger,
                    joined,
                    result,
                    events,
                    journal,
                )
            finally:
                result.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await result
    finally:
        await journal.aclose()
        with contextlib.suppress(Exception):
            await client.delete_room(room)
        await client.aclose()


async def invoice_pico(simulator: Simulator, provider_sessions: tuple[str, ...]) -> int:
    """What the simulator billed for these of its sessions, in pico-dollars."""
    total = 0
    async with aiohttp.ClientSession() as http:
        for provider_session in provider_sessions:
            url = f"{simulator.control_url}/invoices/{provider_session}"
            async with http.get(url) as answer:
                answer.raise_for_status()
                total += (await answer.json())["total_pico_usd"]
    return total


async def set_fault(simulator: Simulator, kind: str, **fields: Any) -> None:
    body = {"kind": kind, "match": None, "count": 1, "params": {}, **fields}
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{simulator.control_url}/faults", json=body) as answer,
    ):
        answer.raise_for_status()


async def clear_faults(simulator: Simulator) -> None:
    async with (
        aiohttp.ClientSession() as http,
        http.delete(f"{simulator.control_url}/faults") as answer,
    ):
        answer.raise_for_status()


@asynccontextmanager
async def leaving_nothing(*simulators: Simulator, within_s: float = 5.0) -> AsyncIterator[None]:
    """Asserts that no task of the block is left, and no connection at the simulators."""
    before = asyncio.all_tasks()
    yield
    try:
        async with asyncio.timeout(within_s):
            for simulator in simulators:
                while await live_sessions(simulator):
                    await asyncio.sleep(0.05)
    except TimeoutError:
        raise AssertionError("a connection is left at a simulator") from None
    if left := asyncio.all_tasks() - before - {asyncio.current_task()}:
        _, left = await asyncio.wait(left, timeout=within_s)
    assert not left, f"tasks left over: {left}"


async def live_sessions(simulator: Simulator) -> list[dict[str, Any]]:
    async with (
        aiohttp.ClientSession() as http,
        http.get(f"{simulator.control_url}/sessions") as answer,
    ):
        answer.raise_for_status()
        return list((await answer.json())["sessions"])


async def set_script(simulator: Simulator, match: str, **changes: Any) -> None:
    """How the simulator's interviewer behaves where the instructions contain ``match``."""
    async with (
        aiohttp.ClientSession() as http,
        http.post(f"{simulator.control_url}/scripts", json={"match": match, **changes}) as answer,
    ):
        answer.raise_for_status()
