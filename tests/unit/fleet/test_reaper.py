import asyncio
from dataclasses import replace
from types import SimpleNamespace

import pytest
from structlog.testing import capture_logs

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState
from agent_actor.journal import EventKind, JournalEvent, LiveState
from agent_actor.messages import StopMode
from fleet.clusters import Clusters
from fleet.errors import (
    ActorLost,
    ActorMissing,
    LiveKitUnavailable,
    NoAnswer,
    SessionNotFound,
)
from fleet.journal import JournalEntry
from fleet.livekit_client import ParticipantInfo, RoomInfo
from fleet.metrics import Metrics
from fleet.reaper import Reaper, ReapParts
from fleet.reaping import Kind, ReapLimits, RunSeen
from fleet.records import SessionRecord
from fleet.roster_model import ActorState, ActorView
from tests.unit.fleet.control_fakes import (
    FakeBudget,
    FakeJournal,
    FakeRecords,
    lose_cluster,
    usage,
)

A, B = SessionId("s-a"), SessionId("s-b")
NOW = 10_000.0


def room_of(session_id):
    return f"interview-{session_id}"


class Server:
    """LiveKit."""

    def __init__(self):
        self.people: dict[str, list[str]] = {}
        """Room → who is in it: "agent", "hidden", or somebody."""
        self.deleted: list[str] = []
        self.stale: dict[str, int] = {}
        """What its listing says of a room, where that is not what is so."""
        self.down = False

    async def list_rooms(self, names=()):
        self._answer("list_rooms")
        return tuple(
            RoomInfo(
                name=name,
                sid=f"RM-{name}",
                participants=self.stale.get(name, sum(p != "agent" for p in people)),
                metadata="",
                created_at=1.0,
            )
            for name, people in self.people.items()
            if not names or name in names
        )

    async def list_participants(self, room):
        self._answer("list_participants")
        return tuple(
            ParticipantInfo(
                identity=who,
                sid=who,
                is_agent=who == "agent",
                is_hidden=who == "hidden",
                is_active=True,
                joined_at=1.0,
                published_tracks=1,
            )
            for who in self.people.get(room, [])
        )

    async def delete_room(self, name):
        self._answer("delete_room")
        self.deleted.append(name)
        return self.people.pop(name, None) is not None

    def _answer(self, call):
        if self.down:
            raise LiveKitUnavailable(call, "down")


class Fork:
    """Ray's list of actors."""

    def __init__(self):
        self.living: set[ActorId] = set()
        self.frozen: set[ActorId] = set()
        self.silent = False

    async def existing(self):
        if self.silent:
            raise NoAnswer("ray", 5.0)
        return list(self.living)

    async def ping(self, actor_id):
        if actor_id not in self.living:
            raise ActorLost(actor_id, "dead")
        if actor_id in self.frozen:
            raise NoAnswer(actor_id, 5.0)

    def kill(self, actor_id):
        self.living.discard(actor_id)


class Ledger(FakeBudget):
    def __init__(self):
        super().__init__([])
        self.closed: set[SessionId] = set()

    async def open_sessions(self):
        return list(self.open_accounts)

    async def has_account(self, session_id):
        return session_id in self.open_accounts | self.closed


class Roster:
    def __init__(self):
        self.views: dict[ActorId, ActorView] = {}
        self.released: list[SessionId] = []
        self.missing = False

    async def snapshot(self):
        if self.missing:
            raise ActorMissing("roster")
        return SimpleNamespace(books=SimpleNamespace(actors=tuple(self.views.values())))

    async def release(self, session_id):
        self.released.append(session_id)
        self.views = {a: v for a, v in self.views.items() if v.session_id != session_id}


class Sessions:
    def __init__(self):
        self.runs: dict[SessionId, RunSeen] = {}
        self.debtors: frozenset[SessionId] = frozenset()
        self.stops: list[tuple[SessionId, EndReason, StopMode]] = []
        self.taken: list[str] = []

    async def under_way(self):
        return dict(self.runs)

    def owed(self):
        return self.debtors

    async def stop(self, session_id, reason, mode):
        if session_id not in self.runs:
            raise SessionNotFound(session_id)
        self.stops.append((session_id, reason, mode))

    def take_over(self, record):
        self.taken.append(record.session_id)


class World:
    def __init__(self, **limits):
        self.livekit, self.ray, self.ledger = Server(), Fork(), Ledger()
        self.roster, self.sessions = Roster(), Sessions()
        self.records, self.journal = FakeRecords([]), FakeJournal()
        self.metrics = Metrics()
        self.clusters = Clusters("main")
        self.clock = 0.0
        self.slept: list[float] = []
        self.rounds = 0
        self.done = asyncio.Event()
        parts = ReapParts(
            rooms=self.livekit,
            actors=self.ray,
            accounts=self.ledger,
            books=self.roster,
            records=self.records,
            sessions=self.sessions,
            journal=self.journal,
            metrics=self.metrics,
            sleep=self.sleep,
            now=lambda: NOW + self.clock,
            clock=lambda: self.clock,
            dice=lambda low, high: high,
            clusters=self.clusters,
        )
        self.reaper = Reaper(parts, ReapLimits(**limits), every_s=5.0)

    async def sleep(self, seconds):
        """Time goes on; after the rounds that a test wants it stands still."""
        self.slept.append(seconds)
        self.clock += seconds
        if len(self.slept) >= self.rounds:
            self.done.set()
            await asyncio.Event().wait()

    def healthy(self, session_id=A, **changes):
        values = {
            "session_id": session_id,
            "study_id": "study-7",
            "participant_identity": "p-1",
            "room": room_of(session_id),
            "provider": "openai_realtime",
            "limit_micro_usd": 1,
            "created_at": NOW - 20,
            "joined_at": NOW - 10,
            "state": SessionState.LIVE,
            "actor_id": f"actor-{session_id}",
            "session_timeout_s": 3600.0,
            "no_show_s": 60.0,
            "reconnect_grace_s": 30.0,
            **changes,
        }
        record = SessionRecord(**values)
        actor_id = ActorId(f"actor-{session_id}")
        self.records.records[session_id] = record
        self.livekit.people[record.room] = ["agent", "p-1"]
        self.ray.living.add(actor_id)
        self.roster.views[actor_id] = ActorView(
            actor_id=actor_id, state=ActorState.LIVE, session_id=session_id, since_s=1.0
        )
        self.ledger.open_accounts.add(session_id)
        run = RunSeen(room=record.room, actor_id=actor_id, stopping=False)
        self.sessions.runs[session_id] = run

    def over(self, session_id=A):
        """Its record says so, and nobody is at work on it. Everything else is left over."""
        self.healthy(session_id, state=SessionState.GONE, end_reason=EndReason.ACTOR_LOST)
        del self.sessions.runs[session_id]

    async def go_on(self, rounds):
        """So many rounds of the reaper's own loop."""
        self.slept, self.rounds, self.done = [], rounds, asyncio.Event()
        task = asyncio.create_task(self.reaper.keep_reaping())
        async with asyncio.timeout(5):
            await self.done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    def counted(self):
        found = {}
        for kind in Kind:
            counter = self.metrics.counter("fleet_reaped_total", kind=kind.value)
            if count := counter._value.get():
                found[kind] = count
        return found


@pytest.fixture
async def world():
    return World()


async def test_what_is_left_of_a_session_is_cleared_away_and_counted(world):
    world.over(A)
    world.healthy(B)
    await world.go_on(2)
    assert world.livekit.deleted == [room_of(A)]
    assert world.roster.released == [A]
    assert world.ledger.open_accounts == {B}
    assert world.records.records[A].spent_micro_usd == 42
    assert set(world.livekit.people) == {room_of(B)}
    assert world.sessions.stops == []
    assert world.counted() == {
        Kind.ORPHAN_ROOM: 1,
        Kind.ORPHAN_PERMIT: 1,
        Kind.ORPHAN_ACCOUNT: 1,
    }


async def test_what_a_session_could_tell_nobody_is_in_its_account_before_it_is_closed(world):
    world.over(A)
    report = usage(A)
    said = {"state": "gone", "reason": "completed", "report": report.to_dict()}
    event = JournalEvent(kind=EventKind.STATE, at=1.0, data=said)
    world.journal.entries[A] = [JournalEntry(id="1-0", event=event)]
    await world.go_on(2)
    assert world.ledger.last_reports == [report]


async def test_rounds_are_spread(world):
    await world.go_on(2)
    assert world.slept == [6.0, 6.0]


async def test_one_look_is_not_enough(world):
    world.over(A)
    await world.go_on(1)
    assert world.counted() == {}
    assert world.livekit.deleted == []


async def test_an_actor_in_nobodys_books_is_killed(world):
    world.healthy(B)
    world.ray.living.add(ActorId("stray"))
    await world.go_on(2)
    assert world.ray.living == {f"actor-{B}"}


class TestWhoseRoom:
    async def test_one_that_only_the_ledger_knows_is_ours(self, world):
        world.livekit.people[room_of(A)] = []
        world.ledger.closed.add(A)
        await world.go_on(2)
        assert world.livekit.deleted == [room_of(A)]

    async def test_one_that_nobody_here_knows_is_anothers(self, world):
        world.livekit.people[room_of(A)] = ["p-1"]
        asked = []
        known = world.ledger.has_account

        async def has_account(session_id):
            asked.append(session_id)
            return await known(session_id)

        world.ledger.has_account = has_account
        await world.go_on(6)
        assert world.livekit.deleted == []
        assert world.counted() == {}
        assert asked == [A]

    async def test_one_that_is_made_again_is_deleted_again(self, world):
        """A participant who was put out comes back with the token that it still has."""
        world.over(A)
        await world.go_on(2)
        world.livekit.people[room_of(A)] = ["p-1"]
        await world.go_on(3)
        assert world.livekit.deleted == [room_of(A)] * 2


class TestSilence:
    async def test_of_any_part_is_no_finding(self, world):
        world.over(A)
        for part, attribute in (
            (world.livekit, "down"),
            (world.ray, "silent"),
            (world.roster, "missing"),
            (world.ledger, "down"),
            (world.records, "down"),
        ):
            setattr(part, attribute, True)
            if part is world.ledger:
                part.open_sessions = _down
            if part is world.records:
                part.active = _no_records
            with capture_logs() as logs:
                await world.go_on(3)
            setattr(part, attribute, False)
            for name in ("open_sessions", "active"):
                vars(part).pop(name, None)
            assert [e["event"] for e in logs] == ["reaping_skipped"]
            # One look that works: it is the first again.
            await world.go_on(1)
            assert world.counted() == {}

    async def test_it_goes_on_when_all_answer_again(self, world):
        world.over(A)
        world.livekit.down = True
        await world.go_on(3)
        world.livekit.down = False
        await world.go_on(2)
        assert world.livekit.deleted == [room_of(A)]

    async def test_what_fails_to_be_done_is_tried_again_and_counted_then(self, world):
        world.over(A)
        deleting = world.livekit.delete_room

        async def refused(name):
            raise LiveKitUnavailable("delete_room", "down")

        world.livekit.delete_room = refused
        with capture_logs() as logs:
            await world.go_on(2)
        assert "not_reaped" in {e["event"] for e in logs}
        assert Kind.ORPHAN_ROOM not in world.counted()
        # The others were settled all the same.
        assert world.roster.released == [A]
        world.livekit.delete_room = deleting
        await world.go_on(1)
        assert world.counted()[Kind.ORPHAN_ROOM] == 1

    async def test_a_defect_does_not_end_the_reaping(self, world):
        world.over(A)
        world.roster.snapshot, working = None, world.roster.snapshot
        with capture_logs() as logs:
            await world.go_on(1)
        assert [e["event"] for e in logs] == ["reaping_failed"]
        world.roster.snapshot = working
        await world.go_on(2)
        assert world.counted()[Kind.ORPHAN_ROOM] == 1


class TestSessions:
    async def test_one_that_nobody_runs_is_taken_over(self, world):
        world.healthy(A)
        del world.sessions.runs[A]
        await world.go_on(2)
        assert world.sessions.taken == [A]

    async def test_anothers_are_left_alone_until_it_is_gone(self, world):
        """Its room, actor and account too: they are known by its record."""
        world.healthy(A, cluster="other", state=SessionState.ENDING)
        del world.sessions.runs[A]
        world.ray.living.clear()
        world.roster.views.clear()
        world.clusters.heard({"main": 1, "other": 1}, 0.0)
        await world.go_on(6)
        assert world.sessions.taken == []
        assert world.counted() == {}
        assert world.ledger.open_accounts == {A}
        lose_cluster(world.clusters, "other")
        await world.go_on(2)
        assert world.sessions.taken == [A]

    async def test_one_whose_room_is_away_is_stopped(self, world):
        world.healthy(A)
        del world.livekit.people[room_of(A)]
        await world.go_on(5)
        assert world.sessions.stops == []
        await world.go_on(1)
        assert world.sessions.stops == [(A, EndReason.ROOM_FAILED, StopMode.NOW)]
        await world.go_on(3)
        assert world.counted() == {Kind.MISSING_ROOM: 1}

    async def test_a_no_show_is_stopped(self, world):
        world.healthy(A, state=SessionState.CONFIGURED, joined_at=NOW - 61)
        world.livekit.people[room_of(A)] = ["agent"]
        await world.go_on(2)
        assert world.sessions.stops == [(A, EndReason.NO_SHOW, StopMode.NOW)]

    async def test_nobody_is_a_no_show_who_is_in_the_room(self, world):
        world.healthy(A, state=SessionState.CONFIGURED, joined_at=NOW - 61)
        world.livekit.stale[room_of(A)] = 0
        await world.go_on(12)
        assert world.sessions.stops == []
        world.livekit.people[room_of(A)] = ["agent", "hidden"]
        await world.go_on(2)
        assert world.sessions.stops != []

    async def test_one_in_overtime_is_stopped(self, world):
        world.healthy(A, joined_at=NOW - 3601)
        await world.go_on(2)
        assert world.sessions.stops == [(A, EndReason.SESSION_TIMEOUT, StopMode.NOW)]

    async def test_one_that_says_at_a_closer_look_that_it_is_ending_is_not(self, world):
        world.healthy(A, joined_at=NOW - 3601)
        world.journal.states[A] = LiveState(state="ending")
        await world.go_on(4)
        assert world.sessions.stops == []

    async def test_one_that_never_ends_is_stopped_for_the_reason_that_it_gave(self, world):
        world.healthy(A, state=SessionState.ENDING)
        self.wrote(world, EventKind.STATE, state="ending", reason="completed")
        await world.go_on(5)
        assert world.sessions.stops == [(A, EndReason.COMPLETED, StopMode.NOW)]

    async def test_one_that_was_left_is_stopped(self, world):
        world.healthy(A)
        world.livekit.people[room_of(A)] = ["agent"]
        self.told(world, NOW - 1)
        await world.go_on(6)
        assert world.sessions.stops == []
        await world.go_on(1)
        assert world.sessions.stops == [(A, EndReason.PARTICIPANT_LEFT, StopMode.NOW)]

    async def test_one_that_was_visited_between_two_looks_is_not(self, world):
        world.healthy(A)
        world.livekit.people[room_of(A)] = ["agent"]
        await world.go_on(6)
        self.told(world, NOW + world.clock)
        await world.go_on(1)
        assert world.sessions.stops == []

    async def test_an_old_word_of_an_absence_is_believed_if_nobody_answers(self, world):
        """By a wrong clock it looks older than it is; a running actor would know better by now."""
        world.healthy(A)
        world.sessions.runs[A] = replace(world.sessions.runs[A], away_s=33.0)
        world.livekit.people[room_of(A)] = ["agent"]
        world.journal.states[A] = LiveState(state="live", away_s=3.0)
        await world.go_on(6)
        assert world.sessions.stops == []
        world.ray.frozen.add(ActorId(f"actor-{A}"))
        await world.go_on(2)
        assert world.sessions.stops[:1] == [(A, EndReason.PARTICIPANT_LEFT, StopMode.NOW)]

    async def test_one_that_has_ended_meanwhile_is_left_alone(self, world):
        world.healthy(A, joined_at=NOW - 4000)
        await world.go_on(1)
        del world.sessions.runs[A]
        working = world.sessions.under_way

        async def before_it_ended():
            run = RunSeen(room=room_of(A), actor_id=None, stopping=False)
            return {**await working(), A: run}

        world.sessions.under_way = before_it_ended
        await world.go_on(2)
        assert world.sessions.stops == []
        assert world.counted() == {}

    def told(self, world, at):
        self.wrote(world, EventKind.PARTICIPANT, at=at, change="left")

    def wrote(self, world, kind, at=NOW, **data):
        event = JournalEvent(kind=kind, at=at, data=data)
        entries = world.journal.entries.setdefault(A, [])
        entries.append(JournalEntry(id=f"{len(entries)}-0", event=event))


class TestStuck:
    @pytest.fixture
    async def world(self):
        world = World()
        world.healthy(A)
        run = world.sessions.runs[A]
        world.sessions.runs[A] = replace(run, silent_s=9.0)
        return world

    async def test_its_actor_is_killed_and_its_session_left_to_its_run(self, world):
        world.ray.frozen.add(ActorId(f"actor-{A}"))
        await world.go_on(2)
        assert world.ray.living == set()
        assert world.sessions.stops == []
        assert world.counted() == {Kind.STUCK: 1}

    async def test_one_that_answers_only_cannot_write(self, world):
        await world.go_on(6)
        assert world.ray.living == {f"actor-{A}"}
        assert world.counted() == {}

    async def test_one_that_died_meanwhile_is_its_runs_business(self, world):
        await world.go_on(1)
        world.ray.living.clear()
        await world.go_on(1)
        assert world.counted() == {}


async def test_the_next_look_comes_when_something_could_be_acted_on(world):
    world.over(A)
    await world.go_on(2)
    assert world.slept == pytest.approx([3.2, 6.0])


async def _down():
    raise NoAnswer("budget", 5.0)


async def _no_records():
    raise LiveKitUnavailable("records", "down")
    yield
