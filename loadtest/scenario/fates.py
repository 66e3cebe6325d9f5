"""What becomes of each interview, drawn from a seed. Pure.

An interview's plan depends on the run's seed and its own number alone, so any worker may draw it
and a run that is taken up again draws the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from random import Random

Span = tuple[float, float]
"""Least and most."""


class Fate(StrEnum):
    COMPLETES = "completes"
    NO_SHOW = "no_show"
    LEAVES_EARLY = "leaves_early"
    BUDGET_BOUND = "budget_bound"
    """Its limit is small and its participant talkative."""
    DELETED = "deleted"
    """The backend ends it in the middle."""


END_REASONS = {
    Fate.COMPLETES: "completed",
    Fate.NO_SHOW: "no_show",
    Fate.LEAVES_EARLY: "participant_left",
    Fate.BUDGET_BOUND: "budget_exceeded",
    Fate.DELETED: "operator",
}

OPENAI = "openai_realtime"
GEMINI = "gemini_live"

LEAVES_AT: Span = (0.2, 0.6)
"""Of the interview's length; a backend that deletes does so then too."""


@dataclass(frozen=True, kw_only=True)
class Mix:
    """Shares of all interviews; what is left completes. `gemini`: the rest is OpenAI's."""

    no_show: float = 0.15
    leaves_early: float = 0.05
    budget_bound: float = 0.10
    deleted: float = 0.03
    gemini: float = 0.5

    def __post_init__(self) -> None:
        shares = (self.no_show, self.leaves_early, self.budget_bound, self.deleted)
        if min(*shares, self.gemini) < 0 or sum(shares) > 1 or self.gemini > 1:
            raise ValueError("shares lie between 0 and 1, and together are at most 1")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One interview to come."""

    number: int
    seed: int
    """Of what its participant draws."""
    fate: Fate
    provider: str
    cut_at: float
    """For those that leave early or are deleted: at which part of the interview's length."""
    budget_at: float
    """For the budget-bound: where in the span of their limits."""

    @property
    def end_reason(self) -> str:
        return END_REASONS[self.fate]


def draw(mix: Mix, seed: int, number: int) -> Plan:
    rng = Random(f"{seed}/{number}")
    return Plan(
        number=number,
        seed=rng.getrandbits(31),
        fate=_fate(mix, rng.random()),
        provider=GEMINI if rng.random() < mix.gemini else OPENAI,
        cut_at=rng.uniform(*LEAVES_AT),
        budget_at=rng.random(),
    )


def _fate(mix: Mix, drawn: float) -> Fate:
    for fate, share in (
        (Fate.NO_SHOW, mix.no_show),
        (Fate.LEAVES_EARLY, mix.leaves_early),
        (Fate.BUDGET_BOUND, mix.budget_bound),
        (Fate.DELETED, mix.deleted),
    ):
        if drawn < share:
            return fate
        drawn -= share
    return Fate.COMPLETES
