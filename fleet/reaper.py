"""Compares LiveKit's rooms, Ray's actors, the roster, registry and ledger with the sessions under
way, every few seconds, and ends or takes over what has no partner. ``fleet.reaping`` decides.

It runs beside the supervisor, in its process. A look that any part does not answer is none: it is
skipped with a warning, and so is what the look before it suspected.

**Whose room is it?** Other fleets may use the same LiveKit server, with rooms named as ours are. A
room is touched only if the session in its name is one of this registry's that is gone, or has an
account in this ledger: session ids are 96 random bits, and every session has its account opened
beside its room. What neither knows is another's, or goes by LiveKit's own timeout. Rooms with other
names are never touched.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Protocol, Unpack

import structlog

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState
from agent_actor.journal import EventKind, JournalEvent, LiveState
from agent_actor.messages import StopMode, UsageReport
from fleet.adoption import JournalReader, unheard
from fleet.clusters import Clusters
from fleet.dispatch_plan import session_of_room
from fleet.endings import Sleep
from fleet.errors import ActorLost, FleetError, NoAnswer, SessionNotFound
from fleet.livekit_client import ParticipantInfo, RoomInfo
from fleet.metrics import Metrics
from fleet.pool import PoolSnapshot
from fleet.reaping import Finding, Kind, Look, ReapLimits, RunSeen, Suspicions
from fleet.records import RecordFacts, SessionRecord

MIN_PAUSE_S = 1.0
ANSWER_S = 3.0
"""For an actor that is asked whether its loop runs."""
WRITES_S = 4.0
"""So old may be what a running session has written."""
_PAGE = 500
_KNOWN = frozenset(reason.value for reason in EndReason)
_ENDS = frozenset({SessionState.ENDING.value, SessionState.GONE.value})

log = structlog.get_logger(__name__)


class Rooms(Protocol):
    """Raises LiveKitError."""

    async def list_rooms(self, names: Sequence[str] = ()) -> tuple[RoomInfo, ...]: ...

    async def list_participants(self, room: str) -> tuple[ParticipantInfo, ...]: ...

    async def delete_room(self, name: str) -> bool: ...


class Actors(Protocol):
    async def existing(self) -> list[ActorId]:
        """Every session actor that Ray has. Raises ControlPlaneUnavailable."""

    async def ping(self, actor_id: ActorId) -> None:
        """Raises ActorLost, or NoAnswer within a few seconds."""

    def kill(self, actor_id: ActorId) -> None: ...


class Accounts(Protocol):
    """Raises BudgetUnavailable."""

    async def open_sessions(self) -> list[SessionId]: ...

    async def has_account(self, session_id: SessionId) -> bool: ...

    async def close(
        self, session_id: SessionId, reports: Sequence[UsageReport] = ()
    ) -> int | None: ...


class Books(Protocol):
    """The roster. Raises ControlPlaneUnavailable, also until a restarted one knows its actors."""

    async def snapshot(self) -> PoolSnapshot: ...

    async def release(self, session_id: SessionId) -> None: ...


class Records(Protocol):
    """Raises RegistryUnavailable."""

    def active(self) -> AsyncIterator[SessionRecord]: ...

    async def get(self, session_id: str) -> SessionRecord: ...

    async def add_facts(self, session_id: str, **facts: Unpack[RecordFacts]) -> SessionRecord: ...


class Sessions(Protocol):
    """The supervisor."""

    async def under_way(self) -> Mapping[SessionId, RunSeen]:
        """Answers once the sessions of an earlier supervisor are known."""

    def owed(self) -> frozenset[SessionId]: ...

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        """Raises SessionNotFound."""

    def take_over(self, record: SessionRecord) -> None: ...


@dataclass(frozen=True, kw_only=True)
class ReapParts:
    rooms: Rooms
    actors: Actors
    accounts: Accounts
    books: Books
    records: Records
    sessions: Sessions
    journal: JournalReader
    metrics: Metrics
    sleep: Sleep
    clusters: Clusters = field(default_factory=partial(Clusters, "main"))
    now: Callable[[], float] = time.time
    clock: Callable[[], float] = time.monotonic
    dice: Callable[[float, float], float] = random.uniform


class Reaper:
    """``keep_reaping`` is a task of the supervisor's process."""

    def __init__(self, parts: ReapParts, limits: ReapLimits, *, every_s: float) -> None:
        self._parts = parts
        self._every_s = every_s
        self._suspicions = Suspicions(limits)
        self._foreign: set[str] = set()
        """Rooms named as ours are that are not ours. They never will be: a session's record is
        older than its room."""
        self._blind = False

    async def keep_reaping(self) -> None:
        """For ever: whatever a round fails with, the next one is made."""
        while True:
            # At once: much may have become due while no supervisor was there.
            try:
                await self.reap()
            except FleetError as error:
                self._suspicions.forget()
                # Once and not each time: an outage may last.
                if not self._blind:
                    log.warning("reaping_skipped", error=str(error))
                self._blind = True
            except Exception:
                self._suspicions.forget()
                log.exception("reaping_failed")
            else:
                self._blind = False
            await self._parts.sleep(self._pause_s())

    async def reap(self) -> None:
        """One round. Raises FleetError when a part did not answer; nothing was done then."""
        look = await self._look()
        self._foreign &= look.rooms.keys()
        # Side by side: an actor that is asked whether it lives takes seconds not to answer.
        async with asyncio.TaskGroup() as settling:
            for finding in self._suspicions.take(look):
                settling.create_task(self._settle(finding))

    # Inside

    def _pause_s(self) -> float:
        """Until the next look: the usual time, or less where something could be acted on then."""
        pause_s = self._every_s * self._parts.dice(0.8, 1.2)
        next_at = self._suspicions.next_at()
        if next_at is None:
            return pause_s
        return min(pause_s, max(MIN_PAUSE_S, next_at - self._parts.clock()))

    async def _look(self) -> Look:
        """In the order that ``fleet.reaping`` counts on."""
        parts = self._parts
        before, owed = await parts.sessions.under_way(), parts.sessions.owed()
        rooms = {room.name: room.participants for room in await parts.rooms.list_rooms()}
        actors = frozenset(await parts.actors.existing())
        accounts = frozenset(await parts.accounts.open_sessions())
        books = (await parts.books.snapshot()).books.actors
        # Before the records: what they say is not older than it.
        at = parts.now()
        active = [r async for r in parts.records.active() if not r.is_gone]
        elsewhere = (r.session_id for r in active if not parts.clusters.cares_for(r))
        return Look(
            rooms=rooms,
            actors=actors,
            accounts=accounts,
            books=books,
            records={SessionId(r.session_id): r for r in active},
            runs={**before, **await parts.sessions.under_way()},
            owed=owed | parts.sessions.owed(),
            elsewhere=frozenset(map(SessionId, elsewhere)),
            at=at,
            clock=parts.clock(),
        )

    async def _settle(self, finding: Finding) -> None:
        if finding.subject in self._foreign:
            return
        try:
            acted = await self._act(finding)
        except FleetError as error:
            log.warning("not_reaped", kind=finding.kind, subject=finding.subject, error=str(error))
            return
        if not acted:
            self._suspicions.clear(finding)
            return
        self._suspicions.acted(finding)
        if not finding.again:
            self._parts.metrics.counter("fleet_reaped_total", kind=finding.kind.value).inc()
            log.warning(
                "reaped",
                kind=finding.kind.value,
                subject=finding.subject,
                lasted_s=round(finding.lasted_s, 1),
            )

    async def _act(self, finding: Finding) -> bool:
        """Look closer, then do what is to be done. False: at this look it is not so."""
        subject = finding.subject
        match finding.kind:
            case Kind.ORPHAN_ROOM:
                return await self._delete_room(subject)
            case Kind.ORPHAN_ACTOR:
                self._parts.actors.kill(ActorId(subject))
                return True
            case Kind.ORPHAN_PERMIT:
                return await self._release(SessionId(subject))
            case Kind.ORPHAN_ACCOUNT:
                return await self._close_account(SessionId(subject))
            case Kind.LOST_SESSION:
                return await self._take_over(SessionId(subject))
            case Kind.STUCK:
                return await self._free(SessionId(subject))
            case _:
                return await self._stop(finding.kind, SessionId(subject))

    async def _delete_room(self, room: str) -> bool:
        session_id = session_of_room(room)
        if session_id is None or not await self._is_over(session_id):
            return False
        if not await self._was_ours(session_id):
            self._foreign.add(room)
            return False
        await self._parts.rooms.delete_room(room)
        return True

    async def _release(self, session_id: SessionId) -> bool:
        if not await self._is_over(session_id):
            return False
        await self._parts.books.release(session_id)
        return True

    async def _close_account(self, session_id: SessionId) -> bool:
        if not await self._is_over(session_id):
            return False
        # Whoever was to hand them on is gone, too.
        reports = [r async for e in self._written(session_id) if (r := unheard(e)) is not None]
        spent = await self._parts.accounts.close(session_id, reports)
        if spent is not None:
            with contextlib.suppress(SessionNotFound):
                await self._parts.records.add_facts(session_id, spent_micro_usd=spent)
        return True

    async def _take_over(self, session_id: SessionId) -> bool:
        record = await self._record(session_id)
        if record is None or record.is_gone or not self._parts.clusters.cares_for(record):
            return False
        self._parts.sessions.take_over(record)
        return True

    async def _stop(self, kind: Kind, session_id: SessionId) -> bool:
        record = await self._record(session_id)
        if record is None or record.is_gone or not await self._still(kind, record):
            return False
        reason = _REASONS.get(kind) or await self._reason_given(session_id)
        try:
            await self._parts.sessions.stop(session_id, reason, StopMode.NOW)
        except SessionNotFound:
            return False
        return True

    async def _free(self, session_id: SessionId) -> bool:
        """End its actor only: the session's own run then carries on with another."""
        record = await self._record(session_id)
        run = (await self._parts.sessions.under_way()).get(session_id)
        if record is None or record.is_gone or run is None or run.actor_id is None or run.stopping:
            return False
        try:
            if await self._answers(run.actor_id):
                # Its loop runs: it is the store that it cannot reach.
                return False
        except ActorLost:
            return False
        self._parts.actors.kill(run.actor_id)
        return True

    async def _answers(self, actor_id: ActorId) -> bool:
        """Whether its loop runs. Raises ActorLost."""
        try:
            async with asyncio.timeout(ANSWER_S):
                await self._parts.actors.ping(actor_id)
        except (NoAnswer, TimeoutError):
            return False
        return True

    async def _still(self, kind: Kind, record: SessionRecord) -> bool:
        rooms = self._parts.rooms
        if kind is Kind.MISSING_ROOM:
            return not await rooms.list_rooms([record.room])
        if kind is Kind.UNENDING:
            return True
        live = await self._parts.journal.live(record.session_id)
        if live is not None and live.state in _ENDS:
            return False
        if kind is Kind.OVERTIME:
            return True
        people = await rooms.list_participants(record.room)
        if any(not (person.is_agent or person.is_hidden) for person in people):
            return False
        return kind is Kind.NO_SHOW or await self._long_gone(record, live)

    async def _long_gone(self, record: SessionRecord, live: LiveState | None) -> bool:
        """A participant may have been back between two looks, or a clock be wrong. Its actor, if it
        is well, has written that down."""
        grace_s = record.reconnect_grace_s or 0.0
        changed_at = 0.0
        async for event in self._written(record.session_id):
            if event.kind is EventKind.PARTICIPANT:
                changed_at = max(changed_at, event.at)
        if self._parts.now() - changed_at < grace_s:
            return False
        if live is None or live.away_s is None or live.away_s + WRITES_S >= grace_s:
            return True
        # It is older than any that a running loop leaves, or it tells the truth.
        return not await self._answers(ActorId(record.actor_id or ""))

    async def _reason_given(self, session_id: SessionId) -> EndReason:
        """Why it began to end, by its own account."""
        reason = EndReason.SESSION_TIMEOUT
        async for event in self._written(session_id):
            if event.kind is EventKind.STATE and (given := event.data.get("reason")) in _KNOWN:
                reason = EndReason(given)
        return reason

    async def _written(self, session_id: str) -> AsyncIterator[JournalEvent]:
        """Its journal, from the beginning."""
        after: str | None = None
        while page := await self._parts.journal.read(session_id, after_id=after, limit=_PAGE):
            after = page[-1].id
            for entry in page:
                yield entry.event

    async def _is_over(self, session_id: SessionId) -> bool:
        """Whether nobody is at work on it and no record says that anybody should be."""
        if session_id in await self._parts.sessions.under_way():
            return False
        record = await self._record(session_id)
        return record is None or record.is_gone

    async def _was_ours(self, session_id: SessionId) -> bool:
        if await self._record(session_id) is not None:
            return True
        # Withdrawn, or expired: the ledger never forgets.
        return await self._parts.accounts.has_account(session_id)

    async def _record(self, session_id: SessionId) -> SessionRecord | None:
        try:
            return await self._parts.records.get(session_id)
        except SessionNotFound:
            return None


_REASONS = {
    Kind.MISSING_ROOM: EndReason.ROOM_FAILED,
    Kind.NO_SHOW: EndReason.NO_SHOW,
    Kind.ABANDONED: EndReason.PARTICIPANT_LEFT,
    Kind.OVERTIME: EndReason.SESSION_TIMEOUT,
}
