"""What all answers share: how money and times are written."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from pydantic import BaseModel, ConfigDict

from agent_actor.contract import utc_iso


class View(BaseModel):
    model_config = ConfigDict(frozen=True)


def usd(micro: int) -> str:
    """1234567 → "1.234567": exact, never through a float."""
    sign, micro = ("-", -micro) if micro < 0 else ("", micro)
    return f"{sign}{micro // 1_000_000}.{micro % 1_000_000:06d}"


def rfc3339(at: float | None) -> str | None:
    return None if at is None else utc_iso(datetime.fromtimestamp(at, UTC))


def timings_ms(timings_s: dict[str, float]) -> dict[str, float]:
    return {step: round(seconds * 1000, 1) for step, seconds in timings_s.items()}


def money(spent: int, estimate: int, limit: int | None) -> dict[str, Any]:
    return {
        "spent_micro_usd": spent,
        "spent_usd": usd(spent),
        "estimate_micro_usd": estimate,
        "estimate_usd": usd(estimate),
        "limit_micro_usd": limit,
        "limit_usd": None if limit is None else usd(limit),
    }
