from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI

from agent_actor.contract import SessionConfig
from serve.problems import MEDIA_TYPE


@pytest.fixture
def document(app: FastAPI) -> dict[str, Any]:
    return app.openapi()


def operations(document: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    return [
        (f"{method.upper()} {path}", operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]


def refs(part: Any) -> set[str]:
    if isinstance(part, dict):
        own = {part["$ref"]} if isinstance(part.get("$ref"), str) else set()
        return own.union(*(refs(value) for value in part.values()))
    if isinstance(part, list):
        return set().union(*(refs(item) for item in part))
    return set()


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert refs(document) <= known
    assert "#/components/schemas/CreateSession" in refs(document)


def test_every_route_is_described_and_has_an_example(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation.get("description"), name


def test_every_error_is_documented_as_a_problem(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if int(status) >= 400:
                assert list(response["content"]) == [MEDIA_TYPE], (name, status)


def test_the_body_is_the_contract_and_more(document: dict[str, Any]) -> None:
    body = document["components"]["schemas"]["CreateSession"]
    contract = set(SessionConfig.model_fields) - {"session_id"}
    assert set(body["properties"]) == contract | {"participant"}
    assert body["additionalProperties"] is False
    assert {p["type"] for p in body["properties"]["provider"]["anyOf"][1:]} == {"object"}


def test_created_session_and_problem_carry_examples(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    for name in (
        "CreatedSession",
        "SessionView",
        "SessionCostView",
        "ObserverView",
        "JoinState",
        "FleetView",
        "Problem",
    ):
        assert "example" in schemas[name], name
