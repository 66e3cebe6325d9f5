import asyncio
from dataclasses import replace

import pytest

from agent_actor.contract import ActorId, SessionId
from fleet.errors import ControlPlaneUnavailable, FleetDraining, FleetFull
from fleet.metrics import Metrics
from fleet.pool import Pool
from fleet.roster_model import ActorState, Handover, NodeId, RosterLimits
from tests.unit.fleet.control_fakes import ENOUGH_S, FakeCrew, at_once, never

LIMITS = RosterLimits(
    warm_target=2,
    max_sessions=4,
    max_starting=2,
    queue_limit=2,
    lease_s=30.0,
    expected_warm_s=4.0,
    full_retry_after_s=5.0,
)
A, B, C = (SessionId(s) for s in "abc")


async def settle():
    """Let every task that can run now come to where it waits."""
    for _ in range(20):
        await asyncio.sleep(0)


@pytest.fixture
async def crew():
    return FakeCrew()


@pytest.fixture
async def pool(crew):
    pool = Pool(LIMITS, crew, prefix="t", clock=lambda: 0.0, sleep=never)
    await pool.open()
    await settle()
    yield pool
    await pool.aclose()


@pytest.fixture
async def warm_pool(pool, crew):
    crew.get_warm()
    await settle()
    return pool


async def test_it_starts_its_actors(pool, crew):
    assert pool.snapshot().books.starting == 2
    crew.get_warm()
    await settle()
    snapshot = pool.snapshot()
    assert snapshot.books.warm == 2
    assert snapshot.warm_s == (0.5, 0.5)
    assert set(snapshot.nodes.values()) == {"n-1"}


async def test_a_warm_actor_is_introduced_to_who_will_need_it(warm_pool, crew):
    assert sorted(crew.introduced) == sorted(crew.started)


async def test_one_that_could_not_be_introduced_serves_all_the_same(pool, crew):
    crew.supervisor_away = True
    crew.get_warm()
    await settle()
    assert (await pool.reserve(A, 0.0)).actor_id in crew.started


async def test_a_reservation_is_answered_at_once(warm_pool, crew):
    given = await warm_pool.reserve(A, 10)
    assert warm_pool.begin(A) == given.actor_id
    await settle()
    assert len(crew.started) == 3


async def test_a_session_waits_for_an_actor(pool, crew):
    waiting = asyncio.create_task(pool.reserve(A, 10))
    await settle()
    assert not waiting.done()
    crew.get_warm(ActorId("t-1"))
    assert (await waiting).actor_id == "t-1"


async def test_two_callers_of_one_session_get_one_actor(pool, crew):
    callers = [asyncio.create_task(pool.reserve(A, 10)) for _ in range(2)]
    await settle()
    crew.get_warm()
    one, two = await asyncio.gather(*callers)
    assert one.actor_id == two.actor_id
    assert pool.snapshot().books.reserved == 1


async def test_a_burst_is_served_or_told_to_come_again(warm_pool, crew):
    asked = [asyncio.create_task(warm_pool.reserve(SessionId(f"s{n}"), 10)) for n in range(8)]
    await settle()
    crew.get_warm()
    await settle()
    crew.get_warm()
    answers = await asyncio.gather(*asked, return_exceptions=True)
    actors = [a.actor_id for a in answers if not isinstance(a, Exception)]
    assert len(actors) == len(set(actors)) == 4
    assert all(isinstance(a, FleetFull) for a in answers[4:])


async def test_giving_up_frees_the_permit(pool):
    waiting = asyncio.create_task(pool.reserve(A, 10))
    await settle()
    pool.release(A)
    with pytest.raises(FleetFull):
        await waiting
    assert pool.snapshot().books.permits == 0


async def test_a_cancelled_caller_disturbs_nobody(pool, crew):
    gone = asyncio.create_task(pool.reserve(A, 10))
    still = asyncio.create_task(pool.reserve(A, 10))
    await settle()
    gone.cancel()
    crew.get_warm()
    assert (await still).session_id == A


async def test_a_dead_reserved_actor_is_found_before_it_is_given(warm_pool, crew):
    crew.dead.add(ActorId("t-1"))
    given = await warm_pool.reserve(A, 10)
    assert given.actor_id == "t-2"
    assert crew.killed == ["t-1"]


async def test_when_all_are_dead_it_waits_for_a_new_one(warm_pool, crew):
    crew.dead |= {ActorId("t-1"), ActorId("t-2")}
    waiting = asyncio.create_task(warm_pool.reserve(A, 10))
    await settle()
    assert not waiting.done()
    crew.get_warm()
    assert (await waiting).actor_id == "t-3"


async def test_a_reassigned_session_gets_another_and_its_first_is_killed(warm_pool, crew):
    first = (await warm_pool.reserve(A, 10)).actor_id
    warm_pool.begin(A)
    second = (await warm_pool.reassign(A, 10)).actor_id
    assert second != first
    assert crew.killed == [first]


async def test_a_failed_start_is_remembered_and_pauses(pool, crew):
    crew.started[ActorId("t-1")].set_exception(ControlPlaneUnavailable("t-1", "no room for it"))
    await settle()
    snapshot = pool.snapshot()
    assert snapshot.last_start_error == "t-1: no room for it"
    assert snapshot.books.starting == 1
    assert crew.killed == ["t-1"]


async def test_any_error_of_a_start_is_a_failed_start(pool, crew):
    crew.started[ActorId("t-1")].set_exception(ImportError("no such module"))
    await settle()
    assert pool.snapshot().books.start_failures_total == 1


async def test_checking_finds_dead_warm_actors(crew):
    pool = Pool(LIMITS, crew, prefix="t", clock=lambda: 0.0, sleep=at_once)
    await pool.open()
    await settle()
    crew.get_warm()
    crew.dead.add(ActorId("t-1"))
    async with asyncio.timeout(ENOUGH_S):
        while len(crew.started) < 3:
            await asyncio.sleep(0.001)
    assert crew.killed == ["t-1"]
    await pool.aclose()


async def test_draining(warm_pool):
    warm_pool.drain(True)
    with pytest.raises(FleetDraining):
        await warm_pool.reserve(A, 10)


async def test_a_wait_ends_at_its_deadline():
    crew = FakeCrew()
    limits = replace(LIMITS, expected_warm_s=0.0)
    pool = Pool(limits, crew, prefix="t", sleep=never)
    await pool.open()
    with pytest.raises(FleetFull) as caught:
        async with asyncio.timeout(ENOUGH_S):
            await pool.reserve(A, 0.02)
    assert caught.value.retry_after_s >= 1
    await pool.aclose()


async def test_adopted_actors_keep_their_sessions(crew):
    pool = Pool(LIMITS, crew, prefix="t", clock=lambda: 0.0, sleep=never)
    await pool.open({ActorId("old-1"): A, ActorId("old-2"): None})
    await settle()
    states = {a.actor_id: a.state for a in pool.snapshot().books.actors}
    assert states[ActorId("old-1")] is ActorState.LIVE
    crew.get_warm(ActorId("old-2"))
    await settle()
    assert (await pool.reserve(B, 10)).actor_id == "old-2"
    await pool.aclose()


async def test_closing_leaves_nothing(pool, crew):
    crew.get_warm(ActorId("t-1"))
    await settle()
    await pool.reserve(A, 10)
    waiting = asyncio.create_task(pool.reserve(B, 10))
    await settle()
    await pool.aclose()
    with pytest.raises(FleetDraining):
        await waiting
    assert set(crew.killed) == set(crew.started)
    assert pool.snapshot().books.actors == ()


async def test_a_moved_session_gets_the_actor_that_was_set_aside_for_it(warm_pool, crew):
    first = (await warm_pool.reserve(A, 10)).actor_id
    warm_pool.begin(A)
    warm_pool.drain(False, frozenset({NodeId("n-1")}))
    assert not warm_pool.prepare_move(A)
    await settle()
    assert crew.not_on == ("n-1",)
    crew.node_id = "n-2"
    crew.get_warm()
    await settle()
    assert warm_pool.prepare_move(A)
    second = (await warm_pool.reassign(A, 0.0)).actor_id
    assert first in crew.killed
    assert warm_pool.begin(A) == second
    assert warm_pool.snapshot().nodes[second] == "n-2"


async def test_a_restarted_pool_starts_nothing_on_a_node_that_is_draining(crew):
    pool = Pool(LIMITS, crew, prefix="t", clock=lambda: 0.0, sleep=never)
    known = Handover(draining_nodes=frozenset({NodeId("n-1")}))
    await pool.open({ActorId("old-1"): A}, known)
    await settle()
    assert crew.not_on == ("n-1",)
    books = pool.snapshot().books
    assert books.draining_nodes == ("n-1",)
    # The one that has a session says by its pulse where it is.
    assert pool.snapshot().nodes == {"old-1": "n-9"}
    await pool.aclose()


async def test_cold_starts_and_refusals_are_counted(crew):
    metrics = Metrics()
    pool = Pool(LIMITS, crew, prefix="t", clock=lambda: 0.0, sleep=never, metrics=metrics)
    await pool.open()
    waiting = [asyncio.create_task(pool.reserve(A, 10)) for _ in range(2)]
    await settle()
    crew.get_warm()
    await asyncio.gather(*waiting)
    await pool.reserve(B, 10)
    assert metrics.registry.get_sample_value("fleet_cold_starts_total") == 1
    pool.drain(True)
    with pytest.raises(FleetDraining):
        await pool.reserve(C, 10)
    why = {"why": "draining"}
    assert metrics.registry.get_sample_value("fleet_turned_away_total", why) == 1
    await pool.aclose()
