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
TIMING = LookingTiming(begun_s=3, given_up_s=300, most_rooms=2)


def record(state=SessionState.LIVE, **changes):
    return SessionRecord(
        session_id="s-1",
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


class Enough(Exception):
    pass


class World:
    def __init__(self):
        self.rooms = [room()]
        self.standing = {"r": [dispatch(agent_name=""), dispatch("J")]}
        self.looked_into = []
        self.records = FakeRecords([])
        self.taken = []
        self.now = AT + 10
        self.looking = LostJobs(
            self,
            self.records,
            agent_name="ours",
            identity_of=lambda job, room: f"agent-{job}",
            take_up=self.taken.append,
            timing=TIMING,
            now=lambda: self.now,
        )

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
