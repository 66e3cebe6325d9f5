"""What the first session of a forked process still does for the first time."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import uuid
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess
from fleet.local.simulators import Simulator
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.report import EventName, ParticipantEvent
from loadtest.participants.scripts import NAMED
from tests.integration.interviews import contract

REPOSITORY = Path(__file__).parents[2]
READY_S = 60
LONGEST_BLOCK_MS = 50


@pytest.mark.parametrize("provider", ["openai_realtime", "gemini_live"])
async def test_nothing_blocks_the_loop_before_the_first_audio(
    provider: str,
    livekit_server: LiveKitAccess,
    shared_redis: str,
    openai_simulator: Simulator,
    gemini_simulator: Simulator,
) -> None:
    env = {
        **os.environ,
        "REDIS_URL": shared_redis,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
        "GOOGLE_API_KEY": "sim-key",
        "FLEET_GEMINI_BASE_URL": gemini_simulator.base_url,
        "FLEET_GEMINI_CA_CERT": str(gemini_simulator.ca_cert),
    }
    told = await first_session(provider, livekit_server, env)
    assert told["error"] is None
    assert told["first_audio_s"] is not None
    assert all(each["cpu_ms"] < LONGEST_BLOCK_MS for each in told["spent"]), told["spent"]
    # Whatever is imported now belongs into agent_actor/prepare.py.
    assert len(told["imported"]) < 5, told["imported"]


async def first_session(
    provider: str, livekit: LiveKitAccess, env: dict[str, str]
) -> dict[str, Any]:
    secret = SecretStr(livekit.api_secret)
    client = LiveKitClient(url=livekit.url, api_key=livekit.api_key, api_secret=secret)
    room = f"first-{uuid.uuid4().hex[:8]}"
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.integration.first_session"),
        stdin=pipe,
        stdout=pipe,
        cwd=REPOSITORY,
        env=env,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        await client.create_room(room, metadata=json.dumps(contract(provider)))
        line = await asyncio.wait_for(process.stdout.readline(), READY_S)
        assert line == b"ready\n"
        options = ParticipantOptions(
            url=livekit.url,
            token=client.participant_token(room=room, identity="participant", ttl_s=300),
            script=NAMED["cooperative"],
            seed=1,
            max_s=80,
        )
        order = {
            "session_id": f"s-{room}",
            "livekit_url": livekit.url,
            "room": room,
            "token": client.agent_token(room=room, identity="agent", ttl_s=300),
        }
        heard = asyncio.Event()

        def listen(event: ParticipantEvent) -> None:
            if event.name is EventName.AGENT_SPEECH_STARTED:
                heard.set()

        async with asyncio.TaskGroup() as tasks:
            there = tasks.create_task(run_participant(options, listen))
            process.stdin.write(json.dumps(order).encode() + b"\n")
            await asyncio.wait_for(heard.wait(), 60)
            # The rest of the interview is of no interest here.
            await client.delete_room(room)
            told = await asyncio.wait_for(process.stdout.readline(), 30)
            there.cancel()
        return dict(json.loads(told))
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()
        await client.aclose()
