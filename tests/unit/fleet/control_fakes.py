"""Hand-written stand-ins for what the control plane's shells talk to. Each keeps a list of what
was asked of it (shared between them where a test looks at the order) and fails on request.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from typing import Any

from agent_actor.contract import ActorId, EndReason, SessionConfig, SessionId, SessionState
from agent_actor.journal import LiveState
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    Pulse,
    SessionResult,
    StopOrder,
    TokenCounts,
    UsageReport,
    Verdict,
    WarmReport,
)
from fleet.clusters import GONE_AFTER_S, Clusters
from fleet.errors import (
    ActorLost,
    BudgetUnavailable,
    FleetError,
    IdempotencyConflict,
    LiveKitUnavailable,
    RegistryUnavailable,
    SessionExists,
    SessionNotFound,
    StateConflict,
)
from fleet.journal import JournalEntry
from fleet.parts import StopWanted
from fleet.pool import Reservation
from fleet.records import Created, SessionRecord, Step, may_move

ENOUGH_S = 2.0
"""For what must happen at once; a test that waits longer than this has failed."""


async def never(_seconds: float) -> None:
    """A sleep that nobody wakes from."""
    await asyncio.Event().wait()


async def at_once(_seconds: float) -> None:
    """A sleep that only lets the others run."""
    await asyncio.sleep(0)


def config(**changes: Any) -> SessionConfig:
    return SessionConfig.model_validate(
        {
            "provider": "openai_realtime",
            "instructions": "Ask about parks.",
            "phases": [{"id": "core", "name": "Core", "duration_seconds": 60}],
            "study_id": "study-7",
            "participant_identity": "p-1",
            **changes,
        }
    )


def allowance(session_id: str, verdict: Verdict = Verdict.GO_ON) -> Allowance:
    return Allowance(
        session_id=SessionId(session_id),
        up_to_micro_usd=500_000,
        limit_micro_usd=10_000_000,
        expires_at=1_030.0,
        verdict=verdict,
    )


def result_of(session_id: str, attempt: int = 1, **changes: Any) -> SessionResult:
    values: dict[str, Any] = {
        "session_id": SessionId(session_id),
        "attempt": attempt,
        "end_reason": EndReason.COMPLETED,
        "usage": usage(session_id, attempt),
        "duration_s": 60.0,
        "provider_sessions": (f"sess-{attempt}",),
        **changes,
    }
    return SessionResult(**values)


def usage(session_id: str, attempt: int = 1, spent_pico_usd: int = 1_000_001) -> UsageReport:
    return UsageReport(
        session_id=SessionId(session_id),
        attempt=attempt,
        seq=1,
        at=1_000.0,
        provider="openai_realtime",
        model="gpt-realtime-2025-08-28",
        tokens=TokenCounts(),
        spent_pico_usd=spent_pico_usd,
    )


def lose_cluster(clusters: Clusters, name: str) -> None:
    """It was there, and its beat has stood still for long enough."""
    for second in range(0, int(GONE_AFTER_S) + 1, 5):
        clusters.heard({clusters.own: second + 1, name: 1}, float(second))


class FakeRoster:
    def __init__(self, asked: list[str]) -> None:
        self.asked = asked
        self.held: dict[SessionId, ActorId] = {}
        self.lost: set[SessionId] = set()
        """Sessions whose reservation is gone when they want to begin."""
        self.failure: FleetError | None = None
        self.reassign_failure: FleetError | None = None
        self.release_failure: FleetError | None = None
        self.gate: asyncio.Event | None = None
        """Reserving and admitting wait for it."""
        self.admitted: dict[SessionId, float] = {}
        self.waits: list[float] = []
        """Of those that asked for another actor."""
        self.begin_failures: list[FleetError] = []
        """What the next calls of begin meet with."""
        self.begun: list[SessionId] = []
        self.spare = True
        """There is an actor to move a session to."""
        self._number = 0

    async def admit(self, session_id: SessionId, within_s: float) -> None:
        self.asked.append("admit")
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        self.admitted[session_id] = within_s

    async def reserve(self, session_id: SessionId, wait_s: float) -> Reservation:
        self.asked.append("reserve")
        if self.gate is not None:
            await self.gate.wait()
        if self.failure is not None:
            raise self.failure
        return self._given(session_id)

    async def reassign(self, session_id: SessionId, wait_s: float) -> Reservation:
        self.asked.append("reassign")
        self.waits.append(wait_s)
        self.lost.discard(session_id)
        if self.gate is not None:
            await self.gate.wait()
        if self.reassign_failure is not None:
            raise self.reassign_failure
        return self._given(session_id)

    async def prepare_move(self, session_id: SessionId) -> bool:
        self.asked.append("prepare_move")
        return self.spare

    async def begin(self, session_id: SessionId) -> ActorId | None:
        if self.begin_failures:
            raise self.begin_failures.pop()
        self.begun.append(session_id)
        return None if session_id in self.lost else self.held.get(session_id)

    async def release(self, session_id: SessionId) -> None:
        self.asked.append("release")
        if self.release_failure is not None:
            raise self.release_failure
        self.held.pop(session_id, None)
        self.admitted.pop(session_id, None)

    def _given(self, session_id: SessionId) -> Reservation:
        self._number += 1
        self.held[session_id] = ActorId(f"a-{self._number}")
        return Reservation(session_id=session_id, actor_id=self.held[session_id], waited_s=0.0)


class FakeBudget:
    def __init__(self, asked: list[str]) -> None:
        self.asked = asked
        self.open_accounts: set[SessionId] = set()
        self.last_reports: list[UsageReport] = []
        self.verdict = Verdict.GO_ON
        self.down = False
        self.late: list[SessionId] = []
        """Those that ought to be over."""
        self.asked_overdue: list[float] = []

    async def open(
        self, session_id: SessionId, study_id: str, provider: str, limit_micro_usd: int
    ) -> Allowance:
        self.asked.append("open")
        if self.down:
            raise BudgetUnavailable("down")
        self.open_accounts.add(session_id)
        return allowance(session_id, self.verdict)

    async def close(self, session_id: SessionId, reports: Sequence[UsageReport] = ()) -> int | None:
        self.asked.append("close")
        self.last_reports += reports
        if self.down:
            raise BudgetUnavailable("down")
        if session_id not in self.open_accounts:
            return None
        self.open_accounts.discard(session_id)
        return 42

    async def overdue(self, grace_s: float) -> list[SessionId]:
        self.asked_overdue.append(grace_s)
        if self.down:
            raise BudgetUnavailable("down")
        return [session_id for session_id in self.late if session_id in self.open_accounts]


class FakeRooms:
    def __init__(self, asked: list[str]) -> None:
        self.asked = asked
        self.rooms: dict[str, str] = {}
        self.timeouts_s: dict[str, tuple[int, int]] = {}
        self.down = False

    async def create_room(
        self,
        name: str,
        *,
        metadata: str = "",
        empty_timeout_s: int = 120,
        departure_timeout_s: int = 60,
    ) -> None:
        self.asked.append("create_room")
        if self.down:
            raise LiveKitUnavailable("create_room", "down")
        self.rooms[name] = metadata
        self.timeouts_s[name] = (empty_timeout_s, departure_timeout_s)

    async def delete_room(self, name: str) -> bool:
        self.asked.append("delete_room")
        if self.down:
            raise LiveKitUnavailable("delete_room", "down")
        return self.rooms.pop(name, None) is not None

    async def remove_participant(self, room: str, identity: str) -> bool:
        self.asked.append(f"remove_participant:{identity}")
        return False

    def agent_token(self, *, room: str, identity: str, ttl_s: int) -> str:
        return f"agent:{identity}@{room}"

    def participant_token(
        self, *, room: str, identity: str, ttl_s: int, name: str | None = None
    ) -> str:
        return f"participant:{identity}@{room}"


class FakeRecords:
    """A registry in memory that keeps the order of a session's life as the real one does."""

    def __init__(self, asked: list[str]) -> None:
        self.asked = asked
        self.records: dict[str, SessionRecord] = {}
        self.claims: dict[str, tuple[str, str]] = {}
        self.down = False
        self.hangs_at = ""
        """What is asked for and never answered."""
        self.observing: dict[str, tuple[str, ...]] = {}

    async def create(
        self, record: SessionRecord, *, body_hash: str = "", exclusive: bool = False
    ) -> Created:
        self._ask("create")
        key, after = record.idempotency_key, None
        if key is not None and self.claims.get(key, (record.session_id,))[0] != record.session_id:
            session_id, known = self.claims[key]
            if exclusive and self.records[session_id].is_gone:
                after = session_id
            elif known != body_hash:
                raise IdempotencyConflict(session_id)
            else:
                return Created(record=self.records[session_id], existing=True)
        if record.session_id in self.records:
            raise SessionExists(record.session_id)
        if key is not None:
            self.claims[key] = (record.session_id, body_hash)
        self.records[record.session_id] = record
        return Created(record=record, existing=False, after=after)

    async def get(self, session_id: str) -> SessionRecord:
        if session_id not in self.records:
            raise SessionNotFound(session_id)
        return self.records[session_id]

    async def claimants(self, keys: Sequence[str]) -> list[SessionRecord | None]:
        return [self.records[self.claims[k][0]] if k in self.claims else None for k in keys]

    async def find(self, session_id: str) -> SessionRecord | None:
        return self.records.get(session_id)

    async def active(self) -> AsyncIterator[SessionRecord]:
        for record in list(self.records.values()):
            if not record.is_gone:
                yield record

    async def update(
        self,
        session_id: str,
        *,
        state: SessionState | None = None,
        attempt: int | None = None,
        **changes: Any,
    ) -> SessionRecord:
        self._ask(f"update:{state}")
        if self.hangs_at == f"update:{state}":
            await asyncio.Event().wait()
        record = await self.get(session_id)
        there = Step(state=state or record.state, attempt=attempt or record.attempt)
        if not may_move(Step(state=record.state, attempt=record.attempt), there):
            raise StateConflict(
                session_id=session_id,
                state=record.state,
                attempt=record.attempt,
                wanted=str(there),
            )
        return self._change(record, state=there.state, attempt=there.attempt, **changes)

    async def end(
        self, session_id: str, reason: EndReason, *, attempt: int | None = None, **changes: Any
    ) -> SessionRecord:
        self._ask("end")
        record = await self.get(session_id)
        if record.is_gone:
            return record
        if attempt is not None and attempt < record.attempt:
            raise StateConflict(
                session_id=session_id, state=record.state, attempt=record.attempt, wanted="gone"
            )
        return self._change(record, state=SessionState.GONE, end_reason=reason, **changes)

    async def add_facts(self, session_id: str, **facts: Any) -> SessionRecord:
        self._ask("add_facts")
        return self._change(await self.get(session_id), **facts)

    async def withdraw(self, session_id: str) -> None:
        self._ask("withdraw")
        record = self.records.pop(session_id, None)
        if record is not None and record.idempotency_key is not None:
            self.claims.pop(record.idempotency_key, None)

    async def observers(self, session_id: str) -> tuple[str, ...]:
        if self.down:
            raise RegistryUnavailable("observers")
        return self.observing.get(session_id, ())

    async def release_claim(self, session_id: str, idempotency_key: str) -> None:
        self._ask("release_claim")
        if self.claims.get(idempotency_key, ("",))[0] == session_id:
            del self.claims[idempotency_key]

    def _ask(self, what: str) -> None:
        self.asked.append(what)
        if self.down:
            raise RegistryUnavailable(what)

    def _change(self, record: SessionRecord, **changes: Any) -> SessionRecord:
        if "timings_s" in changes:
            changes["timings_s"] = {**record.timings_s, **changes["timings_s"]}
        self.records[record.session_id] = replace(record, **changes)
        return self.records[record.session_id]


class FakeSupervisor:
    def __init__(self, asked: list[str], records: FakeRecords) -> None:
        self.asked = asked
        self._records = records
        self.requests: list[Any] = []
        self.failure: Exception | None = None
        self.silent = False
        self.known: set[SessionId] = set()
        self.stops: list[tuple[SessionId, EndReason, Any]] = []
        self.over: dict[SessionId, asyncio.Event] = {}
        """Set by a test when a session that was started is over."""
        self.staying: set[SessionId] = set()
        """Those that nobody waits for long enough."""

    async def start(self, request: Any, deadline_s: float) -> JoinReport:
        self.asked.append("start")
        self.requests.append(request)
        if self.silent:
            await asyncio.Event().wait()
        if self.failure is not None:
            raise self.failure
        self.known.add(request.session_id)
        await self._records.update(request.session_id, state=SessionState.JOINED, actor_id="a-1")
        return JoinReport(session_id=request.session_id, actor_id=ActorId("a-1"), connect_s=0.25)

    async def stop(self, session_id: SessionId, reason: EndReason, mode: Any) -> None:
        self.asked.append("stop")
        if session_id not in self.known:
            raise SessionNotFound(session_id)
        self.stops.append((session_id, reason, mode))

    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool:
        self.asked.append("wait_over")
        if session_id in self.staying:
            return False
        if session_id in self.known:
            over = self.over.setdefault(session_id, asyncio.Event())
            if timeout_s == 0:
                return over.is_set()
            await over.wait()
        return True


class FakeActor:
    """One session actor: a test settles ``join`` and ``end`` as it likes."""

    def __init__(self, attempt: int) -> None:
        self.attempt = attempt
        self.join: asyncio.Future[JoinReport] = asyncio.get_running_loop().create_future()
        self.end: asyncio.Future[SessionResult] = asyncio.get_running_loop().create_future()
        self.orders: list[StopOrder] = []
        self.obeys = {"goodbye": True, "now": True}
        self.answers = True
        self.handed_over: list[float] = []


class FakeActors:
    def __init__(self, asked: list[str]) -> None:
        self.asked = asked
        self.actors: dict[ActorId, FakeActor] = {}
        self.assignments: list[Assignment] = []
        self.restrained: list[Allowance] = []
        self.observed: list[tuple[ActorId, tuple[str, ...]]] = []
        self.running = asyncio.Event()
        """Set by each new run; a test clears it to wait for the next."""
        self.lost_on_ping: set[ActorId] = set()

    async def meet(self, actor_id: ActorId, handle: Any) -> None: ...

    async def run(self, actor_id: ActorId, assignment: Assignment) -> SessionResult:
        self.assignments.append(assignment)
        actor = self.actors.setdefault(actor_id, FakeActor(assignment.attempt))
        self.running.set()
        return await actor.end

    async def joined(
        self, actor_id: ActorId, session_id: SessionId, deadline_s: float
    ) -> JoinReport:
        return await self.actors[actor_id].join

    async def stop(self, actor_id: ActorId, order: StopOrder) -> None:
        actor = self.actors[actor_id]
        actor.orders.append(order)
        if not actor.answers:
            await asyncio.Event().wait()
        if actor.obeys[order.mode] and not actor.end.done():
            session_id = self.assignments[-1].session_id
            actor.end.set_result(result_of(session_id, actor.attempt, end_reason=order.reason))

    async def hand_over(self, actor_id: ActorId, patience_s: float) -> None:
        if actor_id in self.lost_on_ping:
            raise ActorLost(actor_id, "dead")
        self.actors[actor_id].handed_over.append(patience_s)

    async def restrain(self, actor_id: ActorId, allowance: Allowance) -> None:
        if actor_id not in self.actors or actor_id in self.lost_on_ping:
            raise ActorLost(actor_id, "dead")
        self.restrained.append(allowance)

    async def observe(self, actor_id: ActorId, observers: Sequence[str]) -> None:
        if actor_id not in self.actors or actor_id in self.lost_on_ping:
            raise ActorLost(actor_id, "dead")
        self.observed.append((actor_id, tuple(observers)))

    async def ping(self, actor_id: ActorId) -> None:
        if actor_id in self.lost_on_ping:
            raise ActorLost(actor_id, "dead")

    def kill(self, actor_id: ActorId) -> None:
        self.asked.append("kill")
        self.lost_on_ping.add(actor_id)
        actor = self.actors.get(actor_id)
        if actor is not None and not actor.end.done():
            actor.end.set_exception(ActorLost(actor_id, "killed"))

    def forget(self, actor_id: ActorId) -> None: ...


class FakeStops:
    def __init__(self) -> None:
        self.wanted: dict[SessionId, StopWanted] = {}

    async def put(self, wanted: StopWanted) -> None:
        self.wanted[wanted.session_id] = wanted

    async def all(self) -> list[StopWanted]:
        return list(self.wanted.values())

    async def drop(self, session_ids: Sequence[SessionId]) -> None:
        for session_id in session_ids:
            self.wanted.pop(session_id, None)


class FakeJournal:
    def __init__(self) -> None:
        self.states: dict[str, LiveState] = {}
        self.entries: dict[str, list[JournalEntry]] = {}
        self.contracts: dict[str, str] = {}

    async def live(self, session_id: str) -> LiveState | None:
        return self.states.get(session_id)

    async def contract(self, session_id: str) -> str | None:
        return self.contracts.get(session_id)

    async def read(
        self, session_id: str, *, after_id: str | None = None, limit: int = 200
    ) -> list[JournalEntry]:
        entries = self.entries.get(session_id, [])
        ids = [e.id for e in entries]
        return entries[ids.index(after_id) + 1 :] if after_id else entries


class FakeCrew:
    """Actors that get warm when the test says so."""

    def __init__(self) -> None:
        self.started: dict[ActorId, asyncio.Future[WarmReport]] = {}
        self.killed: list[ActorId] = []
        self.dead: set[ActorId] = set()
        self.introduced: list[ActorId] = []
        self.supervisor_away = False
        self.not_on: tuple[str, ...] = ()
        """What the last start was told to avoid."""
        self.node_id = "n-1"
        """Where those are that get warm."""

    async def start(
        self, actor_id: ActorId, on: str | None = None, not_on: Sequence[str] = ()
    ) -> WarmReport:
        future: asyncio.Future[WarmReport] = asyncio.get_running_loop().create_future()
        self.started[actor_id] = future
        self.not_on = tuple(not_on)
        return await future

    async def rejoin(self, actor_id: ActorId) -> WarmReport:
        return await self.start(actor_id)

    async def ping(self, actor_id: ActorId, deadline_s: float) -> None:
        if actor_id in self.dead:
            raise ActorLost(actor_id, "dead")

    async def look(self, actor_id: ActorId, deadline_s: float) -> Pulse:
        await self.ping(actor_id, deadline_s)
        return Pulse(age_s=1.0, node_id="n-9")

    async def introduce(self, actor_id: ActorId) -> None:
        if self.supervisor_away:
            raise ActorLost("supervisor", "dead")
        self.introduced.append(actor_id)

    def kill(self, actor_id: ActorId) -> None:
        self.killed.append(actor_id)

    def existing(self) -> list[ActorId]:
        return []

    def get_warm(self, *actor_ids: ActorId) -> None:
        for actor_id in actor_ids or [a for a, f in self.started.items() if not f.done()]:
            self.started[actor_id].set_result(
                WarmReport(actor_id=actor_id, pid=1, node_id=self.node_id, warm_s=0.5)
            )
