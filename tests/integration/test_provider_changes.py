"""Interviews whose provider's connections end, on real parts and the real wires: announced, at the
end of their life, dropped, frozen. Judged by the participant's ears and the simulators' invoices.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import structlog

from agent_actor.contract import EndReason
from agent_actor.journal import EventKind
from fleet.local.livekit import LiveKitAccess
from fleet.local.run_dir import RunDir
from fleet.local.simulators import Simulator, SimulatorKind, simulator
from loadtest.participants.report import EventName
from tests.integration.interviews import (
    Run,
    contract,
    invoice_pico,
    live_sessions,
    running,
    set_fault,
    set_script,
    settings_for,
)

CONNECTION_S = 10
INTERVIEW_S = 28
TALK = {"turns_per_phase": 1000, "speech_s": [0.8, 1.6], "ttfa_ms": [200, 300]}
PERSON = {
    "name": "quick",
    "think_s": [0.3, 0.7],
    "answer_s": [1.0, 2.0],
    "noise_dbfs": -60,
    # Later than the 7.5 s after which a connection is known to stand still, and its answer.
    "speaks_up_after_s": 12,
}
WAIT_S = 3.0
"""For two busy cores; what was measured is logged (``pytest -s``)."""

log = structlog.get_logger(__name__)


@pytest.fixture
async def gemini(run: RunDir) -> AsyncIterator[Simulator]:
    """Its connections live for seconds, and are told to go away before."""
    life = ["--connection-limit-s", str(CONNECTION_S), "--goaway-before-s", "8"]
    async with simulator(run, SimulatorKind.GEMINI, life) as part:
        yield part


@pytest.fixture
async def openai(run: RunDir) -> AsyncIterator[Simulator]:
    async with simulator(run, SimulatorKind.OPENAI) as part:
        yield part


def talk(provider: str, duration_s: float = INTERVIEW_S, **changes: Any) -> str:
    return json.dumps(
        contract(
            provider,
            phases=[{"id": "core", "name": "Core", "duration_seconds": duration_s}],
            vad_config={"silence_duration_ms": 300},
            **changes,
        )
    )


def waits(run: Run, provider_changes: list[float]) -> list[float]:
    """For each change, how long the participant waited for the next words of the interviewer: since
    its own turn ended, or the interviewer's words before it did."""
    quiet_since, found, due = 0.0, [], list(provider_changes)
    for at, event in sorted(run.heard, key=lambda one: one[0]):
        if event.name in (EventName.AGENT_SPEECH_ENDED, EventName.ANSWERED):
            quiet_since = at
        elif event.name is EventName.AGENT_SPEECH_STARTED and due and at > due[0]:
            found.append(at - quiet_since)
            due = [one for one in due if one >= at]
    return found


def unanswered(run: Run) -> list[int]:
    """Turns of the participant's that no words of the interviewer came after."""
    events = [e for _, e in sorted(run.heard, key=lambda one: one[0])]
    last_word = max(i for i, e in enumerate(events) if e.name is EventName.AGENT_SPEECH_STARTED)
    spoken: int | None = None
    lost = []
    for event in events[:last_word]:
        if event.name is EventName.SPEAKING:
            if spoken is not None:
                lost.append(spoken)
        elif event.name is EventName.ANSWERED:
            spoken = int(event.detail["number"])
        elif event.name is EventName.AGENT_SPEECH_STARTED:
            spoken = None
    return lost


async def strike(simulator: Simulator, what: str, **body: Any) -> None:
    """At the one live connection."""
    (live,) = await live_sessions(simulator)
    url = f"{simulator.control_url}/sessions/{live['session_id']}/{what}"
    async with aiohttp.ClientSession() as http, http.post(url, json=body or None) as answer:
        answer.raise_for_status()


async def test_gemini_connections_that_go_away_are_changed_between_turns(
    gemini: Simulator, livekit_server: LiveKitAccess, redis_server: str
) -> None:
    settings = settings_for(redis_server, gemini, gemini_trigger_tokens=5_000)
    await set_script(gemini, "parks", **TALK)
    # One of its handles is refused, as has been seen of the real service.
    await set_fault(gemini, "forget_handle", match="parks")
    async with running(livekit_server, settings, talk("gemini_live")) as run:
        result, _ = await run.with_participant(PERSON, deadline_s=60)
        billed = await invoice_pico(gemini, tuple(dict.fromkeys(result.provider_sessions)))
    assert (result.end_reason, result.error) == (EndReason.COMPLETED, None)
    changes = run.seen(EventKind.PROVIDER, change="reconnected")
    assert len(changes) >= INTERVIEW_S // CONNECTION_S
    assert all(c["planned"] and not c["cut_short"] for c in changes), changes
    assert len(set(result.provider_sessions)) == 2, "each but one was resumed by its handle"
    assert unanswered(run) == []
    heard = waits(run, run.events.times(EventKind.PROVIDER, change="disconnected"))
    log.info("waits across changes", waits_s=heard, away_s=[c["away_s"] for c in changes])
    assert max(heard) <= WAIT_S
    assert result.usage is not None
    assert result.usage.unpriced_responses == 0
    assert result.usage.spent_pico_usd == billed


async def test_openai_connections_are_changed_between_turns_and_outlived_when_they_break(
    openai: Simulator, livekit_server: LiveKitAccess, redis_server: str
) -> None:
    settings = settings_for(redis_server, openai, openai_session_s=7)
    await set_script(openai, "parks", **TALK)
    struck: list[float] = []

    async def act(run: Run) -> None:
        back = {"change": "reconnected", "planned": True}
        await run.until(EventKind.PROVIDER, within_s=30, **back)
        back["planned"] = False
        for again, what in enumerate(("drop", "freeze"), start=1):
            answered = len(run.seen(EventKind.TURN, speaker="participant")) + 1
            await run.until(EventKind.TURN, times=answered, within_s=20, speaker="participant")
            struck.append(time.time())
            await strike(openai, what)
            await run.until(EventKind.PROVIDER, times=again, within_s=20, **back)

    metadata = talk("openai_realtime", duration_s=30)
    async with running(livekit_server, settings, metadata) as run, asyncio.TaskGroup() as group:
        group.create_task(act(run))
        result, _ = await run.with_participant(PERSON, deadline_s=60)
    billed = await invoice_pico(openai, result.provider_sessions)
    assert (result.end_reason, result.error) == (EndReason.COMPLETED, None)
    assert len(struck) == 2
    assert unanswered(run) == []
    planned = run.seen(EventKind.PROVIDER, change="reconnected", planned=True)
    assert not any(change["cut_short"] for change in planned)
    log.info("waits across faults", waits_s=waits(run, struck))
    assert result.usage is not None
    assert result.usage.spent_pico_usd >= billed > 0


async def test_a_provider_that_is_away_from_the_beginning_leaves_the_interview_to_the_other(
    openai: Simulator, livekit_server: LiveKitAccess, redis_server: str
) -> None:
    settings = settings_for(redis_server, openai, provider_connect_timeout_s=2.0)
    await set_fault(openai, "refuse", count=None)
    metadata = talk("openai_realtime", fallback={"provider": "gemini_live"})
    async with running(livekit_server, settings, metadata) as run:
        result = await asyncio.wait_for(run.result, 20)
    assert result.falls_over
    assert result.end_reason is EndReason.PROVIDER_FAILED
    # It is not over, and nobody is told that it is: the record would refuse another attempt.
    said = {told["state"] for told in run.seen(EventKind.STATE)}
    assert said.isdisjoint({"ending", "gone"}), said
