"""Whoever observes a session, in real rooms: what they are told, and that nobody else is."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
import structlog
from livekit import rtc

from agent_actor.cost_feed import INTERVAL_S, TOPIC
from agent_actor.messages import to_micro_usd
from fleet.crew import ActorSpec
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.simulators import Simulator
from fleet.roster_actor import SUPERVISOR
from fleet.settings import FleetSettings
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.scripts import NAMED
from serve.wiring import providers_of
from tests.integration.interviews import Run, contract, running
from tests.integration.interviews import settings_for as agent_settings_for
from tests.integration.test_control_plane import _restart, settings_for, until
from tests.integration.test_ingress import gone, is_ready, serving

SOON_S = 15.0
JITTER_S = 0.3
"""Two messages may come this much closer than they were sent."""
RATE = 24_000

log = structlog.get_logger(__name__)


@dataclass
class Observer:
    """A client that receives; what it was sent, in order, and whether it heard anybody."""

    room: rtc.Room = field(default_factory=rtc.Room)
    messages: list[dict[str, Any]] = field(default_factory=list)
    came_at: list[float] = field(default_factory=list)
    senders: set[str] = field(default_factory=set)
    tracks: set[str] = field(default_factory=set)
    arrived: asyncio.Event = field(default_factory=asyncio.Event)

    def attend(self) -> None:
        self.room.on("data_received", self._take)
        self.room.on("track_subscribed", lambda _t, _p, who: self.tracks.add(who.identity))

    def _take(self, packet: rtc.DataPacket) -> None:
        if packet.topic != TOPIC:
            return
        self.came_at.append(time.monotonic())
        self.messages.append(json.loads(packet.data))
        self.senders.add(packet.participant.identity if packet.participant else "")
        self.arrived.set()

    async def message(self, *, within_s: float = SOON_S, **match: Any) -> dict[str, Any]:
        """The first that is like this, or comes to be. Raises TimeoutError."""
        async with asyncio.timeout(within_s):
            while True:
                self.arrived.clear()
                for message in self.messages:
                    if all(message[name] == value for name, value in match.items()):
                        return message
                await self.arrived.wait()

    def assert_in_order(self) -> None:
        order = [(m["attempt"], m["seq"]) for m in self.messages]
        assert order == sorted(set(order))
        spent = [m["spent_micro_usd"] for m in self.messages]
        assert spent == sorted(spent)
        # All but the last are sent a second apart.
        gaps = [b - a for a, b in itertools.pairwise(self.came_at)]
        assert all(gap > INTERVAL_S - JITTER_S for gap in gaps[:-1]), gaps


@asynccontextmanager
async def observing(url: str, token: str) -> AsyncIterator[Observer]:
    observer = Observer()
    observer.attend()
    await observer.room.connect(url, token)
    try:
        yield observer
    finally:
        await observer.room.disconnect()


def token_for(run: Run, identity: str) -> str:
    return run.client.observer_token(room=run.room, identity=identity, ttl_s=300)


async def try_everything(observer: Observer) -> None:
    """What an observer may not do. LiveKit says OK to each, or nothing at all."""
    me = observer.room.local_participant
    for n in range(5):
        await me.publish_data(f"{n}", reliable=True, topic="from-observer")
    await me.publish_data("me", reliable=True, topic="from-observer", destination_identities=[])
    with contextlib.suppress(Exception):
        await me.set_attributes({"mood": "sunny"})
    track = rtc.LocalAudioTrack.create_audio_track("voice", rtc.AudioSource(RATE, 1))
    options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
    with contextlib.suppress(Exception):
        async with asyncio.timeout(2):
            await me.publish_track(track, options)


async def test_observers_are_told_the_cost_and_the_participant_is_not(
    livekit_server: LiveKitAccess, redis_server: str, openai_simulator: Simulator
) -> None:
    settings = agent_settings_for(redis_server, openai_simulator)
    async with running(livekit_server, settings, json.dumps(contract())) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), 10)
        interview = asyncio.create_task(run.with_participant("cooperative", deadline_s=90))
        url, first_token = livekit_server.url, token_for(run, "observer-1")
        async with observing(url, first_token) as first:
            run.session.observe(["observer-1"])
            await first.message(within_s=30)
            agent_room = run.session._transport._room  # type: ignore[attr-defined]
            async with observing(url, token_for(run, "observer-2")) as second:
                run.session.observe(["observer-1", "observer-2"])
                await second.message()
                await try_everything(first)
                assert set(agent_room.remote_participants) == {"participant"}
                # So that "none came" means something: what goes to all does come to them.
                await agent_room.local_participant.publish_data(b"{}", topic="to-all")
                result, summary = await interview
                last = await first.message(final=True)
                assert await second.message(final=True) == last
    received = summary.tally.received
    assert received.get(("data", "to-all")) == 1
    assert ("data", TOPIC) not in received
    assert ("data", "from-observer") not in received
    assert result.usage is not None
    assert result.usage == run.ledger.reports[-1]
    assert last["spent_micro_usd"] == to_micro_usd(result.usage.spent_pico_usd)
    assert last["tokens"] == {**result.usage.tokens.__dict__}
    assert (last["responses"], last["estimate_micro_usd"]) == (result.usage.responses, 0)
    assert (last["limit_usd"], last["allowance_usd"]) == ("5.000000", "5.000000")
    assert last["phase"] == {"id": "core", "index": 1, "count": 2}
    for observer in (first, second):
        observer.assert_in_order()
        assert observer.senders == {"agent"}
        assert observer.tracks == {"agent", "participant"}
    # It moves within a response, too.
    assert any(m["estimate_micro_usd"] > 0 for m in first.messages)
    log.info("measured", messages=len(first.messages), seconds=round(result.duration_s, 1))


async def test_without_observers_nothing_is_sent_to_anybody(
    livekit_server: LiveKitAccess, redis_server: str, openai_simulator: Simulator
) -> None:
    settings = agent_settings_for(redis_server, openai_simulator)
    async with running(livekit_server, settings, json.dumps(contract())) as run:
        await asyncio.wait_for(asyncio.shield(run.joined), 10)
        # One in the room that nobody told the session of.
        async with observing(livekit_server.url, token_for(run, "observer-9")) as unknown:
            run.session.observe([])
            _, summary = await run.with_participant("cooperative", deadline_s=90)
            assert unknown.messages == []
            assert unknown.tracks == {"agent", "participant"}
    assert ("data", TOPIC) not in summary.tally.received


@pytest.fixture
def fleet_settings(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> FleetSettings:
    return settings_for(shared_redis, livekit_server, warm_actors=1, actor_warm_timeout_s=110)


@pytest.mark.timeout(240)
def test_over_http_and_past_a_restarted_supervisor(
    fleet_settings: FleetSettings, openai_simulator: Simulator
) -> None:
    environment = {
        "REDIS_URL": fleet_settings.redis_url,
        "FLEET_REDIS_NAMESPACE": fleet_settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
    }
    real = ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment})
    with serving(fleet_settings, real, providers=providers_of(environment)) as url:
        asyncio.run(_observed_over_http(url, fleet_settings))


async def _observed_over_http(url: str, settings: FleetSettings) -> None:
    async with httpx.AsyncClient(base_url=url, timeout=60) as backend:
        await until(lambda: is_ready(backend), within_s=110, poll_s=0.2)
        # The participant comes late: a session costs nothing yet, and says so, from the beginning.
        body = contract(study_id="study-7", participant={"identity": "p-1"}, no_show_seconds=150)
        made = (await backend.post("/v1/sessions", json=body)).json()
        session_id = made["session_id"]
        options = ParticipantOptions(
            url=made["livekit_url"],
            token=made["participant_token"],
            script=NAMED["cooperative"],
            seed=1,
            max_s=80,
        )
        one = await admitted(backend, session_id)
        async with observing(one["livekit_url"], one["token"]) as first:
            await first.message(within_s=30)
            # Written down while nobody is there to pass it on: who starts again finds it.
            _restart(SUPERVISOR, settings)
            two = await admitted(backend, session_id)
            async with observing(two["livekit_url"], two["token"]) as second:
                await second.message(within_s=60)
                summary = await run_participant(options, lambda _event: None)
                record = await gone(backend, session_id, within_s=30)
                cost = (await backend.get(made["links"]["cost"])).json()
                last = await first.message(final=True)
                await second.message(final=True)
        assert record["end_reason"] == "completed"
        assert ("data", TOPIC) not in summary.tally.received
        for name in ("spent_micro_usd", "spent_usd", "tokens", "responses", "limit_micro_usd"):
            assert last[name] == cost[name], name
        late = await backend.post(f"/v1/sessions/{session_id}/observers")
        assert (late.status_code, late.json()["code"]) == (409, "session_over")


async def admitted(backend: httpx.AsyncClient, session_id: str) -> Any:
    answer = await backend.post(f"/v1/sessions/{session_id}/observers")
    assert answer.status_code == 201, answer.text
    return answer.json()
