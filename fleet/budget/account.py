"""One session's money: what each of its attempts reported, what it was allowed, its minutes.

Pure. Reports are cumulative per attempt, and only the highest ``seq`` of an attempt counts, so
any order, loss or repetition of them ends in the same total. An attempt that is over without a
final report (its actor was lost) is charged what it still had at risk by its last report; its
final report, if it comes after all, puts the true figure in place of that.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from agent_actor.contract import SessionId
from agent_actor.messages import TokenCounts, UsageReport, Verdict, to_micro_usd
from fleet.budget.costs import SessionCost, as_minutes, minute_of
from fleet.budget.policy import Grant


@dataclass(kw_only=True)
class Account:
    session_id: SessionId
    study_id: str
    provider: str
    limit: int
    opened_at: float
    closed_at: float | None = None
    verdict: Verdict = Verdict.GO_ON
    grant: Grant | None = None
    """The one in force."""
    earlier: list[Grant] = field(default_factory=list)
    """Higher ones, given before a limit was lowered, that the session may still hold."""
    reports: dict[int, UsageReport] = field(default_factory=dict)
    """The last of each attempt."""
    minutes: dict[int, int] = field(default_factory=dict)

    # Figures, in micro-dollars

    @property
    def spent(self) -> int:
        return to_micro_usd(sum(self._charged(r) for r in self.reports.values()))

    @property
    def estimate(self) -> int:
        last = self.last
        return 0 if last is None or self._over(last) else to_micro_usd(last.estimate_pico_usd)

    @property
    def at_risk(self) -> int:
        last = self.last
        return 0 if last is None or self._over(last) else to_micro_usd(last.at_risk_pico_usd)

    @property
    def goodbye(self) -> int:
        return to_micro_usd(self.last.goodbye_pico_usd) if self.last else 0

    @property
    def committed(self) -> int:
        """What must be kept for this session: all it may have spent without telling us yet."""
        if self.closed_at is not None:
            return self.spent
        grants = [*self.earlier, *([self.grant] if self.grant else [])]
        return max(self.spent, *(g.up_to for g in grants)) if grants else self.spent

    @property
    def last(self) -> UsageReport | None:
        return self.reports[max(self.reports)] if self.reports else None

    def spent_before(self, attempt: int | None) -> int:
        """By the other attempts. With None: by all, and what they have at risk, for a new one."""
        others = [r for r in self.reports.values() if r.attempt != attempt]
        if attempt is None:
            return to_micro_usd(sum(_most(r) for r in others))
        return to_micro_usd(sum(self._charged(r) for r in others))

    def _charged(self, report: UsageReport) -> int:
        return _most(report) if self._over(report) else report.spent_pico_usd

    def _over(self, report: UsageReport) -> bool:
        return report.final or self.closed_at is not None or report.attempt < max(self.reports)

    # Changes

    def take(self, report: UsageReport, now: float) -> bool:
        """False if it says nothing new: an older one of its attempt, or the same again."""
        known = self.reports.get(report.attempt)
        if known is not None and known.seq >= report.seq:
            return False
        self.reports[report.attempt] = report
        # Whoever still reports after a grant ran out does not hold that one any more.
        self.earlier = [g for g in self.earlier if g.expires_at > now]
        return True

    def hold(self, grant: Grant) -> None:
        """``grant`` takes the place of the one in force. A higher one may still be out there."""
        if self.grant is not None and self.grant.up_to > grant.up_to:
            self.earlier.append(self.grant)
        self.earlier = [g for g in self.earlier if g.up_to > grant.up_to]
        self.grant = grant

    def book(self, delta: int, at: float, now: float) -> int:
        """Put a change of ``spent`` into its minute; returns the minute."""
        minute = minute_of(min(max(at, self.opened_at), now))
        self.minutes[minute] = self.minutes.get(minute, 0) + delta
        return minute

    # Views

    def cost(self) -> SessionCost:
        reports = self.reports.values()
        return SessionCost(
            session_id=self.session_id,
            study_id=self.study_id,
            provider=self.provider,
            model=self.last.model if self.last else None,
            limit_micro_usd=self.limit,
            spent_micro_usd=self.spent,
            estimate_micro_usd=self.estimate,
            tokens=sum((r.tokens for r in reports), TokenCounts()),
            responses=sum(r.responses for r in reports),
            unpriced_responses=sum(r.unpriced_responses for r in reports),
            allowance_micro_usd=self.grant.up_to if self.grant else self.spent,
            verdict=self.verdict,
            minutes=as_minutes(self.minutes),
            closed=self.closed_at is not None,
        )

    def to_json(self) -> str:
        """All but the minutes, which are stored one by one."""
        state = {
            "session_id": self.session_id,
            "study_id": self.study_id,
            "provider": self.provider,
            "limit": self.limit,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "verdict": self.verdict.value,
            "grant": self.grant.__dict__ if self.grant else None,
            "earlier": [g.__dict__ for g in self.earlier],
            "reports": [_report_to_dict(r) for r in self.reports.values()],
        }
        return _encode(state)

    @classmethod
    def from_json(cls, text: str, minutes: Mapping[int, int]) -> Account:
        state: dict[str, Any] = json.loads(text)
        reports = [_report_from_dict(r) for r in state.pop("reports")]
        grant = state.pop("grant")
        return cls(
            **{
                **state,
                "verdict": Verdict(state["verdict"]),
                "grant": Grant(**grant) if grant else None,
                "earlier": [Grant(**g) for g in state["earlier"]],
                "reports": {r.attempt: r for r in reports},
                "minutes": dict(minutes),
            }
        )


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Made once: it runs for every report."""


def _most(report: UsageReport) -> int:
    return report.spent_pico_usd + (0 if report.final else report.at_risk_pico_usd)


def _report_to_dict(report: UsageReport) -> dict[str, Any]:
    return {**report.__dict__, "tokens": report.tokens.__dict__}


def _report_from_dict(state: dict[str, Any]) -> UsageReport:
    return UsageReport(**{**state, "tokens": TokenCounts(**state["tokens"])})
