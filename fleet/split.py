"""Which provider a participant gets when a study compares several. Pure.

Stable: the same participant of the same study gets the same provider every time, on every
replica, with nothing stored. When the weights change, only as many participants move as must.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping
from fractions import Fraction

from agent_actor.contract import Provider
from agent_actor.errors import ContractInvalid, FieldProblem

_BITS = 64


def choose(
    split: Mapping[Provider, float], *, study_id: str, participant_identity: str
) -> Provider:
    """``split`` maps providers to weights of any sum above 0, none negative.

    Raises ContractInvalid for a split that has no such weights.
    """
    shares = _shares(split)
    point = _point(study_id, participant_identity)
    reached = Fraction(0)
    for provider in sorted(shares):
        reached += shares[provider]
        if point < reached:
            return provider
    raise AssertionError("shares add up to 1 and a point is below 1")


def _shares(split: Mapping[Provider, float]) -> dict[Provider, Fraction]:
    if not all(math.isfinite(weight) and weight >= 0 for weight in split.values()):
        raise _invalid("weights must be finite and not negative")
    total = sum((Fraction(weight) for weight in split.values()), Fraction(0))
    if total == 0:
        raise _invalid("at least one weight must be above 0")
    return {provider: Fraction(weight) / total for provider, weight in split.items()}


def _point(study_id: str, participant_identity: str) -> Fraction:
    """Where a participant stands in [0, 1): evenly spread, different from study to study."""
    # The separator is in neither identifier, so no two pairs read the same.
    digest = hashlib.sha256(f"{study_id}\n{participant_identity}".encode()).digest()
    return Fraction(int.from_bytes(digest[: _BITS // 8], "big"), 2**_BITS)


def _invalid(problem: str) -> ContractInvalid:
    return ContractInvalid([FieldProblem(field="provider", problem=problem)])
