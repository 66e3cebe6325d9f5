"""The control plane on real Ray, Redis and LiveKit. Session actors are scripted ones (see
``scripted_actor``) except in the last test, which runs the real actor against a simulator.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import jwt
import pytest
import ray

from agent_actor.contract import EndReason, Provider, SessionId, SessionState, parse_strict
from agent_actor.messages import StopMode
from fleet import ray_calls
from fleet.budget.costs import SessionCost
from fleet.budget.relay import RELAY_PREFIX
from fleet.clients import BUDGET
from fleet.control import (
    control_plane,
    drain_control_plane,
    fleet_snapshot,
    open_dispatcher,
    start_control_plane,
    stop_control_plane,
    undrain_control_plane,
)
from fleet.crew import ACTOR_PREFIX, ActorSpec
from fleet.dispatcher import Dispatched, Dispatcher, DispatchRequest
from fleet.errors import (
    DispatchFailed,
    FleetDraining,
    FleetFull,
    IdempotencyConflict,
    LiveKitUnavailable,
    RegistryUnavailable,
    SessionNotFound,
)
from fleet.limits import LimitChanger
from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.redis import RedisServer
from fleet.local.run_dir import RunDir
from fleet.local.simulators import Simulator
from fleet.ray_calls import RemoteActor
from fleet.records import SessionRecord
from fleet.registry import Registry
from fleet.roster_actor import ROSTER, SUPERVISOR
from fleet.settings import FleetSettings, load_settings
from tests.integration.interviews import contract
from tests.integration.scripted_actor import SPENT_PICO_USD

REPOSITORY = Path(__file__).parents[2]
SCRIPTED = ActorSpec(
    class_path="tests.integration.scripted_actor:ScriptedActor", num_cpus=0.1, warm_timeout_s=60
)
STEPS = {"validate", "claim", "reserve", "budget", "room", "join", "connect"}


def settings_for(redis_url: str, livekit: LiveKitAccess, **changes: Any) -> FleetSettings:
    values: dict[str, Any] = {
        "redis_url": redis_url,
        "redis_namespace": f"t-{secrets.token_hex(4)}",
        "ray_namespace": f"t-{secrets.token_hex(4)}",
        "livekit_url": livekit.url,
        "livekit_api_key": livekit.api_key,
        "livekit_api_secret": livekit.api_secret,
        "warm_actors": 2,
        "max_sessions": 6,
        "max_starting_actors": 3,
        "join_timeout_s": 5.0,
        "dispatch_deadline_s": 40.0,
        "stop_grace_s": 0.5,
        **changes,
    }
    return load_settings(**values)


def request(*, study_id: str = "study-7", **changes: Any) -> DispatchRequest:
    # Nobody ever comes to these sessions; the reaper must not end them for that.
    body = contract(participant_identity="p-1", study_id=study_id, no_show_seconds=600)
    return DispatchRequest(config=parse_strict(body), **changes)


async def until(
    what: Callable[[], Awaitable[Any]], *, within_s: float = 20.0, poll_s: float = 0.05
) -> Any:
    """The first true answer of ``what``."""
    async with asyncio.timeout(within_s):
        while not (found := await what()):
            await asyncio.sleep(poll_s)
        return found


class Fleet:
    """One control plane as a test sees it."""

    def __init__(self, settings: FleetSettings, dispatcher: Dispatcher) -> None:
        self.settings = settings
        self.dispatcher = dispatcher
        self.plane = control_plane(settings)
        self.registry = Registry.from_settings(settings)
        self.livekit = LiveKitClient.from_settings(settings)
        self._script = "plain"
        # The id is what tells a scripted actor how to behave.
        parts = replace(
            dispatcher._parts, new_id=lambda: f"s-{self._script}-{secrets.token_hex(6)}"
        )
        dispatcher._parts = parts

    async def aclose(self) -> None:
        await asyncio.gather(self.registry.aclose(), self.livekit.aclose())

    async def dispatch(self, script: str = "plain", **changes: Any) -> Dispatched:
        self._script = script
        return await self.dispatcher.dispatch(request(**changes))

    async def warm(self, count: int | None = None) -> None:
        wanted = self.settings.warm_actors if count is None else count

        async def enough() -> bool:
            pool = await self.plane.roster.snapshot()
            assert pool.books.start_failures_total == 0, pool.last_start_error
            return pool.books.warm >= wanted

        await until(enough, within_s=60)

    async def gone(self, session_id: str, *, within_s: float = 20.0) -> SessionRecord:
        """Its record, once everything of the session has been given back."""
        assert await self.plane.supervisor.wait_over(SessionId(session_id), within_s)
        record = await self.registry.get(session_id)
        assert record.is_gone
        return record

    async def end(self, session_id: str) -> SessionRecord:
        await self.dispatcher.stop(session_id)
        return await self.gone(session_id)

    async def cost(self, session_id: str) -> SessionCost:
        budget = RemoteActor(BUDGET, self.settings.ray_namespace)
        cost: SessionCost = await budget.call("cost", session_id, deadline_s=5)
        return cost

    async def permits(self) -> int:
        return (await self.plane.roster.snapshot()).books.permits

    async def all_free(self) -> bool:
        books = (await self.plane.roster.snapshot()).books
        return not (books.permits or books.waiting or books.reserved or books.live or books.dying)

    async def pid_of(self, record: SessionRecord) -> int:
        pids = (await self.plane.roster.snapshot()).pids
        assert record.actor_id is not None
        return pids[record.actor_id]

    async def assert_given_back(self, record: SessionRecord) -> None:
        """Nothing of an ended session is left: actor, room, open account, permit."""
        assert not await self.livekit.list_rooms([record.room])
        assert (await self.cost(record.session_id)).closed
        books = (await self.plane.roster.snapshot()).books
        assert record.session_id not in {a.session_id for a in books.actors}
        assert record.actor_id not in {a.actor_id for a in books.actors}

        async def no_such_actor() -> bool:
            name = f"{ACTOR_PREFIX}{record.actor_id}"
            return name not in ray_calls.names(self.settings.ray_namespace)

        await until(no_such_actor)


@asynccontextmanager
async def fleet_of(settings: FleetSettings) -> AsyncIterator[Fleet]:
    dispatcher, aclose = await open_dispatcher(settings)
    fleet = Fleet(settings, dispatcher)
    try:
        yield fleet
    finally:
        await fleet.aclose()
        await aclose()


@asynccontextmanager
async def own_fleet(settings: FleetSettings, actor: ActorSpec = SCRIPTED) -> AsyncIterator[Fleet]:
    try:
        await start_control_plane(settings, actor=actor, goodbye_grace_s=0.5)
        async with fleet_of(settings) as fleet:
            yield fleet
    finally:
        await stop_control_plane(settings, goodbye_s=0.5)


@pytest.fixture(scope="module")
def module_settings(
    ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
) -> Iterator[FleetSettings]:
    settings = settings_for(shared_redis, livekit_server)
    asyncio.run(_start(settings))
    try:
        yield settings
    finally:
        asyncio.run(stop_control_plane(settings, goodbye_s=0.5))


async def _start(settings: FleetSettings) -> None:
    await start_control_plane(settings, actor=SCRIPTED, goodbye_grace_s=0.5)


@pytest.fixture
async def fleet(module_settings: FleetSettings) -> AsyncIterator[Fleet]:
    """The control plane that most tests share, with its warm actors ready and nobody in it."""
    async with fleet_of(module_settings) as fleet:
        await fleet.warm()
        assert await fleet.permits() == 0
        yield fleet


class TestOneSession:
    async def test_an_agent_is_in_the_room_when_the_answer_comes(self, fleet: Fleet) -> None:
        given = await fleet.dispatch()
        record = given.record
        assert record.state is SessionState.JOINED
        assert record.attempt == 1
        assert set(record.timings_s) == STEPS
        (room,) = await fleet.livekit.list_rooms([record.room])
        assert room.metadata == ""  # which the participant can read
        claims = jwt.decode(given.participant_token, options={"verify_signature": False})
        assert claims["sub"] == "p-1"
        assert claims["video"]["room"] == record.room
        await fleet.end(record.session_id)

    async def test_its_contract_can_stand_in_the_room(self, module_settings: FleetSettings) -> None:
        async with fleet_of(module_settings.model_copy(update={"contract_in_room": True})) as fleet:
            await fleet.warm()
            record = (await fleet.dispatch()).record
            (room,) = await fleet.livekit.list_rooms([record.room])
            read = parse_strict(json.loads(room.metadata))
            assert (read.session_id, read.study_id) == (record.session_id, "study-7")
            assert read.model == record.model
            await fleet.end(record.session_id)

    async def test_its_end_gives_everything_back(self, fleet: Fleet) -> None:
        given = await fleet.dispatch()
        record = await fleet.end(given.record.session_id)
        assert record.end_reason is EndReason.OPERATOR
        assert record.provider_sessions == (f"sess-{record.actor_id}",)
        assert record.spent_micro_usd == (await fleet.cost(record.session_id)).spent_micro_usd
        assert record.spent_micro_usd == 1_234_568
        await fleet.assert_given_back(record)

    async def test_an_actor_is_never_used_again(self, fleet: Fleet) -> None:
        used = []
        for _ in range(4):
            given = await fleet.dispatch()
            used.append(given.record.actor_id)
            await fleet.end(given.record.session_id)
        assert len(set(used)) == 4

    async def test_one_that_ends_by_itself_is_cleared_up(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("short")
        record = await fleet.gone(given.record.session_id)
        assert record.end_reason is EndReason.COMPLETED
        await fleet.assert_given_back(record)

    async def test_202_comes_before_the_agent(self, fleet: Fleet) -> None:
        given = await fleet.dispatch(respond_async=True)
        assert given.participant_token

        async def joined() -> bool:
            record = await fleet.registry.get(given.record.session_id)
            return record.state is SessionState.JOINED

        await until(joined)
        await fleet.end(given.record.session_id)

    async def test_a_lowered_limit_acts_at_once(self, fleet: Fleet) -> None:
        lowered, stopped = await fleet.dispatch(), await fleet.dispatch()
        changer = LimitChanger(fleet.plane.budget, fleet.plane.supervisor, fleet.registry)

        async def has_reported() -> bool:
            return (await fleet.cost(lowered.record.session_id)).spent_micro_usd > 0

        await until(has_reported)
        # A scripted actor reports once: only what is handed to it can end it.
        for session, micro in ((lowered, 1), (stopped, 0)):
            change = await changer.of_session(session.record.session_id, micro)
            assert change is not None
            assert change.told == 1
            record = await fleet.gone(session.record.session_id, within_s=5.0)
            assert record.end_reason is EndReason.BUDGET_EXCEEDED
            assert record.limit_micro_usd == micro
            await fleet.assert_given_back(record)

    async def test_a_study_stopped_ends_all_its_sessions(self, fleet: Fleet) -> None:
        both = [await fleet.dispatch(study_id="stopped") for _ in range(2)]
        other = await fleet.dispatch(study_id="goes-on")
        changer = LimitChanger(fleet.plane.budget, fleet.plane.supervisor, fleet.registry)
        assert (await changer.of_study("stopped", 0)).told == 2
        for session in both:
            record = await fleet.gone(session.record.session_id, within_s=5.0)
            assert record.end_reason is EndReason.BUDGET_EXCEEDED
        assert not (await fleet.registry.get(other.record.session_id)).is_gone
        await fleet.end(other.record.session_id)

    async def test_stopping_an_unknown_session(self, fleet: Fleet) -> None:
        with pytest.raises(SessionNotFound):
            await fleet.dispatcher.stop("s-nobody")

    async def test_stopping_an_ended_session_changes_nothing(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("short")
        before = await fleet.gone(given.record.session_id)
        await fleet.dispatcher.stop(given.record.session_id)
        assert await fleet.registry.get(given.record.session_id) == before

    async def test_a_split_decides_the_provider(self, fleet: Fleet) -> None:
        split = {Provider.GEMINI_LIVE: 1.0, Provider.OPENAI_REALTIME: 0.0}
        given = await fleet.dispatch(split=split)
        assert given.record.provider == "gemini_live"
        await fleet.end(given.record.session_id)


class TestStopping:
    async def test_one_that_says_no_goodbye_is_told_to_stop_now(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("rude")
        record = await fleet.end(given.record.session_id)
        assert record.end_reason is EndReason.OPERATOR
        assert record.provider_sessions  # it gave its result itself

    async def test_one_that_does_not_obey_is_killed(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("deaf")
        began = time.monotonic()
        record = await fleet.end(given.record.session_id)
        grace_s = 0.5 + fleet.settings.stop_grace_s
        assert time.monotonic() - began >= grace_s
        assert record.end_reason is EndReason.OPERATOR
        assert record.provider_sessions == ()
        await fleet.assert_given_back(record)

    async def test_now_leaves_out_the_goodbye(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("rude")
        await fleet.dispatcher.stop(
            given.record.session_id, reason=EndReason.BUDGET_EXCEEDED, mode=StopMode.NOW
        )
        record = await fleet.gone(given.record.session_id)
        assert record.end_reason is EndReason.BUDGET_EXCEEDED


class TestActorLost:
    async def test_a_killed_actor_is_replaced_in_its_room_at_once(self, fleet: Fleet) -> None:
        given = await fleet.dispatch()

        async def has_reported() -> bool:
            return (await fleet.cost(given.record.session_id)).spent_micro_usd > 0

        await until(has_reported)
        os.kill(await fleet.pid_of(given.record), signal.SIGKILL)
        record = await carried_on(fleet, given, within_s=5)
        assert (record.room, record.state) == (given.record.room, SessionState.JOINED)
        assert record.actor_id != given.record.actor_id
        assert await fleet.livekit.list_rooms([record.room])
        record = await fleet.end(given.record.session_id)
        assert (record.end_reason, record.attempt) == (EndReason.OPERATOR, 2)
        await fleet.assert_given_back(record)
        # What the first had reported before it died, and what the second did.
        assert record.spent_micro_usd == -(-2 * SPENT_PICO_USD // 1_000_000)

    async def test_one_that_dies_before_joining_is_replaced(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("diesfirst")
        assert given.record.state is SessionState.JOINED
        assert given.record.attempt == 2
        record = await fleet.end(given.record.session_id)
        await fleet.assert_given_back(record)

    async def test_dead_warm_actors_are_found_before_a_session_gets_them(
        self, fleet: Fleet
    ) -> None:
        for pid in (await fleet.plane.roster.snapshot()).pids.values():
            os.kill(pid, signal.SIGKILL)
        given = await fleet.dispatch()
        assert (given.record.state, given.record.attempt) == (SessionState.JOINED, 1)
        await fleet.end(given.record.session_id)


class TestRetry:
    async def test_no_metadata_gets_a_second_actor_in_the_same_room(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("nometa")
        first = given.record

        async def second() -> SessionRecord | None:
            record = await fleet.registry.get(first.session_id)
            again = record.attempt == 2 and record.state is SessionState.JOINED
            return record if again else None

        record = await until(second)
        assert record.room == first.room
        assert record.actor_id != first.actor_id
        assert await fleet.permits() == 1
        ended = await fleet.end(first.session_id)
        assert ended.end_reason is EndReason.OPERATOR
        # Both attempts are paid for; rounded up once.
        assert ended.spent_micro_usd == -(-2 * SPENT_PICO_USD // 1_000_000)
        assert len(ended.provider_sessions) == 2
        await fleet.assert_given_back(ended)

    async def test_the_second_knows_who_observes(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("watched")
        session_id = SessionId(given.record.session_id)
        await fleet.registry.add_observer(session_id, "observer-1", ttl_s=60, most=16)
        # Handed to the first, which then gives up.
        assert await fleet.plane.supervisor.observe(session_id)

        async def second() -> bool:
            record = await fleet.registry.get(session_id)
            return record.attempt == 2 and record.state is SessionState.JOINED

        await until(second)
        ended = await fleet.end(session_id)
        assert ended.unmapped == ("observer-1",)  # where a scripted actor says what it was told

    async def test_a_room_that_the_first_does_not_reach(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("noroom")
        assert (given.record.state, given.record.attempt) == (SessionState.JOINED, 2)
        await fleet.end(given.record.session_id)

    async def test_an_actor_that_hangs_is_given_up(self, fleet: Fleet) -> None:
        given = await fleet.dispatch("hangs")
        assert (given.record.state, given.record.attempt) == (SessionState.JOINED, 2)
        assert given.record.timings_s["join"] >= fleet.settings.join_timeout_s
        await fleet.end(given.record.session_id)

    async def test_two_attempts_and_no_more(self, fleet: Fleet) -> None:
        with pytest.raises(DispatchFailed) as caught:
            await fleet.dispatch("neverroom", idempotency_key="k-never", body_hash="b")
        error = caught.value
        assert (error.cause_code, error.retryable) == ("room_unreachable", True)
        record = await fleet.gone(error.session_id)
        assert (record.end_reason, record.attempt) == (EndReason.ROOM_FAILED, 2)
        await fleet.assert_given_back(record)
        # The same key really tries again.
        again = await fleet.dispatch(idempotency_key="k-never", body_hash="b")
        assert again.record.session_id != error.session_id
        await fleet.end(again.record.session_id)

    async def test_what_another_actor_cannot_better_is_not_tried_again(self, fleet: Fleet) -> None:
        with pytest.raises(DispatchFailed) as caught:
            await fleet.dispatch("refused")
        assert caught.value.cause_code == "room_token_rejected"
        record = await fleet.gone(caught.value.session_id)
        assert record.attempt == 1
        await fleet.assert_given_back(record)


class TestIdempotency:
    async def test_the_same_request_is_the_same_session(self, fleet: Fleet) -> None:
        answers = await asyncio.gather(
            *(fleet.dispatch(idempotency_key="k-1", body_hash="b") for _ in range(5))
        )
        assert len({a.record.session_id for a in answers}) == 1
        assert Counter(a.existing for a in answers) == {False: 1, True: 4}
        assert {a.record.state for a in answers} == {SessionState.JOINED}
        assert await fleet.permits() == 1
        await fleet.end(answers[0].record.session_id)

    async def test_another_request_under_the_key_is_refused(self, fleet: Fleet) -> None:
        given = await fleet.dispatch(idempotency_key="k-2", body_hash="b")
        with pytest.raises(IdempotencyConflict):
            await fleet.dispatch(idempotency_key="k-2", body_hash="other")
        await fleet.end(given.record.session_id)


class TestBurst:
    async def test_no_dispatch_is_lost_or_doubled(self, fleet: Fleet) -> None:
        """Ten at once for six slots and two warm actors."""
        answers = await asyncio.gather(
            *(fleet.dispatch() for _ in range(10)), return_exceptions=True
        )
        served = [a for a in answers if isinstance(a, Dispatched)]
        refused = [a for a in answers if isinstance(a, FleetFull)]
        assert len(served) + len(refused) == 10
        assert len(served) == fleet.settings.max_sessions
        assert len({a.record.actor_id for a in served}) == len(served)
        assert len({a.record.room for a in served}) == len(served)
        assert all(a.retry_after_s >= 1 for a in refused)
        listed = await fleet.registry.list(state=SessionState.JOINED)
        assert {r.session_id for r in listed.records} == {a.record.session_id for a in served}
        assert await fleet.permits() == len(served)
        await asyncio.gather(*(fleet.end(a.record.session_id) for a in served))
        assert await fleet.permits() == 0
        assert not await fleet.livekit.list_rooms([a.record.room for a in served])

    @pytest.mark.timeout(300)
    async def test_a_burst_of_keys_makes_one_session_each(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        """Thirty keys, each asked for twice, four slots, two warm actors. One caller in three
        hangs up while it waits; whoever is refused asks again."""
        settings = settings_for(shared_redis, livekit_server, max_sessions=4)
        async with own_fleet(settings, replace(SCRIPTED, fork_server=True)) as fleet:
            await fleet.warm()
            fleet._script = "brief"
            seen: dict[str, set[str]] = {f"k-{n}": set() for n in range(30)}
            retry_after_s: list[float] = []

            async def ask(key: str) -> None:
                while True:
                    asked = request(idempotency_key=key, body_hash="b")
                    try:
                        given = await fleet.dispatcher.dispatch(asked)
                    except FleetFull as full:
                        retry_after_s.append(full.retry_after_s or 0.0)
                        await asyncio.sleep(1)
                    except SessionNotFound:
                        # The twin of one that was refused: its record was withdrawn.
                        await asyncio.sleep(1)
                    else:
                        seen[key].add(given.record.session_id)
                        return

            callers = [asyncio.create_task(ask(key)) for key in seen for _ in range(2)]
            hung_up = [c for n, c in enumerate(callers) if n % 3 == 0]
            for caller in hung_up:
                await asyncio.sleep(0.01)
                caller.cancel()
            async with asyncio.timeout(120):
                ended = await asyncio.gather(*callers, return_exceptions=True)
            assert not [e for e in ended if isinstance(e, Exception)]
            # Whoever hung up asks again: it gets the session that its key has already made.
            async with asyncio.timeout(60):
                await asyncio.gather(*(ask(key) for key in seen))
            assert {len(sessions) for sessions in seen.values()} == {1}
            made = {s for sessions in seen.values() for s in sessions}
            assert len(made) == len(seen)
            records = [await fleet.gone(session_id) for session_id in made]
            assert {r.end_reason for r in records} == {EndReason.COMPLETED}
            assert {r.attempt for r in records} == {1}
            assert len({r.actor_id for r in records}) == len(records)
            listed = await fleet.registry.list(limit=200)
            assert {r.session_id for r in listed.records} == made
            assert min(retry_after_s) >= 1
            await until(fleet.all_free)


class TestRestarts:
    async def test_a_restarted_roster_keeps_sessions_and_warm_actors(self, fleet: Fleet) -> None:
        given = await fleet.dispatch()
        await fleet.warm()
        before = (await fleet.plane.roster.snapshot()).books
        assert before.started_total > 0
        _restart(ROSTER, fleet.settings)

        async def restarted() -> Any:
            books = (await fleet.plane.roster.snapshot()).books
            return books if books.started_total == 0 else None

        await until(restarted)
        await fleet.warm()
        after = (await fleet.plane.roster.snapshot()).books
        assert after.started_total == 0  # it had nothing to start
        assert {a.actor_id for a in after.actors} == {a.actor_id for a in before.actors}
        assert after.permits == 1
        record = await fleet.end(given.record.session_id)
        await fleet.assert_given_back(record)
        again = await fleet.dispatch()
        await fleet.end(again.record.session_id)

    async def test_a_restarted_supervisor_stops_a_session_it_did_not_start(
        self, fleet: Fleet
    ) -> None:
        given = await _under_a_new_supervisor(fleet)
        await fleet.dispatcher.stop(given.record.session_id, mode=StopMode.NOW)
        record = await fleet.gone(given.record.session_id)
        assert record.end_reason is EndReason.OPERATOR
        await fleet.assert_given_back(record)
        assert await fleet.permits() == 0

    async def test_a_restarted_supervisor_notices_a_death(self, fleet: Fleet) -> None:
        given = await _under_a_new_supervisor(fleet)
        os.kill(await fleet.pid_of(given.record), signal.SIGKILL)
        await carried_on(fleet, given, within_s=20)
        record = await fleet.end(given.record.session_id)
        assert record.end_reason is EndReason.OPERATOR
        await fleet.assert_given_back(record)


async def carried_on(fleet: Fleet, given: Dispatched, *, within_s: float) -> SessionRecord:
    """Its record, once the agent of a second attempt has joined."""

    async def by_another() -> SessionRecord | None:
        record = await fleet.registry.get(given.record.session_id)
        return record if record.attempt == 2 and record.state is SessionState.JOINED else None

    record: SessionRecord = await until(by_another, within_s=within_s)
    return record


def _restart(name: str, settings: FleetSettings) -> None:
    """As a crash of its process does."""
    ray.kill(ray_calls.find(name, settings.ray_namespace), no_restart=False)


async def _under_a_new_supervisor(fleet: Fleet) -> Dispatched:
    """A session under way whose supervisor was restarted since it joined."""
    before = await fleet.dispatch("short")
    await fleet.gone(before.record.session_id)
    given = await fleet.dispatch()
    assert (await fleet.plane.supervisor.snapshot()).ended_total
    _restart(SUPERVISOR, fleet.settings)

    async def new_one_has_it() -> bool:
        snapshot = await fleet.plane.supervisor.snapshot()
        has = {s.session_id for s in snapshot.sessions}
        return not snapshot.ended_total and given.record.session_id in has

    await until(new_one_has_it)
    return given


class TestOwnPlane:
    async def test_without_warm_actors_a_dispatch_waits_for_one(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        settings = settings_for(shared_redis, livekit_server, warm_actors=0)
        async with own_fleet(settings) as fleet:
            given = await fleet.dispatch()
            assert given.record.state is SessionState.JOINED
            pool = await fleet.plane.roster.snapshot()
            assert pool.books.waited_total == 1
            assert given.record.timings_s["reserve"] >= pool.warm_s[0]

    async def test_draining_refuses_new_sessions_and_keeps_the_old(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        settings = settings_for(shared_redis, livekit_server, warm_actors=1)
        async with own_fleet(settings) as fleet:
            given = await fleet.dispatch()
            await drain_control_plane(settings, deadline_s=600)
            with pytest.raises(FleetDraining):
                await fleet.dispatch()
            snapshot = await fleet_snapshot(settings)
            assert snapshot.pool.books.draining
            assert [s.session_id for s in snapshot.supervisor.sessions] == [given.record.session_id]
            assert (await fleet.registry.counts())[SessionState.JOINED] == 1
            await undrain_control_plane(settings)
            await fleet.dispatch()

    async def test_sessions_report_by_their_nodes_relay_where_it_is_wanted(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        settings = settings_for(
            shared_redis, livekit_server, warm_actors=1, budget_relay="per_node"
        )
        async with own_fleet(settings) as fleet:
            given = await fleet.dispatch()
            record = await fleet.end(given.record.session_id)
            assert record.spent_micro_usd == 1_234_568
            assert len(ray_calls.names(settings.ray_namespace, RELAY_PREFIX)) == 1
        assert ray_calls.names(settings.ray_namespace) == []

    async def test_stopping_leaves_nothing_and_may_be_repeated(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        settings = settings_for(shared_redis, livekit_server)
        async with own_fleet(settings) as fleet:
            await start_control_plane(settings, actor=SCRIPTED)  # twice is once
            polite, deaf = await fleet.dispatch(), await fleet.dispatch("deaf")
            pids = (await fleet.plane.roster.snapshot()).pids.values()
            await stop_control_plane(settings, goodbye_s=0.3)
            assert ray_calls.names(settings.ray_namespace) == []
            for given in (polite, deaf):
                record = await fleet.registry.get(given.record.session_id)
                assert record.end_reason is EndReason.DRAINED
                assert not await fleet.livekit.list_rooms([record.room])

            async def processes_gone() -> bool:
                return not any(Path(f"/proc/{pid}").exists() for pid in pids)

            await until(processes_gone)
            await stop_control_plane(settings, goodbye_s=0.3)

    async def test_livekit_down(
        self, ray_cluster: RayCluster, shared_redis: str, livekit_server: LiveKitAccess
    ) -> None:
        nobody = replace(livekit_server, url="ws://127.0.0.1:1")
        settings = settings_for(shared_redis, nobody, warm_actors=1)
        async with own_fleet(settings) as fleet:
            await fleet.warm()
            with pytest.raises(LiveKitUnavailable):
                await fleet.dispatch()
            page = await fleet.registry.list()
            (record,) = page.records
            assert (record.end_reason, record.error_code) == (
                EndReason.ROOM_FAILED,
                "livekit_unavailable",
            )
            assert (await fleet.cost(record.session_id)).closed
            books = (await fleet.plane.roster.snapshot()).books
            assert (books.permits, books.reserved, books.warm) == (0, 0, 1)

    async def test_redis_down(
        self, ray_cluster: RayCluster, run: RunDir, livekit_server: LiveKitAccess
    ) -> None:
        async with RedisServer(run) as redis:
            settings = settings_for(redis.url, livekit_server, warm_actors=1, redis_timeout_s=0.5)
            async with own_fleet(settings) as fleet:
                await fleet.warm()
                given = await fleet.dispatch()
                await redis.kill()
                with pytest.raises(RegistryUnavailable):
                    await fleet.dispatch()
                assert await fleet.permits() == 1
                # The session's end is owed to the registry, not forgotten.
                await fleet.dispatcher.stop(given.record.session_id)
                over = await fleet.plane.supervisor.wait_over(
                    SessionId(given.record.session_id), 30
                )
                assert over
                assert not await fleet.livekit.list_rooms([given.record.room])
                assert await fleet.permits() == 0
                await redis.start()
                record = await until(lambda: _gone_record(fleet, given.record.session_id))
                assert record.end_reason is EndReason.OPERATOR


async def _gone_record(fleet: Fleet, session_id: str) -> SessionRecord | None:
    try:
        record = await fleet.registry.get(session_id)
    except RegistryUnavailable:
        return None
    return record if record.is_gone else None


async def test_the_real_actor_interviews(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
) -> None:
    settings = settings_for(
        shared_redis, livekit_server, warm_actors=1, max_sessions=2, actor_warm_timeout_s=110
    )
    environment = {
        "REDIS_URL": settings.redis_url,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
    }
    real = ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment})
    async with own_fleet(settings, real) as fleet:
        await fleet.warm()
        body = contract(no_show_seconds=3)
        given = await fleet.dispatcher.dispatch(DispatchRequest(config=parse_strict(body)))
        assert given.record.state is SessionState.JOINED
        people = await fleet.livekit.list_participants(given.record.room)
        assert [p.is_agent for p in people] == [True]
        record = await fleet.gone(given.record.session_id, within_s=60)
        assert record.end_reason is EndReason.NO_SHOW
        await fleet.assert_given_back(record)
