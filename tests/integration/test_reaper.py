"""What lost its partner while nobody looked, on real Ray, Redis and LiveKit, beside a session that
is well. Session actors are scripted: they notice nothing themselves, so only the reaper ends them.
"""

from __future__ import annotations

import pytest

from agent_actor.contract import EndReason, SessionId, SessionState, StudyId, parse_strict
from fleet import ray_calls
from fleet.actor_shell import shell_for
from fleet.crew import ACTOR_PREFIX, actor_name
from fleet.dispatcher import DispatchRequest
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.ray_calls import ActorOptions
from fleet.reaping import Kind
from fleet.records import SessionRecord
from fleet.registry import new_session_id
from tests.integration.interviews import contract
from tests.integration.test_control_plane import SCRIPTED, Fleet, own_fleet, settings_for, until

pytestmark = pytest.mark.timeout(240)

ALL_GONE_S = 30.0
EXPECTED = {
    Kind.ORPHAN_ROOM,
    Kind.ORPHAN_ACTOR,
    Kind.ORPHAN_ACCOUNT,
    Kind.MISSING_ROOM,
    Kind.NO_SHOW,
}


def room_of(session_id: str) -> str:
    return f"interview-{session_id}"


async def reaped(fleet: Fleet) -> dict[str, float]:
    """Kind → how many."""
    begins = 'fleet_reaped_total{kind="'
    lines = (await fleet.plane.supervisor.exposition()).decode().splitlines()
    counted = [line.removeprefix(begins).split('"} ') for line in lines if line.startswith(begins)]
    return {kind: float(count) for kind, count in counted if float(count)}


async def rooms(fleet: Fleet) -> set[str]:
    return {room.name for room in await fleet.livekit.list_rooms()}


async def dispatched(fleet: Fleet, **limits: float) -> SessionRecord:
    fleet._script = "plain"
    body = contract(participant_identity="p-1", study_id="study-7", **limits)
    given = await fleet.dispatcher.dispatch(DispatchRequest(config=parse_strict(body)))
    return given.record


async def test_all_that_has_no_partner_goes_and_nothing_else(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> None:
    settings = settings_for(
        shared_redis,
        livekit_server,
        warm_actors=3,
        reap_every_s=0.5,
        reap_missing_room_s=2,
    )
    async with own_fleet(settings) as fleet:
        await fleet.warm()
        well = await dispatched(fleet, no_show_seconds=3600)
        roomless = await dispatched(fleet)
        unvisited = await dispatched(fleet, no_show_seconds=1)
        over = await fleet.gone((await fleet.dispatch("short")).record.session_id)
        unknown, foreign = SessionId(new_session_id()), room_of(new_session_id())

        await fleet.livekit.delete_room(roomless.room)
        await fleet.livekit.create_room(over.room)
        await fleet.livekit.create_room(foreign)
        await fleet.plane.budget.open(unknown, StudyId("study-7"), "openai_realtime", 1_000_000)
        stray = ActorOptions(
            name=actor_name("stray"), namespace=settings.ray_namespace, num_cpus=0.1
        )
        ray_calls.create(shell_for(SCRIPTED.class_path), stray, "stray")

        async def counted() -> bool:
            return (await reaped(fleet)).keys() >= EXPECTED

        await until(counted, within_s=ALL_GONE_S)
        for session, reason in (
            (roomless, EndReason.ROOM_FAILED),
            (unvisited, EndReason.NO_SHOW),
        ):
            record = await fleet.gone(session.session_id)
            assert record.end_reason is reason
            await fleet.assert_given_back(record)

        async def nothing_left() -> bool:
            names = ray_calls.names(settings.ray_namespace, ACTOR_PREFIX)
            return over.room not in await rooms(fleet) and actor_name("stray") not in names

        await until(nothing_left)
        assert (await fleet.cost(unknown)).closed
        # Not ours, for all that we know.
        assert foreign in await rooms(fleet)
        await fleet.livekit.delete_room(foreign)

        assert set(await reaped(fleet)) == EXPECTED
        record = await fleet.registry.get(well.session_id)
        assert record.state is SessionState.JOINED
        assert well.room in await rooms(fleet)
        assert not (await fleet.cost(well.session_id)).closed
        assert actor_name(well.actor_id) in ray_calls.names(settings.ray_namespace, ACTOR_PREFIX)
        assert (await fleet.end(well.session_id)).end_reason is EndReason.OPERATOR
