"""Journals on a real Redis: written by a writer, read, followed, cut off, erased."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from typing import Any

import pytest

from agent_actor.checkpoint import Checkpoint
from agent_actor.contract import SessionId
from agent_actor.dialogue import Said
from agent_actor.errors import CheckpointUnavailable
from agent_actor.journal import EventKind, LiveState, journal_key, live_key
from agent_actor.journal_writer import JournalWriter
from agent_actor.lifecycle import LifeAges, Stage
from agent_actor.redis_client import open_redis
from fleet.errors import CursorInvalid, JournalUnavailable
from fleet.journal import Journal, JournalEntry
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import RunDir

SID = SessionId("s-1")
SOON_S = 10.0
KEPT = Checkpoint(
    attempt=1,
    at=1_000.0,
    life=LifeAges(stage=Stage.LIVE, joined_s=42.0, since_s=40.0, met=True),
    interview_s=40.0,
    cut_off="And how often do you ",
)


@pytest.fixture
async def journal(redis_server: str) -> AsyncIterator[Journal]:
    journal = Journal(open_redis(redis_server), "t", block_s=0.2)
    yield journal
    await journal.aclose()


@pytest.fixture
async def writer(redis_server: str) -> AsyncIterator[JournalWriter]:
    writer = JournalWriter(redis_server, "t", SID, 1).start()
    yield writer
    await writer.aclose()


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not is_so():
            await asyncio.sleep(0.01)


async def sent(writer: JournalWriter) -> None:
    await eventually(lambda: writer.pending == 0)


def numbers(entries: list[JournalEntry]) -> list[Any]:
    return [entry.event.data.get("n") for entry in entries]


async def redis_pid(url: str) -> int:
    redis = open_redis(url)
    info = await redis.info("server")
    await redis.aclose()
    return int(info["process_id"])


# -- writing ---------------------------------------------------------------------------------------


async def test_what_is_recorded_is_read_in_order(journal: Journal, writer: JournalWriter) -> None:
    began = time.time()
    for n in range(500):
        writer.record(EventKind.NOTE, n=n)
    await sent(writer)

    entries = await journal.read(SID, limit=1000)

    assert numbers(entries) == list(range(500))
    assert all(began <= entry.event.at <= time.time() for entry in entries)
    assert {entry.event.attempt for entry in entries} == {1}
    assert [entry.id for entry in entries] == sorted(
        (entry.id for entry in entries), key=lambda i: tuple(map(int, i.split("-")))
    )


async def test_closing_sends_what_is_left(redis_server: str, journal: Journal) -> None:
    writer = JournalWriter(redis_server, "t", SID, 1).start()
    for n in range(1500):
        writer.record(EventKind.NOTE, n=n)
    writer.live(LiveState(state="gone"))

    await writer.aclose()
    await writer.aclose()

    entries = await journal.read(SID, limit=1000)
    rest = await journal.read(SID, after_id=entries[-1].id, limit=1000)
    assert numbers(entries + rest) == list(range(1500))
    assert (await journal.live(SID)) == LiveState(state="gone")
    assert (writer.pending, writer.dropped) == (0, 0)


async def test_a_writer_that_recorded_nothing_leaves_nothing(redis_server: str) -> None:
    await JournalWriter(redis_server, "t", SID, 1).start().aclose()

    redis = open_redis(redis_server)
    assert await redis.dbsize() == 0
    await redis.aclose()


async def test_the_latest_live_state_is_the_one_seen(
    journal: Journal, writer: JournalWriter
) -> None:
    assert await journal.live(SID) is None
    for tokens in range(200):
        writer.live(LiveState(state="live", tokens_in=tokens))
    last = LiveState(state="live", tokens_in=200, speaking="participant", participant_present=True)
    writer.live(last)

    async with asyncio.timeout(SOON_S):
        while await journal.live(SID) != last:
            await asyncio.sleep(0.01)
    assert await journal.live_many([SID, "s-0"]) == (last, None)
    assert await journal.live_many([]) == ()


async def test_a_replaced_actor_does_not_cover_its_successor(
    redis_server: str, journal: Journal
) -> None:
    old = JournalWriter(redis_server, "t", SID, 1).start()
    new = JournalWriter(redis_server, "t", SID, 2).start()
    new.live(LiveState(state="live", tokens_in=2))
    new.record(EventKind.NOTE, n="new")
    await new.aclose()

    old.live(LiveState(state="live", tokens_in=1))
    old.record(EventKind.NOTE, n="old")
    await old.aclose()

    assert (await journal.live(SID)) == LiveState(state="live", tokens_in=2)
    assert [(e.event.attempt, e.event.data["n"]) for e in await journal.read(SID)] == [
        (2, "new"),
        (1, "old"),
    ]


async def test_a_successor_recalls_the_checkpoint_and_cuts_its_predecessor_off(
    redis_server: str, journal: Journal
) -> None:
    new = JournalWriter(redis_server, "t", SID, 2)
    assert await new.recall() is None

    old = JournalWriter(redis_server, "t", SID, 3).start()
    said = '[{"speaker": "participant", "text": "By the lake."}]'
    for _ in range(2):
        old.keep(lambda: KEPT.texts(said))
        old.live(LiveState(state="live"))
        old.record(EventKind.NOTE)
        await sent(old)
    old.live(LiveState(state="live", tokens_in=1))
    old.record(EventKind.NOTE)
    await sent(old)
    newest = JournalWriter(redis_server, "t", SID, 4)
    left = await newest.recall()
    assert left == replace(KEPT, said=(Said(speaker="participant", text="By the lake."),))
    # Frozen, not dead: it wakes up and writes on.
    old.keep(lambda: replace(KEPT, attempt=3, cut_off="I am back").texts("[]"))
    old.live(LiveState(state="live", tokens_in=2))
    await old.aclose()
    assert await newest.recall() == left
    assert await journal.live(SID) == LiveState(state="live", tokens_in=1)
    for writer in (new, newest):
        await writer.aclose()


async def test_a_checkpoint_is_asked_for_until_redis_is_back(run: RunDir) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)
    await server.start()
    old = JournalWriter(server.url, "t", SID, 1).start()
    old.keep(lambda: KEPT.texts("[]"))
    old.live(LiveState(state="live"))
    await old.aclose()
    await server.kill()
    new = JournalWriter(server.url, "t", SID, 2, timeout_s=0.2)
    with pytest.raises(CheckpointUnavailable):
        await new.recall(deadline_s=0.3)
    recalling = asyncio.create_task(new.recall(deadline_s=SOON_S))
    await server.start()
    assert await recalling == KEPT
    await new.aclose()
    await server.aclose()


async def test_journals_expire(redis_server: str) -> None:
    writer = JournalWriter(redis_server, "t", SID, 1, ttl_s=500).start()
    writer.record(EventKind.NOTE)
    await writer.aclose()
    redis = open_redis(redis_server)
    journal = Journal(redis, "t", ttl_s=300)

    assert 490 < await redis.ttl(journal_key("t", SID)) <= 500
    assert 490 < await redis.ttl(live_key("t", SID)) <= 500
    await journal.expire(SID)
    assert 290 < await redis.ttl(journal_key("t", SID)) <= 300
    await journal.expire(SID, 0)
    assert await journal.read(SID) == []
    await redis.aclose()


async def test_an_outage_shorter_than_the_buffer_loses_nothing(run: RunDir) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)  # what it confirmed, a kill must not take
    await server.start()
    journal = Journal(open_redis(server.url), "t")
    writer = JournalWriter(server.url, "t", SID, 1).start()
    writer.record(EventKind.NOTE, n=0)
    await sent(writer)
    await server.kill()

    for n in range(1, 50):
        writer.record(EventKind.NOTE, n=n)
    await server.start()
    await sent(writer)

    assert numbers(await journal.read(SID)) == list(range(50))
    assert writer.dropped == 0
    await writer.aclose()
    await journal.aclose()
    await server.aclose()


async def test_a_longer_outage_drops_the_oldest_and_says_how_many(run: RunDir) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)
    await server.start()
    journal = Journal(open_redis(server.url), "t")
    writer = JournalWriter(server.url, "t", SID, 1, max_buffered=10).start()
    await server.kill()

    for n in range(50):
        writer.record(EventKind.NOTE, n=n)
    assert (writer.pending, writer.dropped) == (10, 40)
    await server.start()
    await sent(writer)

    *kept, note = await journal.read(SID)
    assert numbers(kept) == list(range(40, 50))
    assert note.event.data["entries"] == 40
    await writer.aclose()
    await journal.aclose()
    await server.aclose()


async def test_recording_is_quick_and_closing_keeps_its_deadline_without_redis(
    run: RunDir,
) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)
    await server.start()
    await server.aclose()
    writer = JournalWriter(server.url, "t", SID, 1).start()

    began = time.perf_counter()
    for n in range(1000):
        writer.record(EventKind.NOTE, n=n)
    recorded_s = time.perf_counter() - began
    await writer.aclose(deadline_s=0.3)
    took_s = time.perf_counter() - began

    assert recorded_s < 0.2
    assert took_s < 1.5


async def test_a_redis_that_hangs_and_comes_back_gets_each_entry_once(run: RunDir) -> None:
    async with RedisServer(run) as server:
        journal = Journal(open_redis(server.url), "t")
        writer = JournalWriter(server.url, "t", SID, 1, timeout_s=0.1).start()
        writer.record(EventKind.NOTE, n=0)
        await sent(writer)
        pid = await redis_pid(server.url)
        os.kill(pid, signal.SIGSTOP)
        try:
            # Reaches the socket and is carried out later, while the writer takes it for lost.
            for n in range(1, 20):
                writer.record(EventKind.NOTE, n=n)
            await asyncio.sleep(1.0)
            assert writer.pending == 19
        finally:
            os.kill(pid, signal.SIGCONT)
        await sent(writer)

        assert numbers(await journal.read(SID)) == list(range(20))
        await writer.aclose()
        await journal.aclose()


# -- reading ---------------------------------------------------------------------------------------


async def test_a_session_without_a_journal_reads_empty(journal: Journal) -> None:
    assert await journal.read("s-0") == []
    assert await journal.transcript("s-0") == ()
    assert await journal.live("s-0") is None


async def test_reading_goes_on_after_an_entry(journal: Journal, writer: JournalWriter) -> None:
    for n in range(10):
        writer.record(EventKind.NOTE, n=n)
    await sent(writer)

    first = await journal.read(SID, limit=4)
    second = await journal.read(SID, after_id=first[-1].id, limit=4)
    third = await journal.read(SID, after_id=second[-1].id, limit=4)

    assert [numbers(page) for page in (first, second, third)] == [
        [0, 1, 2, 3],
        [4, 5, 6, 7],
        [8, 9],
    ]
    assert await journal.read(SID, after_id=third[-1].id) == []


@pytest.mark.parametrize("entry_id", ["", "x", "-", "+", "(1-0", "1-0-0", "$", f"{2**64}-0"])
async def test_other_entry_ids_are_refused(journal: Journal, entry_id: str) -> None:
    with pytest.raises(CursorInvalid):
        await journal.read(SID, after_id=entry_id)
    with pytest.raises(CursorInvalid):
        await journal.wait(SID, after_id=entry_id, timeout_s=0.1)
    with pytest.raises(CursorInvalid):
        await anext(journal.follow(SID, after_id=entry_id))


async def test_a_transcript_is_what_was_said_by_phase(
    journal: Journal, writer: JournalWriter
) -> None:
    writer.record(EventKind.TURN, speaker="interviewer", text="Hello")
    writer.record(EventKind.PHASE, phase_id="intro", name="Intro", cause="started", index=0)
    writer.record(EventKind.TURN, speaker="participant", text="Hm", interrupted=False)
    writer.record(EventKind.PHASE, change="nudged")
    writer.record(EventKind.TURN, speaker="interviewer", text="And", interrupted=True)
    writer.record(EventKind.USAGE, tokens_in=5)
    await sent(writer)

    turns = await journal.transcript(SID)

    assert [(t.speaker, t.text, t.interrupted, t.phase_id) for t in turns] == [
        ("interviewer", "Hello", False, None),
        ("participant", "Hm", False, "intro"),
        ("interviewer", "And", True, "intro"),
    ]


async def test_waiting_ends_with_the_first_entry(journal: Journal, writer: JournalWriter) -> None:
    async def write_later() -> None:
        await asyncio.sleep(0.3)
        writer.record(EventKind.NOTE, n=1)

    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(journal.wait(SID, timeout_s=SOON_S))
        group.create_task(write_later())
    assert numbers(waiting.result()) == [1]

    began = time.perf_counter()
    assert await journal.wait(SID, after_id=waiting.result()[-1].id, timeout_s=0.5) == []
    assert 0.45 < time.perf_counter() - began < 2
    assert numbers(await journal.wait(SID, timeout_s=0)) == [1]


# -- following -------------------------------------------------------------------------------------


async def test_following_sees_everything_to_the_end(
    journal: Journal, writer: JournalWriter
) -> None:
    async def live_through() -> None:
        for n in range(30):
            writer.record(EventKind.NOTE, n=n)
            await asyncio.sleep(0.02)
        writer.record(EventKind.STATE, state="gone", reason="completed")

    async with asyncio.timeout(SOON_S), asyncio.TaskGroup() as group:
        group.create_task(live_through())
        seen = [entry async for entry in journal.follow(SID) if entry is not None]

    assert numbers(seen) == [*range(30), None]
    assert seen[-1].says_gone


async def test_following_resumes_where_it_was_cut_off(
    journal: Journal, writer: JournalWriter
) -> None:
    for n in range(6):
        writer.record(EventKind.NOTE, n=n)
    await sent(writer)
    follower = journal.follow(SID)
    first = [entry for entry in [await anext(follower) for _ in range(3)] if entry]
    await follower.aclose()  # type: ignore[attr-defined]
    writer.record(EventKind.STATE, state="gone")

    async with asyncio.timeout(SOON_S):
        rest = [e async for e in journal.follow(SID, after_id=first[-1].id) if e is not None]

    assert numbers(first) == [0, 1, 2]
    assert numbers(rest) == [3, 4, 5, None]


async def test_a_quiet_session_gives_signs_of_life_until_it_is_over(
    journal: Journal, writer: JournalWriter
) -> None:
    asked = 0

    async def over() -> bool:
        nonlocal asked
        asked += 1
        if asked == 3:
            # Written at the very end: still to be seen.
            writer.record(EventKind.NOTE, n="last")
            await sent(writer)
        return asked >= 3

    writer.record(EventKind.STATE, state="gone")  # of an attempt that has a successor
    await sent(writer)
    async with asyncio.timeout(SOON_S):
        seen = [entry async for entry in journal.follow(SID, until=over)]

    words = [entry.event.data for entry in seen if entry is not None]
    assert words == [{"state": "gone"}, {"n": "last"}]
    assert seen.count(None) >= 3


# -- erasing ---------------------------------------------------------------------------------------


async def test_what_is_erased_stays_erased(
    redis_server: str, journal: Journal, writer: JournalWriter
) -> None:
    redis = open_redis(redis_server)
    await redis.set("t:session:s-1", "the registry's")
    writer.record(EventKind.TURN, speaker="participant", text="a secret")
    secret = '[{"speaker": "participant", "text": "a secret"}]'
    writer.keep(lambda: KEPT.texts(secret))
    writer.live(LiveState(state="live"))
    await sent(writer)
    assert await redis.exists("t:checkpoint:s-1")

    await journal.erase(SID)
    writer.record(EventKind.TURN, speaker="participant", text="said later")
    writer.keep(lambda: KEPT.texts("[]"))
    writer.live(LiveState(state="live"))
    await sent(writer)
    await writer.aclose()
    successor = JournalWriter(redis_server, "t", SID, 2)
    assert await successor.recall() is None
    await successor.aclose()
    await journal.erase(SID)

    assert await journal.read(SID) == []
    assert await journal.transcript(SID) == ()
    assert await journal.live(SID) is None
    assert sorted([key async for key in redis.scan_iter()]) == [
        "t:changes",
        "t:erased:s-1",
        "t:session:s-1",
    ]
    assert await redis.ttl("t:erased:s-1") > 0
    await redis.aclose()


async def test_no_redis_is_said_at_once(run: RunDir) -> None:
    server = RedisServer(run, fsync=Fsync.ALWAYS)
    await server.start()
    await server.aclose()
    journal = Journal(open_redis(server.url), "t")

    began = time.perf_counter()
    for call in (
        journal.read(SID),
        journal.wait(SID, timeout_s=5),
        anext(journal.follow(SID)),
        journal.transcript(SID),
        journal.live(SID),
        journal.erase(SID),
        journal.expire(SID),
    ):
        with pytest.raises(JournalUnavailable) as caught:
            await call
        assert caught.value.retryable
    assert time.perf_counter() - began < 5
    await journal.aclose()
