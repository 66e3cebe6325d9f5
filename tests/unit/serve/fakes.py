"""Hand-written stand-ins for the ports: small, in memory, with the real parts' manners."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace

from agent_actor.contract import EndReason, Provider, SessionId, SessionState
from agent_actor.journal import EventKind, JournalEvent, LiveState
from agent_actor.messages import Allowance, TokenCounts, Verdict
from fleet.budget.costs import BudgetTotals, MinuteCost, SessionCost, StudyCost
from fleet.budget.export import CostRow
from fleet.changes import Changed
from fleet.draining import Drain
from fleet.errors import (
    CursorInvalid,
    IdempotencyConflict,
    NodeNotFound,
    SessionNotFound,
    StateConflict,
    TooManyObservers,
    WebhookRejected,
)
from fleet.journal import JournalEntry, Turn
from fleet.limits import LimitChange
from fleet.livekit_client import ParticipantPass, WebhookEvent
from fleet.nodes import FleetNodes, Node
from fleet.observers import ObserverPass
from fleet.records import LIFE, Page, SessionRecord
from fleet.roster_model import NodeId
from serve.ports import Crew, NewSession, Ports, ProviderInfo, Started

NOW = 1_795_426_200.0


class FakeClock:
    """Time passes where a test says so."""

    def __init__(self, now: float = NOW) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


def record(session_id: str = "s-1", **changes: object) -> SessionRecord:
    base = SessionRecord(
        session_id=session_id,
        study_id="study-7",
        participant_identity="p-1",
        room=f"interview-{session_id}",
        provider="openai_realtime",
        limit_micro_usd=4_000_000,
        created_at=NOW,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


@dataclass
class FakeSessions:
    clock: FakeClock
    records: dict[str, SessionRecord] = field(default_factory=dict)
    error: Exception | None = None

    def put(self, item: SessionRecord) -> SessionRecord:
        self.records[item.session_id] = item
        return item

    async def get(self, session_id: str) -> SessionRecord:
        if self.error is not None:
            raise self.error
        try:
            return self.records[session_id]
        except KeyError:
            raise SessionNotFound(session_id) from None

    async def find_many(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        if self.error is not None:
            raise self.error
        return {id_: self.records[id_] for id_ in session_ids if id_ in self.records}

    async def active(self) -> AsyncIterator[SessionRecord]:
        if self.error is not None:
            raise self.error
        for item in list(self.records.values()):
            if not item.is_gone:
                yield item

    async def list(
        self,
        *,
        state: SessionState | None = None,
        study_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page:
        if self.error is not None:
            raise self.error
        if cursor is not None and not cursor.isdecimal():
            raise CursorInvalid
        found = [
            r
            for r in reversed(self.records.values())
            if state in (None, r.state) and study_id in (None, r.study_id)
        ]
        start = int(cursor or 0)
        more = start + limit < len(found)
        return Page(
            records=tuple(found[start : start + limit]),
            next_cursor=str(start + limit) if more else None,
        )

    async def counts(self, *, study_id: str | None = None) -> dict[SessionState, int]:
        if self.error is not None:
            raise self.error
        states = [r.state for r in self.records.values() if study_id in (None, r.study_id)]
        return {state: states.count(state) for state in LIFE}

    async def anonymise(self, session_id: str, *, now: float) -> SessionRecord:
        item = await self.get(session_id)
        return self.put(
            replace(item, participant_identity="", idempotency_key=None, error=None, erased_at=now)
        )


@dataclass
class FakeStarter:
    """Starts a session as one that joined at once; ``failure`` is raised instead."""

    sessions: FakeSessions
    requests: list[NewSession] = field(default_factory=list)
    stops: list[tuple[str, EndReason, bool]] = field(default_factory=list)
    failure: Exception | None = None
    gate: Callable[[], Awaitable[None]] | None = None
    ends_when_stopped: bool = True
    claims: dict[str, tuple[str, str]] = field(default_factory=dict)

    async def start(self, request: NewSession) -> Started:
        self.requests.append(request)
        if self.gate is not None:
            await self.gate()
        if self.failure is not None:
            raise self.failure
        key = request.idempotency_key
        if key in self.claims:
            session_id, body_hash = self.claims[key]
            if body_hash != request.body_hash:
                raise IdempotencyConflict(session_id)
            return self._answer(self.sessions.records[session_id], existing=True)
        session_id = f"s-{len(self.requests)}"
        if key is not None:
            self.claims[key] = (session_id, request.body_hash)
        state = SessionState.QUEUED if request.respond_async else SessionState.JOINED
        return self._answer(self._new(session_id, request, state), existing=False)

    async def stop(
        self, session_id: str, *, reason: EndReason = EndReason.OPERATOR, at_once: bool = False
    ) -> None:
        self.stops.append((session_id, reason, at_once))
        item = self.sessions.records[session_id]
        if self.ends_when_stopped and at_once:
            gone = replace(item, state=SessionState.GONE, end_reason=reason, ended_at=NOW)
            self.sessions.put(gone)
        else:
            self.sessions.put(replace(item, state=SessionState.ENDING))

    async def wait_gone(self, session_id: str, *, timeout_s: float) -> bool:
        return self.sessions.records[session_id].is_gone

    def _new(self, session_id: str, request: NewSession, state: SessionState) -> SessionRecord:
        return self.sessions.put(
            record(
                session_id,
                study_id=request.config.study_id,
                participant_identity=request.config.participant_identity,
                provider=request.config.provider.value,
                limit_micro_usd=request.config.budget_limit_micro_usd,
                idempotency_key=request.idempotency_key,
                state=state,
                timings_s={"validate": 0.0004, "join": 0.25},
            )
        )

    def _answer(self, item: SessionRecord, *, existing: bool) -> Started:
        gone = item.is_gone
        return Started(
            record=item,
            livekit_url="ws://127.0.0.1:7880",
            participant_token=None if gone else f"token-for-{item.session_id}",
            token_expires_at=None if gone else NOW + 3600,
            existing=existing,
        )


@dataclass
class FakeJournal:
    entries: dict[str, list[JournalEntry]] = field(default_factory=dict)
    lives: dict[str, LiveState] = field(default_factory=dict)
    erased: list[str] = field(default_factory=list)
    quiet: Callable[[], None] | None = None
    """Called in each quiet moment of a follower: what happens meanwhile."""
    error: Exception | None = None
    followers: int = 0

    def add(self, session_id: str, kind: EventKind, **data: object) -> JournalEntry:
        entries = self.entries.setdefault(session_id, [])
        event = JournalEvent(kind=kind, at=NOW + len(entries), data=data)
        entries.append(JournalEntry(id=f"{len(entries) + 2}-0", event=event))
        return entries[-1]

    async def read(
        self, session_id: str, *, after_id: str | None = None, limit: int = 200
    ) -> list[JournalEntry]:
        if self.error is not None:
            raise self.error
        after = int((after_id or "0").partition("-")[0])
        newer = [e for e in self.entries.get(session_id, []) if int(e.id.partition("-")[0]) > after]
        return newer[:limit]

    async def follow(
        self,
        session_id: str,
        *,
        after_id: str | None = None,
        until: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncIterator[JournalEntry | None]:
        self.followers += 1
        try:
            while True:
                over = False
                entries = await self.read(session_id, after_id=after_id)
                if not entries:
                    if self.quiet is not None:
                        self.quiet()
                    yield None
                    over = until is not None and await until()
                    entries = await self.read(session_id, after_id=after_id) if over else []
                for entry in entries:
                    after_id = entry.id
                    yield entry
                if over and not entries:
                    return
        finally:
            self.followers -= 1

    async def transcript(self, session_id: str) -> tuple[Turn, ...]:
        return tuple(
            Turn(
                at=e.event.at,
                speaker=str(e.event.data["speaker"]),
                text=str(e.event.data["text"]),
                interrupted=False,
                phase_id=None,
            )
            for e in await self.read(session_id)
            if e.event.kind is EventKind.TURN
        )

    async def live(self, session_id: str) -> LiveState | None:
        return self.lives.get(session_id)

    async def live_many(self, session_ids: Sequence[str]) -> tuple[LiveState | None, ...]:
        if self.error is not None:
            raise self.error
        return tuple(map(self.lives.get, session_ids))

    async def erase(self, session_id: str) -> None:
        self.erased.append(session_id)
        self.lives.pop(session_id, None)
        self.entries.pop(session_id, None)


class FakeChanges:
    """What ``tell`` said since a mark."""

    def __init__(self) -> None:
        self.told: list[tuple[frozenset[str], frozenset[str]]] = []
        self.complete = True
        self.error: Exception | None = None

    def tell(self, *, records: Iterable[str] = (), lives: Iterable[str] = ()) -> None:
        self.told.append((frozenset(records), frozenset(lives)))

    async def mark(self) -> int:
        if self.error is not None:
            raise self.error
        return len(self.told)

    async def since(self, mark: int) -> Changed:
        newest = await self.mark()
        nobody: frozenset[str] = frozenset()
        return Changed(
            mark=newest,
            records=nobody.union(*(records for records, _ in self.told[mark:])),
            lives=nobody.union(*(lives for _, lives in self.told[mark:])),
            complete=self.complete,
        )


@dataclass
class FakeMoney:
    costs: dict[str, SessionCost] = field(default_factory=dict)
    limits: list[tuple[str, int | None]] = field(default_factory=list)
    """As they were set."""
    told: int = 1
    studies: dict[str, StudyCost] = field(default_factory=dict)
    rows: list[tuple[CostRow, ...]] = field(default_factory=list)
    """Pages of any study."""
    rows_end: Exception | None = None
    """Raised after the pages."""
    error: Exception | None = None

    async def study_rows(self, study_id: str) -> AsyncIterator[tuple[CostRow, ...]]:
        if self.error is not None:
            raise self.error
        for page in self.rows:
            yield page
        if self.rows_end is not None:
            raise self.rows_end

    async def session_rows(self, session_id: str) -> tuple[CostRow, ...]:
        if self.error is not None:
            raise self.error
        return tuple(r for page in self.rows for r in page if r.session_id == session_id)

    async def cost(self, session_id: str) -> SessionCost | None:
        if self.error is not None:
            raise self.error
        return self.costs.get(session_id)

    async def study_cost(self, study_id: str) -> StudyCost | None:
        return self.studies.get(study_id)

    async def set_limit(self, session_id: str, micro_usd: int) -> LimitChange | None:
        if session_id not in self.costs:
            return None
        self.limits.append((session_id, micro_usd))
        return LimitChange(allowances=(self._allowance(session_id, micro_usd),), told=self.told)

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> LimitChange:
        self.limits.append((study_id, micro_usd))
        ids = [c.session_id for c in self.costs.values() if c.study_id == study_id]
        return LimitChange(allowances=tuple(self._allowance(i, 1) for i in ids), told=self.told)

    def _allowance(self, session_id: str, micro_usd: int) -> Allowance:
        return Allowance(
            session_id=SessionId(session_id),
            up_to_micro_usd=micro_usd,
            limit_micro_usd=micro_usd,
            expires_at=NOW + 120,
            verdict=Verdict.GO_ON if micro_usd else Verdict.END,
        )

    async def totals(self) -> BudgetTotals:
        if self.error is not None:
            raise self.error
        return BudgetTotals(
            spent_micro_usd=1_250_000,
            estimate_micro_usd=10,
            limit_micro_usd=None,
            committed_micro_usd=1_250_010,
            sessions=1,
            open_sessions=1,
            epoch=1,
        )


@dataclass
class FakeObservers:
    admitted: list[str] = field(default_factory=list)
    """By session."""
    most: int = 2
    told: bool = True

    async def admit(self, record: SessionRecord) -> ObserverPass:
        if record.state in (SessionState.GONE, SessionState.QUEUED):
            raise StateConflict(
                session_id=record.session_id,
                state=record.state,
                attempt=record.attempt,
                wanted="an observer",
            )
        if self.admitted.count(record.session_id) >= self.most:
            raise TooManyObservers(record.session_id, self.most)
        self.admitted.append(record.session_id)
        identity = f"observer-{len(self.admitted)}"
        return ObserverPass(
            identity=identity,
            room=record.room,
            livekit_url="ws://127.0.0.1:7880",
            token=f"token-for-{identity}",
            expires_at=NOW + 3600,
            told=self.told,
        )


class FakeRoster:
    def __init__(self) -> None:
        self.now = Crew(warm=2, reserved=0, live=3, starting=1, slots=200, free=197, queue=0)
        self.error: Exception | None = None

    async def crew(self) -> Crew:
        if self.error is not None:
            raise self.error
        return self.now


class FakePasses:
    """Reads `room/identity`, and `room/identity/expired`."""

    def read_pass(self, token: str) -> ParticipantPass | None:
        match token.split("/"):
            case [room, identity, *rest] if rest in ([], ["expired"]):
                return ParticipantPass(room=room, identity=identity, expired=bool(rest))
        return None


class FakeWebhooks:
    """Takes a body that starts with its signature, as the Authorization header has it."""

    def verify_webhook(self, body: bytes, authorization: str | None) -> WebhookEvent:
        if authorization != "signed" or not body.startswith(b"room_"):
            raise WebhookRejected("webhook signature does not fit")
        event, room, event_id = body.decode().split(" ")
        return WebhookEvent(
            event_id=event_id,
            event=event,
            created_at=NOW,
            room=room,
            participant_identity=None,
            participant_is_agent=False,
        )


def cost(**changes: object) -> SessionCost:
    base = SessionCost(
        session_id="s-1",
        study_id="study-7",
        provider="openai_realtime",
        spent_micro_usd=431_200,
        estimate_micro_usd=9_100,
        limit_micro_usd=4_000_000,
        allowance_micro_usd=900_000,
        verdict=Verdict.GO_ON,
        model="gpt-realtime",
        tokens=TokenCounts(input_audio=5_120, output_audio=2_210),
        responses=9,
        unpriced_responses=1,
        minutes=(
            MinuteCost(
                minute_epoch=int(NOW) // 60 * 60, provider="openai_realtime", micro_usd=431_200
            ),
        ),
        closed=False,
    )
    return replace(base, **changes)  # type: ignore[arg-type]


DRAIN_DEADLINE_S = 600.0
LIVEKIT_URL = "wss://livekit.example.org"


class FakeNodes:
    """One node."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.asked: list[tuple[str | None, float]] = []
        self._drains: dict[str | None, Drain] = {}

    async def look(self) -> FleetNodes:
        if self.error is not None:
            raise self.error
        node = Node(
            node_id=NodeId("aaaaaa11"),
            address="10.0.0.1",
            host="worker-1",
            drain=self._drains.get("10.0.0.1"),
            live=3,
            ready=2,
            slots=32,
        )
        return FleetNodes(nodes=(node,), fleet_drain=self._drains.get(None), live=3)

    async def drain(self, wanted: str | None, deadline_s: float) -> FleetNodes:
        self._check(wanted)
        self.asked.append((wanted, deadline_s))
        self._drains[wanted] = Drain(since=NOW, deadline=NOW + deadline_s)
        return await self.look()

    async def undrain(self, wanted: str | None) -> FleetNodes:
        self._check(wanted)
        self._drains.pop(wanted, None)
        return await self.look()

    def _check(self, wanted: str | None) -> None:
        if wanted not in (None, "10.0.0.1"):
            raise NodeNotFound(str(wanted))


class FakeFleet:
    """All the fakes, and the ports over them."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.sessions = FakeSessions(self.clock)
        self.starter = FakeStarter(self.sessions)
        self.journal = FakeJournal()
        self.changes = FakeChanges()
        self.money = FakeMoney()
        self.observers = FakeObservers()
        self.roster = FakeRoster()
        self.nodes = FakeNodes()
        self.closed = 0
        self.meanwhile: Callable[[], None] = lambda: None
        """What happens while a route sleeps."""
        self.public_url: str | None = None
        self.expositions: list[bytes] = []
        self.problems: dict[str, str | Exception | None] = {
            "roster": None,
            "redis": None,
            "livekit": None,
            "warm": None,
        }

    def ports(self) -> Ports:
        return Ports(
            starter=self.starter,
            sessions=self.sessions,
            journal=self.journal,
            changes=self.changes,
            money=self.money,
            observers=self.observers,
            roster=self.roster,
            nodes=self.nodes,
            passes=FakePasses(),
            livekit_url=LIVEKIT_URL,
            public_url=self.public_url,
            drain_deadline_s=DRAIN_DEADLINE_S,
            webhooks=FakeWebhooks(),
            checks={name: self._check(name) for name in self.problems},
            providers=(
                ProviderInfo(
                    provider=Provider.OPENAI_REALTIME, simulated=True, endpoint="ws://127.0.0.1:1"
                ),
                ProviderInfo(provider=Provider.GEMINI_LIVE, simulated=False),
            ),
            clock=self.clock,
            session_of_room=lambda room: room.removeprefix("interview-"),
            expositions=self._expositions,
            aclose=self._aclose,
            sleep=self._sleep,
        )

    async def _sleep(self, seconds: float) -> None:
        self.clock.now += seconds
        self.meanwhile()

    async def _expositions(self) -> list[bytes]:
        return self.expositions

    async def _aclose(self) -> None:
        self.closed += 1

    def _check(self, name: str) -> Callable[[], Awaitable[str | None]]:
        async def check() -> str | None:
            problem = self.problems[name]
            if isinstance(problem, Exception):
                raise problem
            return problem

        return check
