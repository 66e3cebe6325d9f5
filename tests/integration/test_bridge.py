"""LiveKit's own dispatch on a real LiveKit server, Ray and Redis; session actors are scripted."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from livekit import api, rtc
from livekit.protocol.room import RoomConfiguration
from prometheus_client.parser import text_string_to_metric_families

from fleet.bridge.actor import BridgeSnapshot
from fleet.local.livekit import LiveKitAccess, LiveKitServer
from fleet.local.ray_cluster import RayCluster
from fleet.local.run_dir import RunDir
from fleet.ray_calls import RemoteActor
from fleet.records import SessionRecord
from fleet.settings import FleetSettings
from tests.integration.interviews import contract
from tests.integration.test_control_plane import Fleet, own_fleet, settings_for, until

JOB = json.dumps(contract())


def with_agents(redis_url: str, livekit: LiveKitAccess, **changes: Any) -> FleetSettings:
    name = f"interviewer-{secrets.token_hex(3)}"
    return settings_for(redis_url, livekit, **{"agent_name": name, "agent_bridges": 1, **changes})


class Dispatching:
    """Whoever uses LiveKit to ask for an agent."""

    def __init__(self, livekit: LiveKitAccess, agent_name: str) -> None:
        self.url, self.agent_name = livekit.url, agent_name
        self._keys = livekit.api_key, livekit.api_secret
        self.api = api.LiveKitAPI(livekit.url, *self._keys)

    async def dispatch(self, room: str, metadata: str = JOB) -> str:
        request = api.CreateAgentDispatchRequest(
            agent_name=self.agent_name, room=room, metadata=metadata
        )
        return (await self.api.agent_dispatch.create_dispatch(request)).id

    def token(self, room: str, metadata: str = JOB) -> str:
        """A participant's, which brings an agent along."""
        wanted = api.RoomAgentDispatch(agent_name=self.agent_name, metadata=metadata)
        token = api.AccessToken(*self._keys).with_identity("p-9")
        token = token.with_grants(api.VideoGrants(room_join=True, room=room))
        return token.with_room_config(RoomConfiguration(agents=[wanted])).to_jwt()


@asynccontextmanager
async def dispatching(fleet: Fleet, livekit: LiveKitAccess) -> AsyncIterator[Dispatching]:
    assert fleet.settings.agent_name is not None
    user = Dispatching(livekit, fleet.settings.agent_name)
    try:
        yield user
    finally:
        await user.api.aclose()


async def bridge(fleet: Fleet, number: int = 0) -> BridgeSnapshot:
    actor = RemoteActor(f"bridge-{number}", fleet.settings.ray_namespace)
    snapshot: BridgeSnapshot = await actor.call("snapshot", deadline_s=5)
    return snapshot


async def ready(fleet: Fleet, warm: int | None = None) -> None:
    await fleet.warm(warm)
    for number in range(fleet.settings.agent_bridges):
        await registered(fleet, number)


async def registered(fleet: Fleet, number: int = 0, *, times: int = 1) -> None:
    async def look() -> bool:
        seen = await bridge(fleet, number)
        return seen.registered and seen.registrations >= times

    await until(look, within_s=40)


async def offers(fleet: Fleet, answer: str) -> float:
    """How many offers all bridges together gave that answer."""
    count = 0.0
    for bridge in fleet.plane.bridges:
        text = (await bridge.exposition()).decode()
        for family in text_string_to_metric_families(text):
            if family.name == "fleet_bridge_offers":
                count += sum(s.value for s in family.samples if s.labels.get("answer") == answer)
    return count


async def records(fleet: Fleet, *rooms: str) -> list[SessionRecord]:
    return [r async for r in fleet.registry.active() if r.room in rooms]


async def joined(fleet: Fleet, *rooms: str) -> list[SessionRecord]:
    async def all_there() -> list[SessionRecord]:
        found = [r for r in await records(fleet, *rooms) if r.joined_at is not None]
        return found if len({r.room for r in found}) == len(rooms) else []

    found: list[SessionRecord] = await until(all_there)
    return found


def room_name() -> str:
    return f"theirs-{secrets.token_hex(4)}"


@pytest.fixture
async def fleet(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> AsyncIterator[Fleet]:
    async with own_fleet(with_agents(shared_redis, livekit_server)) as fleet:
        await ready(fleet)
        yield fleet


async def test_a_participant_s_token_brings_an_agent(
    fleet: Fleet, livekit_server: LiveKitAccess
) -> None:
    room_of, name = rtc.Room(), room_name()
    async with dispatching(fleet, livekit_server) as user:
        await room_of.connect(user.url, user.token(name))
        try:
            (record,) = await joined(fleet, name)
            await fleet.end(record.session_id)
            assert room_of.isconnected()
        finally:
            await room_of.disconnect()


async def test_a_job_without_a_contract_is_declined(
    fleet: Fleet, livekit_server: LiveKitAccess
) -> None:
    async with dispatching(fleet, livekit_server) as user:
        await user.dispatch(room_name(), metadata="")

        async def declined() -> bool:
            return await offers(fleet, "job_config_invalid") == 1

        await until(declined)
    assert await fleet.permits() == 0


async def test_a_default_profile_stands_in_for_a_contract(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess, tmp_path: Path
) -> None:
    (tmp_path / "parks.json").write_text(json.dumps(contract(study_id="parks")))
    settings = with_agents(shared_redis, livekit_server, profiles=tmp_path, default_profile="parks")
    async with own_fleet(settings) as fleet, dispatching(fleet, livekit_server) as user:
        await ready(fleet)
        room = room_name()
        await user.dispatch(room, metadata="")
        (record,) = await joined(fleet, room)
        assert record.study_id == "parks"


async def test_what_a_full_fleet_declines_another_takes(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> None:
    small = with_agents(shared_redis, livekit_server, warm_actors=1, max_sessions=1)
    other = with_agents(
        shared_redis, livekit_server, agent_name=small.agent_name, warm_actors=3, max_sessions=3
    )
    async with (
        own_fleet(small) as one,
        own_fleet(other) as two,
        dispatching(one, livekit_server) as user,
    ):
        await ready(one)
        await ready(two)
        rooms = [room_name() for _ in range(4)]
        await asyncio.gather(*map(user.dispatch, rooms))

        async def all_there() -> bool:
            found = [*await records(one, *rooms), *await records(two, *rooms)]
            return sorted(r.room for r in found if r.joined_at) == sorted(rooms)

        await until(all_there)
        assert len(await records(one, *rooms)) == 1


async def test_a_restarted_server_is_registered_with_again(
    ray_cluster: RayCluster, shared_redis: str, run: RunDir
) -> None:
    server = LiveKitServer(run)
    async with server:
        settings = with_agents(shared_redis, server.access)
        async with own_fleet(settings) as fleet, dispatching(fleet, server.access) as user:
            await ready(fleet)
            await server.kill()
            await server.start()
            await registered(fleet, times=2)
            room = room_name()
            await user.dispatch(room)
            assert len(await joined(fleet, room)) == 1


@pytest.fixture
async def pair(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> AsyncIterator[Fleet]:
    """Two bridges, ten slots, and far fewer warm actors."""
    settings = with_agents(
        shared_redis, livekit_server, agent_bridges=2, warm_actors=3, max_sessions=10
    )
    async with own_fleet(settings) as fleet:
        await ready(fleet)
        yield fleet


async def test_of_a_burst_of_ten_each_room_gets_exactly_one(
    pair: Fleet, livekit_server: LiveKitAccess
) -> None:
    async with dispatching(pair, livekit_server) as user:
        for _ in range(2):
            rooms = [room_name() for _ in range(10)]
            await asyncio.gather(*map(user.dispatch, rooms))
            found = await joined(pair, *rooms)
            assert sorted(r.room for r in found) == sorted(rooms)
            await asyncio.gather(*(pair.end(r.session_id) for r in found))
            await until(pair.all_free)
    assert await offers(pair, "accepted") == 20


async def test_dispatched_twice_at_once_a_room_gets_one(
    pair: Fleet, livekit_server: LiveKitAccess
) -> None:
    async with dispatching(pair, livekit_server) as user:
        rooms = [room_name() for _ in range(5)]
        await asyncio.gather(*map(user.dispatch, rooms * 2))

        async def all_offered() -> bool:
            return await offers(pair, "accepted") == 10

        await until(all_offered)
        found = await joined(pair, *rooms)
        assert sorted(r.room for r in found) == sorted(rooms)
        for record in found:
            await pair.end(record.session_id)
        # Nobody else comes when the first has gone.
        assert await records(pair, *rooms) == []


async def test_beside_a_killed_bridge_the_other_takes_all(
    pair: Fleet, livekit_server: LiveKitAccess
) -> None:
    async with dispatching(pair, livekit_server) as user:
        before = room_name()
        await user.dispatch(before)
        (session,) = await joined(pair, before)
        os.kill((await bridge(pair, 0)).pid, signal.SIGKILL)
        rooms = [room_name() for _ in range(5)]
        await asyncio.gather(*map(user.dispatch, rooms))
        await joined(pair, *rooms)
        await registered(pair, 0)
        (same,) = await records(pair, before)
        assert (same.session_id, same.attempt) == (session.session_id, 1)
