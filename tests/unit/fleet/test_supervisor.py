import asyncio
from dataclasses import dataclass, field, replace

import pytest

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState, StudyId
from agent_actor.errors import ActorBusy, AgentError, RoomUnreachable
from agent_actor.journal import EventKind, JournalEvent, LiveState
from agent_actor.messages import JoinReport, StopMode, Verdict
from agent_actor.telemetry import NO_TRACER, Tracer
from fleet.clusters import Clusters
from fleet.endings import Endings, Sleep
from fleet.errors import (
    ActorLost,
    ActorMissing,
    DispatchFailed,
    FleetDraining,
    FleetFull,
    NoAnswer,
    RegistryUnavailable,
    SessionNotFound,
)
from fleet.journal import JournalEntry
from fleet.metrics import Metrics
from fleet.parts import StartRequest, StopWanted
from fleet.records import SessionRecord
from fleet.run_parts import RunLimits, RunParts
from fleet.supervisor import Supervisor
from tests.unit.fleet.control_fakes import (
    ENOUGH_S,
    FakeActor,
    FakeActors,
    FakeBudget,
    FakeJournal,
    FakeRecords,
    FakeRooms,
    FakeRoster,
    FakeStops,
    allowance,
    at_once,
    lose_cluster,
    never,
    result_of,
)
from tests.unit.spans import CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said

A = SessionId("s-a")
LIMITS = RunLimits(
    livekit_url="ws://127.0.0.1:7880", join_timeout_s=1.0, goodbye_grace_s=0.02, stop_grace_s=0.02
)
END_ORDER = ["end", "close", "add_facts", "delete_room", "kill", "release"]


@dataclass
class World:
    limits: RunLimits = LIMITS
    sleep: Sleep = never
    asked: list[str] = field(default_factory=list)
    now: float = 1_000.0
    tracer: Tracer = NO_TRACER

    def __post_init__(self):
        self.roster = FakeRoster(self.asked)
        self.budget = FakeBudget(self.asked)
        self.rooms = FakeRooms(self.asked)
        self.records = FakeRecords(self.asked)
        self.actors = FakeActors(self.asked)
        self.journal = FakeJournal()
        self.endings = Endings(self.sleep)
        self.metrics = Metrics()
        self.clusters = Clusters("main")
        parts = RunParts(
            roster=self.roster,
            records=self.records,
            budget=self.budget,
            rooms=self.rooms,
            actors=self.actors,
            journal=self.journal,
            endings=self.endings,
            metrics=self.metrics,
            clusters=self.clusters,
            tracer=self.tracer,
            now=lambda: self.now,
            sleep=self.sleep,
        )
        self.stops = FakeStops()
        self.supervisor = Supervisor(parts, self.limits, stops=self.stops)

    def record(self, session_id=A, **changes):
        values = {
            "session_id": session_id,
            "study_id": "study-7",
            "participant_identity": "p-1",
            "room": f"interview-{session_id}",
            "provider": "openai_realtime",
            "limit_micro_usd": 10_000_000,
            "created_at": 990.0,
            **changes,
        }
        self.records.records[session_id] = SessionRecord(**values)

    async def prepared(self, session_id=A):
        """A session as the dispatcher hands it over."""
        self.record(session_id)
        await self.roster.reserve(session_id, 1)
        await self.budget.open(session_id, "study-7", "openai_realtime", 10_000_000)
        await self.rooms.create_room(f"interview-{session_id}")
        self.asked.clear()
        return StartRequest(
            session_id=session_id,
            study_id=StudyId("study-7"),
            provider="openai_realtime",
            room=f"interview-{session_id}",
            allowance=allowance(session_id),
            limit_micro_usd=10_000_000,
            session_timeout_s=3600,
        )

    async def starting(self, request):
        """``start`` under way; the actor that runs its session."""
        self.actors.running.clear()
        task = asyncio.create_task(self.supervisor.start(request))
        return task, await self.next_actor()

    async def next_actor(self):
        async with asyncio.timeout(ENOUGH_S):
            await self.actors.running.wait()
        self.actors.running.clear()
        return list(self.actors.actors.values())[-1]

    async def live(self, session_id=A):
        task, actor = await self.starting(await self.prepared(session_id))
        actor.join.set_result(joined(session_id))
        await task
        return actor

    async def told_observers(self):
        async with asyncio.timeout(ENOUGH_S):
            while not self.actors.observed:
                await asyncio.sleep(0)

    async def over(self, session_id=A):
        assert await self.supervisor.wait_over(session_id, ENOUGH_S)
        return self.records.records[session_id]


def joined(session_id=A):
    return JoinReport(session_id=session_id, actor_id=ActorId("a-1"), connect_s=0.1)


@pytest.fixture
async def world():
    world = World()
    await world.supervisor.open()
    yield world
    for actor in world.actors.actors.values():
        actor.end.cancel()
    await world.supervisor.aclose()


def wanted(session_id=A, mode=StopMode.GOODBYE, at=1_000.0):
    return StopWanted(session_id=session_id, reason=EndReason.OPERATOR, mode=mode, at=at)


class TestStoppedFromElsewhere:
    async def test_another_cluster_s_word_ends_a_session(self, world):
        actor = await world.live()
        await world.stops.put(wanted())
        await world.supervisor._hear_stops(world.stops)
        assert (await world.over()).end_reason is EndReason.OPERATOR
        assert [order.mode for order in actor.orders] == [StopMode.GOODBYE]

    async def test_it_stands_until_the_session_is_out_of_the_books(self, world):
        actor = await world.live()
        actor.obeys = dict.fromkeys(StopMode, False)
        await world.stops.put(wanted())
        await world.supervisor._hear_stops(world.stops)
        assert world.stops.wanted
        # Another supervisor, which takes the session over, hears of it as well.
        actor.end.set_result(result_of(A))
        await world.over()
        await world.supervisor._hear_stops(world.stops)
        assert not world.stops.wanted

    async def test_others_are_left_to_theirs_until_nobody_can_mean_them(self, world):
        await world.stops.put(wanted(SessionId("s-theirs")))
        await world.stops.put(wanted(SessionId("s-old"), at=1_000.0 - 86_401))
        await world.supervisor._hear_stops(world.stops)
        assert list(world.stops.wanted) == ["s-theirs"]


class TestRestrain:
    async def test_a_running_session_is_handed_its_allowance(self, world):
        await world.live()
        given = allowance(A)
        assert await world.supervisor.restrain([given, allowance("s-other")], stop=False) == 1
        assert world.actors.restrained == [given]

    async def test_stopping_ends_it_out_of_money(self, world):
        await world.live()
        await world.supervisor.restrain([allowance(A, Verdict.END)], stop=True)
        assert (await world.over()).end_reason is EndReason.BUDGET_EXCEEDED

    async def test_one_whose_actor_is_lost_is_not_counted(self, world):
        actor = await world.live()
        world.actors.lost_on_ping.add(ActorId("a-1"))
        assert await world.supervisor.restrain([allowance(A)], stop=False) == 0
        assert not actor.end.done()


class TestObserve:
    async def test_a_running_session_is_told_all_who_observe(self, world):
        await world.live()
        world.records.observing[A] = ("observer-1",)
        assert await world.supervisor.observe(A)
        world.records.observing[A] = ("observer-1", "observer-2")
        assert await world.supervisor.observe(A)
        assert [o for _, o in world.actors.observed] == [
            ("observer-1",),
            ("observer-1", "observer-2"),
        ]

    async def test_one_that_has_yet_to_join_is_told_when_it_does(self, world):
        task, actor = await world.starting(await world.prepared())
        world.records.observing[A] = ("observer-1",)
        assert not await world.supervisor.observe(A)
        assert world.actors.observed == []
        actor.join.set_result(joined())
        await task
        await world.told_observers()
        assert world.actors.observed == [(ActorId("a-1"), ("observer-1",))]

    async def test_who_came_before_it_was_assigned_is_in_the_assignment(self, world):
        request = await world.prepared()
        world.records.observing[A] = ("observer-1",)
        task, actor = await world.starting(request)
        assert world.actors.assignments[0].observers == ("observer-1",)
        actor.join.set_result(joined())
        await task
        assert await world.supervisor.observe(A)
        assert world.actors.observed == []  # it knows them already

    async def test_a_further_attempt_knows_them_from_its_assignment(self, world):
        first = await world.live()
        world.records.observing[A] = ("observer-1",)
        assert await world.supervisor.observe(A)
        lost = {"error_code": "metadata_timeout", "retryable": True}
        first.end.set_result(result_of(A, end_reason=EndReason.METADATA_TIMEOUT, **lost))
        await world.next_actor()
        assert world.actors.assignments[1].observers == ("observer-1",)

    async def test_what_is_not_delivered_is_not_told(self, world):
        actor = await world.live()
        world.records.observing[A] = ("observer-1",)
        world.actors.lost_on_ping.add(ActorId("a-1"))
        assert not await world.supervisor.observe(A)
        world.actors.lost_on_ping.clear()
        # So the next time brings them, too.
        assert await world.supervisor.observe(A)
        assert world.actors.observed == [(ActorId("a-1"), ("observer-1",))]
        assert not actor.end.done()

    async def test_who_was_written_down_and_not_told_is_told_in_time(self):
        world = World(sleep=at_once)
        await world.supervisor.open()
        await world.live()
        # As by an ingress that could not reach the supervisor.
        world.records.observing[A] = ("observer-1",)
        await world.told_observers()
        world.actors.observed.clear()
        world.records.observing[A] = ()
        await world.told_observers()
        assert world.actors.observed == [(ActorId("a-1"), ())]
        await world.supervisor.aclose()

    async def test_without_the_registry_a_session_starts_all_the_same(self, world):
        request = await world.prepared()

        async def away(_session_id):
            raise RegistryUnavailable("observers")

        world.records.observers = away
        task, actor = await world.starting(request)
        actor.join.set_result(joined())
        assert (await task).session_id == A
        assert not await world.supervisor.observe(A)

    async def test_a_session_that_is_not_under_way(self, world):
        assert not await world.supervisor.observe(SessionId("s-none"))


class TestStart:
    async def test_answers_when_the_agent_has_joined(self, world):
        task, actor = await world.starting(await world.prepared())
        assert not task.done()
        actor.join.set_result(joined())
        assert (await task).connect_s == 0.1
        record = world.records.records[A]
        assert (record.state, record.attempt) == (SessionState.JOINED, 1)
        assert record.joined_at == 1_000.0

    async def test_the_record_is_assigned_before_the_actor_runs(self, world):
        _, _ = await world.starting(await world.prepared())
        assert world.records.records[A].state is SessionState.ASSIGNED
        (assignment,) = world.actors.assignments
        assert assignment.token == "agent:interviewer@interview-s-a"
        assert assignment.attempt == 1
        assert "agent:" not in repr(assignment)

    async def test_asking_twice_runs_once(self, world):
        request = await world.prepared()
        first, actor = await world.starting(request)
        second = asyncio.create_task(world.supervisor.start(request))
        await asyncio.sleep(0)
        actor.join.set_result(joined())
        assert await first == await second
        assert len(world.actors.assignments) == 1

    async def test_a_draining_supervisor_begins_nothing(self, world):
        request = await world.prepared()
        world.supervisor.drain(True)
        with pytest.raises(FleetDraining):
            await world.supervisor.start(request)
        assert world.asked == []

    async def test_a_lost_reservation_gets_another_actor(self, world):
        request = await world.prepared()
        world.roster.lost.add(A)
        _task, _actor = await world.starting(request)
        assert "reassign" in world.asked

    async def test_a_record_that_is_gone_stops_the_start(self, world):
        request = await world.prepared()
        await world.records.end(A, EndReason.OPERATOR)
        with pytest.raises(DispatchFailed) as caught:
            await world.supervisor.start(request)
        assert caught.value.cause_code == "state_conflict"
        assert world.actors.assignments == []
        assert world.roster.held == {}


class TestEnd:
    async def test_in_this_order(self, world):
        actor = await world.live()
        world.asked.clear()
        actor.end.set_result(result_of(A))
        record = await world.over()
        assert world.asked == END_ORDER
        assert record.end_reason is EndReason.COMPLETED

    async def test_the_record_says_what_the_result_said(self, world):
        actor = await world.live()
        actor.end.set_result(
            result_of(A, unmapped=("threshold",), first_audio_s=0.7, metadata_wait_s=0.1)
        )
        record = await world.over()
        assert record.model == "gpt-realtime-2025-08-28"
        assert record.provider_sessions == ("sess-1",)
        assert record.unmapped == ("threshold",)
        assert record.timings_s == {"session": 60.0, "first_audio": 0.7, "metadata_wait": 0.1}
        # The closed account has the last word about money: 2 from the result, 42 by the ledger.
        assert record.spent_micro_usd == 42

    async def test_the_account_is_closed_with_the_last_reports(self, world):
        actor = await world.live()
        result = result_of(A)
        actor.end.set_result(result)
        await world.over()
        assert world.budget.last_reports == [result.usage]

    @pytest.mark.parametrize("broken", ["records", "budget", "rooms"])
    async def test_every_step_is_tried_though_one_fails(self, world, broken):
        actor = await world.live()
        world.asked.clear()
        getattr(world, broken).down = True
        actor.end.set_result(result_of(A))
        await world.over()
        tried = [step for step in world.asked if step != "add_facts"]
        assert tried == [step for step in END_ORDER if step != "add_facts"]
        snapshot = world.supervisor.snapshot()
        assert sum(snapshot.end_step_failures_total.values()) >= 1
        assert snapshot.owed >= 1

    async def test_what_failed_is_paid_later(self, world):
        actor = await world.live()
        world.rooms.down = world.records.down = True
        actor.end.set_result(result_of(A))
        await world.over()
        world.rooms.down = world.records.down = False
        assert await world.endings.pay()
        assert world.records.records[A].end_reason is EndReason.COMPLETED
        assert world.rooms.rooms == {}

    async def test_a_permit_that_cannot_be_released_is_owed_too(self, world):
        actor = await world.live()
        world.roster.release_failure = ActorLost("roster")
        actor.end.set_result(result_of(A))
        await world.over()
        world.roster.release_failure = None
        assert await world.endings.pay()
        assert world.roster.held == {}

    async def test_one_that_another_cluster_took_over_keeps_its_account_and_room(self, world):
        actor = await world.live()
        record = world.records.records[A]
        world.records.records[A] = replace(record, attempt=2, cluster="other")
        actor.end.set_result(result_of(A))
        await world.over()
        assert not world.records.records[A].is_gone
        assert world.asked[-2:] == ["kill", "release"]
        assert not {"close", "delete_room"} & set(world.asked)

    async def test_it_is_counted_by_reason(self, world):
        actor = await world.live()
        actor.end.set_result(result_of(A))
        await world.over()
        snapshot = world.supervisor.snapshot()
        assert snapshot.sessions == ()
        assert (snapshot.started_total, snapshot.ended_total) == (1, {"completed": 1})


class TestLoss:
    async def test_before_joining_another_actor_is_tried(self, world):
        task, actor = await world.starting(await world.prepared())
        actor.end.set_exception(ActorLost("a-1", "killed"))
        actor.join.set_exception(ActorLost("a-1", "killed"))
        second = await world.next_actor()
        second.join.set_result(joined())
        await task
        assert world.records.records[A].attempt == 2

    async def test_an_unexpected_error_ends_it_too(self, world):
        actor = await world.live()
        actor.end.set_exception(RuntimeError("a mistake of ours"))
        record = await world.over()
        assert record.end_reason is EndReason.ACTOR_LOST
        assert world.roster.held == {}


async def lose(world, actor):
    """The actor is dead; the one that is given its session."""
    world.actors.running.clear()
    actor.end.set_exception(ActorLost("a-1", "killed"))
    return await world.next_actor()


class TestRecovery:
    async def test_another_actor_carries_on_in_the_same_room(self, world):
        first = await world.live()
        world.asked.clear()
        second = await lose(world, first)
        assert {"open", "reassign"} <= set(world.asked)
        assert not {"delete_room", "close", "end"} & set(world.asked)
        before, after = world.actors.assignments
        assert (before.attempt, after.attempt) == (1, 2)
        assert (before.room, before.agent_identity) == (after.room, after.agent_identity)
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2, silence_s=0.8))
        record = await world.over()
        assert (record.end_reason, record.attempt) == (EndReason.COMPLETED, 2)
        told = world.metrics.exposition()
        assert b'fleet_recoveries_total{cause="actor_lost"} 1.0' in told
        assert b"fleet_recovery_rejoin_seconds_count 1.0" in told
        assert b"fleet_recovery_silence_seconds_sum" in told

    async def test_one_that_was_lost_as_it_said_goodbye_says_it_again(self, world):
        first = await world.live()
        world.journal.states[A] = LiveState(state="ending", attempt=1)
        await world.supervisor._mirror()
        assert world.records.records[A].state is SessionState.ENDING
        second = await lose(world, first)
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        assert (await world.over()).end_reason is EndReason.COMPLETED

    async def test_what_the_one_before_wrote_last_is_not_its_successor_s_state(self, world):
        first = await world.live()
        second = await lose(world, first)
        second.join.set_result(joined())
        await settled()
        world.journal.states[A] = LiveState(state="ending", attempt=1, updated_at=990.0)
        await world.supervisor._mirror()
        assert world.records.records[A].state is SessionState.JOINED
        world.journal.states[A] = LiveState(state="live", attempt=2, updated_at=1_000.0)
        await world.supervisor._mirror()
        assert world.records.records[A].state is SessionState.LIVE

    async def test_the_actor_that_was_found_is_taken_before_the_budget_has_answered(self, world):
        first = await world.live()
        world.budget.down = True
        world.actors.running.clear()
        first.end.set_exception(ActorLost("a-1", "killed"))
        await settled()
        # A reservation would run out before a budget actor is back that went with the node.
        assert world.roster.begun.count(A) == 2
        assert len(world.actors.assignments) == 1

    async def test_a_roster_that_is_away_for_a_moment_is_asked_again(self):
        world = World(sleep=at_once)
        await world.supervisor.open()
        first = await world.live()
        world.roster.begin_failures += [NoAnswer("roster", 5.0)] * 2
        second = await lose(world, first)
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        assert (await world.over()).end_reason is EndReason.COMPLETED
        await world.supervisor.aclose()

    async def test_its_time_counts_from_the_first_of_them(self, world):
        second = await lose(world, await world.live())
        world.now = 2_000.0
        second.join.set_result(joined())
        await settled()
        record = world.records.records[A]
        assert (record.joined_at, record.first_joined_at) == (2_000.0, 1_000.0)

    async def test_one_whose_provider_failed_is_carried_on_with_the_other_even_if_lost_then(
        self, world
    ):
        first = await world.live()
        world.asked.clear()
        world.actors.running.clear()
        first.end.set_result(
            result_of(
                A,
                end_reason=EndReason.PROVIDER_FAILED,
                error_code="provider_unavailable",
                falls_over=True,
            )
        )
        second = await world.next_actor()
        assert not {"delete_room", "close", "end"} & set(world.asked)
        second.join.set_result(joined())
        await settled()
        third = await lose(world, second)
        assert [a.fallen_over for a in world.actors.assignments] == [False, True, True]
        third.join.set_result(joined())
        third.end.set_result(result_of(A, 3))
        assert (await world.over()).end_reason is EndReason.COMPLETED
        told = world.metrics.exposition()
        assert b'fleet_recoveries_total{cause="provider_unavailable"} 1.0' in told
        assert b'reason="provider_failed"' not in told

    async def test_it_is_done_a_few_times_and_then_no_more(self, world):
        actor = await world.live()
        for _ in range(LIMITS.max_recoveries):
            actor = await lose(world, actor)
            actor.join.set_result(joined())
            await settled()
        actor.end.set_exception(ActorLost("a-1", "killed"))
        record = await world.over()
        assert (record.end_reason, record.error_code) == (EndReason.ACTOR_LOST, "actor_lost")
        assert record.attempt == 1 + LIMITS.max_recoveries
        assert (world.rooms.rooms, world.roster.held) == ({}, {})

    async def test_a_successor_that_does_not_get_into_the_room_is_replaced(self, world):
        second = await lose(world, await world.live())
        world.actors.running.clear()
        second.join.set_exception(RoomUnreachable("no answer"))
        second.end.set_result(
            result_of(A, 2, end_reason=EndReason.ROOM_FAILED, error_code="room_unreachable")
        )
        third = await world.next_actor()
        assert third.attempt == 3
        third.join.set_result(joined())
        third.end.set_result(result_of(A, 3))
        assert (await world.over()).end_reason is EndReason.COMPLETED

    async def test_it_waits_for_a_budget_actor_that_was_lost_along_with_it(self):
        world = await losing_both()
        world.budget.down = False
        second = await world.next_actor()
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        assert (await world.over()).end_reason is EndReason.COMPLETED
        await world.supervisor.aclose()

    async def test_told_to_stop_it_waits_for_no_budget_actor(self):
        world = await losing_both()
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.NOW)
        assert (await world.over()).end_reason is EndReason.OPERATOR
        await world.supervisor.aclose()

    async def test_without_money_it_is_not_carried_on(self, world):
        first = await world.live()
        world.budget.verdict = Verdict.END
        first.end.set_exception(ActorLost("a-1", "killed"))
        record = await world.over()
        assert (record.end_reason, record.attempt) == (EndReason.BUDGET_EXCEEDED, 1)
        assert len(world.actors.assignments) == 1

    async def test_one_that_was_told_to_stop_is_not_carried_on(self, world):
        first = await world.live()
        first.obeys = {StopMode.GOODBYE: False, StopMode.NOW: False}
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        first.end.set_exception(ActorLost("a-1", "killed"))
        assert (await world.over()).end_reason is EndReason.OPERATOR
        assert len(world.actors.assignments) == 1

    async def test_one_that_is_told_to_stop_while_it_waits_for_an_actor_ends_for_that(self, world):
        first = await world.live()
        world.roster.gate = asyncio.Event()
        first.end.set_exception(ActorLost("a-1", "killed"))
        async with asyncio.timeout(ENOUGH_S):
            while "reassign" not in world.asked:
                await asyncio.sleep(0)
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.NOW)
        assert (await world.over()).end_reason is EndReason.OPERATOR

    async def test_without_an_actor_or_a_budget_the_loss_is_its_end(self):
        world = World(limits=replace(LIMITS, recover_wait_s=0.0))
        await world.supervisor.open()
        for name, fail in (("roster", "reassign_failure"), ("budget", "down")):
            session_id = SessionId(f"s-{name}")
            actor = await world.live(session_id)
            failure = FleetFull(retry_after_s=3) if name == "roster" else True
            setattr(getattr(world, name), fail, failure)
            actor.end.set_exception(ActorLost("a-1", "killed"))
            assert (await world.over(session_id)).end_reason is EndReason.ACTOR_LOST
            world.roster.reassign_failure = None
        await world.supervisor.aclose()


async def settled():
    for _ in range(20):
        await asyncio.sleep(0)


async def losing_both():
    """A live interview without its actor, and without the budget actor, which was asked often."""
    world = World(sleep=at_once)
    await world.supervisor.open()
    first = await world.live()
    world.asked.clear()
    world.actors.running.clear()
    world.budget.down = True
    first.end.set_exception(ActorLost("a-1"))
    async with asyncio.timeout(ENOUGH_S):
        while world.asked.count("open") < 3:
            await asyncio.sleep(0)
    return world


class TestMove:
    async def test_another_actor_carries_on_what_was_handed_over(self, world):
        first = await world.live()
        assert await world.supervisor.move(A, 20.0)
        assert first.handed_over == [20.0]
        second = await self.handed_over(world, first)
        assert (second.attempt, world.actors.assignments[-1].room) == (2, f"interview-{A}")
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        record = await world.over()
        assert (record.end_reason, record.attempt) == (EndReason.COMPLETED, 2)
        assert [report.attempt for report in world.budget.last_reports] == [1, 2]
        assert world.metrics.counter("fleet_moves_total")._value.get() == 1

    async def test_it_is_no_recovery_however_often(self):
        world = World(limits=replace(LIMITS, max_recoveries=0))
        await world.supervisor.open()
        actor = await world.live()
        for _ in range(4):
            actor = await self.handed_over(world, actor)
            actor.join.set_result(joined())
        actor.end.set_result(result_of(A, 5))
        assert (await world.over()).end_reason is EndReason.COMPLETED
        await world.supervisor.aclose()

    async def test_without_a_successor_in_hand_the_actor_is_not_asked(self, world):
        world.roster.spare = False
        first = await world.live()
        assert not await world.supervisor.move(A, 20.0)
        assert first.handed_over == []

    async def test_one_that_has_yet_to_join_or_is_told_to_stop_is_not_asked(self, world):
        task, actor = await world.starting(await world.prepared())
        assert not await world.supervisor.move(A, 20.0)
        actor.join.set_result(joined())
        await task
        actor.obeys = {"goodbye": False, "now": True}
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        assert not await world.supervisor.move(A, 20.0)
        assert actor.handed_over == []

    async def test_told_to_stop_meanwhile_it_ends_for_that(self, world):
        first = await world.live()
        first.obeys = {"goodbye": False, "now": False}
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        first.end.set_result(result_of(A, handed_over=True, end_reason=EndReason.DRAINED))
        assert (await world.over()).end_reason is EndReason.OPERATOR

    async def test_one_that_died_before_it_left_is_recovered(self, world):
        first = await world.live()
        await world.supervisor.move(A, 20.0)
        world.actors.running.clear()
        first.end.set_exception(ActorLost("a-1"))
        second = await world.next_actor()
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        assert (await world.over()).end_reason is EndReason.COMPLETED
        assert world.metrics.counter("fleet_moves_total")._value.get() == 0

    async def handed_over(self, world, actor):
        world.actors.running.clear()
        result = result_of(A, actor.attempt, handed_over=True, end_reason=EndReason.DRAINED)
        actor.end.set_result(result)
        return await world.next_actor()


class TestRetry:
    async def test_no_metadata(self, world):
        first = await world.live()
        first.end.set_result(
            result_of(
                A,
                end_reason=EndReason.METADATA_TIMEOUT,
                error_code="metadata_timeout",
                retryable=True,
            )
        )
        second = await world.next_actor()
        assert second.attempt == 2
        assert [a.room for a in world.actors.assignments] == ["interview-s-a"] * 2
        world.now = 1_005.0
        second.join.set_result(joined())
        second.end.set_result(result_of(A, 2))
        record = await world.over()
        assert record.attempt == 2
        # Nothing had begun, so its time counts from here.
        assert record.first_joined_at == 1_005.0
        assert record.provider_sessions == ("sess-1", "sess-2")
        assert world.supervisor.snapshot().retries_total == 1
        assert b'fleet_dispatch_retries_total{cause="metadata_timeout"} 1.0' in (
            world.metrics.exposition()
        )

    async def test_the_second_allowance_is_asked_for_anew(self, world):
        task, first = await world.starting(await world.prepared())
        world.asked.clear()
        first.join.set_exception(RoomUnreachable("no answer"))
        first.end.set_result(
            result_of(A, end_reason=EndReason.ROOM_FAILED, error_code="room_unreachable")
        )
        (await world.next_actor()).join.set_result(joined())
        await task
        assert world.asked[:2] == ["reassign", "open"]

    async def test_one_that_never_joins_is_killed_first(self, world):
        task, first = await world.starting(await world.prepared())
        first.join.set_exception(NoAnswer("a-1", 1.0))
        second = await world.next_actor()
        assert first.end.done()
        second.join.set_result(joined())
        await task
        assert world.supervisor.snapshot().kills_total == 1

    async def test_a_busy_actor_is_no_answer(self, world):
        task, first = await world.starting(await world.prepared())
        first.join.set_exception(ActorBusy("busy"))
        first.end.set_exception(ActorBusy("busy"))
        (await world.next_actor()).join.set_result(joined())
        await task

    async def test_without_a_second_actor_the_first_s_error_stands(self, world):
        task, first = await world.starting(await world.prepared())
        world.roster.reassign_failure = FleetFull(retry_after_s=3)
        first.join.set_exception(RoomUnreachable("no answer"))
        first.end.set_result(
            result_of(
                A,
                end_reason=EndReason.ROOM_FAILED,
                error_code="room_unreachable",
                retryable=True,
            )
        )
        with pytest.raises(DispatchFailed) as caught:
            await task
        assert (caught.value.cause_code, caught.value.retryable) == ("room_unreachable", True)
        assert (await world.over()).end_reason is EndReason.ROOM_FAILED

    async def test_a_failure_is_told_after_everything_is_given_back(self, world):
        task, first = await world.starting(await world.prepared())
        first.join.set_exception(RoomUnreachable("wrong token"))
        first.end.set_result(
            result_of(A, end_reason=EndReason.ROOM_FAILED, error_code="room_token_rejected")
        )
        with pytest.raises(DispatchFailed):
            await task
        assert (world.rooms.rooms, world.roster.held, world.budget.open_accounts) == ({}, {}, set())


class TestStop:
    async def test_a_goodbye(self, world):
        actor = await world.live()
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        record = await world.over()
        assert record.end_reason is EndReason.OPERATOR
        assert [o.mode for o in actor.orders] == [StopMode.GOODBYE]
        assert "update:ending" in world.asked

    async def test_goodbye_then_now_then_the_actor_is_killed(self, world):
        actor = await world.live()
        actor.obeys = {"goodbye": False, "now": False}
        world.asked.clear()
        await world.supervisor.stop(A, EndReason.BUDGET_EXCEEDED, StopMode.GOODBYE)
        record = await world.over()
        assert [o.mode for o in actor.orders] == [StopMode.GOODBYE, StopMode.NOW]
        assert (record.end_reason, record.error_code) == (EndReason.BUDGET_EXCEEDED, None)
        assert world.asked.index("kill") < world.asked.index("end")
        assert world.rooms.rooms == {}
        assert world.supervisor.snapshot().kills_total == 1

    async def test_an_actor_that_answers_nothing_is_killed_as_soon(self):
        world = World(limits=replace(LIMITS, goodbye_grace_s=3600))
        await world.supervisor.open()
        actor = await world.live()
        actor.answers = False
        await world.supervisor.stop(A, EndReason.BUDGET_EXCEEDED, StopMode.NOW)
        # The fake never answers at all: only a grace that runs from the order ends it.
        record = await world.over()
        assert record.end_reason is EndReason.BUDGET_EXCEEDED
        kills = world.metrics.counter("fleet_session_actor_kills_total", cause="budget_exceeded")
        assert kills._value.get() == 1
        await world.supervisor.aclose()

    async def test_a_record_that_hangs_does_not_keep_the_actor_alive(self, world):
        actor = await world.live()
        actor.obeys = {"goodbye": False, "now": False}
        world.records.hangs_at = "update:ending"
        await world.supervisor.stop(A, EndReason.BUDGET_EXCEEDED, StopMode.NOW)
        assert (await world.over()).end_reason is EndReason.BUDGET_EXCEEDED
        assert "kill" in world.asked

    async def test_now_hurries_a_goodbye(self):
        world = World(limits=replace(LIMITS, goodbye_grace_s=3600))
        await world.supervisor.open()
        actor = await world.live()
        actor.obeys = {"goodbye": False, "now": True}
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        await world.supervisor.stop(A, EndReason.DRAINED, StopMode.NOW)
        record = await world.over()
        assert record.end_reason is EndReason.OPERATOR  # the first reason stays
        await world.supervisor.aclose()

    async def test_before_the_agent_has_joined(self, world):
        task, _actor = await world.starting(await world.prepared())
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.GOODBYE)
        with pytest.raises(DispatchFailed) as caught:
            await task
        assert caught.value.cause_code == "operator"
        assert (await world.over()).end_reason is EndReason.OPERATOR

    async def test_while_it_waits_for_another_actor(self, world):
        task, first = await world.starting(await world.prepared())
        world.roster.gate = asyncio.Event()
        first.join.set_exception(ActorLost("a-1"))
        first.end.set_exception(ActorLost("a-1"))
        while "reassign" not in world.asked:
            await asyncio.sleep(0)
        await world.supervisor.stop(A, EndReason.OPERATOR, StopMode.NOW)
        with pytest.raises(DispatchFailed):
            await task
        assert world.roster.held == {}

    async def test_one_that_overstays_its_time_is_stopped_at_once(self):
        world = World(limits=replace(LIMITS, overtime_s=0.0))
        await world.supervisor.open()
        request = replace(await world.prepared(), session_timeout_s=0.01)
        task, actor = await world.starting(request)
        actor.join.set_result(joined())
        await task
        record = await world.over()
        assert record.end_reason is EndReason.SESSION_TIMEOUT
        assert [o.mode for o in actor.orders] == [StopMode.NOW]
        await world.supervisor.aclose()

    async def test_an_unknown_session(self, world):
        with pytest.raises(SessionNotFound):
            await world.supervisor.stop(SessionId("s-none"), EndReason.OPERATOR, StopMode.NOW)
        assert await world.supervisor.wait_over(SessionId("s-none"), 0)

    async def test_closing_ends_every_session(self, world):
        polite, deaf = await world.live(A), await world.live(SessionId("s-b"))
        deaf.obeys = {"goodbye": False, "now": False}
        polite.obeys = {"goodbye": True, "now": True}
        await world.supervisor.aclose(goodbye_s=0.01)
        reasons = {r.end_reason for r in world.records.records.values()}
        assert reasons == {EndReason.DRAINED}
        assert (world.roster.held, world.rooms.rooms) == ({}, {})


async def test_an_error_is_written_down_and_told_without_the_key_that_it_quotes():
    world = World(sleep=at_once)
    await world.supervisor.open()
    task, actor = await world.starting(await world.prepared())
    key = "sk-proj-0123456789abcdef"
    actor.join.set_exception(AgentError("never joined"))
    actor.end.set_exception(AgentError(f"Incorrect API key provided: {key}"))
    with pytest.raises(DispatchFailed) as raised:
        await task
    record = await world.over()
    assert "Incorrect API key provided" in record.error
    assert key not in record.error + str(raised.value)
    await world.supervisor.aclose()


class TestMirror:
    async def test_the_record_follows_what_the_actor_says(self):
        world = World(sleep=at_once)
        await world.supervisor.open()
        await world.live()
        world.journal.states[A] = LiveState(state="live")
        async with asyncio.timeout(ENOUGH_S):
            while world.records.records[A].state is not SessionState.LIVE:
                await asyncio.sleep(0.001)
        # Its word that it is gone is not the end of it: that is the result's.
        world.journal.states[A] = LiveState(state="gone")
        await asyncio.sleep(0.01)
        assert world.records.records[A].state is SessionState.LIVE
        await world.supervisor.aclose()


def says_gone(reason, attempt=1):
    event = JournalEvent(
        kind=EventKind.STATE, at=1.0, attempt=attempt, data={"state": "gone", "reason": reason}
    )
    return JournalEntry(id=f"{attempt}-0", event=event)


class TestAdoption:
    """A supervisor that begins with what another left."""

    @pytest.fixture
    async def world(self):
        world = World(sleep=at_once)
        world.record(
            state=SessionState.LIVE, actor_id="a-9", joined_at=995.0, first_joined_at=995.0
        )
        world.actors.actors[ActorId("a-9")] = actor = type(
            "Actor", (), {"orders": [], "obeys": {"goodbye": False, "now": False}}
        )()
        loop = asyncio.get_running_loop()
        actor.join, actor.end = loop.create_future(), loop.create_future()
        actor.join.set_result(joined())
        yield world
        actor.end.cancel()
        await world.supervisor.aclose()

    async def test_it_knows_whose_actor_is_whose(self, world):
        await world.supervisor.open()
        assert await world.supervisor.assignments() == {A: "a-9"}

    async def test_a_session_s_time_does_not_begin_anew(self, world):
        known = {"actor_id": "a-9", "joined_at": 995.0, "first_joined_at": 995.0}
        world.record(state=SessionState.JOINED, **known)
        await world.supervisor.open()
        await world.supervisor.assignments()
        await settled()
        record = world.records.records[A]
        assert (record.joined_at, record.first_joined_at) == (1_000.0, 995.0)

    async def test_questions_wait_until_it_knows_its_sessions(self, world):
        stop = world.supervisor.stop(A, EndReason.OPERATOR, StopMode.NOW)
        asking = [asyncio.create_task(stop), asyncio.create_task(world.supervisor.wait_over(A, 0))]
        await asyncio.sleep(0)
        assert not any(task.done() for task in asking)
        await world.supervisor.open()
        assert await asyncio.gather(*asking) == [None, False]
        assert (await world.over()).end_reason is EndReason.OPERATOR

    async def test_it_tells_the_reaper_nothing_before(self, world):
        asking = asyncio.create_task(world.supervisor.under_way())
        await asyncio.sleep(0)
        assert not asking.done()
        await world.supervisor.open()
        (run,) = (await asking).values()
        assert (run.room, run.actor_id, run.stopping) == (f"interview-{A}", "a-9", False)

    async def test_another_cluster_s_is_left_alone(self, world):
        world.record(state=SessionState.LIVE, actor_id="a-9", joined_at=995.0, cluster="other")
        world.clusters.heard({"main": 1, "other": 1}, 0.0)
        await world.supervisor.open()
        assert await world.supervisor.assignments() == {}

    async def test_one_whose_cluster_is_gone_is_carried_on_as_ours(self, world):
        world.record(state=SessionState.LIVE, actor_id="a-9", joined_at=995.0, cluster="other")
        world.actors.lost_on_ping.add(ActorId("a-9"))
        world.journal.contracts[A] = "the contract"
        lose_cluster(world.clusters, "other")
        await world.supervisor.open()
        actor = await world.next_actor()
        assert actor.attempt == 2
        assert world.records.records[A].cluster == "main"
        # No room has it: the one before had written down what it was given.
        assert world.actors.assignments[-1].metadata == "the contract"
        actor.join.set_result(joined())
        actor.end.set_result(result_of(A, 2))
        await world.over()

    async def test_one_that_nobody_is_at_work_on_gives_its_key_free(self, world):
        await world.supervisor.open()
        await world.supervisor.assignments()
        lost = SessionId("s-lost")
        world.record(lost, idempotency_key="k")
        world.records.claims["k"] = (lost, "")
        world.supervisor.take_over(world.records.records[lost])
        await settled()
        assert world.records.records[lost].error_code == "dispatcher_lost"
        assert world.records.claims == {}

    async def test_one_that_is_taken_over_twice_is_run_once(self, world):
        await world.supervisor.open()
        await world.supervisor.assignments()
        world.supervisor.take_over(world.records.records[A])
        assert world.supervisor.snapshot().started_total == 1

    async def test_a_dead_actor_s_session_is_carried_on_by_another(self, world):
        world.actors.lost_on_ping.add(ActorId("a-9"))
        await world.supervisor.open()
        actor = await world.next_actor()
        assert actor.attempt == 2
        actor.join.set_result(joined())
        actor.end.set_result(result_of(A, 2))
        record = await world.over()
        assert record.end_reason is EndReason.COMPLETED
        assert "release" in world.asked

    async def test_an_actor_that_went_with_the_supervisor_is_a_loss_as_any_other(self, world):
        actor = world.actors.actors[ActorId("a-9")]
        actor.join = asyncio.get_running_loop().create_future()
        actor.join.set_exception(ActorMissing("a-9"))
        world.actors.lost_on_ping.add(ActorId("a-9"))
        await world.supervisor.open()
        await world.next_actor()
        assert world.roster.waits == [LIMITS.recover_wait_s]
        assert world.supervisor.snapshot().retries_total == 0
        assert b'fleet_recoveries_total{cause="actor_lost"} 1.0' in world.metrics.exposition()

    async def test_one_that_its_actor_left_meanwhile_is_carried_on(self):
        world = World(limits=replace(LIMITS, max_recoveries=0), sleep=at_once)
        world.record(state=SessionState.LIVE, actor_id="a-9", joined_at=995.0)
        world.journal.states[A] = LiveState(state="live", handed_over=True)
        world.actors.actors[ActorId("a-9")] = FakeActor(1)
        await world.supervisor.open()
        actor = await world.next_actor()
        assert actor.attempt == 2
        await world.supervisor.aclose()

    async def test_a_session_that_ended_meanwhile_keeps_its_reason(self, world):
        world.journal.states[A] = LiveState(state="gone")
        world.journal.entries[A] = [says_gone("no_show"), says_gone("completed", attempt=2)]
        world.actors.lost_on_ping.add(ActorId("a-9"))
        await world.supervisor.open()
        await world.supervisor.assignments()
        assert (await world.over()).end_reason is EndReason.NO_SHOW

    async def test_starting_it_again_answers_from_the_running_one(self, world):
        request = replace(await world.prepared(SessionId("s-b")), session_id=A)
        await world.supervisor.open()
        report = await world.supervisor.start(request)
        assert report.actor_id == "a-1"
        assert world.actors.assignments == []

    async def test_a_record_without_an_actor_is_left_to_its_dispatcher_and_the_reaper(self, world):
        world.record(SessionId("s-queued"), created_at=0.0)
        await world.supervisor.open()
        assert await world.supervisor.assignments() == {A: "a-9"}
        assert not world.records.records["s-queued"].is_gone

    async def test_one_that_becomes_nobodys_later_is_the_reapers_to_find(self, world):
        await world.supervisor.open()
        await world.supervisor.assignments()
        world.record(SessionId("s-later"), state=SessionState.LIVE, actor_id="a-8")
        for _ in range(50):
            await asyncio.sleep(0)
        assert set(await world.supervisor.under_way()) == {A}

    async def test_its_own_time_limit_holds_on(self, world):
        world.records.records[A] = replace(world.records.records[A], session_timeout_s=0.001)
        world.supervisor._limits = replace(world.supervisor._limits, overtime_s=0.0)
        await world.supervisor.open()
        await world.supervisor.assignments()
        assert (await world.over()).end_reason is EndReason.SESSION_TIMEOUT


class TestTrace:
    @pytest.fixture
    def spans(self):
        return Spans()

    @pytest.fixture
    async def world(self, spans):
        world = World(tracer=spans.tracer)
        await world.supervisor.open()
        yield world
        await world.supervisor.aclose()

    async def test_an_attempt_its_recovery_and_the_end_are_one_trace(self, world, spans):
        request = replace(await world.prepared(), traceparent=CALLERS_TRACEPARENT)
        task, first = await world.starting(request)
        first.join.set_result(joined(A))
        await task
        second = await lose(world, first)
        second.join.set_result(joined(A))
        second.end.set_result(result_of(A, 2))
        await world.over()
        assert spans.names == ["attempt", "recover", "end"]
        assert spans.traces() == {CALLERS_TRACE}
        below = {
            f"00-{CALLERS_TRACE}-{spans.named(name).context.span_id:016x}-01"
            for name in ("attempt", "recover")
        }
        assert {a.traceparent for a in world.actors.assignments} == below
        ended = said(spans.named("end"))
        assert ended["fleet.end.reason"] == "completed"
        assert ended["fleet.session.spent_micro_usd"] == 42

    async def test_a_session_that_is_taken_over_goes_on_with_its_trace(self, world, spans):
        world.record(
            state=SessionState.LIVE,
            actor_id="a-9",
            joined_at=990.0,
            traceparent=CALLERS_TRACEPARENT,
        )
        world.actors.actors[ActorId("a-9")] = FakeActor(1)
        world.actors.lost_on_ping.add(ActorId("a-9"))
        world.supervisor.take_over(world.records.records[A])
        actor = await world.next_actor()
        actor.join.set_result(joined(A))
        actor.end.set_result(result_of(A, 2))
        await world.over()
        assert spans.names == ["recover", "end"]
        assert spans.traces() == {CALLERS_TRACE}

    async def test_an_attempt_that_did_not_join_says_why(self, world, spans):
        _, first = await world.starting(await world.prepared())
        lost = {"error_code": "metadata_timeout", "retryable": True}
        world.actors.running.clear()
        first.end.set_result(result_of(A, end_reason=EndReason.METADATA_TIMEOUT, **lost))
        second = await world.next_actor()
        assert [said(s)["error.type"] for s in spans.over] == ["metadata_timeout"]
        second.join.set_result(joined(A))
        second.end.set_result(result_of(A, 2))
        await world.over()
        assert spans.names == ["attempt", "attempt", "end"]
