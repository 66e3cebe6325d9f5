"""All accounts: session ≤ study ≤ fleet. Pure, in memory, constant work per report.

What is committed to a session (spent, or allowed to be spent) counts against its study and the
fleet, so no set of sessions can together be allowed more than their study or the fleet has.
Whatever changes is listed for the ledger: ``take_changes`` gives the new, absolute figures of
the accounts that were touched, to be written before any allowance is answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from agent_actor.contract import SessionId
from agent_actor.messages import Allowance, UsageReport, Verdict
from fleet.budget.account import Account
from fleet.budget.costs import (
    MINUTE_S,
    Bucket,
    BudgetTotals,
    SessionCost,
    StudyCost,
    as_minutes,
    minute_of,
)
from fleet.budget.policy import GrantPolicy, Standing, decide
from fleet.budget.sums import Change, Figures, Limits, Sums
from fleet.budget.thresholds import Mark, MarkChange, Notice, Scope, ScopeKind, notice_of, step

UNCLAIMED = "unclaimed"
"""The study of a session that reports without ever having been opened. Its limit is zero."""
SHOWN_MINUTES = 60
"""Of the fleet, in its totals: the latest."""


class Accounts:
    """``now`` is epoch seconds everywhere. Times of reports are the sessions' own clocks."""

    def __init__(
        self,
        *,
        policy: GrantPolicy,
        limits: Limits,
        epoch: int = 0,
        fractions_ppm: Sequence[int] = (),
    ) -> None:
        """``fractions_ppm``: of a limit, to be told of; none: no marks are kept."""
        self.policy = policy
        self.limits = limits
        self.epoch = epoch
        self.fractions_ppm = tuple(fractions_ppm)
        self.ledger_id = ""
        self.marks: dict[str, Mark] = {}
        """Of studies and the fleet, by scope."""
        self.fleet = Sums()
        self.studies: dict[str, Sums] = {}
        self._accounts: dict[SessionId, Account] = {}
        self._open: dict[SessionId, Account] = {}
        self._changed: dict[SessionId, set[Bucket]] = {}
        self._marked: set[str] = set()
        self._notices: dict[str, list[Notice]] = {}
        """By scope: not taken yet."""

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
        before = _Snapshot.of(account)
        account.give_up(now)
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
        before = _Snapshot.of(account)
        account.take(report)
        return self._answer(account, before, now=now, at=report.at, attempt=report.attempt)

    def close(self, session_id: SessionId, now: float) -> SessionCost | None:
        """What was not spent returns to study and fleet. Closing twice changes nothing."""
        account = self._accounts.get(session_id)
        if account is None:
            return None
        if account.closed_at is None:
            before = _Snapshot.of(account)
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
        before = _Snapshot.of(account)
        account.limit = max(micro_usd, 0)
        self._changed.setdefault(session_id, set())
        self._mark_session(account, now)
        return self._answer(account, before, now=now, at=now, attempt=_newest(account))

    def set_study_limit(self, study_id: str, micro_usd: int | None, now: float) -> list[Allowance]:
        """New allowances for the study's open sessions."""
        self.limits.studies[study_id] = micro_usd
        self._mark_study(study_id, now)
        return self._renew((a for a in self.open_accounts() if a.study_id == study_id), now)

    def set_fleet_limit(self, micro_usd: int | None, now: float) -> list[Allowance]:
        self.limits.fleet = micro_usd
        self._mark_fleet(now)
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

    def take_marks(self) -> list[MarkChange]:
        """As ``take_changes``, of studies and the fleet; to be written with or after those."""
        marked, self._marked = sorted(self._marked), set()
        return [
            MarkChange(
                scope=scope,
                mark=self.marks[scope].to_json(),
                notices=tuple(self._notices.pop(scope, ())),
            )
            for scope in marked
        ]

    def look_again(self, now: float) -> None:
        """Everything just loaded, under the limits and fractions of now: what was crossed and not
        marked is found here.
        """
        for account in self.open_accounts():
            if self._mark_session(account, now):
                self._changed.setdefault(account.session_id, set())
        for study_id in self.studies:
            self._mark_study(study_id, now)
        self._mark_fleet(now)

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
            sessions=sums.figures.sessions,
            open_sessions=sums.figures.open,
            tokens=sums.figures.tokens,
            responses=sums.figures.responses,
            unpriced_responses=sums.figures.unpriced,
            by_provider=sums.by_provider(),
            minutes=as_minutes(sums.minutes),
        )

    def totals(self, now: float) -> BudgetTotals:
        latest = minute_of(now)
        buckets = (
            Bucket(latest - back * MINUTE_S, provider)
            for back in range(SHOWN_MINUTES)
            for provider in self.fleet.spent_by
        )
        return BudgetTotals(
            limit_micro_usd=self.limits.fleet,
            spent_micro_usd=self.fleet.spent,
            estimate_micro_usd=self.fleet.estimate,
            committed_micro_usd=self.fleet.committed,
            sessions=self.fleet.figures.sessions,
            open_sessions=self.fleet.figures.open,
            epoch=self.epoch,
            by_provider=self.fleet.by_provider(),
            minutes=as_minutes({b: self.fleet.minutes.get(b, 0) for b in buckets}),
        )

    def open_accounts(self) -> Iterator[Account]:
        return iter(self._open.values())

    def open_sessions(self) -> list[SessionId]:
        return list(self._open)

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
            providers=[provider],
            limit=max(limit, 0),
            opened_at=now,
        )
        self._accounts[session_id] = self._open[session_id] = account
        for sums in (self._study(study_id), self.fleet):
            sums.figures = sums.figures.plus(Figures(sessions=1, open=1))
            sums.used(provider)
        return account

    def _study(self, study_id: str) -> Sums:
        return self.studies.setdefault(study_id, Sums())

    def _answer(
        self, account: Account, before: _Snapshot, *, now: float, at: float, attempt: int | None
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
        if attempt is not None and account.is_given_up(attempt):
            held, closed = None, True  # its successor has the money now
        return Allowance(
            session_id=account.session_id,
            up_to_micro_usd=held.up_to if held else account.spent,
            goodbye_micro_usd=held.goodbye if held else 0,
            limit_micro_usd=account.limit,
            spent_before_micro_usd=account.spent_before(attempt),
            expires_at=held.expires_at if held else now,
            verdict=Verdict.END if closed else account.verdict,
            epoch=self.epoch,
            revoked=closed,
        )

    def _standing(self, account: Account) -> Standing:
        return Standing(
            cap=max(self._cap(account) - account.unheard, 0),
            limit=account.limit,
            spent=account.spent,
            estimate=account.estimate,
            at_risk=account.at_risk,
            goodbye=account.goodbye,
            response=account.response,
            minute=account.minute,
            busiest_minute=account.busiest_minute,
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

    def _settle(self, account: Account, before: _Snapshot, *, now: float, at: float) -> None:
        """Carry what changed in an account into the sums above it, and into its minute."""
        after = _Snapshot.of(account)
        if after == before:
            return
        changed = self._changed.setdefault(account.session_id, set())
        booked = [
            (account.book(provider, spent, at, now), spent)
            for provider in {**before.spent_by, **after.spent_by}
            if (spent := after.spent_by.get(provider, 0) - before.spent_by.get(provider, 0))
        ]
        changed.update(bucket for bucket, _ in booked)
        for sums in (self._study(account.study_id), self.fleet):
            sums.figures = sums.figures.plus(after.figures.minus(before.figures))
            sums.estimate += after.estimate - before.estimate
            for bucket, spent in booked:
                sums.book(bucket, spent)
            for provider in account.providers[before.providers :]:
                sums.used(provider)
        if booked:
            self._mark_session(account, now)
            self._mark_study(account.study_id, now)
            self._mark_fleet(now)

    def _mark_session(self, account: Account, now: float) -> bool:
        scope = Scope(kind=ScopeKind.SESSION, id=account.session_id)
        before = account.mark
        account.mark = self._step(scope, before, account.limit, account.spent, now)
        return account.mark is not before

    def _mark_study(self, study_id: str, now: float) -> None:
        scope = Scope(kind=ScopeKind.STUDY, id=study_id)
        spent = self.studies[study_id].spent if study_id in self.studies else 0
        self._mark(scope, self.limits.of_study(study_id), spent, now)

    def _mark_fleet(self, now: float) -> None:
        self._mark(Scope(kind=ScopeKind.FLEET), self.limits.fleet, self.fleet.spent, now)

    def _mark(self, scope: Scope, limit: int | None, spent: int, now: float) -> None:
        before = self.marks.get(scope.name, Mark())
        after = self._step(scope, before, limit, spent, now)
        if after is not before:
            self.marks[scope.name] = after
            self._marked.add(scope.name)

    def _step(self, scope: Scope, mark: Mark, limit: int | None, spent: int, now: float) -> Mark:
        if not self.fractions_ppm:
            return mark
        after, crossings = step(mark, self.fractions_ppm, limit, spent)
        if crossings:
            self._notices.setdefault(scope.name, []).extend(
                notice_of(c, scope, ledger_id=self.ledger_id, at=now) for c in crossings
            )
        return mark if after == mark else after

    def _commit(self, account: Account, delta: int) -> None:
        self._study(account.study_id).commit(delta)
        self.fleet.commit(delta)

    def _renew(self, accounts: Iterable[Account], now: float) -> list[Allowance]:
        return [
            self._answer(a, _Snapshot.of(a), now=now, at=now, attempt=_newest(a))
            for a in list(accounts)
        ]

    def _change(self, account: Account, minutes: set[Bucket]) -> Change:
        return Change(
            session_id=account.session_id,
            study_id=account.study_id,
            state=account.to_json(),
            figures=account.figures(),
            providers=tuple(account.providers),
            minutes={m: account.minutes[m] for m in minutes},
            notices=tuple(self._notices.pop(f"session:{account.session_id}", ())),
        )


class _Snapshot(NamedTuple):
    """An account before or after a change."""

    figures: Figures
    estimate: int
    spent_by: Mapping[str, int]
    providers: int
    """How many: they are only ever added to."""
    heard: tuple[int, int, bool]

    @classmethod
    def of(cls, account: Account) -> _Snapshot:
        last = account.last
        return cls(
            figures=account.figures(),
            estimate=account.estimate,
            spent_by=account.spent_by(),
            providers=len(account.providers),
            heard=(last.attempt, last.seq, last.final) if last else (0, 0, False),
        )


def _newest(account: Account) -> int:
    return max(account.reports, default=1)
