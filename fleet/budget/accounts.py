"""All accounts: session ≤ study ≤ fleet. Pure, in memory, constant work per report.

What is committed to a session (spent, or allowed to be spent) counts against its study and the
fleet, so no set of sessions can together be allowed more than their study or the fleet has.
Whatever changes is listed for the ledger: ``take_changes`` gives the new, absolute figures of
the accounts that were touched, to be written before any allowance is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport, Verdict
from fleet.budget.account import Account
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost, as_minutes
from fleet.budget.policy import GrantPolicy, Standing, decide

UNCLAIMED = "unclaimed"
"""The study of a session that reports without ever having been opened. Its limit is zero."""


@dataclass(kw_only=True)
class Sums:
    """Of a study, or of the fleet. ``estimate`` is of open sessions only and is not stored."""

    spent: int = 0
    committed: int = 0
    estimate: int = 0
    sessions: int = 0
    open_sessions: int = 0
    minutes: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Change:
    """An account as the ledger must hold it: absolute figures, so writing it twice is harmless."""

    session_id: SessionId
    study_id: str
    provider: str
    state: str
    spent: int
    committed: int
    open: bool
    minutes: Mapping[int, int]
    """Those that changed."""

    def after(self, earlier: Change) -> Change:
        """This one, with what an earlier, unwritten one of the same account changed."""
        return Change(**{**self.__dict__, "minutes": {**earlier.minutes, **self.minutes}})


@dataclass(kw_only=True)
class Limits:
    """In micro-dollars; None: none."""

    fleet: int | None = None
    every_study: int | None = None
    studies: dict[str, int | None] = field(default_factory=dict)

    def of_study(self, study_id: str) -> int | None:
        return self.studies.get(study_id, self.every_study)


class Accounts:
    """``now`` is epoch seconds everywhere. Times of reports are the sessions' own clocks."""

    def __init__(self, *, policy: GrantPolicy, limits: Limits, epoch: int = 0) -> None:
        self.policy = policy
        self.limits = limits
        self.epoch = epoch
        self.fleet = Sums()
        self.studies: dict[str, Sums] = {}
        self.provider_minutes: dict[str, dict[int, int]] = {}
        self._accounts: dict[SessionId, Account] = {}
        self._open: dict[SessionId, Account] = {}
        self._changed: dict[SessionId, set[int]] = {}

    def __contains__(self, session_id: object) -> bool:
        return session_id in self._accounts

    def __len__(self) -> int:
        return len(self._accounts)

    def get(self, session_id: SessionId) -> Account | None:
        return self._accounts.get(session_id)

    # Changes

    def open(
        self,
        *,
        session_id: SessionId,
        study_id: str,
        provider: str,
        limit_micro_usd: int,
        now: float,
    ) -> Allowance:
        """A new account, or a further attempt of one (its study and limit stay as they are)."""
        account = self._accounts.get(session_id)
        if account is None:
            account = self._add(session_id, study_id, provider, limit_micro_usd, now)
        before = _Figures.of(account)
        account.closed_at = None
        self._open[session_id] = account
        return self._answer(account, before, now=now, at=now, attempt=None)

    def apply(self, report: UsageReport, now: float) -> Allowance:
        """Take a report, answer what its session may spend. A report of an unknown session opens
        an account without money, so that nothing is lost and the session ends.
        """
        account = self._accounts.get(report.session_id)
        if account is None:
            account = self._add(report.session_id, UNCLAIMED, report.provider, 0, now)
        before = _Figures.of(account)
        account.take(report, now)
        return self._answer(account, before, now=now, at=report.at, attempt=report.attempt)

    def close(self, session_id: SessionId, now: float) -> SessionCost | None:
        """What was not spent returns to study and fleet. Closing twice changes nothing."""
        account = self._accounts.get(session_id)
        if account is None:
            return None
        if account.closed_at is None:
            before = _Figures.of(account)
            account.closed_at = now
            del self._open[session_id]
            account.grant, account.earlier = None, []
            self._settle(account, before, now=now, at=now)
        return account.cost()

    def set_limit(self, session_id: SessionId, micro_usd: int, now: float) -> Allowance | None:
        """Raise or lower; zero ends the session now. None: no such account."""
        account = self._accounts.get(session_id)
        if account is None:
            return None
        before = _Figures.of(account)
        account.limit = max(micro_usd, 0)
        self._changed.setdefault(session_id, set())
        return self._answer(account, before, now=now, at=now, attempt=_newest(account))

    def set_study_limit(self, study_id: str, micro_usd: int | None, now: float) -> list[Allowance]:
        """New allowances for the study's open sessions."""
        self.limits.studies[study_id] = micro_usd
        return self._renew((a for a in self.open_accounts() if a.study_id == study_id), now)

    def set_fleet_limit(self, micro_usd: int | None, now: float) -> list[Allowance]:
        self.limits.fleet = micro_usd
        return self._renew(self.open_accounts(), now)

    def forget(self, session_id: SessionId) -> None:
        """Drop a closed account that the ledger holds from memory; its sums stay."""
        if session_id not in self._changed:
            account = self._accounts.get(session_id)
            if account is not None and account.closed_at is not None:
                del self._accounts[session_id]

    # The ledger's side

    def take_changes(self) -> list[Change]:
        """What changed since the last call. The caller must get it written, or try again."""
        changed, self._changed = self._changed, {}
        return [self._change(self._accounts[id_], minutes) for id_, minutes in changed.items()]

    def adopt(self, account: Account) -> None:
        """An account from the ledger, whose sums are known already."""
        self._accounts[account.session_id] = account
        if account.closed_at is None:
            self._open[account.session_id] = account
        self._study(account.study_id).estimate += account.estimate
        self.fleet.estimate += account.estimate

    # Views

    def cost(self, session_id: SessionId) -> SessionCost | None:
        account = self._accounts.get(session_id)
        return account.cost() if account else None

    def study_cost(self, study_id: str) -> StudyCost | None:
        sums = self.studies.get(study_id)
        if sums is None:
            return None
        return StudyCost(
            study_id=study_id,
            limit_micro_usd=self.limits.of_study(study_id),
            spent_micro_usd=sums.spent,
            estimate_micro_usd=sums.estimate,
            committed_micro_usd=sums.committed,
            sessions=sums.sessions,
            open_sessions=sums.open_sessions,
            minutes=as_minutes(sums.minutes),
        )

    def totals(self) -> BudgetTotals:
        return BudgetTotals(
            limit_micro_usd=self.limits.fleet,
            spent_micro_usd=self.fleet.spent,
            estimate_micro_usd=self.fleet.estimate,
            committed_micro_usd=self.fleet.committed,
            sessions=self.fleet.sessions,
            open_sessions=self.fleet.open_sessions,
            epoch=self.epoch,
            minutes_by_provider={p: as_minutes(m) for p, m in self.provider_minutes.items()},
        )

    def open_accounts(self) -> Iterator[Account]:
        return iter(self._open.values())

    def overdue(self, grace_s: float, now: float) -> list[SessionId]:
        """Open sessions that should have ended more than ``grace_s`` ago, the longest first: told
        to end, or without a renewal of their lease. Looks at open accounts only.
        """
        late = [(a.due_at, a.session_id) for a in self.open_accounts() if a.due_at is not None]
        return [id_ for due_at, id_ in sorted(late) if now - due_at > grace_s]

    # Inside

    def _add(
        self, session_id: SessionId, study_id: str, provider: str, limit: int, now: float
    ) -> Account:
        account = Account(
            session_id=session_id,
            study_id=study_id,
            provider=provider,
            limit=max(limit, 0),
            opened_at=now,
        )
        self._accounts[session_id] = self._open[session_id] = account
        for sums in (self._study(study_id), self.fleet):
            sums.sessions += 1
            sums.open_sessions += 1
        return account

    def _study(self, study_id: str) -> Sums:
        return self.studies.setdefault(study_id, Sums())

    def _answer(
        self, account: Account, before: _Figures, *, now: float, at: float, attempt: int | None
    ) -> Allowance:
        self._settle(account, before, now=now, at=at)
        committed = account.committed
        if account.closed_at is None:
            verdict, grant = decide(self.policy, self._standing(account), account.grant, now)
            account.judge(verdict, now)
            if grant is not account.grant:
                account.hold(grant)
                self._changed.setdefault(account.session_id, set())
        self._commit(account, account.committed - committed)
        return self._allowance(account, attempt, now)

    def _allowance(self, account: Account, attempt: int | None, now: float) -> Allowance:
        held, closed = account.grant, account.closed_at is not None
        return Allowance(
            session_id=account.session_id,
            up_to_micro_usd=held.up_to if held else account.spent,
            limit_micro_usd=account.limit,
            spent_before_micro_usd=account.spent_before(attempt),
            expires_at=held.expires_at if held else now,
            verdict=Verdict.END if closed else account.verdict,
            epoch=self.epoch,
        )

    def _standing(self, account: Account) -> Standing:
        return Standing(
            cap=self._cap(account),
            limit=account.limit,
            spent=account.spent,
            estimate=account.estimate,
            at_risk=account.at_risk,
            goodbye=account.goodbye,
            busiest_minute=max(account.minutes.values(), default=0),
        )

    def _cap(self, account: Account) -> int:
        """The session's limit, or what study and fleet have left beside the others."""
        cap, own = account.limit, account.committed
        for limit, sums in (
            (self.limits.of_study(account.study_id), self._study(account.study_id)),
            (self.limits.fleet, self.fleet),
        ):
            if limit is not None:
                cap = min(cap, limit - (sums.committed - own))
        return max(cap, 0)

    def _settle(self, account: Account, before: _Figures, *, now: float, at: float) -> None:
        """Carry what changed in an account into the sums above it, and into its minute."""
        after = _Figures.of(account)
        if after == before:
            return
        changed = self._changed.setdefault(account.session_id, set())
        study = self._study(account.study_id)
        if spent := after.spent - before.spent:
            minute = account.book(spent, at, now)
            changed.add(minute)
            provider = self.provider_minutes.setdefault(account.provider, {})
            for buckets in (study.minutes, self.fleet.minutes, provider):
                buckets[minute] = buckets.get(minute, 0) + spent
        for sums in (study, self.fleet):
            sums.spent += spent
            sums.estimate += after.estimate - before.estimate
            sums.open_sessions += after.open - before.open
        self._commit(account, after.committed - before.committed)

    def _commit(self, account: Account, delta: int) -> None:
        self._study(account.study_id).committed += delta
        self.fleet.committed += delta

    def _renew(self, accounts: Iterable[Account], now: float) -> list[Allowance]:
        return [
            self._answer(a, _Figures.of(a), now=now, at=now, attempt=_newest(a))
            for a in list(accounts)
        ]

    def _change(self, account: Account, minutes: set[int]) -> Change:
        return Change(
            session_id=account.session_id,
            study_id=account.study_id,
            provider=account.provider,
            state=account.to_json(),
            spent=account.spent,
            committed=account.committed,
            open=account.closed_at is None,
            minutes={m: account.minutes[m] for m in minutes},
        )


@dataclass(frozen=True)
class _Figures:
    spent: int
    committed: int
    estimate: int
    open: bool
    heard: tuple[int, int, bool]

    @classmethod
    def of(cls, account: Account) -> _Figures:
        last = account.last
        return cls(
            spent=account.spent,
            committed=account.committed,
            estimate=account.estimate,
            open=account.closed_at is None,
            heard=(last.attempt, last.seq, last.final) if last else (0, 0, False),
        )


def _newest(account: Account) -> int:
    return max(account.reports, default=1)
