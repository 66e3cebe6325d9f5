from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.manifests import checks
from tests.manifests.conftest import OVERLAYS
from tests.manifests.overlay import Overlay
from tests.manifests.tool import TREE, CheckTool

KUSTOMIZATIONS = sorted(each.parent for each in (TREE / "k8s").rglob("kustomization.yaml"))


@pytest.mark.parametrize("name", OVERLAYS)
def test_overlay_fits_the_real_types_and_the_code(
    name: str, built: dict[str, str], tool: CheckTool
) -> None:
    found = checks.check(name, built[name], tool)
    assert not found, "\n".join(map(str, found))


def test_check_sees_the_pods_that_the_operator_makes(
    built: dict[str, str], tool: CheckTool
) -> None:
    """Else all that is said of pods would hold of none."""
    overlay = Overlay.of("production", built["production"], tool)
    assert {pod.group for pod in overlay.pods if pod.group} == {*overlay.groups}
    head = next(pod for pod in overlay.pods if pod.group == "headgroup")
    assert [each.name for each in head.containers] == ["ray-head", "autoscaler"]


@pytest.mark.parametrize("folder", KUSTOMIZATIONS, ids=lambda folder: folder.name)
def test_kustomization_builds(folder: Path, tool: CheckTool) -> None:
    """Those that are no overlay too."""
    assert all(each["kind"] for each in yaml.safe_load_all(tool.build(folder)))
