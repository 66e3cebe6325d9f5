"""One interview at a time on real parts: LiveKit, Redis, the real plugins, WebRTC both ways."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent_actor.contract import EndReason
from agent_actor.journal import EventKind
from agent_actor.settings import AgentSettings
from fleet.local.livekit import LiveKitAccess
from fleet.local.simulators import Simulator
from tests.integration.interviews import contract, invoice_pico, running, settings_for

PROVIDERS = ("openai_realtime", "gemini_live")


@pytest.fixture
def settings(
    redis_server: str, openai_simulator: Simulator, gemini_simulator: Simulator
) -> AgentSettings:
    return settings_for(redis_server, openai_simulator, gemini_simulator)


@pytest.fixture
def simulators(openai_simulator: Simulator, gemini_simulator: Simulator) -> dict[str, Simulator]:
    return {"openai_realtime": openai_simulator, "gemini_live": gemini_simulator}


@pytest.mark.parametrize("provider", PROVIDERS)
async def test_interview_runs_through_its_phases_and_matches_the_invoice(
    provider: str,
    livekit_server: LiveKitAccess,
    settings: AgentSettings,
    simulators: dict[str, Simulator],
) -> None:
    async with running(livekit_server, settings, json.dumps(contract(provider))) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), 10)
        result, summary = await run.with_participant("cooperative", deadline_s=90)
    assert result.error is None
    assert result.end_reason is EndReason.COMPLETED
    assert [p.phase_id for p in result.phases] == ["warmup", "core"]
    assert result.phases[1].cause == "advanced"
    assert summary.tally.first_audio_s is not None
    assert summary.tally.answers >= 4
    assert summary.heard.clipped_samples == 0
    assert run.seen(EventKind.TURN, speaker="participant")
    assert run.seen(EventKind.TURN, speaker="interviewer")
    assert result.usage is not None
    assert result.usage.final
    billed = await invoice_pico(simulators[provider], result.provider_sessions)
    assert billed > 0
    assert result.usage.unpriced_responses == 0
    assert result.usage.spent_pico_usd == billed
