"""Where the rate table is read from: the bundled file, or the operator's in its place."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from agent_actor.pricing import RatesInvalid, RateTable


class UnpricedModels(StrEnum):
    """What becomes of a session whose model has no rate."""

    REFUSE = "refuse"
    UPPER_BOUND = "upper_bound"
    """It is charged the dearest prices of its provider, and its responses count as unpriced."""


def load_rates(
    path: Path | None = None,
    aliases: Mapping[str, str] | None = None,
    unpriced: UnpricedModels = UnpricedModels.REFUSE,
) -> RateTable:
    """The table in force. Raises RatesInvalid (unreadable file, or a bad row, named)."""
    try:
        text = (
            files("agent_actor").joinpath("rates.toml").read_text(encoding="utf-8")
            if path is None
            else path.read_text(encoding="utf-8")
        )
    except (OSError, UnicodeDecodeError) as error:
        raise RatesInvalid(f"{path or 'bundled rates'}: {error}") from None
    table = _parsed(text).with_aliases(aliases or {})
    return table.with_upper_bounds() if unpriced is UnpricedModels.UPPER_BOUND else table


@lru_cache(maxsize=4)
def _parsed(text: str) -> RateTable:
    """A file is read for each session, but seldom changes: reading TOML takes 8 ms."""
    return RateTable.parse(text)
