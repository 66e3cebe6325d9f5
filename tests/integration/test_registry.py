"""The registry on a real Redis, with several writers at once."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from agent_actor.contract import EndReason, SessionState
from agent_actor.messages import PhaseTiming
from agent_actor.redis_client import open_redis
from fleet.errors import (
    CursorInvalid,
    IdempotencyConflict,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    StateConflict,
    TooManyObservers,
)
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import RunDir
from fleet.records import LIFE, Step, may_move
from fleet.registry import Created, Registry, SessionRecord, new_session_id

T0 = 1_795_000_000.0
RECORD_TTL_S = 1_000


class Clock:
    def __init__(self) -> None:
        self.now = T0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def registry(redis_server: str, clock: Clock) -> AsyncIterator[Registry]:
    registry = Registry(open_redis(redis_server), "t", record_ttl_s=RECORD_TTL_S, clock=clock)
    yield registry
    await registry.aclose()


def a_record(session_id: str = "s-1", *, age: float = 0.0, **fields: Any) -> SessionRecord:
    values: dict[str, Any] = {
        "session_id": session_id,
        "study_id": "pilot",
        "participant_identity": "p-7",
        "room": session_id,
        "provider": "openai_realtime",
        "limit_micro_usd": 10_000_000,
        "created_at": T0 - age,
    }
    return SessionRecord(**{**values, **fields})


async def ids(registry: Registry, **query: Any) -> list[str]:
    return [record.session_id for record in (await registry.list(**query)).records]


async def every_index(redis_url: str) -> dict[str, list[str]]:
    redis = open_redis(redis_url)
    keys = [key async for key in redis.scan_iter("t:index:*")]
    indexes = {str(key): await redis.zrange(key, 0, -1) for key in keys}
    await redis.aclose()
    return indexes  # type: ignore[return-value]


async def test_a_record_is_kept_as_it_was_written(registry: Registry) -> None:
    record = a_record(idempotency_key="k", timings_s={"validate": 0.002}, model="m")

    created = await registry.create(record, body_hash="h")

    assert not created.existing
    assert await registry.get("s-1") == record


async def test_an_unknown_session_is_not_found(registry: Registry) -> None:
    assert await registry.find("s-0") is None
    with pytest.raises(SessionNotFound):
        await registry.get("s-0")
    with pytest.raises(SessionNotFound):
        await registry.update("s-0", state=SessionState.LIVE)
    with pytest.raises(SessionNotFound):
        await registry.end("s-0", EndReason.OPERATOR)
    with pytest.raises(SessionNotFound):
        await registry.add_facts("s-0", spent_micro_usd=1)
    with pytest.raises(SessionNotFound):
        await registry.anonymise("s-0", now=T0)


async def test_a_session_id_is_used_once(registry: Registry) -> None:
    await registry.create(a_record())

    with pytest.raises(SessionExists):
        await registry.create(a_record(study_id="other"))
    assert await registry.get("s-1") == a_record()


async def test_a_known_key_with_the_same_body_gives_the_first_session(registry: Registry) -> None:
    first = await registry.create(a_record("s-1", idempotency_key="k"), body_hash="h")

    second = await registry.create(a_record("s-2", idempotency_key="k"), body_hash="h")

    assert second.existing
    assert second.record == first.record
    assert await registry.find("s-2") is None


async def test_a_known_key_with_another_body_is_refused(registry: Registry) -> None:
    await registry.create(a_record("s-1", idempotency_key="k"), body_hash="h")

    with pytest.raises(IdempotencyConflict) as caught:
        await registry.create(a_record("s-2", idempotency_key="k"), body_hash="other")
    assert caught.value.session_id == "s-1"
    assert await registry.find("s-2") is None


async def test_of_many_replicas_with_one_key_a_single_one_creates(redis_server: str) -> None:
    replicas = [Registry(open_redis(redis_server), "t") for _ in range(8)]
    try:
        created = await asyncio.gather(
            *(
                replica.create(a_record(f"s-{n}", idempotency_key="k"), body_hash="h")
                for n, replica in enumerate(replicas)
            )
        )
    finally:
        await asyncio.gather(*(replica.aclose() for replica in replicas))

    assert [c.existing for c in created].count(False) == 1
    assert len({c.record.session_id for c in created}) == 1


async def test_claims_last_as_long_as_they_should(redis_server: str) -> None:
    redis = open_redis(redis_server)
    registry = Registry(redis, "t", idempotency_ttl_s=86_400)

    await registry.create(a_record(idempotency_key="k"), body_hash="h")

    assert 86_390 < await redis.ttl("t:claim:k") <= 86_400
    await registry.aclose()


async def test_an_exclusive_claim_holds_until_its_session_is_gone(redis_server: str) -> None:
    redis = open_redis(redis_server)
    registry = Registry(redis, "t", idempotency_ttl_s=60)

    async def claim(session_id: str, room: str = "RM_1") -> Created:
        record = a_record(session_id, idempotency_key="theirs")
        return await registry.create(record, body_hash=room, exclusive=True)

    first = await claim("s-1")
    assert (first.existing, first.after) == (False, None)
    assert await redis.ttl("t:claim:theirs") > 24 * 3600
    assert (await claim("s-2")).existing
    with pytest.raises(IdempotencyConflict):
        await claim("s-2", room="RM_2")

    await registry.end("s-1", EndReason.COMPLETED)

    before, nobody = await registry.claimants(["theirs", "another"])
    assert before is not None
    assert nobody is None
    assert await registry.claimants([]) == []
    assert (before.session_id, before.is_gone) == ("s-1", True)
    at_once = await asyncio.gather(*(claim(f"s-{n}") for n in range(2, 8)))
    assert [c.after for c in at_once if not c.existing] == ["s-1"]
    await registry.aclose()


async def test_a_fleet_keeps_its_id_and_no_other_has_it(redis_server: str) -> None:
    registries = [Registry(open_redis(redis_server), name) for name in ("t", "t", "other")]
    try:
        one, same, other = await asyncio.gather(*(r.fleet_id() for r in registries))
        assert one == same == await registries[0].fleet_id() != other
        assert await registries[0].claimants(["theirs"]) == [None]
    finally:
        await asyncio.gather(*(r.aclose() for r in registries))


async def test_a_withdrawn_session_leaves_nothing(registry: Registry, redis_server: str) -> None:
    await registry.create(a_record("s-1", idempotency_key="k"), body_hash="h")

    await registry.withdraw("s-1")
    await registry.withdraw("s-1")

    assert await every_index(redis_server) == {}
    again = await registry.create(a_record("s-2", idempotency_key="k"), body_hash="other")
    assert not again.existing


async def test_what_was_assigned_cannot_be_withdrawn(registry: Registry) -> None:
    await registry.create(a_record())
    await registry.update("s-1", state=SessionState.ASSIGNED)

    with pytest.raises(StateConflict):
        await registry.withdraw("s-1")


async def test_a_released_key_starts_anew_and_the_record_stays(registry: Registry) -> None:
    await registry.create(a_record("s-1", idempotency_key="k"), body_hash="h")
    await registry.release_claim("s-9", "k")
    assert (await registry.create(a_record("s-2", idempotency_key="k"), body_hash="h")).existing

    await registry.release_claim("s-1", "k")

    again = await registry.create(a_record("s-2", idempotency_key="k"), body_hash="h")
    assert not again.existing
    assert await ids(registry) == ["s-2", "s-1"]


async def test_a_life_goes_forward(registry: Registry) -> None:
    await registry.create(a_record())

    await registry.update("s-1", state=SessionState.ASSIGNED, attempt=1, actor_id="a", node_id="n")
    await registry.update("s-1", state=SessionState.JOINED, attempt=1, joined_at=T0 + 1)
    live = await registry.update("s-1", state=SessionState.LIVE, attempt=1)
    again = await registry.update("s-1", state=SessionState.LIVE, attempt=1)

    assert (live.state, live.actor_id, live.joined_at) == (SessionState.LIVE, "a", T0 + 1)
    assert again == live
    with pytest.raises(StateConflict) as caught:
        await registry.update("s-1", state=SessionState.JOINED, attempt=1)
    assert (caught.value.state, caught.value.attempt) == ("live", 1)
    assert await registry.get("s-1") == live


async def test_another_attempt_starts_again_and_fences_the_one_before(registry: Registry) -> None:
    await registry.create(a_record())
    await registry.update("s-1", state=SessionState.JOINED, attempt=1, actor_id="a")

    second = await registry.update("s-1", state=SessionState.ASSIGNED, attempt=2, actor_id="b")

    assert (second.state, second.attempt, second.actor_id) == (SessionState.ASSIGNED, 2, "b")
    for state in (SessionState.CONFIGURED, SessionState.LIVE, None):
        with pytest.raises(StateConflict):
            await registry.update("s-1", state=state, attempt=1, actor_id="a")
    with pytest.raises(StateConflict):
        await registry.end("s-1", EndReason.METADATA_TIMEOUT, attempt=1)
    assert await registry.get("s-1") == second


@pytest.mark.parametrize("here", LIFE)
async def test_redis_and_the_rules_agree_on_every_step(
    registry: Registry, here: SessionState
) -> None:
    ended: dict[str, Any] = {"end_reason": EndReason.COMPLETED} if here is SessionState.GONE else {}
    for attempt, there in itertools.product((1, 2, 3), LIFE):
        session_id = f"s-{attempt}-{there.value}"
        await registry.create(a_record(session_id, state=here, attempt=2, **ended))
        reason: dict[str, Any] = (
            {"end_reason": EndReason.OPERATOR} if there is SessionState.GONE else {}
        )
        try:
            await registry.update(session_id, state=there, attempt=attempt, **reason)
            moved = True
        except StateConflict:
            moved = False
        wanted = may_move(Step(state=here, attempt=2), Step(state=there, attempt=attempt))
        assert moved is wanted, (here, there, attempt)


async def test_gone_is_final_and_the_first_reason_stands(registry: Registry, clock: Clock) -> None:
    await registry.create(a_record())
    clock.now = T0 + 60
    first = await registry.end("s-1", EndReason.NO_SHOW, attempt=1, error_code="none")

    later = await registry.end("s-1", EndReason.OPERATOR, error_code="other")

    assert (first.state, first.end_reason, first.ended_at) == (
        SessionState.GONE,
        EndReason.NO_SHOW,
        T0 + 60,
    )
    assert later == first
    with pytest.raises(StateConflict):
        await registry.update("s-1", state=SessionState.GONE, end_reason=EndReason.DRAINED)
    with pytest.raises(StateConflict):
        await registry.update("s-1", state=SessionState.LIVE, attempt=2)
    with pytest.raises(StateConflict):
        await registry.update("s-1", error="late")
    assert await registry.get("s-1") == first


async def test_repeating_the_end_changes_nothing(registry: Registry) -> None:
    await registry.create(a_record())
    gone = {"state": SessionState.GONE, "end_reason": EndReason.COMPLETED}
    first = await registry.update("s-1", **gone, ended_at=T0)  # type: ignore[arg-type]

    again = await registry.update("s-1", **gone, ended_at=T0 + 5)  # type: ignore[arg-type]

    assert again == first


async def test_gone_needs_a_reason(registry: Registry) -> None:
    await registry.create(a_record())

    with pytest.raises(ValueError, match="together"):
        await registry.update("s-1", state=SessionState.GONE)
    with pytest.raises(ValueError, match="together"):
        await registry.update("s-1", end_reason=EndReason.OPERATOR)


async def test_of_many_ends_at_once_one_counts(redis_server: str, registry: Registry) -> None:
    await registry.create(a_record())
    writers = [Registry(open_redis(redis_server), "t") for _ in range(6)]
    reasons = list(EndReason)[:6]
    try:
        records = await asyncio.gather(
            *(w.end("s-1", reason) for w, reason in zip(writers, reasons, strict=True))
        )
    finally:
        await asyncio.gather(*(writer.aclose() for writer in writers))

    assert len(set(map(repr, records))) == 1
    assert (await registry.counts())[SessionState.GONE] == 1


async def test_facts_come_late_and_money_never_goes_down(registry: Registry) -> None:
    await registry.create(a_record(timings_s={"room": 0.1}))
    await registry.end("s-1", EndReason.COMPLETED)
    phases = (PhaseTiming(phase_id="a", entered_s=0.0, left_s=9.5, cause="started"),)

    await asyncio.gather(
        registry.add_facts("s-1", timings_s={"join": 0.2}, spent_micro_usd=900),
        registry.add_facts("s-1", timings_s={"first_audio": 0.3}, phases=phases),
        registry.add_facts("s-1", unmapped=("x",), provider_sessions=("y",)),
    )
    record = await registry.add_facts("s-1", spent_micro_usd=500)

    assert record.timings_s == {"room": 0.1, "join": 0.2, "first_audio": 0.3}
    assert record.spent_micro_usd == 900
    assert (record.phases, record.unmapped, record.provider_sessions) == (phases, ("x",), ("y",))
    assert record.end_reason is EndReason.COMPLETED


async def test_listings_follow_the_states(registry: Registry) -> None:
    await registry.create(a_record("s-1", age=3))
    await registry.create(a_record("s-2", age=2, study_id="other"))
    await registry.create(a_record("s-3", age=1))
    await registry.update("s-1", state=SessionState.LIVE)
    await registry.update("s-2", state=SessionState.LIVE)
    await registry.end("s-2", EndReason.COMPLETED)

    assert await ids(registry) == ["s-3", "s-2", "s-1"]
    assert await ids(registry, study_id="pilot") == ["s-3", "s-1"]
    assert await ids(registry, state=SessionState.LIVE) == ["s-1"]
    assert await ids(registry, state=SessionState.LIVE, study_id="other") == []
    assert await ids(registry, state=SessionState.GONE, study_id="other") == ["s-2"]
    assert {state: n for state, n in (await registry.counts()).items() if n} == {
        SessionState.QUEUED: 1,
        SessionState.LIVE: 1,
        SessionState.GONE: 1,
    }
    assert sum((await registry.counts(study_id="pilot")).values()) == 2
    assert sorted([record.session_id async for record in registry.active()]) == ["s-1", "s-3"]


async def test_pages_neither_skip_nor_repeat(registry: Registry) -> None:
    # All at one instant: the order among them must still be total.
    wanted = [f"s-{n:02}" for n in range(23)]
    await asyncio.gather(*(registry.create(a_record(session_id)) for session_id in wanted))

    seen: list[str] = []
    cursor: str | None = None
    sizes = []
    while True:
        page = await registry.list(limit=5, cursor=cursor)
        seen += [record.session_id for record in page.records]
        sizes.append(len(page.records))
        if len(seen) == 10:  # newer ones come in between: they do not shift the pages
            await registry.create(a_record("s-new", age=-5))
        cursor = page.next_cursor
        if cursor is None:
            break

    assert seen == wanted[::-1]
    assert sizes == [5, 5, 5, 5, 3]


async def test_the_last_page_has_no_cursor_even_if_it_is_full(registry: Registry) -> None:
    await asyncio.gather(*(registry.create(a_record(f"s-{n}")) for n in range(4)))

    assert (await registry.list(limit=4)).next_cursor is None


@pytest.mark.parametrize("cursor", ["", "x", "1~s-1~pilot", "[+", "a" * 16 + "~s~p"])
async def test_other_cursors_are_refused(registry: Registry, cursor: str) -> None:
    with pytest.raises(CursorInvalid):
        await registry.list(cursor=cursor)


async def test_ended_records_expire_and_leave_the_listings(
    registry: Registry, redis_server: str, clock: Clock
) -> None:
    await registry.create(a_record("s-old"))
    await registry.end("s-old", EndReason.COMPLETED)
    await registry.create(a_record("s-living"))
    redis = open_redis(redis_server)
    assert RECORD_TTL_S - 10 < await redis.ttl("t:session:s-old") <= RECORD_TTL_S
    assert await redis.ttl("t:session:s-living") == -1

    await redis.expire("t:session:s-old", 0)
    assert await ids(registry) == ["s-living"]
    clock.now = T0 + RECORD_TTL_S + 1
    await registry.create(a_record("s-new", age=-9))

    assert await ids(registry) == ["s-new", "s-living"]
    members = [m for found in (await every_index(redis_server)).values() for m in found]
    assert not [m for m in members if "s-old" in m]
    assert (await registry.counts())[SessionState.GONE] == 0
    assert await redis.zcard("t:expiry") == 0
    await redis.aclose()


async def test_a_deletion_request_takes_the_person_and_leaves_the_money(registry: Registry) -> None:
    await registry.create(a_record(idempotency_key="k-of-p-7"), body_hash="h")
    await registry.end("s-1", EndReason.COMPLETED, error="said by p-7", spent_micro_usd=77)

    record = await registry.anonymise("s-1", now=T0 + 99)

    assert (record.participant_identity, record.idempotency_key, record.error) == ("", None, None)
    assert (record.erased_at, record.spent_micro_usd) == (T0 + 99, 77)
    assert record.end_reason is EndReason.COMPLETED
    assert not (
        await registry.create(a_record("s-2", idempotency_key="k-of-p-7"), body_hash="x")
    ).existing


async def test_a_registry_read_after_a_restart_is_the_same(redis_server: str) -> None:
    first = Registry(open_redis(redis_server), "t")
    await first.create(a_record())
    await first.update("s-1", state=SessionState.LIVE, actor_id="a")
    before = await first.get("s-1")
    await first.aclose()

    second = Registry(open_redis(redis_server), "t")
    assert await second.get("s-1") == before
    assert [record async for record in second.active()] == [before]
    await second.aclose()


async def test_namespaces_do_not_meet(redis_server: str, registry: Registry) -> None:
    other = Registry(open_redis(redis_server), "other")
    await registry.create(a_record(idempotency_key="k"), body_hash="h")

    assert not (await other.create(a_record(idempotency_key="k"), body_hash="x")).existing
    await other.end("s-1", EndReason.OPERATOR)
    assert (await registry.get("s-1")).state is SessionState.QUEUED
    await other.aclose()


async def test_listing_stays_cheap_beside_a_hundred_thousand_ended_sessions(
    registry: Registry, redis_server: str
) -> None:
    await _fill(redis_server, 100_000)
    await registry.create(a_record("s-live", age=-10))
    await registry.update("s-live", state=SessionState.LIVE)

    began = time.perf_counter()
    live = await ids(registry, state=SessionState.LIVE)
    counts = await registry.counts()
    newest = await registry.list(limit=50)
    deep = await registry.list(limit=50, cursor=f"{round((T0 - 90_000) * 1e6):016d}~s~pilot")
    took_s = time.perf_counter() - began

    assert live == ["s-live"]
    assert (counts[SessionState.GONE], counts[SessionState.LIVE]) == (100_000, 1)
    assert len(newest.records) == 50
    assert len(deep.records) == 50
    # Milliseconds when alone; anything that walks over all of them takes seconds.
    assert took_s < 0.5


async def _fill(redis_url: str, sessions: int) -> None:
    """Ended sessions, written straight into the shapes that fleet.registry_scripts names."""
    redis = open_redis(redis_url, timeout_s=30)
    template = Registry(redis, "t", record_ttl_s=RECORD_TTL_S, clock=lambda: T0)
    await template.create(a_record("template"))
    await template.end("template", EndReason.COMPLETED)
    await redis.eval(
        """
        local fields = redis.call('HGETALL', 't:session:template')
        local gone = redis.call('ZRANGE', 't:index:*:gone', 0, 0)[1]
        local indexes = {'t:index:*:*', 't:index:*:gone', 't:index:pilot:*', 't:index:pilot:gone'}
        for _, key in ipairs(indexes) do redis.call('ZREM', key, gone) end
        redis.call('DEL', 't:session:template', 't:expiry')
        for n = 1, tonumber(ARGV[1]) do
          local member = string.format('%016.0f~old-%d~pilot', (ARGV[2] - n) * 1000000, n)
          for _, key in ipairs(indexes) do redis.call('ZADD', key, 0, member) end
          redis.call('ZADD', 't:expiry', ARGV[2] + 1000, member)
          redis.call('HSET', 't:session:old-' .. n, unpack(fields))
        end
        """,
        0,
        str(sessions),
        str(T0),
    )
    await redis.aclose()


async def test_no_redis_is_said_at_once(run: RunDir) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)
    await server.start()
    registry = Registry(open_redis(server.url), "t")
    await registry.create(a_record())
    await server.kill()

    began = time.perf_counter()
    for call in (
        registry.ping(),
        registry.get("s-1"),
        registry.list(),
        registry.counts(),
        registry.create(a_record("s-2")),
        registry.update("s-1", state=SessionState.LIVE),
        registry.end("s-1", EndReason.OPERATOR),
        registry.withdraw("s-1"),
        registry.release_claim("s-1", "k"),
        registry.anonymise("s-1", now=T0),
    ):
        with pytest.raises(RegistryUnavailable) as caught:
            await call
        assert caught.value.retryable
    assert time.perf_counter() - began < 5

    await server.start()  # with what it had written
    assert (await registry.get("s-1")).state is SessionState.QUEUED
    await registry.aclose()
    await server.aclose()


async def test_a_redis_that_hangs_is_given_up_on(run: RunDir) -> None:
    async with RedisServer(run) as server:
        registry = Registry(open_redis(server.url, timeout_s=0.2), "t")
        await registry.ping()
        info = await open_redis_pid(server.url)
        os.kill(info, signal.SIGSTOP)
        try:
            began = time.perf_counter()
            with pytest.raises(RegistryUnavailable):
                await registry.get("s-1")
            assert time.perf_counter() - began < 2
        finally:
            os.kill(info, signal.SIGCONT)
        await registry.aclose()


async def open_redis_pid(url: str) -> int:
    redis = open_redis(url)
    info = await redis.info("server")
    await redis.aclose()
    return int(info["process_id"])


def test_session_ids_are_fit_for_rooms_and_contracts() -> None:
    made = {new_session_id() for _ in range(100)}

    assert len(made) == 100
    assert all(i.startswith("s-") and len(i) == 26 for i in made)


# -- observers -------------------------------------------------------------------------------------


async def test_observers_are_kept_in_the_order_in_which_their_places_expire(
    registry: Registry, clock: Clock
) -> None:
    await registry.create(a_record(state=SessionState.LIVE))
    assert await registry.observers("s-1") == ()
    await registry.add_observer("s-1", "o-1", ttl_s=100, most=16)
    clock.now += 50
    await registry.add_observer("s-1", "o-2", ttl_s=100, most=16)
    assert await registry.observers("s-1") == ("o-1", "o-2")
    await registry.add_observer("s-1", "o-1", ttl_s=200, most=16)
    assert await registry.observers("s-1") == ("o-2", "o-1")
    assert await registry.observers("s-2") == ()


async def test_a_place_is_free_again_when_it_has_expired(registry: Registry, clock: Clock) -> None:
    await registry.create(a_record(state=SessionState.JOINED))
    for number in range(3):
        await registry.add_observer("s-1", f"o-{number}", ttl_s=100, most=3)
    with pytest.raises(TooManyObservers):
        await registry.add_observer("s-1", "o-3", ttl_s=100, most=3)
    await registry.add_observer("s-1", "o-2", ttl_s=100, most=3)  # is there already
    clock.now += 100
    assert await registry.observers("s-1") == ()
    await registry.add_observer("s-1", "o-3", ttl_s=100, most=3)
    assert await registry.observers("s-1") == ("o-3",)


async def test_many_at_once_get_no_more_places_than_there_are(registry: Registry) -> None:
    await registry.create(a_record(state=SessionState.LIVE))
    tries = (registry.add_observer("s-1", f"o-{n}", ttl_s=100, most=4) for n in range(12))
    results = await asyncio.gather(*tries, return_exceptions=True)
    assert sum(isinstance(r, TooManyObservers) for r in results) == 8
    assert len(await registry.observers("s-1")) == 4


async def test_observers_come_only_while_there_is_a_room(registry: Registry) -> None:
    with pytest.raises(SessionNotFound):
        await registry.add_observer("s-1", "o-1", ttl_s=100, most=16)
    await registry.create(a_record())
    with pytest.raises(StateConflict) as caught:
        await registry.add_observer("s-1", "o-1", ttl_s=100, most=16)
    assert caught.value.state == "queued"
    await registry.update("s-1", state=SessionState.ASSIGNED)
    await registry.add_observer("s-1", "o-1", ttl_s=100, most=16)
    await registry.end("s-1", EndReason.COMPLETED)
    with pytest.raises(StateConflict) as caught:
        await registry.add_observer("s-1", "o-2", ttl_s=100, most=16)
    assert caught.value.state == "gone"


async def test_the_list_goes_away_by_itself(registry: Registry, redis_server: str) -> None:
    await registry.create(a_record(state=SessionState.LIVE))
    await registry.add_observer("s-1", "o-1", ttl_s=500, most=16)
    await registry.add_observer("s-1", "o-2", ttl_s=100, most=16)
    redis = open_redis(redis_server)
    assert 490 < await redis.ttl("t:observers:s-1") <= 500
    await redis.aclose()
