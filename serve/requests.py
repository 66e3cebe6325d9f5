"""The body of POST /v1/sessions: the session contract's keys at top level, and a few more.

More than the contract's: ``participant`` {identity, name}, and ``provider`` either one provider
or a split {"openai_realtime": 0.5, "gemini_live": 0.5} from which each participant of a study
is assigned one, always the same. Strict: every bad or unknown field is named, all at once.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from agent_actor.contract import (
    ContractInvalid,
    FieldProblem,
    Identifier,
    Provider,
    SessionConfig,
    dump_metadata,
    json_schema,
    parse_strict,
    problems_of,
)
from serve.ports import NewSession

_GIVEN_BY_FLEET = {"session_id": "is given by the fleet; name a request by its Idempotency-Key"}


MAX_WEIGHT = 1_000_000


class ParticipantBody(BaseModel):
    """Who will be interviewed. ``name`` is shown in the room, ``identity`` is for records."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    identity: Identifier | None = None
    name: str | None = Field(default=None, min_length=1, max_length=200)


EXAMPLE_BODY: dict[str, Any] = {
    "provider": "openai_realtime",
    "model": "gpt-realtime",
    "voice": "marin",
    "instructions": "You are a patient interviewer. Ask one open question at a time.",
    "vad_config": {"threshold": 0.5, "silence_duration_ms": 12000, "prefix_padding_ms": 300},
    "phases": [
        {
            "id": "warmup",
            "name": "Warm-up",
            "duration_seconds": 120,
            "prompt_suffix": "Ask about their day.",
        },
        {
            "id": "core",
            "name": "Core questions",
            "duration_seconds": 900,
            "prompt_suffix": "Ask how they decide what to buy.",
        },
    ],
    "budget_limit_usd": 4.0,
    "session_timeout_seconds": 1800,
    "study_id": "study-7",
    "participant": {"identity": "p-0042", "name": "Participant 42"},
}

EXAMPLE_SPLIT_BODY: dict[str, Any] = {
    "provider": {"openai_realtime": 0.5, "gemini_live": 0.5},
    "instructions": EXAMPLE_BODY["instructions"],
    "phases": EXAMPLE_BODY["phases"],
    "session_timeout_seconds": 1800,
    "study_id": "study-7",
    "participant": {"identity": "p-0042"},
}


def parse_create(
    data: dict[str, Any],
    *,
    idempotency_key: str | None = None,
    respond_async: bool = False,
    traceparent: str | None = None,
) -> NewSession:
    """Raises ContractInvalid naming every bad field, ContractTooLarge."""
    problems = [
        FieldProblem(field=name, problem=why)
        for name, why in _GIVEN_BY_FLEET.items()
        if name in data
    ]
    contract = {k: v for k, v in data.items() if k != "participant" and k not in _GIVEN_BY_FLEET}
    participant = _participant(data, problems)
    split = _split(data, problems)
    if isinstance(data.get("provider"), dict):
        contract["provider"] = next(iter(split), Provider.OPENAI_REALTIME)
    if participant is not None and participant.identity is not None:
        contract["participant_identity"] = participant.identity
    config = _config(contract, problems)
    if config is None or problems:
        raise ContractInvalid(problems)
    dump_metadata(config)
    return NewSession(
        config=config,
        split=split if len(split) > 1 else None,
        participant_name=participant.name if participant else None,
        idempotency_key=idempotency_key,
        body_hash=body_hash(data),
        respond_async=respond_async,
        traceparent=traceparent,
    )


def body_hash(data: Mapping[str, Any]) -> str:
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def body_schema(ref_template: str) -> dict[str, Any]:
    """JSON Schema of the body, with the contract's definitions inlined under ``ref_template``.

    Returns the object schema; its definitions stand under "$defs".
    """
    text = json.dumps(json_schema()).replace("#/$defs/", ref_template)
    schema: dict[str, Any] = json.loads(text)
    del schema["$schema"]
    schema["title"] = "CreateSession"
    schema["description"] = __doc__
    properties = schema["properties"]
    for name in _GIVEN_BY_FLEET:
        properties.pop(name)
    properties["provider"] = {"anyOf": [properties["provider"], _split_schema()]}
    properties["participant"] = ParticipantBody.model_json_schema()
    return schema


def _split_schema() -> dict[str, Any]:
    weight = {"type": "number", "minimum": 0}
    return {
        "type": "object",
        "description": "Weights, assigned stably by study and participant.",
        "properties": {p.value: weight for p in Provider},
        "additionalProperties": False,
        "minProperties": 1,
    }


def _participant(data: dict[str, Any], problems: list[FieldProblem]) -> ParticipantBody | None:
    if "participant" not in data:
        return None
    try:
        participant = ParticipantBody.model_validate(data["participant"])
    except ValidationError as error:
        problems += [
            FieldProblem(field=f"participant.{p.field}".rstrip("."), problem=p.problem)
            for p in problems_of(error)
        ]
        return None
    said = data.get("participant_identity")
    if None not in (said, participant.identity) and said != participant.identity:
        problems.append(
            FieldProblem(field="participant_identity", problem="differs from participant.identity")
        )
    return participant


def _split(data: dict[str, Any], problems: list[FieldProblem]) -> dict[Provider, float]:
    """The providers with a weight, in the enum's order so that body order does not matter."""
    given = data.get("provider")
    if not isinstance(given, dict):
        return {}
    known = [p.value for p in Provider]
    bad = [_weight_problem(n, w) if n in known else _unknown(n, known) for n, w in given.items()]
    found = [problem for problem in bad if problem is not None]
    problems += found
    split = {} if found else {p: float(given[p]) for p in Provider if given.get(p, 0) > 0}
    if not found and not split:
        problems.append(FieldProblem(field="provider", problem="no provider has a weight"))
    if len(split) > 1:
        problems += _split_conflicts(data)
    return split


def _split_conflicts(data: dict[str, Any]) -> list[FieldProblem]:
    conflicts = [
        FieldProblem(field=name, problem="belongs to one provider: leave it out with a split")
        for name in ("model", "voice", "fallback")
        if data.get(name) is not None
    ]
    participant = data.get("participant")
    named = isinstance(participant, dict) and "identity" in participant
    if not named and "participant_identity" not in data:
        conflicts.append(
            FieldProblem(
                field="participant.identity",
                problem="needed with a split: the assignment is by study and participant",
            )
        )
    return conflicts


def _weight_problem(name: str, weight: object) -> FieldProblem | None:
    number = isinstance(weight, int | float) and not isinstance(weight, bool)
    # Compared, not converted: JSON's integers may be too large for a float.
    if number and 0 <= weight <= MAX_WEIGHT:  # type: ignore[operator]
        return None
    problem = f"must be a number from 0 to {MAX_WEIGHT:,}"
    return FieldProblem(field=f"provider.{name}", problem=problem)


def _unknown(name: str, known: list[str]) -> FieldProblem:
    return FieldProblem(
        field=f"provider.{name}"[:200], problem=f"unknown provider; known are {', '.join(known)}"
    )


def _config(contract: dict[str, Any], problems: list[FieldProblem]) -> SessionConfig | None:
    try:
        return parse_strict(contract)
    except ContractInvalid as error:
        problems += error.problems
        return None
