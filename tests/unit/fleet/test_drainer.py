import asyncio
from dataclasses import dataclass, field, replace

import pytest

from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.messages import StopMode
from fleet.drainer import FORGET_S, Drainer, DrainParts
from fleet.draining import WHOLE_FLEET, Drain
from fleet.errors import ControlPlaneUnavailable, RegistryUnavailable, SessionNotFound
from fleet.pool import PoolSnapshot
from fleet.reaping import RunSeen
from fleet.roster import Roster
from fleet.roster_model import ActorState, ActorView, NodeId, RosterLimits

N1, N2 = NodeId("n1"), NodeId("n2")
A, B = SessionId("a"), SessionId("b")
LIMITS = RosterLimits(
    warm_target=0,
    max_sessions=9,
    max_starting=1,
    queue_limit=1,
    lease_s=1,
    expected_warm_s=1,
    full_retry_after_s=1,
)


@dataclass
class World:
    """All that a drainer has around it; ``now`` is the test's."""

    written: dict[NodeId, Drain] = field(default_factory=dict)
    now: float = 1_000.0
    roster_told: list[tuple[bool, frozenset[NodeId]]] = field(default_factory=list)
    where: dict[SessionId, NodeId] = field(default_factory=dict)
    aside: dict[SessionId, NodeId] = field(default_factory=dict)
    stopping: set[SessionId] = field(default_factory=set)
    over: set[SessionId] = field(default_factory=set)
    moved: list[tuple[SessionId, float]] = field(default_factory=list)
    stopped: list[tuple[SessionId, EndReason, StopMode]] = field(default_factory=list)
    alive: frozenset[NodeId] = frozenset({N1, N2})
    redis_down: bool = False
    roster_down: bool = False

    def drainer(self) -> Drainer:
        async def nodes() -> frozenset[NodeId]:
            return self.alive

        parts = DrainParts(
            book=self, roster=_Roster(self), sessions=self, nodes=nodes, now=lambda: self.now
        )
        return Drainer(parts, patience_s=20.0)

    async def all(self) -> dict[NodeId, Drain]:
        self._redis()
        return dict(self.written)

    async def put(self, node_id: NodeId, drain: Drain) -> None:
        self._redis()
        self.written[node_id] = drain

    async def drop(self, node_id: NodeId) -> None:
        self._redis()
        self.written.pop(node_id, None)

    async def under_way(self) -> dict[SessionId, RunSeen]:
        return {
            s: RunSeen(room=s, actor_id=ActorId(s), stopping=s in self.stopping) for s in self.where
        }

    async def move(self, session_id: SessionId, patience_s: float) -> bool:
        if session_id in self.over:
            raise SessionNotFound(session_id)
        self.moved.append((session_id, patience_s))
        return True

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        self.stopped.append((session_id, reason, mode))

    def _redis(self) -> None:
        if self.redis_down:
            raise RegistryUnavailable("drains")


@dataclass
class _Roster:
    world: World

    async def drain(self, on: bool, nodes: frozenset[NodeId]) -> None:
        if self.world.roster_down:
            raise ControlPlaneUnavailable("roster")
        self.world.roster_told.append((on, nodes))

    async def snapshot(self) -> PoolSnapshot:
        views = [
            *(view(s, n, ActorState.LIVE) for s, n in self.world.where.items()),
            *(view(s, n, ActorState.RESERVED) for s, n in self.world.aside.items()),
        ]
        books = replace(Roster(LIMITS, prefix="t").snapshot(0.0), actors=tuple(views))
        return PoolSnapshot(books=books, nodes={}, pids={}, warm_s=(), last_start_error=None)


def view(session_id: SessionId, node_id: NodeId, state: ActorState) -> ActorView:
    actor_id = ActorId(f"{session_id}-{state}")
    return ActorView(
        actor_id=actor_id, state=state, session_id=session_id, since_s=0.0, node_id=node_id
    )


@pytest.fixture
def world() -> World:
    return World(where={A: N1, B: N2})


async def loaded(world: World) -> Drainer:
    drainer = world.drainer()
    await drainer.look()
    return drainer


async def test_it_is_written_down_and_the_roster_told_at_once(world: World) -> None:
    drainer = await loaded(world)
    drain = await drainer.drain(N1, 60.0)
    assert drain == Drain(since=1_000.0, deadline=1_060.0)
    assert world.written == {N1: drain}
    assert world.roster_told == [(False, frozenset({N1}))]
    await drainer.look()
    assert world.moved == []


async def test_at_its_deadline_sessions_are_asked_to_move_until_they_have(world: World) -> None:
    drainer = await loaded(world)
    await drainer.drain(N1, 60.0)
    world.now += 60.0
    world.aside = {A: N2}
    await drainer.look()
    await drainer.look()
    assert world.moved == [(A, 20.0), (A, 20.0)]
    world.where[A] = N2
    await drainer.look()
    assert len(world.moved) == 2
    assert world.stopped == []


async def test_the_whole_fleets_sessions_are_ended(world: World) -> None:
    drainer = await loaded(world)
    await drainer.drain(WHOLE_FLEET, 0.0)
    assert world.roster_told[-1] == (True, frozenset())
    world.stopping = {B}
    await drainer.look()
    assert world.stopped == [(A, EndReason.DRAINED, StopMode.GOODBYE)]
    assert world.moved == []


async def test_a_restarted_one_goes_on_with_what_was_written_down(world: World) -> None:
    world.written = {N1: Drain(since=0.0, deadline=10.0)}
    drainer = world.drainer()
    asking = asyncio.create_task(drainer.drains())
    await asyncio.sleep(0)
    assert not asking.done()
    await drainer.look()
    assert await asking == world.written
    assert world.roster_told == [(False, frozenset({N1}))]
    assert world.moved == [(A, 20.0)]


async def test_used_again_the_roster_hears_of_it(world: World) -> None:
    drainer = await loaded(world)
    await drainer.drain(N1, 0.0)
    assert await drainer.undrain(N1)
    assert world.roster_told[-1] == (False, frozenset())
    assert world.written == {}
    assert not await drainer.undrain(N1)
    await drainer.look()
    assert world.moved == []


async def test_what_cannot_be_written_down_is_not_begun(world: World) -> None:
    drainer = await loaded(world)
    world.redis_down = True
    with pytest.raises(RegistryUnavailable):
        await drainer.drain(N1, 60.0)
    assert await drainer.drains() == {}
    assert world.roster_told == []


async def test_a_roster_that_is_away_is_told_when_it_is_back(world: World) -> None:
    drainer = await loaded(world)
    world.roster_down = True
    await drainer.drain(N1, 60.0)
    with pytest.raises(ControlPlaneUnavailable):
        await drainer.look()
    world.roster_down = False
    await drainer.look()
    assert world.roster_told == [(False, frozenset({N1}))]


async def test_a_session_that_has_just_ended_keeps_no_other_from_moving(world: World) -> None:
    drainer = await loaded(world)
    world.where = {A: N1, B: N1}
    world.over = {A}
    await drainer.drain(N1, 0.0)
    await drainer.look()
    assert world.moved == [(B, 20.0)]


async def test_a_node_that_is_gone_is_forgotten_long_after(world: World) -> None:
    drainer = await loaded(world)
    await drainer.drain(N1, 0.0)
    await drainer.drain(N2, 0.0)
    world.alive = frozenset({N2})
    world.now += FORGET_S
    await drainer.look()
    assert set(world.written) == {N1, N2}
    world.now += 1.0
    await drainer.look()
    assert set(world.written) == {N2}
