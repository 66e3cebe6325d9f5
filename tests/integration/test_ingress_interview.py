"""An interview asked for, followed and paid for over HTTP, with nothing scripted: the real session
actor, a synthetic participant over WebRTC, a simulator in the provider's place.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from importlib import import_module

import httpx
import pytest

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
from tests.otlp_receiver import OtlpReceiver


@dataclass(frozen=True, kw_only=True)
class Interviewed:
    """What of an interview its trace is held against. ``secrets``: what must not be in it."""

    session_id: str
    spent_micro_usd: int
    secrets: tuple[str, ...]


INSTRUCTIONS = "You interview people about how they use their city's parks."
CALLERS_TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
CALLERS_SPAN = "00f067aa0ba902b7"
STEPS = ("validate", "claim", "reserve", "budget", "room", "join")
ACTORS = ("join room", "wait for metadata", "connect provider", "wait for first audio", "phase")


@pytest.fixture
def traced_ingress(collector: OtlpReceiver, monkeypatch: pytest.MonkeyPatch) -> OtlpReceiver:
    """The ingress that is started here sends there too."""
    # Imported by test_ingress, which knows how.
    ingress = import_module("serve.ingress")
    env = {"env_vars": collector.environment}
    deployment = ingress.INGRESS.options(ray_actor_options={"num_cpus": 0.1, "runtime_env": env})
    monkeypatch.setattr(ingress, "INGRESS", deployment)
    return collector


def test_an_interview_over_http(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
    traced_ingress: OtlpReceiver,
) -> None:
    collector = traced_ingress
    settings = settings_for(shared_redis, livekit_server, warm_actors=1, actor_warm_timeout_s=110)
    environment = {
        "REDIS_URL": settings.redis_url,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
        **collector.environment,
    }
    real = ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment})
    with serving(settings, real, providers=providers_of(environment)) as url:
        interviewed = asyncio.run(_interview(url, settings, openai_simulator))
        assert_traced(collector, interviewed)
        assert_measured(collector)


async def _interview(url: str, settings: FleetSettings, simulator: Simulator) -> Interviewed:
    # No key is set and it listens on loopback: none is asked for.
    traced = {"traceparent": f"00-{CALLERS_TRACE}-{CALLERS_SPAN}-01"}
    async with httpx.AsyncClient(base_url=url, timeout=60, headers=traced) as backend:
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
        return Interviewed(
            session_id=made["session_id"],
            spent_micro_usd=cost["spent_micro_usd"],
            secrets=(INSTRUCTIONS, made["participant_token"], *(turn["text"] for turn in said)),
        )


def assert_traced(collector: OtlpReceiver, interviewed: Interviewed) -> None:
    """One trace, the caller's, from the request to the end; and nobody's words in it."""
    collector.until(lambda: collector.named("end"), within_s=10)
    collector.until(lambda: collector.named("leave"), within_s=10)
    assert {span.trace_id for span in collector.spans} == {CALLERS_TRACE}
    (request,) = collector.named("POST /v1/sessions")
    assert request.parent_id == CALLERS_SPAN
    responses = {s.name for s in collector.spans if s.name.startswith("chat ")}
    (response,) = responses
    assert collector.edges() == {
        ("POST /v1/sessions", None),
        ("dispatch", "POST /v1/sessions"),
        *((step, "dispatch") for step in STEPS),
        ("attempt", "dispatch"),
        *((name, "attempt") for name in (*ACTORS, response, "say goodbye", "leave")),
        ("end", "dispatch"),
    }
    services = {(s.name, s.service) for s in collector.spans}
    assert {
        ("dispatch", "ingress"),
        ("attempt", "supervisor"),
        (response, "session-actor"),
    } <= services
    phases = [span.attributes["fleet.phase.id"] for span in collector.named("phase")]
    assert phases == ["warmup", "core"]
    billed = [span.attributes for span in collector.named(response)]
    assert len(billed) >= 4
    assert {a["gen_ai.conversation.id"] for a in billed} == {interviewed.session_id}
    costs = sum(a["fleet.cost.micro_usd"] for a in billed)
    # Each is rounded up; transcription is beside them.
    assert 0 < costs - len(billed) <= interviewed.spent_micro_usd
    assert any("fleet.turn.silence_s" in a for a in billed)
    (end,) = collector.named("end")
    assert end.attributes["fleet.end.reason"] == "completed"
    assert end.attributes["fleet.session.spent_micro_usd"] == interviewed.spent_micro_usd
    # None lasts as long as the interview.
    longest_s = max(s.ended_ns - s.began_ns for s in collector.spans) / 1e9
    assert longest_s < (end.ended_ns - request.began_ns) / 1e9 - 5
    sent = b"".join(collector.bodies)
    for secret in interviewed.secrets:
        assert secret.encode() not in sent


def assert_measured(collector: OtlpReceiver) -> None:
    """Each process has sent its own, the ingress the fleet's gauges too."""

    def all_have() -> bool:
        return {"supervisor", "roster", "ingress"} <= set(collector.metrics)

    collector.until(all_have, within_s=10)
    assert {"fleet_sessions_ended", "fleet_turn_silence_seconds"} <= collector.metrics["supervisor"]
    assert "fleet_actor_warm_seconds" in collector.metrics["roster"]
    assert {"ingress_requests", "fleet_actors", "fleet_spent_usd"} <= collector.metrics["ingress"]
