"""What sessions, studies and the fleet cost."""

from __future__ import annotations

from typing import Self

from pydantic import ConfigDict

from fleet.budget.costs import BudgetTotals, MinuteCost, ProviderCost, SessionCost, StudyCost
from fleet.limits import LimitChange
from fleet.records import SessionRecord
from serve.models.base import View, money, rfc3339, usd


class MinuteView(View):
    minute: str
    """When it began."""
    provider: str
    micro_usd: int
    usd: str

    @classmethod
    def of(cls, minute: MinuteCost) -> Self:
        return cls(
            minute=rfc3339(minute.minute_epoch) or "",
            provider=minute.provider,
            micro_usd=minute.micro_usd,
            usd=usd(minute.micro_usd),
        )


class TokensView(View):
    """Billed tokens; ``cached_*`` are part of ``input_*``."""

    input_text: int
    input_audio: int
    cached_text: int
    cached_audio: int
    output_text: int
    output_audio: int


class SessionCostView(View):
    """What a session cost. ``estimate`` is the response under way, not in ``spent`` yet;
    ``allowance`` is how far it may go before it must ask again.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "session_id": "s-8f3b21c07a9d4e6612f0ab34",
                "study_id": "study-7",
                "provider": "openai_realtime",
                "model": "gpt-realtime",
                "spent_micro_usd": 431200,
                "spent_usd": "0.431200",
                "estimate_micro_usd": 9100,
                "estimate_usd": "0.009100",
                "limit_micro_usd": 4000000,
                "limit_usd": "4.000000",
                "allowance_micro_usd": 900000,
                "verdict": "go_on",
                "tokens": {
                    "input_text": 820,
                    "input_audio": 5120,
                    "cached_text": 512,
                    "cached_audio": 3800,
                    "output_text": 340,
                    "output_audio": 2210,
                },
                "responses": 9,
                "unpriced_responses": 0,
                "minutes": [
                    {
                        "minute": "2026-11-23T09:30:00.000Z",
                        "provider": "openai_realtime",
                        "micro_usd": 431200,
                        "usd": "0.431200",
                    }
                ],
                "closed": False,
            }
        }
    )

    session_id: str
    study_id: str
    provider: str
    model: str | None
    spent_micro_usd: int
    spent_usd: str
    estimate_micro_usd: int
    estimate_usd: str
    limit_micro_usd: int
    limit_usd: str
    allowance_micro_usd: int
    verdict: str | None
    """go_on, wrap_up or end."""
    tokens: TokensView | None
    """Null once the account is no longer kept and only its total is."""
    responses: int
    unpriced_responses: int
    minutes: list[MinuteView]
    closed: bool

    @classmethod
    def of(cls, record: SessionRecord, cost: SessionCost | None) -> Self:
        spent = max(record.spent_micro_usd, cost.spent_micro_usd if cost else 0)
        estimate = cost.estimate_micro_usd if cost else 0
        limit = cost.limit_micro_usd if cost else record.limit_micro_usd
        return cls(
            session_id=record.session_id,
            study_id=record.study_id,
            provider=cost.provider if cost else record.provider,
            model=(cost.model if cost else None) or record.model,
            spent_micro_usd=spent,
            spent_usd=usd(spent),
            estimate_micro_usd=estimate,
            estimate_usd=usd(estimate),
            limit_micro_usd=limit,
            limit_usd=usd(limit),
            allowance_micro_usd=cost.allowance_micro_usd if cost else 0,
            verdict=cost.verdict if cost else None,
            tokens=TokensView.model_validate(cost.tokens, from_attributes=True) if cost else None,
            responses=cost.responses if cost else 0,
            unpriced_responses=cost.unpriced_responses if cost else 0,
            minutes=[MinuteView.of(m) for m in cost.minutes] if cost else [],
            closed=cost.closed if cost else record.is_gone,
        )


class ProviderCostView(View):
    """``sessions`` used it; one that fell over to another provider is counted with both."""

    provider: str
    spent_micro_usd: int
    spent_usd: str
    sessions: int

    @classmethod
    def of(cls, cost: ProviderCost) -> Self:
        return cls(
            provider=cost.provider,
            spent_micro_usd=cost.spent_micro_usd,
            spent_usd=usd(cost.spent_micro_usd),
            sessions=cost.sessions,
        )


class StudyCostView(View):
    """``committed`` is spent, or allowed to be spent by sessions that are open: what counts
    against the limit. ``unpriced_responses`` ended without usage and were charged an upper bound.
    """

    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "study_id": "study-7",
                "spent_micro_usd": 2431200,
                "spent_usd": "2.431200",
                "estimate_micro_usd": 9100,
                "estimate_usd": "0.009100",
                "limit_micro_usd": 250000000,
                "limit_usd": "250.000000",
                "committed_micro_usd": 3331200,
                "committed_usd": "3.331200",
                "sessions": 4,
                "open_sessions": 1,
                "providers": [
                    {
                        "provider": "gemini_live",
                        "spent_micro_usd": 431200,
                        "spent_usd": "0.431200",
                        "sessions": 2,
                    },
                    {
                        "provider": "openai_realtime",
                        "spent_micro_usd": 2000000,
                        "spent_usd": "2.000000",
                        "sessions": 2,
                    },
                ],
                "tokens": {
                    "input_text": 3820,
                    "input_audio": 21120,
                    "cached_text": 1512,
                    "cached_audio": 13800,
                    "output_text": 1340,
                    "output_audio": 12210,
                },
                "responses": 41,
                "unpriced_responses": 0,
                "minutes": [
                    {
                        "minute": "2026-11-23T09:30:00.000Z",
                        "provider": "gemini_live",
                        "micro_usd": 431200,
                        "usd": "0.431200",
                    },
                    {
                        "minute": "2026-11-23T09:30:00.000Z",
                        "provider": "openai_realtime",
                        "micro_usd": 2000000,
                        "usd": "2.000000",
                    },
                ],
            }
        }
    )

    study_id: str
    spent_micro_usd: int
    spent_usd: str
    estimate_micro_usd: int
    estimate_usd: str
    limit_micro_usd: int | None
    limit_usd: str | None
    committed_micro_usd: int
    committed_usd: str
    sessions: int
    open_sessions: int
    providers: list[ProviderCostView]
    tokens: TokensView
    responses: int
    unpriced_responses: int
    minutes: list[MinuteView]

    @classmethod
    def of(cls, study_id: str, cost: StudyCost) -> Self:
        return cls(
            study_id=study_id,
            **money(cost.spent_micro_usd, cost.estimate_micro_usd, cost.limit_micro_usd),
            committed_micro_usd=cost.committed_micro_usd,
            committed_usd=usd(cost.committed_micro_usd),
            sessions=cost.sessions,
            open_sessions=cost.open_sessions,
            providers=[ProviderCostView.of(p) for p in cost.by_provider],
            tokens=TokensView.model_validate(cost.tokens, from_attributes=True),
            responses=cost.responses,
            unpriced_responses=cost.unpriced_responses,
            minutes=[MinuteView.of(m) for m in cost.minutes],
        )


class TotalsView(View):
    spent_micro_usd: int
    spent_usd: str
    estimate_micro_usd: int
    estimate_usd: str
    limit_micro_usd: int | None
    limit_usd: str | None

    @classmethod
    def of(cls, totals: BudgetTotals) -> Self:
        return cls(
            **money(totals.spent_micro_usd, totals.estimate_micro_usd, totals.limit_micro_usd)
        )


class SessionLimitView(View):
    """``allowance`` is how far it may go before it must ask again; ``told``: the session has
    taken it. If not, it does with its next report, within about a second.
    """

    session_id: str
    limit_micro_usd: int
    limit_usd: str
    allowance_micro_usd: int
    verdict: str
    """go_on, wrap_up or end."""
    told: bool

    @classmethod
    def of(cls, change: LimitChange) -> Self:
        (allowance,) = change.allowances
        return cls(
            session_id=allowance.session_id,
            limit_micro_usd=allowance.limit_micro_usd,
            limit_usd=usd(allowance.limit_micro_usd),
            allowance_micro_usd=allowance.up_to_micro_usd,
            verdict=allowance.verdict,
            told=change.told == 1,
        )


class StudyLimitView(View):
    """``sessions`` have an open account; ``told`` of them have taken their new allowance."""

    study_id: str
    limit_micro_usd: int | None
    limit_usd: str | None
    sessions: int
    told: int

    @classmethod
    def of(cls, study_id: str, micro_usd: int | None, change: LimitChange) -> Self:
        return cls(
            study_id=study_id,
            limit_micro_usd=micro_usd,
            limit_usd=None if micro_usd is None else usd(micro_usd),
            sessions=len(change.allowances),
            told=change.told,
        )
