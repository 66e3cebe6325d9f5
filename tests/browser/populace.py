"""A fleet's worth of sessions, written as their writers would: for pictures, and for load.

Records by the registry, live states and journals by journal writers, money by a book of the budget
actor's on a clock of its own, which goes through the last hour. Nothing of it is run by anybody.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from types import TracebackType
from typing import Self

from agent_actor.contract import EndReason, SessionId, SessionState
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.messages import PICO_PER_MICRO, TokenCounts, UsageReport
from agent_actor.redis_client import open_redis
from fleet.bench.reporters import MODELS
from fleet.budget.book import Book, BookConfig
from fleet.budget.ledger import Ledger
from fleet.records import SessionRecord
from fleet.registry import Registry, new_session_id
from tests.browser.interview_text import CONVERSATION, PHASES

STUDIES = ("parks-2026", "commuting", "kitchen-diaries")
RATES = {"openai_realtime": 95_000, "gemini_live": 31_000}
"""Micro-dollars a minute, about."""
FIRST_AUDIO_S = {"openai_realtime": 0.62, "gemini_live": 0.84}
LIMIT_MICRO_USD = 4_000_000
BEFORE_LIVE = (SessionState.ASSIGNED, SessionState.JOINED, SessionState.CONFIGURED)
REASONS = {
    EndReason.COMPLETED: 76,
    EndReason.NO_SHOW: 13,
    EndReason.PARTICIPANT_LEFT: 7,
    EndReason.PROVIDER_FAILED: 2,
    EndReason.BUDGET_EXCEEDED: 2,
}


@dataclass
class Person:
    """One session. Times are epoch seconds, money micro-dollars."""

    session_id: SessionId
    study_id: str
    participant: str
    provider: str
    created_at: float
    joined_at: float
    lasts_s: float
    reason: EndReason
    rate: float
    seq: int = 0
    spent: int = 0

    def spent_at(self, now: float) -> int:
        talked_s = min(max(0.0, now - self.joined_at), self.lasts_s)
        return round(self.rate * talked_s / 60)

    def phase_at(self, now: float) -> int:
        part = (now - self.joined_at) / self.lasts_s
        return min(len(PHASES) - 1, max(0, math.floor(part * len(PHASES))))

    @property
    def ends_at(self) -> float:
        return self.joined_at + self.lasts_s


@dataclass
class Populace:
    """Enter it, ``settle``, and let it ``go_on``."""

    redis_url: str
    namespace: str
    seed: int = 7
    people: list[Person] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._rng = Random(self.seed)
        self._registry = Registry(open_redis(self.redis_url, timeout_s=10), self.namespace)
        self._writers: dict[SessionId, JournalWriter] = {}
        self._count = 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.gather(*(writer.aclose() for writer in self._writers.values()))
        await self._registry.aclose()

    async def settle(self, live: int, *, ended: int = 0) -> list[Person]:
        """So many sessions under way, and so many that have ended within the last hour."""
        now, everybody = time.time(), []
        for n in range(live + ended):
            person = self._person(now, ended=n >= live, study=STUDIES[n % len(STUDIES)])
            everybody.append(person)
            await self._come(person)
            if n >= live:
                await self._go(person)
            else:
                self.people.append(person)
                await self._tell(person, now)
        return everybody

    async def book(self, ledger_namespace: str, past: list[Person]) -> None:
        """The money of these people, minute by minute, as it was reported then. Before a budget
        actor takes the ledger over."""
        then = time.time() - 3_600
        ledger = Ledger(open_redis(self.redis_url, timeout_s=10), ledger_namespace)
        book = Book(ledger, BookConfig(), now=lambda: then)
        await book.start()
        opened: set[SessionId] = set()
        now = time.time()
        while then < now:
            then = min(then + 20, now)
            reports = []
            for person in past:
                if person.created_at <= then and person.session_id not in opened:
                    opened.add(person.session_id)
                    await book.open(
                        session_id=person.session_id,
                        study_id=person.study_id,
                        provider=person.provider,
                        limit_micro_usd=LIMIT_MICRO_USD,
                    )
                if person.session_id in opened and then <= person.ends_at + 20:
                    reports.append(usage_report(person, then))
            await book.report_batch(reports)
        for person in past:
            if person.ends_at <= now:
                await book.close(person.session_id)
        await book.aclose()

    async def go_on(self, until: asyncio.Event, *, changes_per_s: float) -> int:
        """Sessions say what they do, by turns; every 200th time one ends and another one comes.
        How many changes that were."""
        changes = 0
        loop = asyncio.get_running_loop()
        began = loop.time()
        while not until.is_set():
            person = self.people[changes % len(self.people)]
            if changes % 200 == 199:
                await self._replace(person)
            else:
                await self._tell(person, time.time())
            changes += 1
            # By the clock: what was late is made up for.
            with suppress(TimeoutError):
                async with asyncio.timeout_at(began + changes / changes_per_s):
                    await until.wait()
        return changes

    async def interview(self, person: Person, *, said: int) -> None:
        """The journal of a conversation that began when ``person`` joined."""
        at = person.joined_at
        writer = JournalWriter(
            self.redis_url, self.namespace, person.session_id, 1, timeout_s=10, clock=lambda: at
        ).start()
        for step in conversation(said):
            at += step.after_s
            writer.record(step.kind, **step.data)
        live = self._live(person, time.time())
        writer.live(live)
        await writer.aclose()

    def _person(self, now: float, *, ended: bool, study: str) -> Person:
        rng = self._rng
        self._count += 1
        provider = rng.choice(list(RATES))
        reason = rng.choices(list(REASONS), list(REASONS.values()))[0]
        lasts_s = 75.0 if reason is EndReason.NO_SHOW else rng.uniform(480, 1_500)
        created_at = now - (rng.uniform(1_550, 3_400) if ended else rng.uniform(5, lasts_s))
        if not ended:
            lasts_s = max(lasts_s, 480.0)
        return Person(
            session_id=SessionId(new_session_id()),
            study_id=study,
            participant=f"p-{self._count:04d}",
            provider=provider,
            created_at=created_at,
            joined_at=created_at + rng.lognormvariate(-1.2, 0.35),
            lasts_s=lasts_s,
            reason=reason,
            rate=RATES[provider] * rng.uniform(0.7, 1.4),
        )

    async def _come(self, person: Person) -> None:
        record = SessionRecord(
            session_id=person.session_id,
            study_id=person.study_id,
            participant_identity=person.participant,
            room=f"interview-{person.session_id}",
            provider=person.provider,
            model=MODELS[person.provider],
            limit_micro_usd=LIMIT_MICRO_USD,
            created_at=person.created_at,
        )
        await self._registry.create(record)
        joined = {"joined_at": person.joined_at, "first_joined_at": person.joined_at}
        await self._registry.update(
            person.session_id,
            state=SessionState.LIVE,
            attempt=1,
            **joined,  # type: ignore[arg-type]
        )

    async def _go(self, person: Person) -> None:
        first_audio_s = FIRST_AUDIO_S[person.provider] * self._rng.uniform(0.85, 1.5)
        await self._registry.end(
            person.session_id,
            person.reason,
            ended_at=person.ends_at,
            spent_micro_usd=person.spent_at(person.ends_at),
            timings_s={"first_audio": first_audio_s},
        )

    async def _replace(self, gone: Person) -> None:
        await self._registry.end(gone.session_id, EndReason.COMPLETED)
        await self._writers.pop(gone.session_id).aclose()
        now = time.time()
        person = self._person(now, ended=False, study=gone.study_id)
        person.created_at, person.joined_at = now - 0.3, now
        self.people[self.people.index(gone)] = person
        await self._come(person)
        await self._tell(person, now)

    async def _tell(self, person: Person, now: float) -> None:
        writer = self._writers.get(person.session_id)
        if writer is None:
            writer = JournalWriter(
                self.redis_url, self.namespace, person.session_id, 1, timeout_s=10
            ).start()
            self._writers[person.session_id] = writer
        writer.live(self._live(person, now))

    def _live(self, person: Person, now: float) -> LiveState:
        phase = person.phase_at(now)
        return LiveState(
            state=SessionState.LIVE.value,
            phase_id=PHASES[phase][0],
            phase_index=phase,
            phase_count=len(PHASES),
            participant_present=True,
            speaking=self._rng.choice((None, "interviewer", "participant", "participant")),
            spent_micro_usd=person.spent_at(now),
            estimate_micro_usd=self._rng.randrange(9_000),
            updated_at=now,
        )


@dataclass(frozen=True, kw_only=True)
class Written:
    """An entry, so long after the one before."""

    after_s: float
    kind: EventKind
    data: dict[str, object]


def conversation(said: int) -> Iterator[Written]:
    """As an interview's journal has it: ``said`` turns, phases between them, and what happens."""
    for state in BEFORE_LIVE:
        yield Written(after_s=0.1, kind=EventKind.STATE, data={"state": state.value})
    yield Written(after_s=0.2, kind=EventKind.PROVIDER, data={"change": "connected"})
    yield Written(after_s=1.5, kind=EventKind.PARTICIPANT, data={"change": "joined"})
    yield Written(after_s=0.1, kind=EventKind.STATE, data={"state": SessionState.LIVE.value})
    yield Written(after_s=0.6, kind=EventKind.AUDIO, data={"first_audio_s": 0.64})
    phase = -1
    for n, (index, speaker, text) in enumerate(CONVERSATION[:said]):
        if index != phase:
            phase = index
            cause = "advanced" if index else "started"
            entered = {"phase_id": PHASES[index][0], "name": PHASES[index][1], "index": index}
            data = {"change": "entered", "cause": cause, **entered}
            yield Written(after_s=0.5, kind=EventKind.PHASE, data=data)
        turn: dict[str, object] = {"speaker": speaker, "text": text, "interrupted": n == 7}
        yield Written(after_s=14.0, kind=EventKind.TURN, data=turn)
        if n == 5:
            yield Written(after_s=1, kind=EventKind.PARTICIPANT, data={"change": "left"})
            yield Written(after_s=6, kind=EventKind.PARTICIPANT, data={"change": "returned"})
        if n == 9:
            lost: dict[str, object] = {"change": "reconnected", "planned": True, "away_s": 0.41}
            yield Written(after_s=2, kind=EventKind.PROVIDER, data=lost)


def usage_report(person: Person, at: float) -> UsageReport:
    person.seq += 1
    spent = person.spent_at(at)
    responses = max(0, round((min(at, person.ends_at) - person.joined_at) / 25))
    return UsageReport(
        session_id=person.session_id,
        attempt=1,
        seq=person.seq,
        at=at,
        provider=person.provider,
        model=MODELS[person.provider],
        tokens=TokenCounts(input_audio=responses * 900, output_audio=responses * 340),
        spent_pico_usd=spent * PICO_PER_MICRO,
        responses=responses,
    )
