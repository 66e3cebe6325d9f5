"""All that an overlay is held against."""

from __future__ import annotations

import tempfile
from pathlib import Path

from tests.manifests import commands, environment, references, serving, sizing
from tests.manifests.overlay import Finding, Overlay
from tests.manifests.tool import CheckTool

AGAINST_THE_CODE = (references, commands, environment, serving, sizing)


def check(name: str, text: str, tool: CheckTool) -> list[Finding]:
    """What is wrong with a stream of objects: by the real types first, then by the code.

    An object of a wrong form is not looked at further.
    """
    found = by_types(name, text, tool)
    if found:
        return found
    overlay = Overlay.of(name, text, tool)
    return [each for part in AGAINST_THE_CODE for each in part.check(overlay)]


def by_types(name: str, text: str, tool: CheckTool) -> list[Finding]:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / f"{name}.yaml"
        file.write_text(text)
        told = tool.validate(file)
    return [
        Finding(each["object"], ": ".join(filter(None, (each["path"], each["message"]))))
        for each in told
    ]
