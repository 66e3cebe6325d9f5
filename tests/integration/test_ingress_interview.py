"""An interview asked for, followed and paid for over HTTP, with nothing scripted: the real session
actor, a synthetic participant over WebRTC, a simulator in the provider's place.
"""

from __future__ import annotations

import asyncio

import httpx

from fleet.crew import ActorSpec
from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.simulators import Simulator
from fleet.settings import FleetSettings
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.scripts import NAMED
from serve.wiring import providers_of
from tests.integration.interviews import invoice_pico
from tests.integration.test_control_plane import settings_for, until
from tests.integration.test_ingress import (
    PICO_PER_MICRO,
    create,
    gone,
    is_ready,
    serving,
    stream,
)


def test_an_interview_over_http(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
) -> None:
    settings = settings_for(shared_redis, livekit_server, warm_actors=1, actor_warm_timeout_s=110)
    environment = {
        "REDIS_URL": settings.redis_url,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
    }
    real = ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment})
    with serving(settings, real, providers=providers_of(environment)) as url:
        asyncio.run(_interview(url, settings, openai_simulator))


async def _interview(url: str, settings: FleetSettings, simulator: Simulator) -> None:
    # No key is set and it listens on loopback: none is asked for.
    async with httpx.AsyncClient(base_url=url, timeout=60) as backend:
        await until(lambda: is_ready(backend), within_s=110, poll_s=0.2)
        fleet = (await backend.get("/v1/fleet")).json()
        speaking = {p["provider"]: p["simulated"] for p in fleet["providers"]}
        assert speaking == {"openai_realtime": True, "gemini_live": False}
        made = await create(backend)
        following = asyncio.create_task(stream(backend, made["session_id"]))
        options = ParticipantOptions(
            url=made["livekit_url"],
            token=made["participant_token"],
            script=NAMED["cooperative"],
            seed=1,
            max_s=80,
        )
        summary = await run_participant(options, lambda _event: None)
        assert summary.tally.answers >= 4
        events = await asyncio.wait_for(following, 30)
        record = await gone(backend, made["session_id"])
        assert record["end_reason"] == "completed"
        assert [p["phase_id"] for p in record["phases"]] == ["warmup", "core"]
        assert {"phase", "turn", "usage", "state"} <= {name for name, _, _ in events}
        assert events[-1][0] == "end"
        said = (await backend.get(made["links"]["transcript"])).json()["turns"]
        assert {turn["speaker"] for turn in said} == {"participant", "interviewer"}
        billed = await invoice_pico(simulator, tuple(record["provider_sessions"]))
        cost = (await backend.get(made["links"]["cost"])).json()
        assert cost["spent_micro_usd"] == -(-billed // PICO_PER_MICRO)
        rooms = LiveKitClient.from_settings(settings)
        try:
            assert not await rooms.list_rooms([made["room"]])
        finally:
            await rooms.aclose()
