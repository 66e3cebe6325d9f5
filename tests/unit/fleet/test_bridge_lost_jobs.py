"""What a lost bridge had been given, as its rooms show it."""

from dataclasses import replace

import pytest

from agent_actor.contract import EndReason, SessionState
from fleet.bridge.lost_jobs import LookingTiming, LostJobs, is_lost
from fleet.dispatch_plan import room_claim
from fleet.errors import LiveKitUnavailable
from fleet.livekit_client import DispatchInfo, GivenJob, RoomInfo
from fleet.records import SessionRecord
from tests.unit.fleet.control_fakes import FakeRecords

AT = 1_000.0
TIMING = LookingTiming(begun_s=3, offered_s=4, given_up_s=300, most_rooms=2)


def record(state=SessionState.LIVE, session_id="s-1", **changes):
    return SessionRecord(
        session_id=session_id,
        study_id="study-7",
        participant_identity="p-1",
        room="r",
        provider="openai_realtime",
        model="m",
        language="en",
        limit_micro_usd=1,
        created_at=AT,
        state=state,
        idempotency_key=room_claim("r"),
        **changes,
    )


def dispatch(*jobs, **changes):
    given = tuple(GivenJob(id=job, identity=f"agent-{job}") for job in jobs)
    values = {
        "id": "D",
        "agent_name": "ours",
        "metadata": "{}",
        "created_at": AT,
        "jobs": given,
        **changes,
    }
    return DispatchInfo(**values)


def room(name="r", created_at=AT):
    return RoomInfo(
        name=name, sid=f"RM-{name}", participants=1, metadata="theirs", created_at=created_at
    )


@pytest.mark.parametrize(
    ("after_s", "lost"), [(0, False), (2.9, False), (3, True), (300, True), (301, False)]
)
def test_neither_too_young_nor_too_old(after_s, lost):
    assert is_lost(dispatch("J"), None, AT + after_s, TIMING) is lost


def test_not_while_the_room_has_its_session():
    assert not is_lost(dispatch("J"), record(), AT + 10, TIMING)


def test_a_session_that_ended_since_has_served_it():
    gone = record(SessionState.GONE, end_reason=EndReason.COMPLETED, ended_at=AT + 5)
    assert not is_lost(dispatch("J"), gone, AT + 10, TIMING)
    assert is_lost(dispatch("J"), replace(gone, ended_at=AT - 5), AT + 10, TIMING)


def test_one_that_no_worker_was_given_waits_until_all_were_asked():
    assert not is_lost(dispatch(), None, AT + 3.9, TIMING)
    assert is_lost(dispatch(), None, AT + 4, TIMING)


def test_a_queued_session_is_given_its_dispatcher_s_time():
    queued = record(SessionState.QUEUED)
    assert not is_lost(dispatch("J"), queued, AT + 2.9, TIMING)
    assert is_lost(dispatch("J"), queued, AT + 3, TIMING)
    assert not is_lost(dispatch("J"), replace(queued, actor_id="a-1"), AT + 10, TIMING)


class Enough(Exception):
    pass


class World:
    def __init__(self):
        self.rooms = [room()]
        self.standing = {"r": [dispatch(agent_name=""), dispatch("J")]}
        self.looked_into = []
        self.records = FakeRecords([])
        self.taken = []
        self.run = set()
        self.now = AT + 10
        self.looking = LostJobs(
            self,
            self.records,
            agent_name="ours",
            session_of=lambda job: f"s-{job}",
            identity_of=lambda job, room: f"agent-{job}",
            is_run=self.is_run,
            take_up=self.taken.append,
            timing=TIMING,
            now=lambda: self.now,
        )

    async def is_run(self, session_id):
        return session_id in self.run

    async def list_rooms(self):
        return self.rooms

    async def dispatches(self, room):
        self.looked_into.append(room)
        if room not in self.standing:
            raise LiveKitUnavailable("list_dispatch", "down")
        return self.standing[room]


async def test_it_is_taken_up_as_it_had_been_offered():
    world = World()
    await world.looking.look()
    (offer,) = world.taken
    assert (offer.job_id, offer.dispatch_id, offer.room, offer.room_sid) == ("J", "D", "r", "RM-r")
    assert (offer.metadata, offer.room_metadata) == ("{}", "theirs")


async def test_what_others_were_given_is_theirs():
    world = World()
    world.standing["r"] = [dispatch(jobs=(GivenJob(id="J", identity="somebody"),))]
    await world.looking.look()
    assert world.taken == []


async def test_what_nobody_was_given_is_taken_up_by_its_dispatch():
    world = World()
    world.standing["r"] = [dispatch()]
    await world.looking.look()
    assert [offer.job_id for offer in world.taken] == ["D"]


async def test_a_room_with_its_session_is_not_looked_into():
    world = World()
    await world.records.create(record(), exclusive=True)
    await world.looking.look()
    assert world.looked_into == []
    await world.records.end("s-1", EndReason.COMPLETED, ended_at=AT + 5)
    await world.looking.look()
    assert (world.looked_into, world.taken) == (["r"], [])


async def test_rooms_of_our_own_are_left_and_of_others_the_newest_are_looked_into():
    world = World()
    names = ["old", "new", "newer", "interview-s-1"]
    world.rooms = [room(name, created_at=AT + n) for n, name in enumerate(names)]
    world.standing = {name: [] for name in names}
    await world.looking.look()
    assert world.looked_into == ["newer", "new"]


async def test_it_looks_again_after_a_failure():
    world = World()
    rounds = []

    async def pause(seconds):
        rounds.append(seconds)
        if len(rounds) == 2:
            world.standing["r"] = [dispatch("J")]
        if len(rounds) == 3:
            raise Enough

    world.standing.clear()
    world.looking._sleep = pause
    with pytest.raises(Enough):
        await world.looking.run()
    assert [offer.job_id for offer in world.taken] == ["J"]


async def begun(world, session_id="s-J"):
    """As by a bridge that was lost after it had claimed the room."""
    await world.records.create(record(SessionState.QUEUED, session_id=session_id), exclusive=True)


async def test_a_session_that_was_begun_and_not_handed_on_is_taken_up():
    world = World()
    await begun(world)
    await world.looking.look()
    assert [offer.job_id for offer in world.taken] == ["J"]


async def test_one_that_waits_for_its_actor_is_its_supervisor_s():
    world = World()
    await begun(world)
    world.run.add("s-J")
    await world.looking.look()
    assert world.taken == []


async def test_the_room_is_not_taken_from_another_job_s_session():
    world = World()
    await begun(world, "s-another")
    await world.looking.look()
    assert world.taken == []


async def test_one_that_failed_is_not_begun_again_and_again():
    world = World()
    await begun(world)
    await world.records.end("s-J", EndReason.ACTOR_LOST, ended_at=AT + 5)
    await world.records.release_claim("s-J", room_claim("r"))
    await world.looking.look()
    assert world.looked_into == ["r"]
    assert world.taken == []


async def test_rooms_with_their_sessions_do_not_hide_those_without():
    world = World()
    names = ["without", "new", "newer"]
    world.rooms = [room(name, created_at=AT + n) for n, name in enumerate(names)]
    world.standing = {"without": [dispatch("J")]}
    for number, name in enumerate(names[1:]):
        one = replace(record(session_id=f"s-{number}"), idempotency_key=room_claim(name))
        await world.records.create(one, exclusive=True)
    await world.looking.look()
    assert world.looked_into == ["without"]
