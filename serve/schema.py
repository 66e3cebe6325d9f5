"""The session contract's JSON Schema as a file: ``python -m serve.schema [--check]``."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from agent_actor.contract import json_schema

SCHEMA_FILE = Path("docs/schema/session.schema.json")


def render(schema: dict[str, Any] | None = None) -> str:
    return json.dumps(schema or json_schema(), indent=2, ensure_ascii=False) + "\n"


def main(arguments: list[str]) -> int:
    """Write the file below the working directory; with ``--check`` only say if it is stale."""
    if "--check" in arguments:
        current = SCHEMA_FILE.is_file() and SCHEMA_FILE.read_text("utf-8") == render()
        if not current:
            sys.stderr.write(f"{SCHEMA_FILE} is stale: run python -m serve.schema\n")
        return 0 if current else 1
    SCHEMA_FILE.parent.mkdir(parents=True, exist_ok=True)
    SCHEMA_FILE.write_text(render(), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
