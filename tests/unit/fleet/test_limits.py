from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance
from fleet.errors import NoAnswer
from fleet.limits import LimitChanger
from fleet.records import SessionRecord
from tests.unit.fleet.control_fakes import FakeRecords, allowance


class FakeBook:
    def __init__(self, *known: str) -> None:
        self.known = known
        self.set: list[tuple[str, int | None]] = []

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None:
        self.set.append((session_id, micro_usd))
        if session_id not in self.known:
            return None
        return replace(allowance(session_id), limit_micro_usd=micro_usd)

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]:
        self.set.append((study_id, micro_usd))
        return [allowance(s) for s in self.known]

    async def limit_of(self, session_id: SessionId) -> int | None:
        return next((m for s, m in reversed(self.set) if s == session_id), None)


class FakeSupervisor:
    def __init__(self, *, away: bool = False) -> None:
        self.away = away
        self.told: list[tuple[int, bool]] = []

    async def restrain(self, allowances: Sequence[Allowance], *, stop: bool) -> int:
        if self.away:
            raise NoAnswer("supervisor", 5.0)
        self.told.append((len(allowances), stop))
        return len(allowances)


async def test_a_new_allowance_goes_straight_to_its_session() -> None:
    supervisor = FakeSupervisor()
    change = await LimitChanger(FakeBook("s-1"), supervisor, FakeRecords([])).of_session("s-1", 5)
    assert change is not None
    assert (change.told, supervisor.told) == (1, [(1, False)])


async def test_zero_stops() -> None:
    supervisor = FakeSupervisor()
    changer = LimitChanger(FakeBook("s-1", "s-2"), supervisor, FakeRecords([]))
    await changer.of_session("s-1", 0)
    await changer.of_study("st", 0)
    await changer.of_study("st", None)
    assert supervisor.told == [(1, True), (2, True), (2, False)]


async def test_a_supervisor_that_is_away_does_not_undo_the_change() -> None:
    book = FakeBook("s-1")
    changer = LimitChanger(book, FakeSupervisor(away=True), FakeRecords([]))
    change = await changer.of_session("s-1", 5)
    assert change is not None
    assert (change.told, book.set) == (0, [("s-1", 5)])


async def test_nobody_is_told_of_no_account() -> None:
    supervisor = FakeSupervisor()
    changer = LimitChanger(FakeBook(), supervisor, FakeRecords([]))
    assert await changer.of_session("s-1", 5) is None
    assert (await changer.of_study("st", 5)).told == 0
    assert supervisor.told == []


def record() -> SessionRecord:
    return SessionRecord(
        session_id="s-1",
        study_id="st",
        participant_identity="p",
        room="r",
        provider="openai_realtime",
        limit_micro_usd=4,
        created_at=0.0,
    )


async def test_the_record_follows() -> None:
    records = FakeRecords([])
    await records.create(record())
    await LimitChanger(FakeBook("s-1"), FakeSupervisor(), records).of_session("s-1", 9)
    assert (await records.get("s-1")).limit_micro_usd == 9


async def test_of_two_changes_at_once_the_record_keeps_the_books_last() -> None:
    records, book = FakeRecords([]), FakeBook("s-1")
    await records.create(record())
    add_facts = records.add_facts

    async def overtaken(session_id: str, **facts: int) -> SessionRecord:
        if len(book.set) == 1:
            await book.set_limit(SessionId("s-1"), 7)
            await add_facts(session_id, limit_micro_usd=7)
        return await add_facts(session_id, **facts)

    records.add_facts = overtaken  # type: ignore[method-assign, assignment]
    await LimitChanger(book, FakeSupervisor(), records).of_session("s-1", 9)
    assert (await records.get("s-1")).limit_micro_usd == 7


async def test_a_registry_that_is_away_does_not_undo_the_change() -> None:
    records = FakeRecords([])
    records.down = True
    change = await LimitChanger(FakeBook("s-1"), FakeSupervisor(), records).of_session("s-1", 5)
    assert change is not None
    assert change.told == 1
