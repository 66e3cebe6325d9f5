"""Accounts, by examples. What holds in every order of events: test_budget_properties.py."""

from __future__ import annotations

from dataclasses import replace

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport, Verdict
from fleet.budget.account import Account
from fleet.budget.accounts import UNCLAIMED, Accounts
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Limits

S1, S2 = SessionId("s1"), SessionId("s2")
MICRO = 1_000_000
"""Pico-dollars."""


def report(
    session_id: SessionId = S1,
    *,
    seq: int = 1,
    attempt: int = 1,
    spent: int = 0,
    estimate: int = 0,
    at_risk: int = 0,
    goodbye: int = 0,
    response: int = 0,
    minute: int = 0,
    at: float = 0.0,
    final: bool = False,
    provider: str = "openai_realtime",
) -> UsageReport:
    return UsageReport(
        session_id=session_id,
        attempt=attempt,
        seq=seq,
        at=at,
        provider=provider,
        model=f"{provider}-dated",
        tokens=TokenCounts(input_text=seq),
        spent_pico_usd=spent * MICRO,
        estimate_pico_usd=estimate * MICRO,
        at_risk_pico_usd=at_risk * MICRO,
        goodbye_pico_usd=goodbye * MICRO,
        response_pico_usd=response * MICRO,
        minute_pico_usd=minute * MICRO,
        responses=seq,
        final=final,
    )


def accounts(**limits: int | None) -> Accounts:
    return Accounts(
        policy=GrantPolicy(),
        limits=Limits(fleet=limits.get("fleet"), every_study=limits.get("study")),
        epoch=7,
    )


def opened(
    book: Accounts, session_id: SessionId = S1, limit: int = 10_000_000, now: float = 0.0
) -> Allowance:
    return book.open(
        session_id=session_id,
        study_id="study",
        provider="openai_realtime",
        limit_micro_usd=limit,
        now=now,
    )


def test_opening_gives_a_part_of_the_limit_under_the_epoch() -> None:
    allowance = opened(accounts())
    assert 0 < allowance.up_to_micro_usd < allowance.limit_micro_usd == 10_000_000
    assert (allowance.verdict, allowance.epoch) == (Verdict.GO_ON, 7)


def test_a_repeated_late_or_reordered_report_changes_nothing() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=3, spent=500), 1.0)
    for again in (report(seq=3, spent=500), report(seq=1, spent=100), report(seq=2, spent=900)):
        book.apply(again, 2.0)
    cost = book.cost(S1)
    assert cost is not None
    assert cost.spent_micro_usd == 500
    assert cost.responses == 3


def test_attempts_add_up_and_the_next_is_told_what_went_before() -> None:
    book = accounts()
    opened(book)
    book.apply(report(attempt=1, spent=400, at_risk=50), 1.0)
    again = opened(book)
    assert again.spent_before_micro_usd == 450
    allowance = book.apply(report(attempt=2, spent=100), 2.0)
    assert allowance.spent_before_micro_usd == 450
    cost = book.cost(S1)
    assert cost is not None
    assert cost.spent_micro_usd == 550
    late = book.apply(report(attempt=1, seq=2, spent=420, final=True), 3.0)
    assert late.spent_before_micro_usd == 100
    assert book.fleet.spent == 520


def test_whoever_was_given_up_gets_nothing_more() -> None:
    book = accounts()
    opened(book)
    book.apply(report(attempt=1, spent=400), 1.0)
    opened(book)
    late = book.apply(report(attempt=1, seq=2, spent=500), 2.0)
    assert (late.verdict, late.up_to_micro_usd) == (Verdict.END, 500)
    assert late.revoked
    assert not book.apply(report(attempt=2, spent=10), 3.0).revoked


def test_what_a_lost_attempt_may_have_spent_unheard_is_kept_from_the_next() -> None:
    book = accounts()
    first = opened(book, limit=1_000_000)
    book.apply(report(attempt=1, spent=1_000), 1.0)
    opened(book, limit=1_000_000)
    book.apply(report(attempt=2, spent=970_000, final=True), 2.0)
    unheard = first.up_to_micro_usd + first.goodbye_micro_usd - 1_000
    answer = book.apply(report(attempt=3), 3.0)
    assert answer.verdict is Verdict.END
    assert answer.up_to_micro_usd == 1_000_000 - unheard
    # It is not charged, and free again as soon as the lost one has been heard.
    assert book.fleet.spent == 971_000
    book.apply(report(attempt=1, seq=2, spent=2_000, final=True), 4.0)
    assert book.apply(report(attempt=3, seq=2), 5.0).verdict is Verdict.WRAP_UP
    assert book.fleet.spent == 972_000


def test_no_more_is_kept_than_it_can_have_spent_in_the_time() -> None:
    book = accounts()
    opened(book, limit=5_000_000)
    told = {"spent": 10_000, "at_risk": 2_000, "response": 50_000, "minute": 600_000}
    book.apply(report(attempt=1, at=100.0, **told), 100.0)
    opened(book, limit=5_000_000, now=104.0)
    account = book.get(S1)
    assert account is not None
    # 4 s until it was given up, and 5 s that it may have gone on: a tenth of a minute and a half.
    assert account.ceilings == {1: 12_000 + 50_000 + 90_000}
    assert account.unheard == 140_000


def test_many_lost_within_minutes_do_not_end_what_has_spent_next_to_nothing() -> None:
    book = accounts()
    for attempt in range(1, 9):
        opened(book, limit=5_000_000, now=20.0 * attempt)
        now = 20.0 * attempt + 15.0
        told = {"spent": 10_000, "at_risk": 10_000, "response": 130_000, "minute": 500_000}
        answer = book.apply(report(attempt=attempt, at=now, goodbye=100_000, **told), now)
        assert answer.verdict is Verdict.GO_ON, attempt
        assert answer.up_to_micro_usd - answer.spent_before_micro_usd > 130_000, attempt


def test_what_a_lost_attempt_spent_unheard_comes_on_top_of_its_successors_grant() -> None:
    book = accounts()
    opened(book, limit=1_000_000)
    book.apply(report(attempt=1), 1.0)
    second = opened(book, limit=1_000_000)
    book.apply(report(attempt=2), 2.0)
    # The second may spend all of its grant; that the first had spent comes to light after.
    book.apply(report(attempt=1, seq=2, spent=60_000, final=True), 3.0)
    assert book.fleet.committed >= 60_000 + second.up_to_micro_usd


def test_a_lowered_grant_is_kept_until_a_report_made_after_its_end() -> None:
    book = accounts()
    first = opened(book)
    book.set_limit(S1, 0, 1.0)
    # Made before the first grant ran out, delivered after: more may have been spent within it.
    book.apply(report(seq=1, at=first.expires_at - 1), first.expires_at + 1)
    assert book.fleet.committed == first.up_to_micro_usd + first.goodbye_micro_usd
    book.apply(report(seq=2, at=first.expires_at), first.expires_at + 2)
    assert book.fleet.committed == 0


def test_a_session_that_falls_over_is_booked_with_both_providers() -> None:
    book = accounts()
    opened(book)
    book.apply(report(attempt=1, spent=400, at_risk=50), 1.0)
    book.apply(report(attempt=2, spent=70, provider="gemini_live", at=61.0), 61.0)
    cost, study = book.cost(S1), book.study_cost("study")
    assert cost is not None
    assert study is not None
    assert (cost.provider, cost.model) == ("gemini_live", "gemini_live-dated")
    minutes = [(m.minute_epoch, m.provider, m.micro_usd) for m in cost.minutes]
    assert minutes == [
        (0, "openai_realtime", 400),
        (60, "gemini_live", 70),
        (60, "openai_realtime", 50),
    ]
    assert cost.minutes == study.minutes
    by = [(p.provider, p.spent_micro_usd, p.sessions) for p in study.by_provider]
    assert by == [("gemini_live", 70, 1), ("openai_realtime", 450, 1)]
    assert (study.sessions, study.spent_micro_usd) == (1, 520)


def test_each_providers_part_is_rounded_up_by_itself() -> None:
    book = accounts()
    opened(book)
    book.apply(replace(report(attempt=1), spent_pico_usd=1, final=True), 1.0)
    book.apply(replace(report(attempt=2, provider="gemini_live"), spent_pico_usd=1), 1.0)
    assert book.fleet.spent == sum(book.fleet.minutes.values()) == 2
    book.apply(replace(report(attempt=3), spent_pico_usd=1), 1.0)
    assert book.fleet.spent == 2


def test_a_study_adds_up_what_its_sessions_used() -> None:
    book = accounts()
    opened(book, S1)
    opened(book, S2)
    for session in (S1, S2):
        used = TokenCounts(output_audio=7)
        book.apply(replace(report(session, seq=3), tokens=used, unpriced_responses=1), 1.0)
    study = book.study_cost("study")
    assert study is not None
    assert study.tokens == TokenCounts(output_audio=14)
    assert (study.responses, study.unpriced_responses, study.open_sessions) == (6, 2, 2)


def test_a_lost_session_is_charged_what_was_at_risk_until_it_says_otherwise() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=1, spent=1000, at_risk=300), 1.0)
    closed = book.close(S1, 2.0)
    assert closed is not None
    assert closed.spent_micro_usd == 1300
    verdict = book.apply(report(seq=2, spent=1100, final=True, at=65.0), 70.0).verdict
    assert verdict is Verdict.END
    cost = book.cost(S1)
    assert cost is not None
    assert cost.spent_micro_usd == sum(m.micro_usd for m in cost.minutes) == 1100


def test_what_is_unspent_returns_at_the_close() -> None:
    book = accounts(study=1_000_000)
    opened(book, limit=1_000_000)
    book.apply(report(spent=400_000, final=True), 1.0)
    assert book.studies["study"].committed > 400_000
    book.close(S1, 2.0)
    book.close(S1, 3.0)
    assert book.studies["study"].committed == book.fleet.committed == 400_000
    assert book.fleet.figures.open == 0


def test_a_study_without_money_left_says_end_at_the_opening() -> None:
    book = accounts(study=1_000)
    opened(book, S1, limit=1_000)
    book.apply(report(S1, spent=1_000, final=True), 1.0)
    book.close(S1, 1.0)
    allowance = opened(book, S2)
    assert (allowance.verdict, allowance.up_to_micro_usd) == (Verdict.END, 0)


def test_the_fleets_limit_binds_across_studies() -> None:
    book = accounts(fleet=1_000_000)
    for number in range(40):
        book.open(
            session_id=SessionId(f"s{number}"),
            study_id=f"study{number % 3}",
            provider="gemini_live",
            limit_micro_usd=10_000_000,
            now=0.0,
        )
    assert book.fleet.committed <= 1_000_000
    assert book.fleet.committed == sum(s.committed for s in book.studies.values())


def test_a_limit_can_be_raised_lowered_and_set_to_zero() -> None:
    book = accounts()
    first = opened(book)
    raised = book.set_limit(S1, 40_000_000, 1.0)
    assert raised is not None
    assert raised.limit_micro_usd == 40_000_000
    stopped = book.set_limit(S1, 0, 2.0)
    assert stopped is not None
    assert (stopped.verdict, stopped.up_to_micro_usd) == (Verdict.END, 0)
    # The session may still hold the first one: it stays set aside until a report shows otherwise.
    assert book.fleet.committed >= first.up_to_micro_usd
    book.apply(report(seq=1, at=raised.expires_at), raised.expires_at + 1)
    assert book.fleet.committed == 0
    assert book.set_limit(SessionId("nobody"), 1, 0.0) is None


def test_a_studys_limit_reaches_its_open_sessions() -> None:
    book = accounts()
    opened(book, S1)
    opened(book, S2)
    stopped = book.set_study_limit("study", 0, 1.0)
    assert {a.session_id for a in stopped} == {S1, S2}
    assert {a.verdict for a in stopped} == {Verdict.END}
    assert {a.verdict for a in book.set_study_limit("study", None, 1.0)} == {Verdict.GO_ON}
    assert len(book.set_fleet_limit(0, 1.0)) == 2


def test_a_session_nobody_opened_is_counted_and_ended() -> None:
    book = accounts()
    allowance = book.apply(report(spent=70), 1.0)
    assert (allowance.verdict, allowance.up_to_micro_usd) == (Verdict.END, 0)
    assert book.studies[UNCLAIMED].spent == book.fleet.spent == 70


def test_money_is_booked_to_the_minute_in_which_it_was_spent() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=1, spent=100, at=59.9), 200.0)
    book.apply(report(seq=2, spent=250, at=60.0), 200.0)
    book.apply(report(seq=3, spent=251, at=9e9), 200.0)  # a clock that runs ahead
    study = book.study_cost("study")
    assert study is not None
    assert [(m.minute_epoch, m.micro_usd) for m in study.minutes] == [(0, 100), (60, 150), (180, 1)]
    assert book.totals(200.0).minutes == study.minutes
    assert book.totals(3660.0).minutes == study.minutes[2:]


def test_estimates_are_shown_beside_what_is_spent() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=1, spent=10, estimate=5), 1.0)
    assert (book.fleet.spent, book.fleet.estimate) == (10, 5)
    book.apply(report(seq=2, spent=16, final=True), 1.0)
    assert (book.fleet.spent, book.fleet.estimate) == (16, 0)


def test_every_report_and_limit_is_a_change_for_the_ledger() -> None:
    book = accounts()
    opened(book)
    assert [c.session_id for c in book.take_changes()] == [S1]
    assert book.take_changes() == []
    book.apply(report(seq=1), 1.0)
    assert len(book.take_changes()) == 1
    book.apply(report(seq=1), 1.0)
    assert book.take_changes() == []
    book.set_limit(S1, 9_999_999, 1.0)
    assert len(book.take_changes()) == 1


def test_an_account_survives_being_written_down() -> None:
    book = accounts()
    opened(book)
    book.apply(report(spent=10, estimate=4, at_risk=20, goodbye=3, at=1.0), 1.0)
    account = book.get(S1)
    assert account is not None
    assert Account.from_json(account.to_json(), account.minutes) == account


def test_a_session_told_to_end_is_overdue_after_its_grace() -> None:
    book = accounts()
    opened(book, limit=1_000)
    opened(book, S2)
    book.apply(report(seq=1, spent=1_000), 10.0)
    book.apply(report(seq=2, spent=1_001), 19.0)  # told again, which is no new grace
    assert book.overdue(10.0, 20.0) == []
    assert book.overdue(10.0, 20.1) == [S1]
    book.apply(report(seq=3, spent=1_001, final=True), 20.2)
    assert book.overdue(10.0, 30.0) == []


def test_a_session_that_lets_its_lease_run_out_is_overdue() -> None:
    book = accounts()
    opened(book)
    opened(book, S2)
    book.apply(report(S2), 100.0)
    assert book.overdue(30.0, 150.0) == []
    assert book.overdue(30.0, 150.1) == [S1]
    assert book.overdue(30.0, 300.0) == [S1, S2]
    book.close(S1, 300.0)
    assert book.overdue(30.0, 300.0) == [S2]
    opened(book)  # a further attempt, told at 0.0
    assert book.overdue(30.0, 300.0) == [S1, S2]


def test_which_sessions_have_open_accounts() -> None:
    book = accounts()
    assert book.open_sessions() == []
    opened(book)
    opened(book, S2)
    book.close(S1, 1.0)
    assert book.open_sessions() == [S2]


def test_more_money_takes_an_end_back() -> None:
    book = accounts()
    opened(book, limit=1_000)
    book.apply(report(seq=1, spent=1_000), 10.0)
    book.set_limit(S1, 1_000_000, 12.0)
    assert book.overdue(0.0, 20.0) == []
    book.set_limit(S1, 0, 21.0)
    assert book.overdue(0.0, 21.5) == [S1]


def test_an_end_outlives_the_one_who_said_it() -> None:
    book = accounts()
    opened(book, limit=1_000)
    book.apply(report(seq=1, spent=1_000), 10.0)
    account = book.get(S1)
    assert account is not None
    found = accounts()
    found.adopt(Account.from_json(account.to_json(), account.minutes))
    found.apply(report(seq=2, spent=1_000), 30.0)
    assert found.overdue(15.0, 30.0) == [S1]


def test_forgetting_keeps_what_is_open_or_unwritten() -> None:
    book = accounts()
    opened(book)
    book.take_changes()
    book.forget(S1)
    assert S1 in book
    book.close(S1, 1.0)
    book.forget(S1)
    assert S1 in book
    book.take_changes()
    book.forget(S1)
    assert S1 not in book
    assert book.fleet.figures.sessions == 1
