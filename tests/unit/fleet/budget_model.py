"""A fleet to try the accounts on: sessions that keep to their allowances, a network that loses,
repeats and reorders, budget actors that crash at any point, and a model of the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, TokenCounts, UsageReport, to_micro_usd
from fleet.budget.account import OUTLIVES_S, Account
from fleet.budget.accounts import Accounts
from fleet.budget.costs import Bucket
from fleet.budget.ledger import BudgetFenced
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Change, Figures, Limits, Sums

STUDIES = ("x", "y")
PROVIDERS = ("gemini_live", "openai_realtime")
MICRO = 1_000_000
"""Pico-dollars."""


class Store(Protocol):
    """What a ledger does, without waiting."""

    def take_over(self) -> int: ...

    def write(self, epoch: int, number: int, changes: list[Change]) -> None: ...

    def set_limit(self, epoch: int, scope: str, micro_usd: int | None) -> None: ...

    def load(self, accounts: Accounts) -> None: ...

    def accounts(self, ids: list[SessionId]) -> list[Account]: ...

    def close(self) -> None: ...


class LedgerModel:
    """What the script in Redis does, in Python and plainly: sums are summed up anew each time."""

    def __init__(self) -> None:
        self.epoch = 0
        self.limits: dict[str, int | None] = {}
        self._changes: dict[SessionId, Change] = {}
        self._versions: dict[SessionId, tuple[int, int]] = {}
        self._minutes: dict[SessionId, dict[Bucket, int]] = {}

    def take_over(self) -> int:
        self.epoch += 1
        return self.epoch

    def write(self, epoch: int, number: int, changes: list[Change]) -> None:
        self._check(epoch)
        for change in changes:
            id_, version = change.session_id, (epoch, number)
            if self._versions.get(id_, (0, 0)) <= version:
                self._versions[id_], self._changes[id_] = version, change
                self._minutes.setdefault(id_, {}).update(change.minutes)

    def set_limit(self, epoch: int, scope: str, micro_usd: int | None) -> None:
        self._check(epoch)
        self.limits[scope] = micro_usd

    def load(self, accounts: Accounts) -> None:
        for scope, micro in self.limits.items():
            if scope == "fleet":
                accounts.limits.fleet = micro
            else:
                accounts.limits.studies[scope.removeprefix("study:")] = micro
        for id_, change in self._changes.items():
            for sums in (accounts.studies.setdefault(change.study_id, Sums()), accounts.fleet):
                sums.figures = sums.figures.plus(change.figures)
                for bucket, micro in self._minutes[id_].items():
                    sums.book(bucket, micro)
                for provider in change.providers:
                    sums.used(provider)
        for account in self.accounts([i for i, c in self._changes.items() if c.figures.open]):
            accounts.adopt(account)

    def accounts(self, ids: list[SessionId]) -> list[Account]:
        known = ((i, self._changes[i]) for i in ids if i in self._changes)
        return [Account.from_json(c.state, self._minutes[i]) for i, c in known]

    def close(self) -> None:
        pass

    def _check(self, epoch: int) -> None:
        if epoch != self.epoch:
            raise BudgetFenced(epoch)


class Teller:
    """A budget actor's shell: applies, writes, then answers, as fleet.budget.book does."""

    def __init__(self, store: Store, limits: Limits) -> None:
        self.store = store
        epoch = store.take_over()
        self.accounts = Accounts(policy=GrantPolicy(), limits=limits.copy(), epoch=epoch)
        store.load(self.accounts)
        self.unwritten: dict[SessionId, Change] = {}
        self.number = 0
        self.late: list[tuple[int, list[Change]]] = []
        """Writes that were given up, and that Redis may still come to read."""

    def find(self, session_id: SessionId) -> None:
        if session_id not in self.accounts:
            for account in self.store.accounts([session_id]):
                self.accounts.adopt(account)

    def write(self, fate: str = "done") -> bool:
        """Whether its caller may be answered."""
        for change in self.accounts.take_changes():
            earlier = self.unwritten.get(change.session_id)
            self.unwritten[change.session_id] = change.after(earlier) if earlier else change
        batch = list(self.unwritten.values())
        self.number += 1
        if fate == "late":
            self.late.append((self.number, batch))
            return False
        self.store.write(self.accounts.epoch, self.number, batch)
        if fate == "unsure":
            return False
        self.unwritten.clear()
        return True

    def write_late(self, pick: int) -> None:
        number, batch = self.late.pop(pick % len(self.late))
        self.store.write(self.accounts.epoch, number, batch)


@dataclass
class Attempt:
    """One actor's try, as it really is. It heeds its own allowance, whoever has replaced it, and
    spends no faster than any of its reports said that it could."""

    number: int
    provider: str
    allowance: Allowance
    pico: int = 0
    at_risk: int = 0
    seq: int = 0
    alive: bool = True
    made: list[UsageReport] = field(default_factory=list)
    given_up_at: float | None = None

    @property
    def last(self) -> UsageReport | None:
        return self.made[-1] if self.made else None

    def spend(self, pico: int, now: float) -> None:
        """At the worst: the goodbye's part of the allowance too."""
        held = self.allowance
        if self.alive and now < held.expires_at:
            up_to = held.up_to_micro_usd + held.goodbye_micro_usd
            room = (up_to - held.spent_before_micro_usd) * MICRO - self.pico
            self.pico += max(min(pico, room, *self.rooms(now)), 0)

    def rooms(self, now: float) -> list[int]:
        """By each of its reports, how much more it can have spent by ``now``."""
        if self.given_up_at is not None:
            now = min(now, self.given_up_at + OUTLIVES_S)
        told = [r for r in self.made if r.response_pico_usd and r.minute_pico_usd]
        more = [r.at_risk_pico_usd + r.response_pico_usd for r in told]
        rates = [int(r.minute_pico_usd * max(now - r.at, 0) / 60) for r in told]
        return [
            r.spent_pico_usd + m + by_time - self.pico
            for r, m, by_time in zip(told, more, rates, strict=True)
        ]

    def report(self, session_id: SessionId, now: float, *, risk: int, final: bool) -> UsageReport:
        self.seq += 1
        self.alive = self.alive and not final
        made = UsageReport(
            session_id=session_id,
            attempt=self.number,
            seq=self.seq,
            at=now,
            provider=self.provider,
            model=f"{self.provider}-dated",
            tokens=TokenCounts(output_audio=self.pico // MICRO),
            spent_pico_usd=self.pico,
            estimate_pico_usd=0 if final else risk // 2,
            at_risk_pico_usd=0 if final else risk,
            goodbye_pico_usd=self.pico // 10,
            response_pico_usd=self.pico // 5,
            minute_pico_usd=self.pico // 3,
            responses=self.seq,
            unpriced_responses=self.seq // 3,
            final=final,
        )
        self.made.append(made)
        return made

    def restrain(self, allowance: Allowance, *, own: bool) -> None:
        """``own``: as the answer to its own report."""
        held = self.allowance
        if allowance.revoked:
            if own and allowance.epoch >= held.epoch:
                self.allowance = allowance
        elif (allowance.epoch, allowance.expires_at) >= (held.epoch, held.expires_at):
            self.allowance = allowance


@dataclass
class Session:
    id: SessionId
    study: str
    attempts: list[Attempt]
    most: int
    """The highest that its limit allowed it, and that it may therefore have reached."""
    closed: bool = False

    @property
    def now(self) -> Attempt:
        return self.attempts[-1]

    @property
    def truth(self) -> int:
        """What it really spent, by provider rounded up."""
        return sum(
            to_micro_usd(sum(a.pico for a in self.attempts if a.provider == provider))
            for provider in PROVIDERS
        )


ALL = 10**18
amounts = st.one_of(st.just(ALL), st.integers(0, 400_000 * MICRO))
risks = st.integers(0, 400_000 * MICRO)
# Drawn from a few, so that most sessions have money and limits meet each other.
limits = st.sampled_from([1_000_000, 3_000_000, 300_000, 1_700_001, 40_000, 0])
no_limits = st.sampled_from([3_000_000, 1_000_000, None, 500_000, 0])
seldom = st.sampled_from([False, False, False, True])
picks = st.integers(0, 10**6)
fates = st.sampled_from(["done", "done", "done", "done", "unanswered", "unsure", "late", "crash"])


class Fleet(RuleBasedStateMachine):
    """Subclasses give the store."""

    def new_store(self) -> Store:
        return LedgerModel()

    @initialize(
        fleet=st.sampled_from([4_000_000, 1_000_000, 500_000]),
        study=st.sampled_from([3_000_000, 700_000, 200_000]),
        first=limits,
        second=limits,
    )
    def begin(self, fleet: int, study: int, first: int, second: int) -> None:
        self.store = self.new_store()
        self.limits = Limits(fleet=fleet, every_study=study)
        self.teller = Teller(self.store, self.limits)
        self.now = 1_000.0
        self.sessions: list[Session] = []
        self.network: list[UsageReport] = []
        self.most: dict[str, int] = {"fleet": fleet, **dict.fromkeys(STUDIES, study)}
        self.old: Teller | None = None
        for limit in (first, second):
            self.open_session(STUDIES[0], PROVIDERS[0], limit)

    # What happens to sessions

    @rule(study=st.sampled_from(STUDIES), provider=st.sampled_from(PROVIDERS), limit=limits)
    def another_session(self, study: str, provider: str, limit: int) -> None:
        if len(self.sessions) >= MOST_SESSIONS:
            return
        self.open_session(study, provider, limit)

    def open_session(self, study: str, provider: str, limit: int) -> None:
        session = Session(
            id=SessionId(f"s{len(self.sessions)}"), study=study, attempts=[], most=limit
        )
        allowance = self.open(session, provider, limit)
        assert allowance.up_to_micro_usd + allowance.goodbye_micro_usd <= limit
        self.sessions.append(session)
        self.begin_attempt(session, Attempt(number=1, provider=provider, allowance=allowance))

    @precondition(lambda self: self.sessions)
    @rule(
        pick=picks,
        provider=st.sampled_from(PROVIDERS),
        dead=st.booleans(),
        heard=st.booleans(),
        pico=amounts,
    )
    def fall_over(self, pick: int, provider: str, dead: bool, heard: bool, pico: int) -> None:
        """Another attempt; the one before may not know it, its reports may be on their way."""
        session = self.pick(pick)
        if session.closed or len(session.attempts) >= 3:
            return
        if session.now.alive:
            session.now.spend(pico, self.now)
            last = session.now.report(session.id, self.now, risk=0, final=False)
            if heard:
                self.take(last, "done")
            else:
                self.network.append(last)
        session.now.alive = session.now.alive and not dead
        session.now.given_up_at = self.now
        allowance = self.open(session, provider, 10**9)
        number = session.now.number + 1
        self.begin_attempt(session, Attempt(number=number, provider=provider, allowance=allowance))

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, earlier=st.booleans(), pico=amounts)
    def spend(self, pick: int, earlier: bool, pico: int) -> None:
        self.attempt(pick, earlier).spend(pico, self.now)

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, earlier=st.booleans(), risk=risks, final=seldom, copies=picks)
    def send(self, pick: int, earlier: bool, risk: int, final: bool, copies: int) -> None:
        attempt = self.attempt(pick, earlier)
        if attempt.alive:
            made = attempt.report(self.pick(pick).id, self.now, risk=risk, final=final)
            self.network += [made] * (1 + copies % 2)

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, really=seldom)
    def close(self, pick: int, really: bool) -> None:
        """Its actors are dead. Their results brought the last reports of those that ended well."""
        if not really:
            return
        session = self.pick(pick)
        self.teller.find(session.id)
        for attempt in session.attempts:
            if attempt.last is not None and not attempt.alive:
                self.teller.accounts.apply(attempt.last, self.now)
            attempt.alive = False
        cost = self.teller.accounts.close(session.id, self.now)
        assert cost is not None
        self.teller.write()
        session.closed = True

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, earlier=st.booleans(), pico=amounts, risk=risks, fate=fates)
    def turn(self, pick: int, earlier: bool, pico: int, risk: int, fate: str) -> None:
        """As it mostly is: something is spent and told, and the answer comes back."""
        session, attempt = self.pick(pick), self.attempt(pick, earlier)
        attempt.spend(pico, self.now)
        if attempt.alive:
            report = attempt.report(session.id, self.now, risk=risk, final=False)
            self.take(report, fate)

    # What happens to reports

    @precondition(lambda self: self.network)
    @rule(pick=picks, lost=seldom, fate=fates)
    def deliver(self, pick: int, lost: bool, fate: str) -> None:
        report = self.network.pop(pick % len(self.network))
        if not lost:
            self.take(report, fate)

    def take(self, report: UsageReport, fate: str) -> None:
        before = self.committed(report.session_id)
        allowance = self.apply(report)
        if not self.account(report.session_id).is_given_up(report.attempt):
            self.check_grant(report.session_id, before)
        if fate == "crash":
            self.crash()
        elif self.teller.write("done" if fate == "unanswered" else fate) and fate == "done":
            self.hand_over(allowance, report.attempt, own=True)

    @precondition(lambda self: self.teller.late)
    @rule(pick=picks, crash=st.booleans())
    def read_late(self, pick: int, crash: bool) -> None:
        self.teller.write_late(pick)
        if crash:
            self.crash()

    # What happens to the budget actor

    @rule()
    def crash(self) -> None:
        """What is not in the ledger is lost; whoever had the accounts may not know it is over."""
        self.old, self.teller = self.teller, Teller(self.store, self.limits)
        if not self.old.unwritten and not self.old.accounts.take_changes():
            assert sums_of(self.teller.accounts) == sums_of(self.old.accounts)

    @precondition(lambda self: self.old is not None and self.sessions)
    @rule(pick=picks)
    def wake_the_old(self, pick: int) -> None:
        assert self.old is not None
        session = self.pick(pick)
        self.old.find(session.id)
        self.old.accounts.set_limit(session.id, 10**9, self.now)
        refused = False
        try:
            self.old.write_late(pick) if self.old.late else self.old.write()
        except BudgetFenced:
            refused = True
        assert refused

    @rule(seconds=st.floats(0, 90))
    def tick(self, seconds: float) -> None:
        self.now += seconds

    # What happens to limits

    @precondition(lambda self: self.sessions)
    @rule(pick=picks, limit=limits, told=st.booleans())
    def change_limit(self, pick: int, limit: int, told: bool) -> None:
        session = self.pick(pick)
        self.teller.find(session.id)
        before = self.committed(session.id)
        allowance = self.teller.accounts.set_limit(session.id, limit, self.now)
        assert allowance is not None
        self.check_grant(session.id, before)
        session.most = max(limit, self.committed(session.id))
        self.teller.write()
        if told:
            self.hand_over(allowance, session.now.number)

    @rule(study=st.sampled_from(STUDIES), limit=no_limits, told=st.booleans())
    def change_study(self, study: str, limit: int | None, told: bool) -> None:
        self.store.set_limit(self.teller.accounts.epoch, f"study:{study}", limit)
        allowances = self.teller.accounts.set_study_limit(study, limit, self.now)
        self.set_most(study, limit)
        self.teller.write()
        for allowance in allowances if told else []:
            self.hand_over(allowance)

    @rule(limit=no_limits, told=st.booleans())
    def change_fleet(self, limit: int | None, told: bool) -> None:
        self.store.set_limit(self.teller.accounts.epoch, "fleet", limit)
        allowances = self.teller.accounts.set_fleet_limit(limit, self.now)
        self.set_most("fleet", limit)
        self.teller.write()
        for allowance in allowances if told else []:
            self.hand_over(allowance)

    # What must hold

    @invariant()
    def nobody_spends_more_than_was_allowed(self) -> None:
        """A closed session whose actor died unheard may have: nobody knows, nobody is charged."""
        for session in getattr(self, "sessions", []):
            if not session.closed:
                assert session.truth <= self.committed(session.id)
                assert session.truth <= session.most + ROUNDING

    @invariant()
    def studies_and_fleet_hold(self) -> None:
        if not hasattr(self, "teller"):
            return
        books = self.teller.accounts
        for name, sums in (("fleet", books.fleet), *books.studies.items()):
            ours = [s for s in self.sessions if name in ("fleet", s.study)]
            spent = sum(s.truth for s in ours if not s.closed)
            assert spent <= sums.committed
            found_late = sum(self.charged(s.id) for s in ours if s.closed)
            assert spent <= self.most[name] + found_late + ROUNDING * len(ours)

    @invariant()
    def minutes_and_providers_add_up(self) -> None:
        if not hasattr(self, "teller"):
            return
        books = self.teller.accounts
        for sums in (books.fleet, *books.studies.values()):
            assert sum(sums.minutes.values()) == sum(sums.spent_by.values()) == sums.spent
        for total in ("figures", "estimate"):
            parts = [getattr(s, total) for s in books.studies.values()]
            assert getattr(books.fleet, total) == added(parts, getattr(books.fleet, total))
        for session in self.sessions:
            if account := books.get(session.id):
                assert sum(account.minutes.values()) == account.spent

    def teardown(self) -> None:
        """Once every attempt's last cumulative report has arrived, the ledger says exactly what
        was spent, in all the ways that it can be asked.
        """
        if not hasattr(self, "teller"):
            return
        for session in self.sessions:
            for attempt in reversed(session.attempts):
                last = attempt.report(session.id, self.now, risk=0, final=True)
                for _ in range(2):
                    self.apply(last)
                    self.teller.write()
        for stale in reversed(self.network):
            self.apply(stale)
        self.teller.write()
        found = Teller(self.store, self.limits).accounts
        assert sums_of(found) == sums_of(self.teller.accounts)
        accounts = self.store.accounts([s.id for s in self.sessions])
        for name, sums in (("fleet", found.fleet), *found.studies.items()):
            ours = [a for a in accounts if name in ("fleet", a.study_id)]
            assert sums.figures == added([a.figures() for a in ours], Figures())
            assert sums.spent == sum(s.truth for s in self.sessions if name in ("fleet", s.study))
            for bucket, micro in sums.minutes.items():
                assert micro == sum(a.minutes.get(bucket, 0) for a in ours)
            for provider in PROVIDERS:
                used = sum(provider in a.providers for a in ours)
                assert sums.sessions_by.get(provider, 0) == used
        self.store.close()

    # Steps

    def pick(self, pick: int) -> Session:
        return self.sessions[pick % len(self.sessions)]

    def attempt(self, pick: int, earlier: bool) -> Attempt:
        attempts = self.pick(pick).attempts
        return attempts[-2] if earlier and len(attempts) > 1 else attempts[-1]

    def open(self, session: Session, provider: str, limit: int) -> Allowance:
        self.teller.find(session.id)
        allowance = None
        for _ in range(2):  # asked again, as the first answer was lost
            allowance = self.teller.accounts.open(
                session_id=session.id,
                study_id=session.study,
                provider=provider,
                limit_micro_usd=limit,
                now=self.now,
            )
            self.teller.write()
        assert allowance is not None
        return allowance

    def apply(self, report: UsageReport) -> Allowance:
        self.teller.find(report.session_id)
        return self.teller.accounts.apply(report, self.now)

    def begin_attempt(self, session: Session, attempt: Attempt) -> None:
        """It reports as soon as it lives, before it spends: until then it is not known of."""
        session.attempts.append(attempt)
        allowance = self.apply(attempt.report(session.id, self.now, risk=0, final=False))
        self.teller.write()
        self.hand_over(allowance, attempt.number, own=True)

    def hand_over(
        self, allowance: Allowance, number: int | None = None, *, own: bool = False
    ) -> None:
        session = next(s for s in self.sessions if s.id == allowance.session_id)
        for attempt in session.attempts:
            if attempt.number == (number or session.now.number):
                attempt.restrain(allowance, own=own)

    def account(self, session_id: SessionId) -> Account:
        self.teller.find(session_id)
        account = self.teller.accounts.get(session_id)
        assert account is not None
        return account

    def committed(self, session_id: SessionId) -> int:
        return self.account(session_id).committed

    def charged(self, session_id: SessionId) -> int:
        return self.account(session_id).spent

    def check_grant(self, session_id: SessionId, before: int) -> None:
        """More is never given than study and fleet have left."""
        account, books = self.account(session_id), self.teller.accounts
        if account.committed <= max(before, account.spent + account.unheard):
            return
        limit = books.limits.of_study(account.study_id)
        assert limit is None or books.studies[account.study_id].committed <= limit
        assert books.limits.fleet is None or books.fleet.committed <= books.limits.fleet

    def set_most(self, name: str, limit: int | None) -> None:
        """What was allowed before cannot be taken back at once; nothing is added to it."""
        books = self.teller.accounts
        sums = books.fleet if name == "fleet" else books.studies.get(name, Sums())
        self.most[name] = 10**12 if limit is None else max(limit, sums.committed)


MOST_SESSIONS = 3
ROUNDING = len(PROVIDERS) * 3
"""Micro-dollars: each attempt rounds its own part up, each provider's part is rounded up."""


def added(parts: list[object], zero: object) -> object:
    if isinstance(zero, int):
        return sum(parts)  # type: ignore[arg-type]
    total = Figures()
    for part in parts:
        assert isinstance(part, Figures)
        total = total.plus(part)
    return total


def sums_of(accounts: Accounts) -> dict[str, Sums]:
    everything = {"fleet": accounts.fleet, **accounts.studies}
    return {name: sums for name, sums in everything.items() if sums.figures != Figures()}
