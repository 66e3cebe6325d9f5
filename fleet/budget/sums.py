"""What adds up: figures of an account, their sums over a study and the fleet, and the change of
an account as the ledger must hold it. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from operator import add, sub
from typing import NamedTuple

from agent_actor.contract import SessionId
from agent_actor.messages import TokenCounts
from fleet.budget.costs import Bucket, ProviderCost
from fleet.budget.thresholds import Notice


class Figures(NamedTuple):
    """Micro-dollars and counts. A study's are the sums of its accounts', the fleet's of all."""

    spent: int = 0
    committed: int = 0
    sessions: int = 0
    open: int = 0
    responses: int = 0
    unpriced: int = 0
    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0

    def plus(self, other: Figures) -> Figures:
        return Figures(*map(add, self, other))

    def minus(self, other: Figures) -> Figures:
        return Figures(*map(sub, self, other))

    @property
    def tokens(self) -> TokenCounts:
        return TokenCounts(
            input_text=self.input_text,
            input_audio=self.input_audio,
            cached_text=self.cached_text,
            cached_audio=self.cached_audio,
            output_text=self.output_text,
            output_audio=self.output_audio,
        )


@dataclass(kw_only=True)
class Sums:
    """Of a study, or of the fleet. ``estimate`` is of open sessions only and is not stored."""

    figures: Figures = field(default_factory=Figures)
    estimate: int = 0
    minutes: dict[Bucket, int] = field(default_factory=dict)
    spent_by: dict[str, int] = field(default_factory=dict)
    """By provider: the sums of its minutes."""
    sessions_by: dict[str, int] = field(default_factory=dict)
    """By provider: who used it. A session that fell over to another counts with both."""

    @property
    def spent(self) -> int:
        return self.figures.spent

    @property
    def committed(self) -> int:
        return self.figures.committed

    def book(self, bucket: Bucket, micro_usd: int) -> None:
        self.minutes[bucket] = self.minutes.get(bucket, 0) + micro_usd
        self.spent_by[bucket.provider] = self.spent_by.get(bucket.provider, 0) + micro_usd

    def used(self, provider: str, sessions: int = 1) -> None:
        self.sessions_by[provider] = self.sessions_by.get(provider, 0) + sessions

    def commit(self, micro_usd: int) -> None:
        if micro_usd:
            self.figures = self.figures._replace(committed=self.committed + micro_usd)

    def by_provider(self) -> tuple[ProviderCost, ...]:
        return tuple(
            ProviderCost(
                provider=name,
                spent_micro_usd=self.spent_by.get(name, 0),
                sessions=self.sessions_by.get(name, 0),
            )
            for name in sorted({*self.spent_by, *self.sessions_by})
        )


@dataclass(frozen=True, kw_only=True)
class Change:
    """An account as the ledger must hold it: absolute figures, so writing it twice is harmless."""

    session_id: SessionId
    study_id: str
    state: str
    figures: Figures
    providers: tuple[str, ...]
    minutes: Mapping[Bucket, int]
    """Those that changed."""
    notices: tuple[Notice, ...] = ()

    def after(self, earlier: Change) -> Change:
        """This one, with what an earlier, unwritten one of the same account changed."""
        minutes = {**earlier.minutes, **self.minutes}
        notices = (*earlier.notices, *self.notices)
        return replace(self, minutes=minutes, notices=notices)


@dataclass(kw_only=True)
class Limits:
    """In micro-dollars; None: none."""

    fleet: int | None = None
    every_study: int | None = None
    studies: dict[str, int | None] = field(default_factory=dict)

    def of_study(self, study_id: str) -> int | None:
        return self.studies.get(study_id, self.every_study)

    def copy(self) -> Limits:
        return Limits(fleet=self.fleet, every_study=self.every_study, studies=dict(self.studies))
