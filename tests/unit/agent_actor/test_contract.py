"""The contract as it is read, and written into a room."""

from __future__ import annotations

from typing import Any

import pytest

from agent_actor.contract import (
    ContractInvalid,
    Fallback,
    Provider,
    dump_metadata,
    parse_strict,
    parse_tolerant,
)

BODY: dict[str, Any] = {
    "provider": "openai_realtime",
    "model": "gpt-realtime",
    "voice": "marin",
    "instructions": "Ask about parks.",
    "phases": [{"id": "core", "name": "Core", "duration_seconds": 60}],
}


def test_a_session_that_falls_over_is_the_same_with_the_other_provider_and_none_after() -> None:
    other = {"provider": "gemini_live", "voice": "Puck"}
    config = parse_strict({**BODY, "fallback": other})
    fallen = config.fallen_over()
    assert (fallen.provider, fallen.model, fallen.voice) == (Provider.GEMINI_LIVE, None, "Puck")
    assert fallen.fallback is None
    assert fallen.phases == config.phases
    assert fallen.fallen_over() == fallen


def test_the_fallback_may_be_another_model_of_the_same_provider() -> None:
    other = {"provider": "openai_realtime", "model": "gpt-realtime-mini"}
    config = parse_strict({**BODY, "fallback": other})
    assert config.fallback == Fallback(provider=Provider.OPENAI_REALTIME, model="gpt-realtime-mini")


@pytest.mark.parametrize(
    ("fallback", "field"),
    [
        ({"provider": "openai_realtime", "model": "gpt-realtime"}, "fallback"),
        ({"provider": "whisper"}, "fallback.provider"),
        ({"model": "gpt-realtime"}, "fallback.provider"),
        ({"provider": "gemini_live", "fallback": None}, "fallback.fallback"),
    ],
)
def test_a_fallback_that_is_none_is_refused_by_name(fallback: dict[str, Any], field: str) -> None:
    with pytest.raises(ContractInvalid) as caught:
        parse_strict({**BODY, "fallback": fallback})
    assert [problem.field for problem in caught.value.problems] == [field]


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"language": "ko", "instructions": "질문하세요"},
        {"rehearsal": {"arrives_after_s": None}},
        {"rehearsal": {"leaves_after_s": 5, "returns_after_s": 2}},
    ],
)
def test_round_trip(more: dict[str, Any]) -> None:
    config = parse_strict({**BODY, **more})
    assert parse_tolerant(dump_metadata(config)) == config


def test_what_nobody_gave_is_not_written() -> None:
    assert "null" not in dump_metadata(parse_strict(BODY))
