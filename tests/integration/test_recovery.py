"""An interview whose actor is killed in mid-speech, on real Ray, Redis, LiveKit and WebRTC: another
actor carries it on in the same room, against a simulator that keeps its own invoice.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import structlog

from agent_actor.contract import EndReason, parse_strict
from agent_actor.journal import EventKind, JournalEvent, LiveState
from fleet.crew import ActorSpec
from fleet.dispatcher import Dispatched, DispatchRequest
from fleet.journal import Journal
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.simulators import Simulator
from fleet.settings import FleetSettings
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.report import EventName, ParticipantEvent, ParticipantSummary
from loadtest.participants.scripts import NAMED
from loadtest.simulators.sentences import GREETINGS
from tests.integration.interviews import contract, invoice_pico, live_sessions, set_script
from tests.integration.test_control_plane import Fleet, own_fleet, settings_for, until
from tests.otlp_receiver import OtlpReceiver

PICO_PER_MICRO = 1_000_000
SILENCE_S = 6.0
"""For two busy cores; what was measured is logged (``pytest -s``)."""
INSTRUCTIONS = "You interview people about recovering what was lost."

log = structlog.get_logger(__name__)


def settings_of(redis_url: str, livekit: LiveKitAccess) -> FleetSettings:
    return settings_for(redis_url, livekit, warm_actors=2, max_sessions=3, actor_warm_timeout_s=110)


def actor_of(settings: FleetSettings, simulator: Simulator, **environment: str) -> ActorSpec:
    environment["REDIS_URL"] = settings.redis_url
    environment["FLEET_REDIS_NAMESPACE"] = settings.redis_namespace
    if simulator.ca_cert is None:
        environment["OPENAI_API_KEY"] = "sim-key"
        environment["FLEET_OPENAI_BASE_URL"] = simulator.base_url
    else:
        environment["GOOGLE_API_KEY"] = "sim-key"
        environment["FLEET_GEMINI_BASE_URL"] = simulator.base_url
        environment["FLEET_GEMINI_CA_CERT"] = str(simulator.ca_cert)
    return ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment})


class Subject:
    """An interview, its participant, and what both say of it."""

    def __init__(self, fleet: Fleet, given: Dispatched, journal: Journal) -> None:
        self.fleet = fleet
        self.given = given
        self.id = given.record.session_id
        self.heard: list[tuple[float, ParticipantEvent]] = []
        self._journal = journal

    def hear(self, event: ParticipantEvent) -> None:
        self.heard.append((time.monotonic(), event))

    async def live(self, **wanted: Any) -> LiveState:
        """Its live state, once that is as wanted."""

        async def so() -> LiveState | None:
            live = await self._journal.live(self.id)
            is_so = live and all(getattr(live, name) == value for name, value in wanted.items())
            return live if is_so else None

        state: LiveState = await until(so, within_s=60)
        return state

    async def written(self, kind: EventKind, attempt: int | None = None) -> list[JournalEvent]:
        entries = await self._journal.read(self.id, limit=1000)
        events = [entry.event for entry in entries if entry.event.kind is kind]
        return [e for e in events if attempt in (None, e.attempt)]

    async def kill_actor(self) -> float:
        """As the kernel does when memory is short; when."""
        pid = await self.fleet.pid_of(await self.fleet.registry.get(self.id))
        os.kill(pid, signal.SIGKILL)
        return time.monotonic()

    async def provider_sessions(self, attempt: int) -> tuple[str, ...]:
        told = [e.data for e in await self.written(EventKind.PROVIDER, attempt)]
        return tuple(d["provider_session"] for d in told if d.get("provider_session"))

    def silence_s(self, killed_at: float) -> float:
        """From the kill to the interviewer being heard again, by the participant's ears."""
        return next(
            at - killed_at
            for at, event in self.heard
            if at > killed_at and event.name is EventName.AGENT_SPEECH_STARTED
        )


@asynccontextmanager
async def interview(fleet: Fleet, **changes: Any) -> AsyncIterator[tuple[Subject, Any]]:
    body = contract(instructions=INSTRUCTIONS, participant_identity="p-1", **changes)
    given = await fleet.dispatcher.dispatch(DispatchRequest(config=parse_strict(body)))
    journal = Journal.from_settings(fleet.settings)
    subject = Subject(fleet, given, journal)
    assert given.participant_token is not None
    options = ParticipantOptions(
        url=given.livekit_url,
        token=given.participant_token,
        script=NAMED["cooperative"],
        seed=1,
        max_s=100,
    )
    talking = asyncio.create_task(run_participant(options, subject.hear))
    try:
        yield subject, talking
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        await journal.aclose()


def assert_undisturbed(summary: ParticipantSummary, subject: Subject) -> None:
    """The participant came once, and its connection held to the end."""
    names = [event.name for _, event in subject.heard]
    assert len(summary.tally.joined_s) == 1
    assert not {EventName.REJOINED, EventName.RECONNECTING, EventName.LEFT} & set(names)


async def assert_money_holds(subject: Subject, simulator: Simulator) -> None:
    """Never below the invoice; equal for the attempt whose usage was sent to its end."""
    lost, last = [await subject.provider_sessions(attempt) for attempt in (1, 2)]
    assert lost
    # Opened ahead of the framework, and then used by it.
    assert len(last) == 1

    async def cut_off() -> bool:
        live = {s["session_id"] for s in await live_sessions(simulator)}
        return live.isdisjoint({*lost, *last})

    await until(cut_off)
    invoiced = [await invoice_pico(simulator, sessions) for sessions in (lost, last)]
    booked = (await subject.fleet.cost(subject.id)).spent_micro_usd
    usage = await subject.written(EventKind.USAGE, 2)
    assert usage[0].data["responses"] == 0
    before = usage[0].data["spent_micro_usd"]
    log.info("measured", booked=booked, before=before, invoiced_pico=invoiced)
    assert before * PICO_PER_MICRO >= invoiced[0] > 0
    # Each of the two is rounded up once.
    assert abs(booked - before - -(-invoiced[1] // PICO_PER_MICRO)) <= 1
    assert booked * PICO_PER_MICRO >= sum(invoiced)


async def killed_while_speaking(fleet: Fleet, simulator: Simulator, **changes: Any) -> None:
    await set_script(simulator, INSTRUCTIONS, speech_s=[3.0, 4.0])
    await fleet.warm()
    async with interview(fleet, **changes) as (subject, talking):
        await subject.live(phase_id="core")
        await subject.live(speaking=None)
        await subject.live(phase_id="core", speaking="interviewer")
        # Into the sentence: its words are known, and no report of its money is on its way.
        await until(lambda: _spoken_for(subject, 0.7), within_s=20, poll_s=0.01)
        killed_at = await subject.kill_actor()

        async def by_another() -> bool:
            return bool(await subject.written(EventKind.RECOVERY, 2))

        await until(by_another, within_s=15, poll_s=0.02)
        summary = await asyncio.wait_for(talking, 90)
        silence_s = subject.silence_s(killed_at)
        record = await fleet.gone(subject.id, within_s=30)
        assert (record.end_reason, record.attempt) == (EndReason.COMPLETED, 2)
        assert record.room == subject.given.record.room
        assert record.actor_id != subject.given.record.actor_id
        assert_undisturbed(summary, subject)
        restored, heard = await subject.written(EventKind.RECOVERY)
        log.info("measured", heard_s=round(silence_s, 3), **restored.data, **heard.data)
        assert (restored.data["resumption"], restored.data["phase_id"]) == ("carry_on", "core")
        assert restored.data["utterances"] >= 3
        assert [p.phase_id for p in record.phases] == ["warmup", "core"]
        entered = [
            e.data["phase_id"]
            for e in await subject.written(EventKind.PHASE)
            if e.data["change"] == "entered"
        ]
        assert entered == ["warmup", "core"]
        spoken = [e.data["text"] for e in await subject.written(EventKind.TURN, 2)]
        assert len(spoken) >= 3
        assert not set(spoken) & set(GREETINGS)
        assert silence_s < SILENCE_S
        await assert_money_holds(subject, simulator)
        await fleet.assert_given_back(record)


async def _spoken_for(subject: Subject, seconds: float) -> bool:
    """Whether the interviewer has been heard for so long, and still is."""
    speech = [
        (at, event.name)
        for at, event in subject.heard
        if event.name in (EventName.AGENT_SPEECH_STARTED, EventName.AGENT_SPEECH_ENDED)
    ]
    began_at, name = speech[-1]
    return name is EventName.AGENT_SPEECH_STARTED and time.monotonic() - began_at > seconds


def assert_one_trace(collector: OtlpReceiver) -> None:
    """The successor's part of it hangs on its recovery, and nothing on what never came."""
    collector.until(lambda: collector.named("end") and collector.named("leave"), within_s=10)
    assert len({span.trace_id for span in collector.spans}) == 1
    edges = collector.edges()
    assert {name for name, parent in edges if parent is None} == {"dispatch"}
    assert {("attempt", "dispatch"), ("recover", "dispatch"), ("end", "dispatch")} <= edges
    for name in ("join room", "connect provider"):
        assert {(name, "attempt"), (name, "recover")} <= edges
    assert {("read checkpoint", "recover"), ("silence of a recovery", "recover")} <= edges
    (recovered,) = collector.named("recover")
    assert recovered.attributes["fleet.cause"] == "actor_lost"


@pytest.mark.timeout(240)
async def test_killed_in_mid_speech_the_interview_goes_on_in_the_same_room(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
    collector: OtlpReceiver,
) -> None:
    settings = settings_of(shared_redis, livekit_server)
    actor = actor_of(settings, openai_simulator, **collector.environment)
    async with own_fleet(settings, actor) as fleet:
        await killed_while_speaking(fleet, openai_simulator)
        await asyncio.to_thread(assert_one_trace, collector)


@pytest.mark.timeout(240)
async def test_with_gemini_too(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    gemini_simulator: Simulator,
) -> None:
    settings = settings_of(shared_redis, livekit_server)
    async with own_fleet(settings, actor_of(settings, gemini_simulator)) as fleet:
        await killed_while_speaking(fleet, gemini_simulator, provider="gemini_live")
