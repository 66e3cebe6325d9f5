"""One session's money: what each of its attempts reported, what it was allowed, its minutes.

Pure. Reports are cumulative per attempt, and only the highest ``seq`` of an attempt counts, so
any order, loss or repetition of them ends in the same total. An attempt that is over without a
final report (its actor was lost) is charged what it still had at risk by its last report; its
final report, if it comes after all, puts the true figure in place of that. What it may have
spent beyond that, within its last allowance, by its own bounds and unheard, is not charged, but
kept back from the attempts after it: so the limit holds whatever got lost.

Money is kept by provider, as each attempt may use another: each provider's part is rounded up to
micro-dollars once, and what was spent is the sum of those.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from agent_actor.contract import SessionId
from agent_actor.messages import TokenCounts, UsageReport, Verdict, to_micro_usd
from fleet.budget.costs import Bucket, SessionCost, as_minutes, minute_of
from fleet.budget.policy import Grant
from fleet.budget.sums import Figures
from fleet.budget.thresholds import Mark

OUTLIVES_S = 5.0
"""So long an attempt that is given up, and lives after all, may spend on: with its next report, a
second later, it hears that it is over, and its successor puts it out of the room. What two nodes'
clocks differ by is taken from it."""


@dataclass(kw_only=True)
class Account:
    session_id: SessionId
    study_id: str
    providers: list[str]
    """Every one it was opened with or reported, in order."""
    limit: int
    opened_at: float
    closed_at: float | None = None
    verdict: Verdict = Verdict.GO_ON
    told_to_end_at: float | None = None
    """When END was first said, of the END that holds now."""
    grant: Grant | None = None
    """The one in force."""
    earlier: list[Grant] = field(default_factory=list)
    """Higher ones, given before a limit was lowered, that the session may still hold."""
    reports: dict[int, UsageReport] = field(default_factory=dict)
    """The last of each attempt."""
    ceilings: dict[int, int] = field(default_factory=dict)
    """Of attempts given up without a final report: the most each may have spent."""
    minutes: dict[Bucket, int] = field(default_factory=dict)
    mark: Mark = field(default_factory=Mark)
    _spent_by: tuple[float | None, dict[str, int]] | None = field(
        default=None, repr=False, compare=False
    )
    """Reckoned once for a state of ``reports`` and ``closed_at``."""

    # Figures, in micro-dollars

    @property
    def spent(self) -> int:
        return sum(self.spent_by().values())

    def spent_by(self) -> dict[str, int]:
        """By provider."""
        if self._spent_by is None or self._spent_by[0] != self.closed_at:
            spent = _by_provider(self.reports.values(), self._charged)
            self._spent_by = (self.closed_at, spent)
        return self._spent_by[1]

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
    def response(self) -> int:
        return to_micro_usd(self.last.response_pico_usd) if self.last else 0

    @property
    def minute(self) -> int:
        return to_micro_usd(self.last.minute_pico_usd) if self.last else 0

    @property
    def busiest_minute(self) -> int:
        if len(self.providers) == 1:
            return max(self.minutes.values(), default=0)
        minutes: dict[int, int] = {}
        for (minute, _), micro in self.minutes.items():
            minutes[minute] = minutes.get(minute, 0) + micro
        return max(minutes.values(), default=0)

    @property
    def committed(self) -> int:
        """What must be kept for this session: all it may have spent without telling us yet."""
        if self.closed_at is not None:
            return self.spent
        return max([self.spent, *(g.most for g in self._held())]) + self.unheard

    @property
    def unheard(self) -> int:
        """The most that attempts given up may have spent beyond what they are charged."""
        if not self.ceilings:
            return 0
        given_up = ((self.reports[n], most) for n, most in self.ceilings.items())
        return sum(
            max(most - to_micro_usd(_most(report)), 0)
            for report, most in given_up
            if not report.final
        )

    @property
    def due_at(self) -> float | None:
        """When it should have stopped spending, by what it was told: at END, or when its lease ran
        out without a report. None: it is closed. A final report is how a session obeys an END.
        """
        if self.closed_at is not None:
            return None
        over = self.last is not None and self.last.final
        ended_at = None if over else self.told_to_end_at
        expired_at = self.grant.expires_at if self.grant else self.opened_at
        return expired_at if ended_at is None else min(ended_at, expired_at)

    @property
    def last(self) -> UsageReport | None:
        return self.reports[max(self.reports)] if self.reports else None

    def figures(self) -> Figures:
        reports = self.reports.values()
        tokens = _tokens(reports)
        return Figures(
            spent=self.spent,
            committed=self.committed,
            sessions=1,
            open=int(self.closed_at is None),
            responses=sum(r.responses for r in reports),
            unpriced=sum(r.unpriced_responses for r in reports),
            input_text=tokens.input_text,
            input_audio=tokens.input_audio,
            cached_text=tokens.cached_text,
            cached_audio=tokens.cached_audio,
            output_text=tokens.output_text,
            output_audio=tokens.output_audio,
        )

    def spent_before(self, attempt: int | None) -> int:
        """By the other attempts. With None: by all, and what they have at risk, for a new one."""
        others = [r for r in self.reports.values() if r.attempt != attempt]
        charge = _most if attempt is None else self._charged
        return sum(_by_provider(others, charge).values())

    def is_given_up(self, attempt: int) -> bool:
        """Another has taken its place, or is about to."""
        return attempt in self.ceilings or attempt < max(self.reports, default=attempt)

    def _held(self) -> list[Grant]:
        return [*self.earlier, *([self.grant] if self.grant else [])]

    def _charged(self, report: UsageReport) -> int:
        return _most(report) if self._over(report) else report.spent_pico_usd

    def _over(self, report: UsageReport) -> bool:
        return report.final or self.closed_at is not None or report.attempt < max(self.reports)

    # Changes

    def take(self, report: UsageReport) -> bool:
        """False if it says nothing new: an older one of its attempt, or the same again."""
        known = self.reports.get(report.attempt)
        if known is not None and known.seq >= report.seq:
            return False
        self.reports[report.attempt] = report
        self._spent_by = None
        if known is not None and self.is_given_up(report.attempt):
            # What was allowed to its successor counts from what this one was charged then.
            self._raise_grants(to_micro_usd(_most(report)) - to_micro_usd(_most(known)))
        if report.provider not in self.providers:
            self.providers.append(report.provider)
        # Made after a grant ran out, it tells all that was spent within that one.
        self.earlier = [g for g in self.earlier if g.expires_at > report.at]
        return True

    def judge(self, verdict: Verdict, now: float) -> None:
        self.verdict = verdict
        if verdict is not Verdict.END:
            self.told_to_end_at = None
        elif self.told_to_end_at is None:
            self.told_to_end_at = now

    def give_up(self, now: float) -> None:
        """A further attempt begins: of the one before nothing is sure but what it was allowed, and
        that a call costs no more in a time than it can. Without the latter three actors lost
        within minutes, each with a grant that was good for two, would end an interview that has
        spent next to nothing."""
        last = self.last
        if last is not None and not last.final and last.attempt not in self.ceilings:
            before = self.spent_before(last.attempt)
            allowed = self.committed - self.unheard - before
            self.ceilings[last.attempt] = _spendable(last, now, allowed)

    def _raise_grants(self, by: int) -> None:
        if by > 0:
            self.earlier = [replace(g, up_to=g.up_to + by) for g in self.earlier]
            self.grant = replace(self.grant, up_to=self.grant.up_to + by) if self.grant else None

    def hold(self, grant: Grant) -> None:
        """``grant`` takes the place of the one in force. A higher one may still be out there."""
        if self.grant is not None and self.grant.most > grant.most:
            self.earlier.append(self.grant)
        self.earlier = [g for g in self.earlier if g.most > grant.most]
        self.grant = grant

    def book(self, provider: str, delta: int, at: float, now: float) -> Bucket:
        """Put a change of ``spent`` into its minute; returns that."""
        bucket = Bucket(minute_of(min(max(at, self.opened_at), now)), provider)
        self.minutes[bucket] = self.minutes.get(bucket, 0) + delta
        return bucket

    # Views

    def cost(self) -> SessionCost:
        reports = self.reports.values()
        return SessionCost(
            session_id=self.session_id,
            study_id=self.study_id,
            provider=self.last.provider if self.last else self.providers[-1],
            model=self.last.model if self.last else None,
            limit_micro_usd=self.limit,
            spent_micro_usd=self.spent,
            estimate_micro_usd=self.estimate,
            tokens=_tokens(reports),
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
            "providers": self.providers,
            "limit": self.limit,
            "opened_at": self.opened_at,
            "closed_at": self.closed_at,
            "verdict": self.verdict.value,
            "told_to_end_at": self.told_to_end_at,
            "grant": self.grant.__dict__ if self.grant else None,
            "earlier": [g.__dict__ for g in self.earlier],
            "mark": self.mark.__dict__,
            "ceilings": list(self.ceilings.items()),
            "reports": [r.to_dict() for r in self.reports.values()],
        }
        return _encode(state)

    @classmethod
    def from_json(cls, text: str, minutes: Mapping[Bucket, int]) -> Account:
        state: dict[str, Any] = json.loads(text)
        reports = [UsageReport.from_dict(r) for r in state.pop("reports")]
        grant = state.pop("grant")
        return cls(
            **{
                **state,
                "verdict": Verdict(state["verdict"]),
                "grant": Grant(**grant) if grant else None,
                "earlier": [Grant(**g) for g in state["earlier"]],
                "mark": Mark.of(state["mark"]),
                "ceilings": dict(state["ceilings"]),
                "reports": {r.attempt: r for r in reports},
                "minutes": dict(minutes),
            }
        )


_encode = json.JSONEncoder(separators=(",", ":"), check_circular=False).encode
"""Made once: it runs for every report."""


def _tokens(reports: Collection[UsageReport]) -> TokenCounts:
    if len(reports) == 1:
        return next(iter(reports)).tokens
    return sum((r.tokens for r in reports), TokenCounts())


def _by_provider(
    reports: Iterable[UsageReport], charge: Callable[[UsageReport], int]
) -> dict[str, int]:
    pico: dict[str, int] = {}
    for report in reports:
        pico[report.provider] = pico.get(report.provider, 0) + charge(report)
    return {provider: to_micro_usd(spent) for provider, spent in pico.items()}


def _spendable(last: UsageReport, now: float, allowed: int) -> int:
    """The most, in micro-dollars, that an attempt given up at ``now`` may have spent, by the bounds
    of its last report: what was under way then, one more response, and the time since at the worst
    rate; never more than it was ``allowed``, which is all that is known where it told no bounds."""
    if not (last.response_pico_usd and last.minute_pico_usd):
        return allowed
    seconds = max(now - last.at, 0.0) + OUTLIVES_S
    more = last.response_pico_usd + math.ceil(last.minute_pico_usd * seconds / 60)
    return min(allowed, to_micro_usd(_most(last) + more))


def _most(report: UsageReport) -> int:
    return report.spent_pico_usd + (0 if report.final else report.at_risk_pico_usd)
