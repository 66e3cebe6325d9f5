import asyncio

import pytest
from structlog.testing import capture_logs

from agent_actor.contract import EndReason, SessionId, SessionState
from fleet.errors import BudgetUnavailable
from fleet.escalation import Escalation, EscalationTiming
from fleet.metrics import Metrics
from fleet.records import SessionRecord
from tests.unit.fleet.control_fakes import FakeBudget, FakeRecords

A, B = SessionId("s-a"), SessionId("s-b")


class Looks:
    """Lets ``count`` looks happen, then none; what was slept before each is kept."""

    def __init__(self, count):
        self.left = count
        self.slept = []
        self.done = asyncio.Event()

    async def __call__(self, seconds):
        self.slept.append(seconds)
        if self.left == 0:
            self.done.set()
            await asyncio.Event().wait()
        self.left -= 1
        await asyncio.sleep(0)


class World:
    def __init__(self):
        self.asked = []
        self.budget, self.records = FakeBudget(self.asked), FakeRecords(self.asked)
        self.metrics = Metrics()
        self.running = set()
        self.stopped = []
        self.looks = Looks(0)

    def escalation(self, dice=lambda low, high: 1.0):
        return Escalation(
            budget=self.budget,
            records=self.records,
            metrics=self.metrics,
            stop=self.stop,
            timing=EscalationTiming(grace_s=25.0, every_s=1.0),
            sleep=self.looks,
            dice=dice,
        )

    def stop(self, session_id):
        if session_id in self.running:
            self.stopped.append(session_id)
        return session_id in self.running

    def late(self, session_id, *, running=True):
        self.budget.open_accounts.add(session_id)
        self.budget.late.append(session_id)
        if running:
            self.running.add(session_id)

    def record(self, session_id, state):
        gone = state is SessionState.GONE
        self.records.records[session_id] = SessionRecord(
            session_id=session_id,
            study_id="study-7",
            participant_identity="p-1",
            room=f"interview-{session_id}",
            provider="openai_realtime",
            limit_micro_usd=1,
            created_at=1.0,
            state=state,
            end_reason=EndReason.ACTOR_LOST if gone else None,
        )

    def counted(self):
        return self.metrics.counter("fleet_overdue_sessions_total")._value.get()

    async def look_on(self, escalation, count):
        self.looks = Looks(count)
        escalation._sleep = self.looks
        task = asyncio.create_task(escalation.keep_looking())
        async with asyncio.timeout(2):
            await self.looks.done.wait()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@pytest.fixture
def world():
    return World()


async def test_who_ought_to_be_over_is_stopped(world):
    world.late(A)
    world.running.add(B)
    await world.escalation().look()
    assert world.stopped == [A]
    assert world.budget.asked_overdue == [25.0]


async def test_it_is_ordered_again_but_counted_once(world):
    world.late(A)
    escalation = world.escalation()
    await escalation.look()
    await escalation.look()
    assert world.stopped == [A, A]
    assert world.counted() == 1


async def test_a_budget_actor_that_is_away_ends_nothing(world):
    world.late(A)
    world.budget.down = True
    escalation = world.escalation()
    with capture_logs() as logs:
        await world.look_on(escalation, 3)
    assert world.stopped == []
    assert [e["event"] for e in logs] == ["overdue_sessions_unknown"]
    world.budget.down = False
    await world.look_on(escalation, 1)
    assert world.stopped == [A]


async def test_a_defect_does_not_end_the_looking(world):
    world.late(A)
    escalation = world.escalation()
    escalation._stop = None
    with capture_logs() as logs:
        await world.look_on(escalation, 2)
    assert [e["event"] for e in logs] == ["escalation_failed"] * 2
    escalation._stop = world.stop
    await world.look_on(escalation, 1)
    assert world.stopped == [A]


async def test_looks_are_spread(world):
    rolled = iter((0.8, 1.2, 1.0))
    escalation = world.escalation(dice=lambda low, high: next(rolled))
    await world.look_on(escalation, 2)
    assert world.looks.slept == [0.8, 1.2, 1.0]


class TestAccountLeftOpen:
    async def test_of_a_session_that_is_gone_is_closed(self, world):
        world.late(A, running=False)
        world.record(A, SessionState.GONE)
        await world.escalation().look()
        assert world.budget.open_accounts == set()
        assert world.records.records[A].spent_micro_usd == 42
        assert world.counted() == 0

    async def test_of_a_session_that_nobody_knows_is_closed(self, world):
        world.late(A, running=False)
        await world.escalation().look()
        assert world.budget.open_accounts == set()

    async def test_of_one_that_is_being_started_is_left_alone(self, world):
        world.late(A, running=False)
        world.record(A, SessionState.QUEUED)
        await world.escalation().look()
        assert world.budget.open_accounts == {A}

    async def test_the_others_are_stopped_whatever_the_registry_does(self, world):
        world.late(A, running=False)
        world.late(B)
        world.record(A, SessionState.GONE)

        async def close(session_id):
            raise BudgetUnavailable("down")

        world.budget.close = close
        with pytest.raises(BudgetUnavailable):
            await world.escalation().look()
        assert world.stopped == [B]
