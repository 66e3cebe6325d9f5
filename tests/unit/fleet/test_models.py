from __future__ import annotations

from datetime import date

import pytest

from agent_actor.contract import parse_strict
from agent_actor.errors import ModelUnpriced
from fleet.models import model_resolver
from fleet.settings import FleetSettings

BODY = {
    "provider": "openai_realtime",
    "instructions": "Ask about parks.",
    "phases": [{"id": "core", "name": "Core", "duration_seconds": 60}],
}


def resolved(**fallback: str):
    resolve = model_resolver(
        FleetSettings(livekit_api_key="k", livekit_api_secret="s" * 32), lambda: date(2026, 11, 1)
    )
    return resolve(parse_strict({**BODY, "fallback": {"provider": "gemini_live", **fallback}}))


def test_both_models_of_a_contract_get_their_dated_names():
    config = resolved()
    assert config.model
    assert config.fallback is not None
    assert config.fallback.model
    assert config.fallback.model.startswith("gemini")


def test_a_fallback_without_a_rate_is_refused_before_anybody_waits_for_it():
    with pytest.raises(ModelUnpriced):
        resolved(model="gemini-of-no-price")
