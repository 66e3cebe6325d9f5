"""Accounts: examples, and a machine that tries every order, loss, repetition and crash."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport, Verdict
from fleet.budget.account import Account
from fleet.budget.accounts import UNCLAIMED, Accounts, Change, Limits, Sums
from fleet.budget.policy import GrantPolicy

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
    at: float = 0.0,
    final: bool = False,
) -> UsageReport:
    return UsageReport(
        session_id=session_id,
        attempt=attempt,
        seq=seq,
        at=at,
        provider="openai_realtime",
        model="gpt-realtime-2025-08-28",
        tokens=TokenCounts(input_text=seq),
        spent_pico_usd=spent * MICRO,
        estimate_pico_usd=estimate * MICRO,
        at_risk_pico_usd=at_risk * MICRO,
        goodbye_pico_usd=goodbye * MICRO,
        responses=seq,
        final=final,
    )


def accounts(**limits: int | None) -> Accounts:
    return Accounts(
        policy=GrantPolicy(),
        limits=Limits(fleet=limits.get("fleet"), every_study=limits.get("study")),
        epoch=7,
    )


def opened(book: Accounts, session_id: SessionId = S1, limit: int = 10_000_000) -> Allowance:
    return book.open(
        session_id=session_id,
        study_id="study",
        provider="openai_realtime",
        limit_micro_usd=limit,
        now=0.0,
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
    assert book.fleet.open_sessions == 0


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
    book.apply(report(seq=1), first.expires_at + 1)
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
    assert book.totals().minutes_by_provider == {"openai_realtime": study.minutes}


def test_estimates_are_shown_beside_what_is_spent() -> None:
    book = accounts()
    opened(book)
    book.apply(report(seq=1, spent=10, estimate=5), 1.0)
    assert (book.totals().spent_micro_usd, book.totals().estimate_micro_usd) == (10, 5)
    book.apply(report(seq=2, spent=16, final=True), 1.0)
    assert (book.totals().spent_micro_usd, book.totals().estimate_micro_usd) == (16, 0)


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
    assert book.fleet.sessions == 1


# The machine


@dataclass
class Session:
    """A session that keeps to its allowance, as it really is. Money in micro-dollars."""

    id: SessionId
    study: str
    allowance: Allowance
    attempt: int = 1
    spent: int = 0
    """Of this attempt."""
    before: int = 0
    seq: int = 0
    alive: bool = True
    at_risk: int = 0
    """Told with the last report, so that a loss is covered up to it."""
    covered: int = 0
    bounded: int = 0
    """What lost attempts were charged beyond what they spent."""

    @property
    def total(self) -> int:
        return self.before + self.spent


@dataclass
class FakeLedger:
    """What the script in Redis does, in Python."""

    changes: dict[SessionId, Change] = field(default_factory=dict)
    minutes: dict[SessionId, dict[int, int]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)
    epoch: int = 0

    def write(self, changes: list[Change]) -> None:
        for change in changes:
            self.changes[change.session_id] = change
            self.minutes.setdefault(change.session_id, {}).update(change.minutes)

    def recover(self) -> Accounts:
        self.epoch += 1
        limits = replace(self.limits, studies=dict(self.limits.studies))
        found = Accounts(policy=GrantPolicy(), limits=limits, epoch=self.epoch)
        for change in self.changes.values():
            minutes = self.minutes[change.session_id]
            study = found.studies.setdefault(change.study_id, Sums())
            for sums in (study, found.fleet):
                sums.spent += change.spent
                sums.committed += change.committed
                sums.sessions += 1
                sums.open_sessions += change.open
                _add(sums.minutes, minutes)
            _add(found.provider_minutes.setdefault(change.provider, {}), minutes)
            if change.open:
                found.adopt(Account.from_json(change.state, minutes))
        return found


def _add(buckets: dict[int, int], more: Mapping[int, int]) -> None:
    for minute, micro in more.items():
        buckets[minute] = buckets.get(minute, 0) + micro


STUDIES = ("x", "y")
amounts = st.integers(0, 400_000)
picks = st.integers(0, 10**6)


class Fleet(RuleBasedStateMachine):
    """Sessions, a network that loses, repeats and reorders, and a budget actor that crashes."""

    @initialize(fleet=st.integers(500_000, 4_000_000), study=st.integers(200_000, 3_000_000))
    def begin(self, fleet: int, study: int) -> None:
        self.ledger = FakeLedger(limits=Limits(fleet=fleet, every_study=study))
        self.accounts = self.ledger.recover()
        self.now = 1000.0
        self.sessions: list[Session] = []
        self.network: list[UsageReport] = []
        self.most: dict[str, int] = {"fleet": fleet, **dict.fromkeys(STUDIES, study)}

    @rule(study=st.sampled_from(STUDIES), limit=st.integers(0, 2_000_000))
    def open_session(self, study: str, limit: int) -> None:
        if len(self.sessions) >= 8:
            return
        id_ = SessionId(f"s{len(self.sessions)}")
        allowance = self.accounts.open(
            session_id=id_,
            study_id=study,
            provider="gemini_live" if study == "x" else "openai_realtime",
            limit_micro_usd=limit,
            now=self.now,
        )
        assert allowance.up_to_micro_usd <= limit
        self.ledger.write(self.accounts.take_changes())
        self.sessions.append(Session(id=id_, study=study, allowance=allowance))

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, amount=amounts)
    def spend(self, pick: int, amount: int) -> None:
        session = self.sessions[pick % len(self.sessions)]
        if session.alive and self.now < session.allowance.expires_at:
            left = session.allowance.up_to_micro_usd - session.total
            session.spent += max(min(amount, left), 0)

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, final=st.booleans(), copies=st.integers(1, 2))
    def send(self, pick: int, final: bool, copies: int) -> None:
        session = self.sessions[pick % len(self.sessions)]
        if not session.alive:
            return
        session.alive = not final
        self.network += [self.report_of(session, final)] * copies

    def report_of(self, session: Session, final: bool) -> UsageReport:
        session.seq += 1
        left = max(session.allowance.up_to_micro_usd - session.total, 0)
        return report(
            session.id,
            seq=session.seq,
            attempt=session.attempt,
            spent=session.spent,
            at_risk=0 if final else left,
            estimate=0 if final else left // 2,
            goodbye=session.total // 10,
            at=self.now,
            final=final,
        )

    @precondition(lambda self: self.network)
    @rule(pick=picks, lost=st.booleans(), answered=st.booleans(), written=st.booleans())
    def deliver(self, pick: int, lost: bool, answered: bool, written: bool) -> None:
        taken = self.network.pop(pick % len(self.network))
        if lost and not taken.final:
            return
        self.find(taken.session_id)
        allowance = self.accounts.apply(taken, self.now)
        if not written:
            self.network.append(taken)  # nobody was answered, so the session sends it again
            self.crash()
            return
        self.ledger.write(self.accounts.take_changes())
        if answered:
            self.hand_over(allowance)

    def find(self, session_id: SessionId) -> None:
        """As the shell does: a closed account is loaded when it is asked for."""
        if session_id not in self.accounts:
            stored = self.ledger.changes[session_id]
            minutes = self.ledger.minutes[session_id]
            self.accounts.adopt(Account.from_json(stored.state, minutes))

    def hand_over(self, allowance: Allowance) -> None:
        session = next(s for s in self.sessions if s.id == allowance.session_id)
        held = session.allowance
        if (allowance.epoch, allowance.expires_at) >= (held.epoch, held.expires_at):
            session.allowance = allowance

    @rule()
    def crash(self) -> None:
        self.accounts = self.ledger.recover()

    @rule(seconds=st.floats(0, 90))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, limit=st.integers(0, 3_000_000), told=st.booleans())
    def change_limit(self, pick: int, limit: int, told: bool) -> None:
        session = self.sessions[pick % len(self.sessions)]
        self.find(session.id)
        allowance = self.accounts.set_limit(session.id, limit, self.now)
        assert allowance is not None
        self.ledger.write(self.accounts.take_changes())
        if told:
            self.hand_over(allowance)

    @rule(study=st.sampled_from(STUDIES), limit=st.integers(0, 3_000_000), told=st.booleans())
    def change_study(self, study: str, limit: int, told: bool) -> None:
        self.ledger.limits.studies[study] = limit
        allowances = self.accounts.set_study_limit(study, limit, self.now)
        self.ledger.write(self.accounts.take_changes())
        committed = self.accounts.studies[study].committed if allowances else 0
        # What was allowed before cannot be taken back at once; nothing is added to it.
        self.most[study] = max(limit, committed, self.truth(study))
        for allowance in allowances if told else []:
            self.hand_over(allowance)

    @precondition(lambda self: any(not s.alive for s in self.sessions))
    @rule(pick=picks)
    def close(self, pick: int) -> None:
        done = [s for s in self.sessions if not s.alive]
        session = done[pick % len(done)]
        if any(r.session_id == session.id and r.final for r in self.network):
            return
        self.find(session.id)
        self.accounts.close(session.id, self.now)
        self.ledger.write(self.accounts.take_changes())

    def truth(self, study: str | None = None) -> int:
        return sum(s.total for s in self.sessions if study in (None, s.study))

    @invariant()
    def no_study_and_not_the_fleet_spends_or_may_spend_more_than_its_limit(self) -> None:
        if not hasattr(self, "accounts"):
            return
        assert self.truth() <= self.accounts.fleet.committed or not self.sessions
        assert self.accounts.fleet.committed <= self.most["fleet"]
        for study in STUDIES:
            sums = self.accounts.studies.get(study, Sums())
            assert self.truth(study) <= sums.committed <= self.most[study]

    @invariant()
    def sums_are_the_sums_of_their_parts(self) -> None:
        if not hasattr(self, "accounts"):
            return
        fleet, studies = self.accounts.fleet, self.accounts.studies.values()
        for name in ("spent", "committed", "estimate", "sessions", "open_sessions"):
            assert getattr(fleet, name) == sum(getattr(s, name) for s in studies)
        stored = self.ledger.changes.values()
        assert fleet.spent == sum(c.spent for c in stored)
        assert fleet.committed == sum(c.committed for c in stored)
        for sums in (fleet, *studies):
            assert sum(sums.minutes.values()) == sums.spent
        providers = self.accounts.provider_minutes.values()
        assert sum(sum(m.values()) for m in providers) == fleet.spent

    def teardown(self) -> None:
        """Once everything has arrived, the ledger says exactly what was spent."""
        if not hasattr(self, "accounts"):
            return
        for session in self.sessions:
            if session.alive:
                session.alive = False
                self.network.append(self.report_of(session, final=True))
        for last in reversed(self.network):
            self.find(last.session_id)
            self.accounts.apply(last, self.now)
            self.ledger.write(self.accounts.take_changes())
        recovered = self.ledger.recover()
        assert recovered.fleet.spent == self.truth()
        for study in STUDIES:
            assert recovered.studies.get(study, Sums()).spent == self.truth(study)


TestFleet = Fleet.TestCase
TestFleet.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)
