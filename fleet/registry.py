"""The registry: every session's record in Redis, its place in the listings, and its claim on an
Idempotency-Key.

Several ingress replicas and the supervisor write at once, so each change is one script (see
``fleet.registry_scripts``) that checks the order of a session's life before it writes. All
calls raise RegistryUnavailable when Redis does not answer, and may then have happened or not;
each can simply be made again.
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, Self, Unpack, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from agent_actor.contract import EndReason, SessionState
from agent_actor.redis_client import open_redis
from fleet import registry_scripts as scripts
from fleet.errors import (
    CursorInvalid,
    IdempotencyConflict,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    StateConflict,
    TooManyObservers,
)
from fleet.records import (
    LIFE,
    RANK,
    Created,
    Page,
    RecordChanges,
    RecordFacts,
    SessionRecord,
    changes_to_fields,
    from_fields,
    to_fields,
)
from fleet.settings import DAY_S, FleetSettings

__all__ = [
    "Created",
    "Page",
    "RecordChanges",
    "RecordFacts",
    "Registry",
    "SessionRecord",
    "new_session_id",
]

MAX_PAGE = 500
EXCLUSIVE_TTL_S = 3 * DAY_S
"""Longer than any session: the contract allows a day."""
_MARK = "~"
"""No Identifier has it, and in a URL it needs no escape."""
_SWEEP_BATCH = 20
"""Index entries forgotten at each creation: more than one, so that sweeping keeps up."""


def new_session_id() -> str:
    """96 random bits: not to be guessed, and fit for a room name and a contract Identifier."""
    return f"s-{secrets.token_hex(12)}"


class Registry:
    """``clock`` gives epoch seconds and only decides when ended records and observers expire.
    ``cluster``: whose supervisor looks after the sessions that are created here.
    """

    def __init__(
        self,
        redis: Redis,
        namespace: str = "fleet",
        *,
        record_ttl_s: int = 30 * DAY_S,
        idempotency_ttl_s: int = DAY_S,
        cluster: str | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._redis = redis
        self._ns = namespace
        self._cluster = cluster
        self._record_ttl_s = record_ttl_s
        self._idempotency_ttl_s = idempotency_ttl_s
        self._clock = clock
        self._create = redis.register_script(scripts.CREATE)
        self._update = redis.register_script(scripts.UPDATE)
        self._withdraw = redis.register_script(scripts.WITHDRAW)
        self._unclaim = redis.register_script(scripts.UNCLAIM)
        self._add_observer = redis.register_script(scripts.ADD_OBSERVER)
        self._anonymise = redis.register_script(scripts.ANONYMISE)
        self._sweep = redis.register_script(scripts.SWEEP)

    @classmethod
    def from_settings(cls, settings: FleetSettings) -> Self:
        """With a client of its own, which ``aclose`` closes."""
        return cls(
            open_redis(settings.redis_url, timeout_s=settings.redis_timeout_s),
            settings.redis_namespace,
            record_ttl_s=settings.record_ttl_s,
            idempotency_ttl_s=settings.idempotency_ttl_s,
            cluster=settings.cluster,
        )

    async def aclose(self) -> None:
        await self._redis.aclose()

    async def ping(self) -> None:
        """Returns if Redis answers."""
        with reaching("ping"):
            await self._redis.ping()

    async def fleet_id(self) -> str:
        """Of all who keep their sessions here: drawn when first asked for, and the same ever after.
        It tells this fleet from others that use the same LiveKit server."""
        key = f"{self._ns}:id"
        with reaching("fleet_id"):
            await self._redis.set(key, secrets.token_hex(8), nx=True)
            return cast(str, await self._redis.get(key))

    async def create(
        self, record: SessionRecord, *, body_hash: str = "", exclusive: bool = False
    ) -> Created:
        """Write a new record, claiming ``record.idempotency_key`` if it has one, in one step.

        A key known with the same ``body_hash`` gives the record it was first used for
        (``existing``). Raises IdempotencyConflict (known with another body), SessionExists.

        ``exclusive``: the key stands for something that one session has at a time. Its claim holds
        until the record is gone, however long that takes, and then goes over (``after``).
        """
        record = replace(record, cluster=self._cluster)
        fields = to_fields(record)
        arguments = [
            *(self._ns, record.session_id, record.study_id, record.state.value, _member(record)),
            *(record.idempotency_key or "", body_hash),
            *(EXCLUSIVE_TTL_S if exclusive else self._idempotency_ttl_s, int(exclusive)),
            secrets.token_hex(8),
        ]
        with reaching("create"):
            answer = await self._create(args=[*arguments, *_flat(fields)])
            await self._sweep(args=[self._ns, self._clock(), _SWEEP_BATCH])
        match answer[0]:
            case "created":
                return Created(record=record, existing=False, after=answer[1] or None)
            case "existing":
                return Created(record=_record(answer[1]), existing=True)
            case "conflict":
                raise IdempotencyConflict(answer[1])
            case _:
                raise SessionExists(record.session_id)

    async def get(self, session_id: str) -> SessionRecord:
        """Raises SessionNotFound: never there, or ended so long ago that it expired."""
        record = await self.find(session_id)
        if record is None:
            raise SessionNotFound(session_id)
        return record

    async def find(self, session_id: str) -> SessionRecord | None:
        with reaching("get"):
            fields = await self._redis.hgetall(self._key(session_id))
        return from_fields(cast(dict[str, str], fields)) if fields else None

    async def claimants(self, keys: Sequence[str]) -> Sequence[SessionRecord | None]:
        """Of each key whose claim it is, or was if that session is gone; None: nobody's that is
        known. Two calls of Redis, however many there are."""
        if not keys:
            return []
        with reaching("claimants"):
            claims = await self._redis.mget([f"{self._ns}:claim:{key}" for key in keys])
            return await self._read(
                json.loads(claim)["session_id"] if claim else "" for claim in claims
            )

    async def find_many(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Those of them that there are, in one round trip."""
        if not session_ids:
            return {}
        with reaching("find_many"):
            found = await self._read(session_ids)
        return {session_id: r for session_id, r in zip(session_ids, found, strict=True) if r}

    async def update(
        self,
        session_id: str,
        *,
        state: SessionState | None = None,
        attempt: int | None = None,
        **changes: Unpack[RecordChanges],
    ) -> SessionRecord:
        """Change a living session; answers the whole record as it is then.

        The order of its life is kept, see ``fleet.records.may_move``: StateConflict says how it
        stands if ``state`` or ``attempt`` would be a step back, or if it is gone. Give
        ``attempt`` always when speaking for one actor: a replaced actor is refused then.
        ``gone`` needs an ``end_reason``; repeating the one it ended with changes nothing.
        Raises SessionNotFound.
        """
        if (state is SessionState.GONE) != ("end_reason" in changes):
            raise ValueError("gone and end_reason go together")
        return await self._change(session_id, state, attempt, changes, life=True)

    async def end(
        self,
        session_id: str,
        reason: EndReason,
        *,
        attempt: int | None = None,
        **changes: Unpack[RecordChanges],
    ) -> SessionRecord:
        """Make it gone, once: if it is gone already the record is answered as it was, with the
        reason it first ended for. Raises StateConflict only for an ``attempt`` that was
        replaced. Raises SessionNotFound.
        """
        changes["end_reason"] = reason
        changes.setdefault("ended_at", self._clock())
        try:
            return await self._change(session_id, SessionState.GONE, attempt, changes, life=True)
        except StateConflict as conflict:
            if conflict.state != SessionState.GONE:
                raise
        return await self.get(session_id)

    async def add_facts(self, session_id: str, **facts: Unpack[RecordFacts]) -> SessionRecord:
        """Add what is learned late; allowed after the end too. ``spent_micro_usd`` never goes
        down. Raises SessionNotFound.
        """
        return await self._change(session_id, None, None, cast(RecordChanges, facts), life=False)

    async def withdraw(self, session_id: str) -> None:
        """Undo ``create`` for a session that was never assigned, so that the same
        Idempotency-Key may try again. Gone without a trace; withdrawing twice is fine. Raises
        StateConflict once it was assigned.
        """
        with reaching("withdraw"):
            answer = await self._withdraw(args=[self._ns, session_id])
        if answer[0] == "conflict":
            raise _conflict(session_id, answer[1], 1, "withdraw")

    async def release_claim(self, session_id: str, idempotency_key: str) -> None:
        """Let the key be used for a new session; the record stays. For failures that a repeated
        request should really try again. Another session's claim is left alone.
        """
        with reaching("release_claim"):
            await self._unclaim(args=[self._ns, session_id, idempotency_key])

    async def add_observer(self, session_id: str, identity: str, *, ttl_s: int, most: int) -> None:
        """Keep a place for ``identity`` among the session's observers, for ``ttl_s``; adding it
        again only prolongs that. Raises SessionNotFound, StateConflict for a session that is over
        or has no room yet, TooManyObservers beyond ``most``.
        """
        with reaching("add_observer"):
            answer = await self._add_observer(
                args=[self._ns, session_id, identity, self._clock(), ttl_s, most]
            )
        match answer[0]:
            case "missing":
                raise SessionNotFound(session_id)
            case "conflict":
                raise _conflict(session_id, answer[1], int(answer[2]), "an observer")
            case "full":
                raise TooManyObservers(session_id, most)

    async def observers(self, session_id: str) -> tuple[str, ...]:
        """Identities whose places have not expired, the oldest first; none for a session that is
        not known."""
        with reaching("observers"):
            key = f"{self._ns}:observers:{session_id}"
            found = await self._redis.zrangebyscore(key, f"({self._clock()}", "+inf")
        return tuple(cast(Sequence[str], found))

    async def anonymise(self, session_id: str, *, now: float) -> SessionRecord:
        """The registry's part of a deletion request: identity, key and error text go, life and
        money stay. Raises SessionNotFound.
        """
        with reaching("anonymise"):
            answer = await self._anonymise(args=[self._ns, session_id, now])
        if answer[0] == "missing":
            raise SessionNotFound(session_id)
        return _record(answer[1])

    async def list(
        self,
        *,
        state: SessionState | None = None,
        study_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        """One page, newest first: cost goes with the page, not with how many there are.

        Sessions created while paging do not shift the pages. Raises CursorInvalid.
        """
        index = self._index(study_id, state)
        start = "+" if cursor is None else f"({_from_cursor(cursor)}"
        wanted = max(1, min(limit, MAX_PAGE))
        with reaching("list"):
            found = cast(
                Sequence[str],
                await self._redis.zrevrangebylex(index, start, "-", start=0, num=wanted + 1),
            )
            records = await self._records(found[:wanted])
        more = len(found) > wanted
        return Page(records=records, next_cursor=found[wanted - 1] if more else None)

    async def active(self) -> AsyncIterator[SessionRecord]:
        """Every session that is not gone, once, in no order; for whoever rebuilds itself after a
        restart."""
        seen: set[str] = set()
        for state in LIFE[:-1]:
            cursor: str | None = None
            while True:
                page = await self.list(state=state, limit=MAX_PAGE, cursor=cursor)
                for record in page.records:
                    # One that moves on meanwhile is met again in its next state.
                    if record.session_id not in seen:
                        seen.add(record.session_id)
                        yield record
                cursor = page.next_cursor
                if cursor is None:
                    break

    async def counts(self, *, study_id: str | None = None) -> dict[SessionState, int]:
        """How many sessions are in each state; ended ones until their records expire."""
        with reaching("counts"):
            await self._sweep(args=[self._ns, self._clock(), MAX_PAGE])
            async with self._redis.pipeline(transaction=True) as pipe:
                for state in LIFE:
                    pipe.zcard(self._index(study_id, state))
                return dict(zip(LIFE, await pipe.execute(), strict=True))

    async def _change(
        self,
        session_id: str,
        state: SessionState | None,
        attempt: int | None,
        changes: RecordChanges,
        *,
        life: bool,
    ) -> SessionRecord:
        fields = changes_to_fields(changes)
        with reaching("update"):
            answer = await self._update(
                args=[
                    *(self._ns, session_id, json.dumps(RANK)),
                    *(state.value if state else "", "" if attempt is None else attempt),
                    *("1" if life else "", self._record_ttl_s, self._clock()),
                    *_flat(fields),
                ]
            )
        if answer[0] == "missing":
            raise SessionNotFound(session_id)
        if answer[0] == "conflict":
            wanted = f"{state or 'a change'}" + (f" (attempt {attempt})" if attempt else "")
            raise _conflict(session_id, answer[1], int(answer[2]), wanted)
        return _record(answer[1])

    async def _records(self, members: Sequence[str]) -> tuple[SessionRecord, ...]:
        found = await self._read(member.split(_MARK)[1] for member in members)
        # None: expired or withdrawn since it was listed.
        return tuple(record for record in found if record is not None)

    async def _read(self, session_ids: Iterable[str]) -> Sequence[SessionRecord | None]:
        """In one round trip; None: there is none."""
        async with self._redis.pipeline(transaction=False) as pipe:
            for session_id in session_ids:
                pipe.hgetall(self._key(session_id))
            return [from_fields(fields) if fields else None for fields in await pipe.execute()]

    def _key(self, session_id: str) -> str:
        return f"{self._ns}:session:{session_id}"

    def _index(self, study_id: str | None, state: SessionState | None) -> str:
        return f"{self._ns}:index:{study_id or '*'}:{state.value if state else '*'}"


@contextmanager
def reaching(operation: str) -> Iterator[None]:
    try:
        yield
    except (RedisError, OSError) as error:
        raise RegistryUnavailable(operation, type(error).__name__) from error


def _member(record: SessionRecord) -> str:
    created_us = f"{round(record.created_at * 1_000_000):016d}"
    return _MARK.join((created_us, record.session_id, record.study_id))


def _from_cursor(cursor: str) -> str:
    parts = cursor.split(_MARK)
    if len(parts) != 3 or len(parts[0]) != 16 or not parts[0].isdecimal():
        raise CursorInvalid
    return cursor


def _flat(fields: dict[str, str]) -> list[str]:
    return [part for pair in fields.items() for part in pair]


def _record(flat: list[Any]) -> SessionRecord:
    return from_fields(dict(zip(flat[::2], flat[1::2], strict=True)))


def _conflict(session_id: str, state: str, attempt: int, wanted: str) -> StateConflict:
    return StateConflict(session_id=session_id, state=state, attempt=attempt, wanted=wanted)
