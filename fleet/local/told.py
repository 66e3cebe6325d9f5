"""What a participant tells of itself. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Told:
    """One event, as loadtest.participants names it. `at`: epoch seconds, when it happened and not
    when it came."""

    name: str
    at: float
    detail: Mapping[str, Any]
