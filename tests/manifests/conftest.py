"""The check's program and the overlays, built once."""

from __future__ import annotations

import pytest

from tests.manifests.tool import TREE, CheckTool, check_tool

OVERLAYS = ("dev", "production")


@pytest.fixture(scope="session")
def tool() -> CheckTool:
    return check_tool()


@pytest.fixture(scope="session")
def built(tool: CheckTool) -> dict[str, str]:
    """Each overlay's objects, as they would be applied."""
    return {name: tool.build(TREE / "k8s" / "overlays" / name) for name in OVERLAYS}
