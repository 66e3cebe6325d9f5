"""The body of POST /v1/sessions: what is taken, and that every bad field is named."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from agent_actor.contract import Provider
from agent_actor.errors import ContractInvalid, ContractTooLarge
from serve.requests import EXAMPLE_BODY, EXAMPLE_SPLIT_BODY, body_hash, parse_create

PHASES = [{"id": "a", "name": "A", "duration_seconds": 60}]
MINIMAL: dict[str, Any] = {
    "provider": "openai_realtime",
    "instructions": "Ask.",
    "phases": PHASES,
}


def problems(**changes: object) -> dict[str, str]:
    with pytest.raises(ContractInvalid) as caught:
        parse_create(MINIMAL | changes)
    return {p.field: p.problem for p in caught.value.problems}


def test_minimal_body_takes_the_contracts_defaults() -> None:
    new = parse_create(MINIMAL)
    assert new.config.provider is Provider.OPENAI_REALTIME
    assert new.config.budget_limit_micro_usd == 10_000_000
    assert new.config.session_timeout_seconds == 3600
    assert new.config.study_id == "default"
    assert new.config.participant_identity == "participant"
    assert new.split is None
    assert new.participant_name is None


def test_examples_of_the_documentation_are_valid() -> None:
    whole = parse_create(EXAMPLE_BODY, idempotency_key="k", respond_async=True)
    assert whole.config.vad_config.silence_duration_ms == 12000
    assert (whole.config.participant_identity, whole.participant_name) == (
        "p-0042",
        "Participant 42",
    )
    assert (whole.idempotency_key, whole.respond_async) == ("k", True)
    split = parse_create(EXAMPLE_SPLIT_BODY)
    assert split.split == {Provider.OPENAI_REALTIME: 0.5, Provider.GEMINI_LIVE: 0.5}


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"colour": "red"}, "colour"),
        ({"vad_config": {"treshold": 0.5}}, "vad_config.treshold"),
        ({"vad_config": {"threshold": 1.5}}, "vad_config.threshold"),
        ({"vad_config": {"threshold": -0.1}}, "vad_config.threshold"),
        ({"vad_config": {"silence_duration_ms": 1}}, "vad_config.silence_duration_ms"),
        ({"phases": [PHASES[0] | {"x": 1}]}, "phases.0.x"),
        ({"phases": []}, "phases"),
        ({"phases": [PHASES[0] | {"duration_seconds": 0}]}, "phases.0.duration_seconds"),
        ({"phases": PHASES * 2}, "phases"),
        ({"session_timeout_seconds": 59}, "phases"),
        ({"session_timeout_seconds": "3600"}, "session_timeout_seconds"),
        ({"budget_limit_usd": 0}, "budget_limit_usd"),
        ({"budget_limit_usd": -3.0}, "budget_limit_usd"),
        ({"budget_limit_usd": True}, "budget_limit_usd"),
        ({"budget_limit_usd": None}, "budget_limit_usd"),
        ({"provider": "whisper"}, "provider"),
        ({"provider": 3}, "provider"),
        ({"provider": {}}, "provider"),
        ({"provider": {"openai_realtime": 0}}, "provider"),
        ({"provider": {"whisper": 1}}, "provider.whisper"),
        ({"provider": {"openai_realtime": "1"}}, "provider.openai_realtime"),
        ({"provider": {"openai_realtime": True}}, "provider.openai_realtime"),
        ({"provider": {"openai_realtime": -1}}, "provider.openai_realtime"),
        ({"provider": {"openai_realtime": 10**400}}, "provider.openai_realtime"),
        ({"instructions": ""}, "instructions"),
        ({"created_at": "yesterday"}, "created_at"),
        ({"created_at": "2026-11-23T09:30:00"}, "created_at"),
        ({"study_id": "no spaces"}, "study_id"),
        ({"language": "tlh"}, "language"),
        ({"session_id": "mine"}, "session_id"),
        ({"participant": "p-1"}, "participant"),
        ({"participant": {"identity": "p 1"}}, "participant.identity"),
        ({"participant": {"identity": "p1", "email": "x"}}, "participant.email"),
        ({"participant": {"name": ""}}, "participant.name"),
        (
            {"participant": {"identity": "p1"}, "participant_identity": "p2"},
            "participant_identity",
        ),
    ],
)
def test_a_bad_field_is_named(changes: dict[str, object], field: str) -> None:
    assert list(problems(**changes)) == [field]


@pytest.mark.parametrize("missing", ["provider", "instructions", "phases"])
def test_a_missing_field_is_named(missing: str) -> None:
    body = {k: v for k, v in MINIMAL.items() if k != missing}
    with pytest.raises(ContractInvalid) as caught:
        parse_create(body)
    assert [p.field for p in caught.value.problems] == [missing]


def test_all_bad_fields_are_named_at_once() -> None:
    found = problems(
        budget_limit_usd=0,
        colour="red",
        session_id="mine",
        participant={"identity": "", "shoe": 43},
        provider={"whisper": 1},
    )
    assert set(found) == {
        "budget_limit_usd",
        "colour",
        "session_id",
        "participant.identity",
        "participant.shoe",
        "provider.whisper",
    }


def test_a_split_needs_to_know_the_participant_and_takes_no_model_or_voice() -> None:
    split = {"openai_realtime": 1, "gemini_live": 3}
    belong_to_one = {"model": "m", "voice": "marin", "fallback": {"provider": "gemini_live"}}
    found = problems(provider=split, **belong_to_one)
    assert set(found) == {*belong_to_one, "participant.identity"}
    new = parse_create(MINIMAL | {"provider": split, "participant_identity": "p-1"})
    assert new.split == {Provider.OPENAI_REALTIME: 1.0, Provider.GEMINI_LIVE: 3.0}


def test_a_split_with_one_weight_is_that_provider() -> None:
    new = parse_create(MINIMAL | {"provider": {"openai_realtime": 0, "gemini_live": 2}})
    assert new.split is None
    assert new.config.provider is Provider.GEMINI_LIVE


def test_participant_identity_may_be_said_twice_if_it_is_the_same() -> None:
    named = {"participant": {"identity": "p-1"}, "participant_identity": "p-1"}
    assert parse_create(MINIMAL | named).config.participant_identity == "p-1"
    nameless = {"participant": {"name": "Ann"}, "participant_identity": "p-2"}
    new = parse_create(MINIMAL | nameless)
    assert (new.config.participant_identity, new.participant_name) == ("p-2", "Ann")


def test_a_contract_too_large_for_the_room_is_refused() -> None:
    phases = [
        {"id": f"p{i}", "name": "P", "duration_seconds": 1, "prompt_suffix": "x" * 16_000}
        for i in range(5)
    ]
    with pytest.raises(ContractTooLarge) as caught:
        parse_create(MINIMAL | {"phases": phases})
    assert caught.value.size_bytes > caught.value.limit_bytes


def test_parsing_leaves_the_body_as_it_was() -> None:
    body = copy.deepcopy(EXAMPLE_BODY)
    parse_create(body)
    assert body == EXAMPLE_BODY


def test_body_hash_is_of_the_meaning() -> None:
    turned_round = dict(reversed(MINIMAL.items()))
    assert body_hash(turned_round) == body_hash(MINIMAL)
    assert body_hash(MINIMAL | {"study_id": "other"}) != body_hash(MINIMAL)
