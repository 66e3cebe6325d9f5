"""A participant who falls silent in mid-thought is let think, if the contract says so."""

from __future__ import annotations

import asyncio
import json

import pytest

from agent_actor.contract import EndReason
from fleet.local.livekit import LiveKitAccess
from fleet.local.simulators import Simulator
from loadtest.participants.report import ParticipantSummary
from tests.integration.interviews import (
    contract,
    leaving_nothing,
    running,
    set_script,
    settings_for,
)

pytestmark = pytest.mark.alone

PROVIDERS = ("openai_realtime", "gemini_live")
PAUSE_S = 10.0
THINKER = {
    "name": "thinker",
    "think_s": [0.3, 0.5],
    "answer_s": [4.0, 4.5],
    "pauses": [{"answer": 1, "after_s": 2.0, "pause_s": PAUSE_S}],
    # A microphone in a room is never silent altogether.
    "noise_dbfs": -60.0,
}
PATIENT_MS, HASTY_MS = 11_000, 500


async def test_thinking_participant_is_spoken_over_only_where_the_contract_is_hasty(
    livekit_server: LiveKitAccess,
    redis_server: str,
    openai_simulator: Simulator,
    gemini_simulator: Simulator,
) -> None:
    simulators = dict(zip(PROVIDERS, (openai_simulator, gemini_simulator), strict=True))
    settings = settings_for(redis_server, *simulators.values())

    async def think(provider: str, silence_ms: int) -> ParticipantSummary:
        name = f"patience-{provider}-{silence_ms}"
        await set_script(simulators[provider], name, turns_per_phase=1, speech_s=[1.5, 2.0])
        metadata = contract(
            provider,
            instructions=f"Interview {name}.",
            phases=[{"id": "only", "name": "Only", "duration_seconds": 90}],
            session_timeout_seconds=100,
            vad_config={"silence_duration_ms": silence_ms},
        )
        async with running(livekit_server, settings, json.dumps(metadata)) as run:
            result, heard = await run.with_participant(THINKER, deadline_s=90)
        assert (result.end_reason, result.error) == (EndReason.COMPLETED, None), name
        return heard

    async with leaving_nothing(*simulators.values()), asyncio.TaskGroup() as group:
        patient = {p: group.create_task(think(p, PATIENT_MS)) for p in PROVIDERS}
        hasty = {p: group.create_task(think(p, HASTY_MS)) for p in PROVIDERS}
    for provider in PROVIDERS:
        heard = patient[provider].result().tally
        assert (heard.pauses, heard.answers) == (1, 1), (provider, heard)
        assert heard.overlaps == [], (provider, heard)
        # The turn is over only once the silence after it is as long as the pause was allowed.
        assert heard.responses[0].response_s > PATIENT_MS / 1000, (provider, heard)
        spoken_over = [o for o in hasty[provider].result().tally.overlaps if o.in_pause]
        assert len(spoken_over) >= 1, provider
        assert spoken_over[0].answer == 1
        assert 2.0 <= spoken_over[0].into_answer_s <= 2.0 + PAUSE_S
