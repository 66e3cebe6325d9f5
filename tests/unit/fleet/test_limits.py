from __future__ import annotations

from collections.abc import Sequence

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance
from fleet.errors import NoAnswer
from fleet.limits import LimitChanger
from tests.unit.fleet.control_fakes import allowance


class FakeBook:
    def __init__(self, *known: str) -> None:
        self.known = known
        self.set: list[tuple[str, int | None]] = []

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None:
        self.set.append((session_id, micro_usd))
        return allowance(session_id) if session_id in self.known else None

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]:
        self.set.append((study_id, micro_usd))
        return [allowance(s) for s in self.known]


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
    change = await LimitChanger(FakeBook("s-1"), supervisor).of_session("s-1", 5)
    assert change is not None
    assert (change.told, supervisor.told) == (1, [(1, False)])


async def test_zero_stops() -> None:
    supervisor = FakeSupervisor()
    changer = LimitChanger(FakeBook("s-1", "s-2"), supervisor)
    await changer.of_session("s-1", 0)
    await changer.of_study("st", 0)
    await changer.of_study("st", None)
    assert supervisor.told == [(1, True), (2, True), (2, False)]


async def test_a_supervisor_that_is_away_does_not_undo_the_change() -> None:
    book = FakeBook("s-1")
    change = await LimitChanger(book, FakeSupervisor(away=True)).of_session("s-1", 5)
    assert change is not None
    assert (change.told, book.set) == (0, [("s-1", 5)])


async def test_nobody_is_told_of_no_account() -> None:
    supervisor = FakeSupervisor()
    changer = LimitChanger(FakeBook(), supervisor)
    assert await changer.of_session("s-1", 5) is None
    assert (await changer.of_study("st", 5)).told == 0
    assert supervisor.told == []
