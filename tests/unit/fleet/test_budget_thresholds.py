"""Which fractions of a limit are told, and when."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from agent_actor.contract import SessionId
from fleet.budget.account import Account
from fleet.budget.accounts import Accounts
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Limits
from fleet.budget.thresholds import Mark, Notice, Scope, ScopeKind, notice_of, step
from tests.unit.fleet.test_budget_accounts import S1, S2, report

HALF, MOST, ALL = 500_000, 800_000, 1_000_000
FRACTIONS = (HALF, MOST, ALL)


def fractions(mark: Mark, limit: int | None, spent: int) -> tuple[Mark, list[int]]:
    after, crossings = step(mark, FRACTIONS, limit, spent)
    return after, [c.fraction_ppm for c in crossings]


def test_each_fraction_is_told_once_when_it_is_reached() -> None:
    mark, told = fractions(Mark(), 1_000, 499)
    assert told == []
    mark, told = fractions(mark, 1_000, 500)
    assert told == [HALF]
    mark, told = fractions(mark, 1_000, 1_000)
    assert told == [MOST, ALL]
    # An upper bound is taken back, and spent again: no news.
    mark, told = fractions(mark, 1_000, 100)
    assert told == []
    assert fractions(mark, 1_000, 1_200)[1] == []


def test_a_raised_limit_arms_again_what_is_not_reached_under_it() -> None:
    mark, _ = fractions(Mark(), 1_000, 900)
    mark, told = fractions(mark, 1_500, 900)
    assert (told, mark.reached_ppm) == ([], (HALF,))
    mark, told = fractions(mark, 1_500, 1_200)
    assert told == [MOST]
    assert mark.told == 3


def test_a_lowered_limit_tells_what_it_makes_reached_once() -> None:
    mark, _ = fractions(Mark(), 1_000, 500)
    mark, told = fractions(mark, 600, 500)
    assert told == [MOST]
    assert fractions(mark, 600, 500)[1] == []


def test_without_a_limit_or_with_none_left_nothing_is_told() -> None:
    assert step(Mark(), FRACTIONS, None, 5) == (Mark(), ())
    assert step(Mark(), FRACTIONS, 0, 5) == (Mark(), ())


@given(st.lists(st.tuples(st.sampled_from([None, 0, 400, 900, 2_000]), st.integers(0, 2_500))))
def test_numbers_go_up_and_nothing_is_told_that_is_not_so(
    steps: list[tuple[int | None, int]],
) -> None:
    mark, last, under = Mark(), 0, 0
    told: set[int] = set()
    for limit, spent in steps:
        if limit and limit > under > 0:
            told = {f for f in told if spent * 1_000_000 >= f * limit}
        under = limit or under
        mark, crossings = step(mark, FRACTIONS, limit, spent)
        assert step(mark, FRACTIONS, limit, spent) == (mark, ())
        for crossing in crossings:
            assert crossing.number == last + 1
            last = crossing.number
            assert limit is not None
            assert spent * 1_000_000 >= crossing.fraction_ppm * limit > 0
            assert crossing.fraction_ppm not in told
            told.add(crossing.fraction_ppm)
    assert Mark.from_json(mark.to_json()) == mark


def test_a_notice_is_the_same_whenever_it_is_found() -> None:
    _, (crossing,) = step(Mark(), FRACTIONS, 1_000_000, 500_001)
    study = Scope(kind=ScopeKind.STUDY, id="study-7")
    notice = notice_of(crossing, study, ledger_id="a", at=1_795_426_200.25)
    assert notice == notice_of(crossing, study, ledger_id="a", at=1_795_426_200.25)
    assert notice.at == 1_795_426_200.25
    assert json.loads(notice.body) == {
        "id": notice.id,
        "type": "budget.fraction_reached",
        "timestamp": "2026-11-23T09:30:00.250Z",
        "data": {
            "scope": {"kind": "study", "id": "study-7"},
            "fraction": 0.5,
            "limit_micro_usd": 1_000_000,
            "limit_usd": "1.000000",
            "spent_micro_usd": 500_001,
            "spent_usd": "0.500001",
            "at": "2026-11-23T09:30:00.250Z",
        },
    }
    others = [
        notice_of(crossing, study, ledger_id="b", at=0.0),
        notice_of(crossing, Scope(kind=ScopeKind.SESSION, id="study-7"), ledger_id="a", at=0.0),
        notice_of(crossing, Scope(kind=ScopeKind.FLEET), ledger_id="a", at=0.0),
    ]
    assert len({n.id for n in (notice, *others)}) == 4


# In the accounts


def accounts() -> Accounts:
    limits = Limits(fleet=10_000_000, every_study=2_000_000)
    return Accounts(policy=GrantPolicy(), limits=limits, fractions_ppm=FRACTIONS)


def opened(book: Accounts, session_id: SessionId = S1) -> None:
    book.open(
        session_id=session_id,
        study_id="st",
        provider="openai_realtime",
        limit_micro_usd=1_500_000,
        now=0.0,
    )


def scopes(notices: tuple[Notice, ...]) -> list[tuple[str, float]]:
    data = [json.loads(n.body)["data"] for n in notices]
    return [(d["scope"]["kind"], d["fraction"]) for d in data]


def test_a_report_may_cross_for_its_session_and_its_study() -> None:
    book = accounts()
    opened(book)
    book.take_changes()
    assert book.take_marks() == []
    book.apply(report(seq=1, spent=1_000_000), 1.0)
    (change,) = book.take_changes()
    assert scopes(change.notices) == [("session", 0.5)]
    study, fleet = {m.scope: m for m in book.take_marks()}["study:st"], book.marks["fleet"]
    assert scopes(study.notices) == [("study", 0.5)]
    assert fleet.reached_ppm == ()
    book.apply(report(seq=2, spent=1_000_001), 2.0)
    assert [c.notices for c in book.take_changes()] == [()]
    assert book.take_marks() == []


def test_limits_set_at_run_time_cross_too() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=1, spent=100_000), 1.0)
    book.take_changes()
    book.take_marks()
    book.set_limit(S1, 125_000, 2.0)
    (change,) = book.take_changes()
    assert scopes(change.notices) == [("session", 0.5), ("session", 0.8)]
    book.set_study_limit("st", 100_000, 3.0)
    book.set_fleet_limit(200_000, 3.0)
    told = [scopes(m.notices) for m in book.take_marks()]
    assert told == [[("fleet", 0.5)], [("study", 0.5), ("study", 0.8), ("study", 1.0)]]


def test_what_was_crossed_but_not_written_is_found_again_under_the_same_id() -> None:
    book = accounts()
    opened(book)
    opened(book, S2)
    book.take_changes()
    book.take_marks()
    book.apply(report(seq=1, spent=1_000_000), 1.0)
    (change,) = book.take_changes()
    lost = [n.id for n in (*change.notices, *(n for m in book.take_marks() for n in m.notices))]
    # The ledger has the money, as another batch was written; not the marks.
    found = accounts()
    found.studies, found.fleet = book.studies, book.fleet
    account = book.get(S1)
    assert account is not None
    state = json.loads(account.to_json()) | {"mark": json.loads(Mark().to_json())}
    found.adopt(Account.from_json(json.dumps(state), account.minutes))
    found.look_again(9.0)
    (again,) = found.take_changes()
    marks = found.take_marks()
    assert [n.id for n in (*again.notices, *(n for m in marks for n in m.notices))] == lost
    found.look_again(9.0)
    assert found.take_changes() == []
    assert found.take_marks() == []


def test_without_fractions_no_marks_are_kept() -> None:
    book = Accounts(policy=GrantPolicy(), limits=Limits(fleet=1))
    opened(book)
    book.apply(report(seq=1, spent=1_000_000), 1.0)
    assert (book.take_marks(), [c.notices for c in book.take_changes()]) == ([], [()])
