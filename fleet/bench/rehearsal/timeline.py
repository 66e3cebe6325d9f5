"""What happened when, for people. Pure."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Moment:
    """``at_s``: since the rehearsal began. ``step``: what of it this belongs to."""

    at_s: float
    step: str
    what: str

    def __str__(self) -> str:
        minutes, seconds = divmod(round(self.at_s), 60)
        return f"{minutes:2}:{seconds:02}  {self.step:<12}{self.what}"


def plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"


def steps(moments: Sequence[Moment]) -> dict[str, float]:
    """How long each took, until the next one began; the last until its last moment."""
    began: dict[str, float] = {}
    for moment in moments:
        began.setdefault(moment.step, moment.at_s)
    times = [*began.values(), *(moment.at_s for moment in moments[-1:])]
    took = (round(end - begin, 1) for begin, end in itertools.pairwise(times))
    return dict(zip(began, took, strict=True))
