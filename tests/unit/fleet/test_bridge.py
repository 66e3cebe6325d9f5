"""One or two bridges with the real dispatcher; a test speaks as LiveKit does."""

import asyncio
import json
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent_actor.contract import EndReason, SessionState
from fleet.bridge import bridge as module
from fleet.bridge.bridge import Bridge, BridgeParts, BridgeTiming
from fleet.bridge.contracts import NO_PROFILES
from fleet.bridge.protocol import (
    Answer,
    Assigned,
    JobOffer,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Registered,
    Resumed,
    Terminated,
)
from fleet.dispatcher import Dispatcher, DispatchLimits, DispatchParts
from fleet.errors import ControlPlaneUnavailable, FleetFull, LiveKitUnavailable
from fleet.livekit_client import DispatchInfo, GivenJob, RoomInfo
from fleet.metrics import Metrics
from tests.unit.fleet.control_fakes import (
    ENOUGH_S,
    FakeBudget,
    FakeRecords,
    FakeRooms,
    FakeRoster,
    FakeStops,
    FakeSupervisor,
    at_once,
    config,
)

CONTRACT = config().model_dump_json(exclude_none=True)
PATIENT = BridgeTiming()
HASTY = BridgeTiming(answer_s=0.02, assignment_s=0.02)


def session_of(job_id):
    return module.session_of("f", job_id)


def dispatch(*jobs, created_at=1_000.0):
    given = tuple(GivenJob(id=j, identity=f"interviewer-{session_of(j)}") for j in jobs)
    return DispatchInfo(
        id="D", agent_name="ours", metadata=CONTRACT, created_at=created_at, jobs=given
    )


class Roster(FakeRoster):
    """With books to read how busy the fleet is from."""

    def __init__(self, asked):
        super().__init__(asked)
        self.taken = 0
        self.draining = False
        self.away = False

    async def snapshot(self):
        if self.away:
            raise ControlPlaneUnavailable("roster", "away")
        books = SimpleNamespace(permits=self.taken, max_sessions=10, draining=self.draining)
        return SimpleNamespace(books=books)


class World:
    def __init__(self):
        self.asked = []
        self.roster = Roster(self.asked)
        self.records = FakeRecords(self.asked)
        self.supervisor = FakeSupervisor(self.asked, self.records)
        self.rooms = []
        self.standing = [dispatch()]
        self.livekit_down = False
        self.dispatcher = Dispatcher(
            DispatchParts(
                roster=self.roster,
                supervisor=self.supervisor,
                budget=FakeBudget(self.asked),
                records=self.records,
                rooms=FakeRooms(self.asked),
                stops=FakeStops(),
                sleep=at_once,
            ),
            DispatchLimits(livekit_url="wss://rooms.example.org", deadline_s=ENOUGH_S),
        )

    async def list_rooms(self):
        return self.rooms

    async def dispatches(self, room):
        if self.livekit_down:
            raise LiveKitUnavailable("list_dispatch", "down")
        return self.standing

    def bridge(self, timing=PATIENT):
        return Spoken(self, timing)

    async def end(self, session_id, reason=EndReason.COMPLETED):
        await self.records.end(session_id, reason)
        self.supervisor.over.setdefault(session_id, asyncio.Event()).set()


class Spoken:
    """A bridge, and what it said."""

    def __init__(self, world, timing):
        self.said = []
        self.connected = True
        self.heard = asyncio.Event()
        self.metrics = Metrics()
        self.bridge = Bridge(
            BridgeParts(
                sessions=world.dispatcher,
                roster=world.roster,
                supervisor=world.supervisor,
                records=world.records,
                rooms=world,
                fleet="f",
                agent_name="ours",
                profiles=NO_PROFILES,
                send=self.send,
                metrics=self.metrics,
                sleep=at_once,
            ),
            timing,
        )

    def send(self, message):
        if self.connected:
            self.said.append(message)
            self.heard.set()
        return self.connected

    async def until(self, kind, count=1):
        """The last of so many of that kind."""
        async with asyncio.timeout(ENOUGH_S):
            while len(found := [m for m in self.said if isinstance(m, kind)]) < count:
                self.heard.clear()
                await self.heard.wait()
        return found[count - 1]

    async def offered(self, job_id="J", *, room="r", sid="RM_1", metadata=CONTRACT):
        """The answer."""
        before = sum(isinstance(m, Answer) for m in self.said)
        job = JobOffer(job_id=job_id, dispatch_id="D", room=room, room_sid=sid, metadata=metadata)
        self.bridge.on_event(Offered(job=job))
        return await self.until(Answer, before + 1)

    async def given(self, job_id="J", **offer):
        """Offered and assigned; what the server is told first of the job."""
        before = sum(isinstance(m, JobUpdate) for m in self.said)
        assert (await self.offered(job_id, **offer)).available
        self.bridge.on_event(Assigned(job_id=job_id))
        return await self.until(JobUpdate, before + 1)

    def count(self, name, **labels):
        return self.metrics.registry.get_sample_value(name, labels) or 0


@pytest.fixture
async def world():
    world = World()
    await world.dispatcher.open()
    yield world
    await world.dispatcher.aclose(timeout_s=0)


@pytest.fixture
async def bridge(world):
    bridge = world.bridge()
    yield bridge
    await bridge.bridge.aclose()


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


class TestOffer:
    async def test_yes_takes_a_slot_and_nothing_else(self, world, bridge):
        answer = await bridge.offered()
        session_id = session_of("J")
        assert answer.available
        assert answer.identity == f"interviewer-{session_id}"
        assert world.asked == ["admit"]
        assert list(world.roster.admitted) == [session_id]
        assert bridge.count("fleet_bridge_offers_total", answer="accepted") == 1
        assert bridge.count("fleet_bridge_answer_seconds_count") == 1

    async def test_a_full_fleet_declines(self, world, bridge):
        world.roster.failure = FleetFull(retry_after_s=5)
        assert not (await bridge.offered()).available
        assert bridge.count("fleet_bridge_offers_total", answer="fleet_full") == 1

    @pytest.mark.parametrize("metadata", ["", "{", '{"provider": "nobody"}'])
    async def test_a_job_without_a_contract_is_declined_unasked(self, world, bridge, metadata):
        assert not (await bridge.offered(metadata=metadata)).available
        assert world.asked == []
        assert bridge.count("fleet_bridge_offers_total", answer="job_config_invalid") == 1

    async def test_a_roster_that_does_not_answer_is_not_waited_for(self, world):
        world.roster.gate = asyncio.Event()
        bridge = world.bridge(HASTY)
        assert not (await bridge.offered()).available
        assert bridge.count("fleet_bridge_offers_total", answer="actor_no_answer") == 1

    async def test_draining_it_declines(self, bridge):
        bridge.bridge.drain()
        assert not (await bridge.offered()).available

    async def test_offered_again_it_gets_the_same_answer(self, bridge):
        first = await bridge.offered()
        assert await bridge.offered() == first
        assert (await bridge.given()).status is JobStatus.RUNNING

    async def test_another_bridge_asked_for_it_finds_its_slot(self, world, bridge):
        await bridge.offered()
        other = world.bridge()
        assert (await other.offered()).available
        assert len(world.roster.admitted) == 1
        await other.given()
        assert len(world.supervisor.requests) == 1
        await other.bridge.aclose()

    async def test_what_is_not_assigned_is_forgotten(self, world):
        bridge = world.bridge(HASTY)
        await bridge.offered()
        await bridge.bridge._work.settle(ENOUGH_S)
        bridge.bridge.on_event(Assigned(job_id="J"))
        await settled()
        assert world.asked == ["admit"]

    async def test_an_answer_that_nobody_hears_holds_nothing_up(self, world, bridge):
        bridge.connected = False
        bridge.bridge.on_event(
            Offered(job=JobOffer(job_id="J", dispatch_id="D", room="r", room_sid="S"))
        )
        assert await bridge.bridge._work.settle(ENOUGH_S)


class TestJob:
    async def test_from_its_assignment_to_its_end(self, world, bridge):
        assert (await bridge.given()).status is JobStatus.RUNNING
        session_id = session_of("J")
        assert (await world.records.get(session_id)).room == "r"
        assert bridge.bridge.running == 1
        await world.end(session_id)
        assert (await bridge.until(JobUpdate, 2)).status is JobStatus.SUCCESS
        await settled()
        assert bridge.bridge.running == 0
        assert bridge.count("fleet_bridge_sessions_begun_total") == 1

    async def test_a_session_that_failed_is_a_job_that_failed(self, world, bridge):
        await bridge.given()
        await world.end(session_of("J"), EndReason.PROVIDER_FAILED)
        ended = await bridge.until(JobUpdate, 2)
        assert (ended.status, ended.error) == (JobStatus.FAILED, "provider_failed")

    async def test_one_that_cannot_begin_failed(self, world, bridge):
        world.supervisor.failure = ControlPlaneUnavailable("supervisor", "away")
        told = await bridge.given()
        assert (told.status, told.error) == (JobStatus.FAILED, "control_plane_unavailable")
        assert world.roster.admitted == {}

    async def test_assigned_twice_it_begins_once(self, world, bridge):
        await bridge.given()
        bridge.bridge.on_event(Assigned(job_id="J"))
        await settled()
        assert len(world.supervisor.requests) == 1

    async def test_a_second_job_for_the_room_brings_nobody(self, world, bridge):
        await bridge.given("J")
        second = await bridge.given("K")
        assert (second.job_id, second.status) == ("K", JobStatus.SUCCESS)
        assert [r.session_id for r in world.supervisor.requests] == [session_of("J")]
        assert list(world.roster.admitted) == [session_of("J")]
        assert bridge.count("fleet_bridge_claims_refused_total") == 1

    async def test_two_at_once_by_two_bridges_bring_one(self, world, bridge):
        other = world.bridge()
        told = await asyncio.gather(bridge.given("J"), other.given("K"))
        assert {t.status for t in told} == {JobStatus.RUNNING, JobStatus.SUCCESS}
        assert len(world.supervisor.requests) == 1
        await other.bridge.aclose()

    async def test_closing_leaves_sessions_alone(self, world, bridge):
        await bridge.given()
        await bridge.bridge.aclose()
        assert [m.status for m in bridge.said if isinstance(m, JobUpdate)] == [JobStatus.RUNNING]
        assert (await world.records.get(session_of("J"))).state is SessionState.JOINED


class TestLostJob:
    async def lost(self, world, bridge):
        world.rooms = [
            RoomInfo(name="r", sid="RM_1", participants=1, metadata="", created_at=1_000.0)
        ]
        world.standing = [dispatch("J", created_at=time.time() - 10)]
        await bridge.bridge._lost_jobs.look()

    async def test_what_a_lost_bridge_had_been_given_another_begins(self, world, bridge):
        await self.lost(world, bridge)
        assert (await bridge.until(JobUpdate)).status is JobStatus.RUNNING
        assert [r.session_id for r in world.supervisor.requests] == [session_of("J")]
        assert bridge.count("fleet_bridge_lost_jobs_total") == 1

    async def test_found_by_two_it_is_begun_once(self, world, bridge):
        other = world.bridge()
        await asyncio.gather(self.lost(world, bridge), self.lost(world, other))
        await settled()
        assert len(world.supervisor.requests) == 1
        await other.bridge.aclose()

    async def test_one_that_is_being_begun_is_not_lost(self, world, bridge):
        await bridge.given()
        await self.lost(world, bridge)
        assert bridge.count("fleet_bridge_lost_jobs_total") == 0

    async def test_what_it_had_begun_and_not_handed_on_another_carries_on(self, world, bridge):
        """Lost between its claim on the room and the supervisor."""
        lost = world.bridge()
        handed_on = world.supervisor.start
        world.supervisor.start = lambda request, deadline_s: asyncio.Event().wait()
        await lost.offered()
        lost.bridge.on_event(Assigned(job_id="J"))
        await settled()
        queued = await world.records.get(session_of("J"))
        assert queued.state is SessionState.QUEUED
        world.records.records[session_of("J")] = replace(queued, created_at=time.time() - 10)
        world.supervisor.start = handed_on
        await self.lost(world, bridge)
        assert (await bridge.until(JobUpdate)).status is JobStatus.RUNNING
        assert [r.session_id for r in world.supervisor.requests] == [session_of("J")]
        await lost.bridge.aclose()

    async def test_begun_by_another_bridge_it_is_followed_to_its_end(self, world, bridge):
        other = world.bridge()
        await other.given("J")
        assert (await bridge.given("J")).status is JobStatus.RUNNING
        await world.end(session_of("J"))
        assert (await bridge.until(JobUpdate, 2)).status is JobStatus.SUCCESS
        assert len(world.supervisor.requests) == 1
        await other.bridge.aclose()


class TestTermination:
    async def test_a_deleted_dispatch_stops_the_session(self, world, bridge):
        await bridge.given()
        world.standing.clear()
        bridge.bridge.on_event(Terminated(job_id="J"))
        await settled()
        ((stopped, reason, _),) = world.supervisor.stops
        assert (stopped, reason) == (session_of("J"), EndReason.OPERATOR)

    async def test_an_agent_that_made_place_for_its_successor_does_not(self, world, bridge):
        await bridge.given()
        bridge.bridge.on_event(Terminated(job_id="J"))
        await settled()
        assert world.supervisor.stops == []

    async def test_what_cannot_be_learned_is_obeyed(self, world, bridge):
        await bridge.given()
        world.livekit_down = True
        bridge.bridge.on_event(Terminated(job_id="J"))
        await settled()
        assert len(world.supervisor.stops) == 1

    async def test_jobs_of_others_are_none_of_its_business(self, world, bridge):
        bridge.bridge.on_event(Terminated(job_id="?"))
        bridge.bridge.on_event(Assigned(job_id="?"))
        await settled()
        assert world.asked == []


class TestConnection:
    async def test_registered_again_it_tells_what_is_under_way(self, bridge):
        bridge.bridge.on_event(Registered(worker_id="W"))
        await bridge.given("J")
        await bridge.offered("K", room="another")
        bridge.bridge.on_lost()
        assert bridge.count("fleet_bridge_registered") == 0
        bridge.bridge.on_event(Registered(worker_id="X"))
        assert (await bridge.until(Resumed)).job_ids == ("J",)
        assert bridge.count("fleet_bridge_registered") == 1
        assert bridge.count("fleet_bridge_registrations_total") == 2

    async def test_it_tells_how_busy_the_fleet_is(self, world, bridge):
        world.roster.taken = 5
        await bridge.bridge.open()
        assert await bridge.until(Load) == Load(full=False, load=0.3, jobs=0)
        world.roster.taken = 10
        bridge.bridge.on_event(Registered(worker_id="W"))
        assert (await bridge.until(Load, 2)).full

    @pytest.mark.parametrize("change", ["draining", "away"])
    async def test_nobody_is_sent_to_a_fleet_that_takes_none(self, world, bridge, change):
        setattr(world.roster, change, True)
        await bridge.bridge.open()
        assert (await bridge.until(Load)).full


def test_the_contract_of_these_tests_is_one():
    assert json.loads(CONTRACT)["provider"] == "openai_realtime"
