"""Which dated model a contract's model stands for, checked where a session is asked for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date

from agent_actor.contract import SessionConfig
from agent_actor.rates import load_rates
from fleet.settings import FleetSettings


def model_resolver(
    settings: FleetSettings, today: Callable[[], date]
) -> Callable[[SessionConfig], SessionConfig]:
    """Gives a contract the dated models that its names, or their lack, stand for: its own and its
    fallback's.

    With FLEET_UNPRICED_MODELS=upper_bound a model without a rate stands for itself.

    That raises ModelUnpriced or ModelRetired: a session that could not be held to its budget is
    refused before anybody waits for it. Raises RatesInvalid here.
    """
    table = load_rates(settings.rates_path, settings.model_aliases, settings.unpriced_models)

    def resolve(config: SessionConfig) -> SessionConfig:
        rate = table.rate_for(config.provider.value, config.model, today())
        changes: dict[str, object] = {"model": rate.model}
        if (other := config.fallback) is not None:
            theirs = table.rate_for(other.provider.value, other.model, today())
            changes["fallback"] = other.model_copy(update={"model": theirs.model})
        return config.model_copy(update=changes)

    return resolve
