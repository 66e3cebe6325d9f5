"""What is written into a room is what is read from it."""

from __future__ import annotations

from typing import Any

import pytest

from agent_actor.contract import dump_metadata, parse_strict, parse_tolerant

CONTRACT: dict[str, Any] = {
    "provider": "openai_realtime",
    "instructions": "Ask.",
    "phases": [{"id": "core", "name": "Core", "duration_seconds": 60}],
}


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
    config = parse_strict({**CONTRACT, **more})
    assert parse_tolerant(dump_metadata(config)) == config


def test_what_nobody_gave_is_not_written() -> None:
    assert "null" not in dump_metadata(parse_strict(CONTRACT))
