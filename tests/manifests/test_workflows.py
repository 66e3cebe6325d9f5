"""The CI's workflows name what there is."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.manifests.compose import load_strictly
from tests.manifests.tool import TREE

WORKFLOWS = sorted((TREE / ".github" / "workflows").glob("*.yml"))


def steps_of(file: Path) -> Iterator[dict[str, Any]]:
    for job in load_strictly(file.read_text())["jobs"].values():
        yield from job["steps"]


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflow_runs_what_there_is(file: Path) -> None:
    targets = re.findall(r"(?m)^([a-z0-9-]+):", (TREE / "Makefile").read_text())
    run = [step["run"] for step in steps_of(file) if "run" in step]
    for script in run:
        assert {*re.findall(r"\bmake ([a-z0-9-]+)", script)} <= {*targets}
        for path in re.findall(r"(?<![\w/])(?:\.ci|k8s)/[\w./-]+", script):
            assert (TREE / path).exists(), path
    assert run


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_workflow_pins_the_actions_of_others(file: Path) -> None:
    used = [step["uses"] for step in steps_of(file) if "uses" in step]
    assert used
    for action in used:
        assert re.fullmatch(r"[\w./-]+@(v\d+\.\d+\.\d+|[0-9a-f]{40})", action), action
