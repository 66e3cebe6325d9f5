"""A study's providers side by side."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import ConfigDict

from serve.feeds.comparison import ProviderFigures
from serve.models.base import View, usd


class ProviderFiguresView(View):
    """Of sessions that have ended, by the provider they were begun with. ``completion`` is the
    share of those that somebody came to; ``usd_per_minute`` goes by the time from the agent in the
    room to the end.
    """

    provider: str
    ended: int
    no_shows: int
    completed: int
    completion: float | None
    interview_s: float
    spent_micro_usd: int
    spent_usd: str
    micro_usd_per_minute: int | None
    usd_per_minute: str | None
    first_audio_p50_ms: float | None
    first_audio_p95_ms: float | None

    @classmethod
    def of(cls, figures: ProviderFigures) -> Self:
        rate = figures.micro_usd_per_minute
        return cls(
            provider=figures.provider,
            ended=figures.ended,
            no_shows=figures.no_shows,
            completed=figures.completed,
            completion=figures.completion,
            interview_s=figures.interview_s,
            spent_micro_usd=figures.spent_micro_usd,
            spent_usd=usd(figures.spent_micro_usd),
            micro_usd_per_minute=rate,
            usd_per_minute=None if rate is None else usd(rate),
            first_audio_p50_ms=figures.first_audio_p50_ms,
            first_audio_p95_ms=figures.first_audio_p95_ms,
        )


class ComparisonView(View):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "study_id": "study-7",
                "providers": [
                    {
                        "provider": "openai_realtime",
                        "ended": 40,
                        "no_shows": 6,
                        "completed": 31,
                        "completion": 0.9118,
                        "interview_s": 30600.0,
                        "spent_micro_usd": 47100000,
                        "spent_usd": "47.100000",
                        "micro_usd_per_minute": 92353,
                        "usd_per_minute": "0.092353",
                        "first_audio_p50_ms": 640.0,
                        "first_audio_p95_ms": 910.0,
                    }
                ],
            }
        }
    )

    study_id: str
    providers: list[ProviderFiguresView]

    @classmethod
    def of(cls, study_id: str, figures: Sequence[ProviderFigures]) -> Self:
        return cls(study_id=study_id, providers=[ProviderFiguresView.of(f) for f in figures])
