"""The pages say what the code does: no key of the contract and no route is left out."""

from __future__ import annotations

import re
from pathlib import Path

from fastapi import FastAPI

from agent_actor.contract import Phase, Rehearsal, SessionConfig, VadConfig

DOCS = Path(__file__).parents[3] / "docs"


def test_every_key_of_the_contract_is_described() -> None:
    rows = re.findall(r"^\| `([^`]+)` \|", (DOCS / "contract.md").read_text("utf-8"), re.M)
    keys = set(SessionConfig.model_fields) - {"vad_config"}
    keys |= {f"vad_config.{name}" for name in VadConfig.model_fields}
    keys |= {f"phases[].{name}" for name in Phase.model_fields}
    keys |= {f"rehearsal.{name}" for name in Rehearsal.model_fields}
    assert set(rows) == keys


def test_every_route_is_described(app: FastAPI) -> None:
    text = (DOCS / "api.md").read_text("utf-8")
    told = set(re.findall(r"^### ([A-Z]+ /\S+)", text, re.M))
    routes = {
        f"{method.upper()} " + re.sub(r"{\w+}", "{id}", path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
    }
    assert told == routes
