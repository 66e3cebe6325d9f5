"""What the budget actor answers when asked about money. Integer micro-dollars throughout."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import NamedTuple

from agent_actor.messages import TokenCounts, Verdict

MINUTE_S = 60


class Bucket(NamedTuple):
    """A minute (epoch seconds at which it begins) of one provider."""

    minute_epoch: int
    provider: str


@dataclass(frozen=True, kw_only=True)
class MinuteCost:
    """``minute_epoch``: epoch seconds at which the minute begins. Minutes add up to the total.

    One may be negative: an upper bound that was charged for a lost attempt is taken back when
    the attempt's own final report comes after all.
    """

    minute_epoch: int
    provider: str
    micro_usd: int


@dataclass(frozen=True, kw_only=True)
class ProviderCost:
    """``sessions`` used it; one that fell over to another provider is counted with both."""

    provider: str
    spent_micro_usd: int
    sessions: int


@dataclass(frozen=True, kw_only=True)
class SessionCost:
    """``spent`` is billed or bounded; ``estimate`` is the response under way, beside it."""

    session_id: str
    study_id: str
    provider: str
    """The one it uses now, or used last; ``minutes`` name every one."""
    model: str | None
    limit_micro_usd: int
    spent_micro_usd: int
    estimate_micro_usd: int
    tokens: TokenCounts
    responses: int
    unpriced_responses: int
    allowance_micro_usd: int
    """How far it may go before it must ask again, counted from its beginning."""
    verdict: Verdict
    minutes: tuple[MinuteCost, ...]
    closed: bool


@dataclass(frozen=True, kw_only=True)
class StudyCost:
    study_id: str
    limit_micro_usd: int | None
    spent_micro_usd: int
    estimate_micro_usd: int
    committed_micro_usd: int
    """Spent, or allowed to be spent by sessions that are open."""
    sessions: int
    open_sessions: int
    tokens: TokenCounts
    responses: int
    unpriced_responses: int
    by_provider: tuple[ProviderCost, ...]
    minutes: tuple[MinuteCost, ...]


@dataclass(frozen=True, kw_only=True)
class BudgetTotals:
    limit_micro_usd: int | None
    spent_micro_usd: int
    estimate_micro_usd: int
    committed_micro_usd: int
    sessions: int
    open_sessions: int
    epoch: int
    by_provider: tuple[ProviderCost, ...] = ()
    minutes: tuple[MinuteCost, ...] = ()
    """Of the last hour."""


def as_minutes(buckets: Mapping[Bucket, int]) -> tuple[MinuteCost, ...]:
    """In order of time, without the empty ones."""
    return tuple(
        MinuteCost(minute_epoch=minute, provider=provider, micro_usd=micro)
        for (minute, provider), micro in sorted(buckets.items())
        if micro
    )


def minute_of(at: float) -> int:
    return int(at // MINUTE_S) * MINUTE_S


def usd_string(micro: int) -> str:
    """Exact, six decimals: what the API shows beside micro-dollars."""
    return f"{Decimal(micro) / 1_000_000:.6f}"
