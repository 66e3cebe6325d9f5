import asyncio
import json
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from agent_actor.contract import EndReason, Provider, SessionState
from agent_actor.errors import ContractInvalid, ModelRetired
from agent_actor.messages import StopMode, Verdict
from agent_actor.telemetry import NO_TRACER, Tracer
from fleet.dispatcher import Dispatcher, DispatchLimits, DispatchParts, DispatchRequest
from fleet.errors import (
    BudgetExhausted,
    BudgetUnavailable,
    DispatchFailed,
    DispatchTimeout,
    FleetDraining,
    FleetFull,
    IdempotencyConflict,
    LiveKitUnavailable,
    NoAnswer,
    RegistryUnavailable,
    RoomTaken,
    SessionExists,
    SessionNotFound,
)
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
from tests.unit.spans import CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said


@dataclass
class World:
    asked: list[str] = field(default_factory=list)
    deadline_s: float = ENOUGH_S
    refusal_wait_s: float = 0.01
    tracer: Tracer = NO_TRACER
    contract_in_room: bool = False

    def __post_init__(self):
        self.roster = FakeRoster(self.asked)
        self.budget = FakeBudget(self.asked)
        self.rooms = FakeRooms(self.asked)
        self.records = FakeRecords(self.asked)
        self.supervisor = FakeSupervisor(self.asked, self.records)
        self.stops = FakeStops()
        self.ids = iter(f"s-{n}" for n in range(1, 100))
        self.time = iter(range(100_000))
        self.resolve = lambda given: given.model_copy(update={"model": "dated"})
        self.dispatcher = Dispatcher(
            DispatchParts(
                roster=self.roster,
                supervisor=self.supervisor,
                budget=self.budget,
                records=self.records,
                rooms=self.rooms,
                stops=self.stops,
                tracer=self.tracer,
                resolve_model=lambda given: self.resolve(given),
                new_id=lambda: next(self.ids),
                now=lambda: 1_000.0,
                clock=lambda: float(next(self.time)),
                sleep=at_once,
            ),
            DispatchLimits(
                livekit_url="wss://rooms.example.org",
                deadline_s=self.deadline_s,
                refusal_wait_s=self.refusal_wait_s,
                contract_in_room=self.contract_in_room,
            ),
        )

    async def dispatch(self, **changes):
        return await self.dispatcher.dispatch(DispatchRequest(config=config(), **changes))

    def nothing_left(self):
        return not (self.roster.held or self.budget.open_accounts or self.rooms.rooms)


@pytest.fixture
async def world():
    world = World()
    await world.dispatcher.open()
    yield world
    await world.dispatcher.aclose(timeout_s=0)


class TestSuccess:
    async def test_the_steps_in_order(self, world):
        await world.dispatch()
        assert world.asked == [
            "create",
            "reserve",
            "open",
            "create_room",
            "start",
            "update:joined",
            "add_facts",
        ]

    async def test_each_step_is_timed(self, world):
        given = await world.dispatch()
        steps = {"validate": 1, "claim": 1, "reserve": 1, "budget": 1, "room": 1, "join": 1}
        assert given.record.timings_s == {**steps, "connect": 0.25}

    async def test_the_answer(self, world):
        given = await world.dispatch()
        assert given.record.state is SessionState.JOINED
        assert given.livekit_url == "wss://rooms.example.org"
        assert given.participant_token == "participant:p-1@interview-s-1"
        assert given.token_expires_at == 1_000.0 + 3600
        assert "participant:" not in repr(given)

    async def test_the_contract_is_kept_from_the_room(self, world):
        await world.dispatch()
        assert world.rooms.rooms == {"interview-s-1": ""}
        (request,) = world.supervisor.requests
        given = json.loads(request.metadata)
        assert given["session_id"] == "s-1"
        assert given["model"] == "dated"
        assert given["created_at"] == "1970-01-01T00:16:40Z"

    async def test_the_contract_can_stand_in_the_room(self):
        world = World(contract_in_room=True)
        await world.dispatcher.open()
        await world.dispatch()
        assert json.loads(world.rooms.rooms["interview-s-1"])["session_id"] == "s-1"
        (request,) = world.supervisor.requests
        assert request.metadata is None
        await world.dispatcher.aclose(timeout_s=0)

    async def test_the_room_outlasts_every_wait_for_the_participant(self, world):
        waits = config().model_copy(
            update={"no_show_seconds": 600.0, "reconnect_grace_seconds": 90.5}
        )
        await world.dispatcher.dispatch(DispatchRequest(config=waits))
        (timeouts,) = world.rooms.timeouts_s.values()
        assert timeouts == (120 + 600, 91 + 30)

    async def test_the_supervisor_is_told_all_it_needs(self, world):
        await world.dispatch()
        (request,) = world.supervisor.requests
        assert request.allowance.session_id == "s-1"
        assert request.limit_micro_usd == 10_000_000
        assert request.session_timeout_s == 3600

    async def test_a_split_replaces_the_provider(self, world):
        given = await world.dispatch(split={Provider.GEMINI_LIVE: 1.0})
        assert given.record.provider == "gemini_live"
        (request,) = world.supervisor.requests
        assert json.loads(request.metadata)["provider"] == "gemini_live"


class TestRefused:
    @pytest.mark.parametrize("identity", ["interviewer", "interviewer-s-1", "observer-1"])
    async def test_a_participant_by_a_name_of_ours(self, world, identity):
        """LiveKit puts out the first of two by one name: it would be the agent."""
        named = config().model_copy(update={"participant_identity": identity})
        with pytest.raises(ContractInvalid) as raised:
            await world.dispatcher.dispatch(DispatchRequest(config=named))
        assert [problem.field for problem in raised.value.problems] == ["participant_identity"]
        assert world.asked == []

    @pytest.mark.parametrize("error", [FleetFull(retry_after_s=3), FleetDraining()])
    async def test_leaves_no_trace(self, world, error):
        world.roster.failure = error
        with pytest.raises(type(error)) as caught:
            await world.dispatch(idempotency_key="k")
        assert caught.value is error
        assert world.records.records == {}
        assert world.records.claims == {}
        assert world.nothing_left()

    async def test_the_same_key_may_try_again(self, world):
        world.roster.failure = FleetFull(retry_after_s=3)
        with pytest.raises(FleetFull):
            await world.dispatch(idempotency_key="k")
        world.roster.failure = None
        assert not (await world.dispatch(idempotency_key="k")).existing

    async def test_a_bad_contract_touches_nothing(self, world):
        with pytest.raises(ContractInvalid):
            await world.dispatch(split={Provider.GEMINI_LIVE: 0.0})
        assert world.asked == []

    async def test_a_model_that_cannot_be_used_touches_nothing(self, world):
        def retired(given):
            raise ModelRetired("gone, use another")

        world.resolve = retired
        with pytest.raises(ModelRetired):
            await world.dispatch()
        assert world.asked == []

    async def test_a_closed_dispatcher_refuses(self, world):
        await world.dispatcher.aclose()
        with pytest.raises(FleetDraining):
            await world.dispatch()


class TestUndone:
    """Whatever fails, nothing that was taken is kept, and the record says why."""

    @pytest.mark.parametrize(
        ("breaks", "error", "reason"),
        [
            (lambda w: setattr(w.budget, "down", True), BudgetUnavailable, EndReason.ACTOR_LOST),
            (
                lambda w: setattr(w.budget, "verdict", Verdict.END),
                BudgetExhausted,
                EndReason.BUDGET_EXCEEDED,
            ),
            (lambda w: setattr(w.rooms, "down", True), LiveKitUnavailable, EndReason.ROOM_FAILED),
            (
                lambda w: setattr(w.supervisor, "failure", NoAnswer("supervisor", 5)),
                NoAnswer,
                EndReason.ACTOR_LOST,
            ),
            (
                lambda w: setattr(w.supervisor, "failure", RuntimeError("a mistake")),
                RuntimeError,
                EndReason.ACTOR_LOST,
            ),
        ],
    )
    async def test_each_failure(self, world, breaks, error, reason):
        breaks(world)
        with pytest.raises(error):
            await world.dispatch(idempotency_key="k")
        record = world.records.records["s-1"]
        assert record.state is SessionState.GONE
        assert record.end_reason is reason
        assert record.error_code == getattr(error, "code", "internal_error")
        assert "reserve" in record.timings_s
        world.rooms.down = False
        assert world.nothing_left()
        retryable = getattr(error, "retryable", False)
        assert ("k" in world.records.claims) is not retryable

    async def test_in_the_reverse_order(self, world):
        world.supervisor.failure = FleetDraining()
        with pytest.raises(FleetDraining):
            await world.dispatch()
        undone = world.asked[world.asked.index("start") + 1 :]
        assert undone == ["withdraw", "delete_room", "close", "release"]

    async def test_one_undo_that_fails_does_not_stop_the_others(self, world):
        world.rooms.down = True
        with pytest.raises(LiveKitUnavailable):
            await world.dispatch()
        after = world.asked[world.asked.index("create_room") + 1 :]
        assert after == ["end", "delete_room", "close", "release"]

    async def test_a_room_that_is_still_being_made_is_waited_for_and_deleted(self, world):
        """The account is refused meanwhile: a room made after its deletion would stay."""
        made, create_room = asyncio.Event(), world.rooms.create_room

        async def slow(name, **options):
            await made.wait()
            await create_room(name, **options)

        world.rooms.create_room = slow
        world.budget.verdict = Verdict.END
        dispatching = asyncio.create_task(world.dispatch())
        while "open" not in world.asked:
            await asyncio.sleep(0)
        made.set()
        with pytest.raises(BudgetExhausted):
            await dispatching
        undone = world.asked[world.asked.index("create_room") + 1 :]
        assert undone == ["end", "delete_room", "close", "release"]
        assert world.nothing_left()

    async def test_no_registry_nothing_taken(self, world):
        world.records.down = True
        with pytest.raises(RegistryUnavailable):
            await world.dispatch()
        assert world.asked == ["create"]

    async def test_what_the_supervisor_ended_is_not_ended_twice(self, world):
        world.supervisor.failure = DispatchFailed(
            session_id="s-1", step="join", cause_code="room_unreachable", reason="r", retryable=True
        )
        with pytest.raises(DispatchFailed):
            await world.dispatch(idempotency_key="k")
        assert world.asked[world.asked.index("start") + 1 :] == ["release_claim"]

    async def test_timings_that_cannot_be_written_fail_nothing(self, world):
        async def broken(session_id, **facts):
            raise RegistryUnavailable("add_facts")

        world.records.add_facts = broken
        given = await world.dispatch()
        assert given.record.state is SessionState.JOINED
        assert given.record.actor_id == "a-1"


class TestDeadline:
    async def test_names_the_step_and_undoes(self):
        world = World(deadline_s=0.05)
        world.roster.gate = asyncio.Event()
        with pytest.raises(DispatchTimeout) as caught:
            await world.dispatch()
        assert caught.value.step == "reserve"
        assert world.records.records["s-1"].error_code == "dispatch_timeout"
        assert world.nothing_left()

    async def test_names_the_slow_one_of_two_at_once(self):
        world = World(deadline_s=0.05)

        async def never(*_, **__):
            await asyncio.Event().wait()

        world.budget.open = never
        with pytest.raises(DispatchTimeout) as caught:
            await world.dispatch()
        assert caught.value.step == "budget"
        assert world.nothing_left()

    async def test_a_silent_supervisor_that_has_it_is_told_to_stop_it(self):
        world = World(deadline_s=0.05)
        world.supervisor.silent = True
        world.supervisor.known.add("s-1")
        with pytest.raises(DispatchTimeout):
            await world.dispatch()
        assert world.supervisor.stops == [("s-1", EndReason.ACTOR_LOST, StopMode.NOW)]
        # It is the supervisor's to clear up.
        assert not world.nothing_left()

    async def test_a_silent_supervisor_that_has_not_leaves_it_to_us(self):
        world = World(deadline_s=0.05)
        world.supervisor.silent = True
        with pytest.raises(DispatchTimeout):
            await world.dispatch()
        assert world.nothing_left()


class TestCallersThatLeave:
    async def test_the_dispatch_goes_on(self, world):
        world.roster.gate = asyncio.Event()
        caller = asyncio.create_task(world.dispatch())
        await asyncio.sleep(0)
        caller.cancel()
        await asyncio.gather(caller, return_exceptions=True)
        world.roster.gate.set()
        await world.dispatcher._tasks.settle(ENOUGH_S)
        assert world.records.records["s-1"].state is SessionState.JOINED

    async def test_closing_undoes_what_is_not_done_in_time(self, world):
        world.roster.gate = asyncio.Event()
        caller = asyncio.create_task(world.dispatch(respond_async=True))
        given = await caller
        await world.dispatcher.aclose(timeout_s=0)
        assert world.records.records[given.record.session_id].is_gone
        assert world.nothing_left()

    async def test_closing_leaves_the_supervisor_what_it_has_begun(self, world):
        world.supervisor.silent = True
        given = await world.dispatch(respond_async=True)
        assert world.supervisor.requests
        world.asked.clear()
        await world.dispatcher.aclose(timeout_s=0)
        assert not world.records.records[given.record.session_id].is_gone
        assert world.rooms.rooms
        assert not {"release", "close", "delete_room", "stop"} & {*world.asked}


class TestAsync:
    async def test_is_answered_before_the_agent_is_there(self, world):
        world.roster.gate = asyncio.Event()
        given = await world.dispatch(respond_async=True)
        assert given.record.state is SessionState.QUEUED
        assert given.participant_token is not None
        world.roster.gate.set()
        await world.dispatcher._tasks.settle(ENOUGH_S)
        assert world.records.records["s-1"].state is SessionState.JOINED

    async def test_the_participant_may_come_as_soon_as_there_is_a_room(self):
        world = World(refusal_wait_s=ENOUGH_S)
        world.supervisor.silent = True
        given = await world.dispatch(respond_async=True)
        assert given.record.room in world.rooms.rooms
        assert given.participant_token is not None
        await world.dispatcher.aclose(timeout_s=0)

    async def test_full_is_still_said_at_once(self, world):
        world.roster.failure = FleetFull(retry_after_s=3)
        with pytest.raises(FleetFull):
            await world.dispatch(respond_async=True)
        assert world.nothing_left()

    async def test_a_late_failure_stands_in_the_record(self, world):
        world.roster.gate = asyncio.Event()
        world.roster.failure = FleetFull(retry_after_s=3)
        given = await world.dispatch(respond_async=True)
        world.roster.gate.set()
        await world.dispatcher._tasks.settle(ENOUGH_S)
        record = world.records.records[given.record.session_id]
        assert (record.end_reason, record.error_code) == (EndReason.ACTOR_LOST, "fleet_full")


async def asked_twice() -> tuple[World, asyncio.Future[list[Any]]]:
    """By one key, at once, and neither has an actor yet. Both answers, errors too."""
    # Long: this clock goes on by a second at each look.
    world = World(deadline_s=60.0)
    world.roster.gate = asyncio.Event()
    asking = [asyncio.create_task(world.dispatch(idempotency_key="k")) for _ in range(2)]
    await asyncio.sleep(0)
    return world, asyncio.gather(*asking, return_exceptions=True)


class TestIdempotency:
    async def test_a_repeated_request_gets_the_same_session(self, world):
        first = await world.dispatch(idempotency_key="k", body_hash="b")
        second = await world.dispatch(idempotency_key="k", body_hash="b")
        assert second.existing
        assert second.record == first.record
        assert second.participant_token == first.participant_token
        assert world.asked.count("start") == 1

    async def test_another_body_is_refused(self, world):
        await world.dispatch(idempotency_key="k", body_hash="b")
        with pytest.raises(IdempotencyConflict):
            await world.dispatch(idempotency_key="k", body_hash="c")

    async def test_a_repeat_under_way_waits_for_the_agent(self):
        world, both = await asked_twice()
        world.roster.gate.set()
        one, two = await both
        assert (one.record.session_id, two.record.session_id) == ("s-1", "s-1")
        assert two.record.state is SessionState.JOINED

    async def test_a_repeat_of_one_that_fails_meanwhile_is_told_so(self):
        world, both = await asked_twice()
        world.rooms.down = True
        world.roster.gate.set()
        one, two = await both
        assert isinstance(one, LiveKitUnavailable)
        assert isinstance(two, DispatchFailed)
        assert (two.cause_code, two.retryable) == ("livekit_unavailable", True)
        world.rooms.down = False
        assert not (await world.dispatch(idempotency_key="k")).existing

    async def test_a_repeat_of_one_that_is_refused_meanwhile_is_refused(self):
        world, both = await asked_twice()
        world.roster.failure = FleetFull(retry_after_s=3)
        world.roster.gate.set()
        refusals = await both
        assert [type(each) for each in refusals] == [FleetFull, FleetFull]

    async def test_a_gone_session_gives_no_token(self, world):
        await world.dispatch(idempotency_key="k")
        await world.records.end("s-1", EndReason.COMPLETED)
        again = await world.dispatch(idempotency_key="k")
        assert (again.participant_token, again.token_expires_at) == (None, None)


class TestStop:
    async def test_is_passed_on(self, world):
        await world.dispatch()
        await world.dispatcher.stop("s-1", reason=EndReason.OPERATOR, mode=StopMode.NOW)
        assert world.supervisor.stops == [("s-1", EndReason.OPERATOR, StopMode.NOW)]

    async def test_an_unknown_session(self, world):
        with pytest.raises(SessionNotFound):
            await world.dispatcher.stop("s-none")

    async def test_one_that_still_waits_never_starts(self, world):
        world.roster.gate = asyncio.Event()
        await world.dispatch(respond_async=True)
        await world.dispatcher.stop("s-1")
        assert world.records.records["s-1"].end_reason is EndReason.OPERATOR
        assert "release" in world.asked

    async def test_one_that_another_cluster_runs_is_told_there(self, world):
        await world.dispatch()
        world.supervisor.known.clear()
        before = world.records.records["s-1"] = replace(
            world.records.records["s-1"], cluster="older"
        )
        world.asked.clear()
        await world.dispatcher.stop("s-1", mode=StopMode.NOW)
        (wanted,) = world.stops.wanted.values()
        assert (wanted.session_id, wanted.reason) == ("s-1", EndReason.OPERATOR)
        assert (wanted.mode, wanted.at) == (StopMode.NOW, 1_000.0)
        # Its room, its account and its permit are left to that one.
        assert world.records.records["s-1"] == before
        assert world.asked == ["stop"]

    async def test_a_gone_session_stays_as_it_is(self, world):
        await world.dispatch()
        world.supervisor.known.clear()
        before = await world.records.end("s-1", EndReason.COMPLETED)
        await world.dispatcher.stop("s-1")
        assert world.records.records["s-1"] == before


class TestTheirRoom:
    """Rooms that LiveKit dispatches."""

    async def theirs(self, world, session_id, sid="RM_1"):
        return await world.dispatch(session_id=session_id, room="theirs", room_sid=sid)

    async def test_the_session_is_the_supervisor_s_before_it_has_an_actor(self, world):
        given = await self.theirs(world, "s-job")
        assert world.asked == ["create", "open", "start", "update:joined", "add_facts"]
        assert (given.record.session_id, given.record.room) == ("s-job", "theirs")
        (request,) = world.supervisor.requests
        assert json.loads(request.metadata)["session_id"] == "s-job"
        assert not request.owns_room
        assert set(given.record.timings_s) == {"validate", "claim", "budget", "join", "connect"}

    async def test_one_session_at_a_time(self, world):
        await self.theirs(world, "s-1")
        with pytest.raises(RoomTaken) as taken:
            await self.theirs(world, "s-2")
        assert taken.value.session_id == "s-1"
        assert list(world.records.records) == ["s-1"]
        assert len(world.supervisor.requests) == 1

    async def test_of_many_at_once_one(self, world):
        asked = [self.theirs(world, f"s-{n}") for n in range(10)]
        answers = await asyncio.gather(*asked, return_exceptions=True)
        assert sum(isinstance(answer, RoomTaken) for answer in answers) == 9
        assert len(world.supervisor.requests) == 1

    async def test_the_next_one_waits_until_the_first_is_cleared_up(self, world):
        await self.theirs(world, "s-1")
        await world.records.end("s-1", EndReason.COMPLETED)
        world.supervisor.over["s-1"] = asyncio.Event()
        second = asyncio.create_task(self.theirs(world, "s-2"))
        while "wait_over" not in world.asked:
            await asyncio.sleep(0)
        assert len(world.supervisor.requests) == 1
        world.supervisor.over["s-1"].set()
        await second
        assert [r.session_id for r in world.supervisor.requests] == ["s-1", "s-2"]

    async def test_a_room_made_anew_is_taken_while_the_session_goes_on(self, world):
        await self.theirs(world, "s-1", sid="RM_1")
        world.supervisor.staying.add("s-1")
        with pytest.raises(RoomTaken):
            await self.theirs(world, "s-2", sid="RM_2")

    async def test_a_room_made_anew_after_the_session_is_free(self, world):
        await self.theirs(world, "s-1", sid="RM_1")
        world.supervisor.over["s-1"] = over = asyncio.Event()
        second = asyncio.create_task(self.theirs(world, "s-2", sid="RM_2"))
        while "wait_over" not in world.asked:
            await asyncio.sleep(0)
        await world.records.end("s-1", EndReason.ROOM_FAILED)
        over.set()
        await second
        assert len(world.supervisor.requests) == 2

    async def test_what_fails_is_given_back_and_the_room_is_free(self, world):
        world.budget.verdict = Verdict.END
        with pytest.raises(BudgetExhausted):
            await self.theirs(world, "s-1")
        assert world.nothing_left()
        assert "release" in world.asked
        world.budget.verdict = Verdict.GO_ON
        await self.theirs(world, "s-2")

    async def test_one_that_was_not_handed_over_is_begun_again_from_its_claim(self, world):
        """As its bridge leaves it that is lost just then."""
        await self.theirs(world, "s-1")
        joined = world.records.records["s-1"]
        queued = replace(joined, state=SessionState.QUEUED, actor_id=None)
        world.records.records["s-1"] = queued
        assert not (await self.theirs(world, "s-1")).existing
        assert [r.session_id for r in world.supervisor.requests] == ["s-1", "s-1"]
        assert (await world.records.get("s-1")).state is SessionState.JOINED

    async def test_one_that_was_handed_over_is_not_begun_again(self, world):
        await self.theirs(world, "s-1")
        with pytest.raises(SessionExists):
            await self.theirs(world, "s-1")
        assert len(world.supervisor.requests) == 1
        assert "release" not in world.asked

    async def test_a_check_begins_nothing(self, world):
        world.dispatcher.check(DispatchRequest(config=config(), room="theirs"))
        world.resolve = refuse_model
        with pytest.raises(ModelRetired):
            world.dispatcher.check(DispatchRequest(config=config(), room="theirs"))
        assert world.asked == []


def refuse_model(given):
    raise ModelRetired("gone, use another")


class TestTrace:
    @pytest.fixture
    def spans(self):
        return Spans()

    @pytest.fixture
    async def world(self, spans):
        world = World(tracer=spans.tracer)
        await world.dispatcher.open()
        yield world
        await world.dispatcher.aclose(timeout_s=0)

    async def test_the_dispatch_and_its_steps_are_one_trace_the_callers(self, world, spans):
        given = await world.dispatch(traceparent=CALLERS_TRACEPARENT)
        steps = ("validate", "claim", "reserve", "budget", "room", "join")
        assert spans.edges() == {("dispatch", None), *((step, "dispatch") for step in steps)}
        assert spans.traces() == {CALLERS_TRACE}
        dispatch = spans.named("dispatch")
        assert said(dispatch)["session.id"] == given.record.session_id
        below = f"00-{CALLERS_TRACE}-{dispatch.context.span_id:016x}-01"
        assert world.records.records["s-1"].traceparent == below
        assert world.supervisor.requests[0].traceparent == below

    async def test_without_a_caller_that_traces_it_begins_a_trace(self, world, spans):
        await world.dispatch()
        assert spans.named("dispatch").parent is None
        assert len(spans.traces()) == 1

    async def test_one_that_fails_says_where_and_why(self, world, spans):
        world.rooms.down = True
        with pytest.raises(LiveKitUnavailable):
            await world.dispatch()
        failed = {s.name: said(s).get("error.type") for s in spans.over if said(s)}
        assert failed == {"room": "livekit_unavailable", "dispatch": "livekit_unavailable"}

    async def test_one_that_was_known_begins_nothing(self, world, spans):
        await world.dispatch(idempotency_key="k", body_hash="h")
        await world.dispatch(idempotency_key="k", body_hash="h")
        second = spans.over[-1]
        assert said(second)["fleet.dispatch.existing"] is True
        assert said(second)["session.id"] == "s-1"

    async def test_a_request_that_cannot_be_is_told_too(self, world, spans):
        world.resolve = refuse_model
        with pytest.raises(ModelRetired):
            await world.dispatch()
        assert said(spans.named("dispatch")) == {"error.type": ModelRetired.code}

    async def test_an_answer_that_comes_before_the_agent_does_not_end_it(self, world, spans):
        world.supervisor.silent = True
        await world.dispatch(respond_async=True)
        assert "dispatch" not in spans.names

    async def test_a_check_is_not_traced(self, world, spans):
        world.dispatcher.check(DispatchRequest(config=config(), room="theirs"))
        assert spans.over == []
