from __future__ import annotations

import json
from pathlib import Path

import pytest

from agent_actor.contract import json_schema
from serve import schema

ROOT = Path(__file__).parents[3]


def test_the_exported_schema_is_current() -> None:
    assert (ROOT / schema.SCHEMA_FILE).read_text("utf-8") == schema.render()


def test_the_command_writes_and_checks_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert schema.main(["--check"]) == 1
    assert schema.main([]) == 0
    assert schema.main(["--check"]) == 0
    assert json.loads(schema.SCHEMA_FILE.read_text("utf-8")) == json_schema()
