"""Reading and erasing the journals that session actors write.

Entry ids are Redis stream ids ("1763900000000-0"): they grow, so that a reader that was cut off
goes on after the last one it saw. All calls raise JournalUnavailable when Redis does not answer.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent_actor.checkpoint import CONTRACT_FIELD, checkpoint_key
from agent_actor.contract import SessionId, SessionState
from agent_actor.journal import EventKind as EventKind
from agent_actor.journal import JournalEvent as JournalEvent
from agent_actor.journal import LiveState as LiveState
from agent_actor.journal import (
    erased_key,
    event_from_fields,
    journal_key,
    live_from_fields,
    live_key,
)
from agent_actor.redis_client import open_redis
from fleet.errors import CursorInvalid, JournalUnavailable
from fleet.settings import DAY_S, FleetSettings

BEGINNING = "0"
MAX_READ = 1_000
_ID = re.compile(r"\d{1,20}(-\d{1,20})?")


@dataclass(frozen=True, kw_only=True)
class JournalEntry:
    """``id`` goes back in as ``after_id`` (Last-Event-ID of an event stream)."""

    id: str
    event: JournalEvent

    @property
    def says_gone(self) -> bool:
        """Whether it is an actor's last word; another attempt of the session may follow."""
        said = self.event.data.get("state")
        return self.event.kind is EventKind.STATE and said == SessionState.GONE.value


@dataclass(frozen=True, kw_only=True)
class Turn:
    """What one side said. ``at`` is epoch seconds, ``phase_id`` the phase it was said in."""

    at: float
    speaker: str
    text: str
    interrupted: bool
    phase_id: str | None


class Journal:
    """Reader and eraser; actors write through ``agent_actor.journal_writer``.

    ``block_s`` is how long ``follow`` waits for something new; keep it below the client's own
    timeout, or a quiet session looks like a dead Redis.
    """

    def __init__(
        self,
        redis: Redis,
        namespace: str = "fleet",
        *,
        ttl_s: int = 7 * DAY_S,
        block_s: float = 1.0,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._ns = namespace
        self._ttl_s = ttl_s
        self._block_ms = max(1, round(block_s * 1000))
        self._clock = clock

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """With a client of its own, which ``aclose`` closes."""
        return cls(
            open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s),
            settings.redis_namespace,
            ttl_s=settings.journal_ttl_s,
            block_s=settings.redis_timeout_s / 2,
        )

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def read(
        self, session_id: str, *, after_id: str | None = None, limit: int = 200
    ) -> list[JournalEntry]:
        """Entries after ``after_id`` (None: from the beginning), oldest first; none for a
        session without a journal. Raises CursorInvalid for what is no entry id.
        """
        start = f"({_checked(after_id)}"
        count = max(1, min(limit, MAX_READ))
        with _reaching("read"):
            found = await self._redis.xrange(self._journal(session_id), start, "+", count=count)
        return list(_entries(found))

    async def wait(
        self, session_id: str, *, after_id: str | None = None, timeout_s: float
    ) -> list[JournalEntry]:
        """Entries after ``after_id`` as soon as there are any; none after ``timeout_s``. With 0
        it does not wait. Holds one connection to Redis meanwhile. Raises CursorInvalid.
        """
        last = _checked(after_id)
        deadline = time.monotonic() + timeout_s
        while True:
            left_ms = round((deadline - time.monotonic()) * 1000)
            if left_ms <= 0:
                return await self.read(session_id, after_id=last, limit=MAX_READ)
            # In slices: one long block would run into the client's own timeout.
            entries = await self._next(session_id, last, min(left_ms, self._block_ms))
            if entries:
                return entries

    async def follow(
        self,
        session_id: str,
        *,
        after_id: str | None = None,
        until: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncIterator[JournalEntry | None]:
        """Entries after ``after_id`` as they come. None when nothing came for ``block_s``: the
        moment to send a sign of life to whoever listens.

        Ends when ``until`` answers True in a quiet moment: ask the registry there, for an actor
        that died could say nothing, and one that failed may have a successor. Without ``until``
        it ends after an actor's own word that it is gone. Each follower holds one connection to
        Redis; close the iterator to give it back.
        """
        last = _checked(after_id)
        while True:
            over = False
            entries = await self._next(session_id, last, self._block_ms)
            if not entries:
                yield None
                # Asked before the last look, so that nothing written before the end is missed.
                over = until is not None and await until()
                entries = await self.read(session_id, after_id=last) if over else []
            for entry in entries:
                last = entry.id
                yield entry
                if until is None and entry.says_gone:
                    return
            if over and not entries:
                return

    async def transcript(self, session_id: str) -> tuple[Turn, ...]:
        """Everything that was said, in order."""
        turns: list[Turn] = []
        phase: str | None = None
        async for entry in self._all(session_id):
            data = entry.event.data
            if entry.event.kind is EventKind.PHASE:
                phase = data.get("phase_id", phase)
            elif entry.event.kind is EventKind.TURN:
                turns.append(_turn(entry.event.at, data, phase))
        return tuple(turns)

    async def live(self, session_id: str) -> LiveState | None:
        """None before the actor first said something, and after the journal was erased."""
        return (await self.live_many([session_id]))[0]

    async def contract(self, session_id: str) -> str | None:
        """As its actor was given it; None before it said so, and after the journal was erased."""
        with _reaching("contract"):
            found = self._redis.hget(self._checkpoint(session_id), CONTRACT_FIELD)
            return await cast("Awaitable[str | None]", found)

    async def live_many(self, session_ids: Sequence[str]) -> tuple[LiveState | None, ...]:
        """For tables: one round trip for all."""
        if not session_ids:
            return ()
        with _reaching("live"):
            async with self._redis.pipeline(transaction=False) as pipe:
                for session_id in session_ids:
                    pipe.hgetall(live_key(self._ns, SessionId(session_id)))
                return tuple(live_from_fields(fields) for fields in await pipe.execute())

    async def erase(self, session_id: str) -> None:
        """Delete journal, live state and checkpoint, and let no late writer bring them back.
        The ledger is not touched. Erasing twice is fine.
        """
        sid = SessionId(session_id)
        keys = (journal_key(self._ns, sid), live_key(self._ns, sid), self._checkpoint(session_id))
        with _reaching("erase"):
            async with self._redis.pipeline(transaction=True) as pipe:
                # The tombstone outlives any actor that could still be writing.
                pipe.set(erased_key(self._ns, sid), repr(self._clock()), ex=self._ttl_s)
                pipe.delete(*keys)
                await pipe.execute()

    async def expire(self, session_id: str, ttl_s: int | None = None) -> None:
        """Let journal, live state and checkpoint go after ``ttl_s`` from now (default: the
        setting). Called at a session's end; repeating it starts the time again.
        """
        sid = SessionId(session_id)
        seconds = self._ttl_s if ttl_s is None else ttl_s
        with _reaching("expire"):
            async with self._redis.pipeline(transaction=True) as pipe:
                for key in (journal_key(self._ns, sid), live_key(self._ns, sid)):
                    pipe.expire(key, seconds)
                pipe.expire(self._checkpoint(session_id), seconds)
                await pipe.execute()

    async def _all(self, session_id: str) -> AsyncIterator[JournalEntry]:
        last: str | None = None
        while True:
            entries = await self.read(session_id, after_id=last, limit=MAX_READ)
            for entry in entries:
                yield entry
            if len(entries) < MAX_READ:
                return
            last = entries[-1].id

    async def _next(self, session_id: str, last: str, block_ms: int) -> list[JournalEntry]:
        with _reaching("follow"):
            answer = await self._redis.xread(
                {self._journal(session_id): last}, count=MAX_READ, block=block_ms
            )
        streams = list(answer.values()) if isinstance(answer, dict) else [s[1] for s in answer]
        return list(_entries(streams[0])) if streams else []

    def _journal(self, session_id: str) -> str:
        return journal_key(self._ns, SessionId(session_id))

    def _checkpoint(self, session_id: str) -> str:
        return checkpoint_key(self._ns, SessionId(session_id))


@contextmanager
def _reaching(operation: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise JournalUnavailable(operation, type(error).__name__) from error


def _checked(after_id: str | None) -> str:
    entry_id = BEGINNING if after_id is None else after_id
    if not _ID.fullmatch(entry_id) or any(int(part) >= 2**64 - 1 for part in entry_id.split("-")):
        raise CursorInvalid
    return entry_id


def _entries(raw: Any) -> Iterator[JournalEntry]:
    for entry_id, fields in raw:
        event = event_from_fields(cast(Mapping[str, str], fields))
        yield JournalEntry(id=cast(str, entry_id), event=event)


def _turn(at: float, data: Mapping[str, Any], phase: str | None) -> Turn:
    return Turn(
        at=at,
        speaker=str(data.get("speaker", "")),
        text=str(data.get("text", "")),
        interrupted=bool(data.get("interrupted")),
        phase_id=phase,
    )
