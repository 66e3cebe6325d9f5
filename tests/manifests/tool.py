"""The program of k8s/check: built once for its sources, then run.

``python -m tests.manifests.tool`` gets it ready, with its progress shown.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from fleet.local.cache import cache_dir, exclusive
from fleet.local.golang import find_go
from fleet.local.making import exit_code

TREE = Path(__file__).parents[2]
SOURCES = TREE / "k8s" / "check"
KUBERAY = "github.com/ray-project/kuberay/ray-operator"
RUN_DEADLINE_S = 60


class BuildFailed(Exception):
    """A kustomization that cannot be built; the message is kustomize's."""


@dataclass(frozen=True)
class CheckTool:
    """The built program and the operator's CRDs beside it."""

    folder: Path

    def build(self, kustomization: Path) -> str:
        """Its objects as a stream of YAML documents. Raises BuildFailed."""
        done = self._run("build", str(kustomization))
        if done.returncode != 0:
            raise BuildFailed(done.stderr.strip())
        return done.stdout

    def validate(self, *files: Path) -> list[dict[str, str]]:
        """What is wrong with the objects in them: file, object, path and message of each."""
        crds = str(self.folder / "crds")
        done = self._run("validate", "-crds", crds, *map(str, files))
        if done.returncode not in (0, 1):
            raise RuntimeError(done.stderr)
        return [json.loads(line) for line in done.stdout.splitlines()]

    def expand(self, file: Path) -> list[Mapping[str, Any]]:
        """What the operator makes of the RayServices in it. Empty where it would make nothing."""
        done = self._run("expand", str(file))
        return list(yaml.safe_load_all(done.stdout)) if done.returncode == 0 else []

    def _run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.folder / "check"), *arguments]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=RUN_DEADLINE_S
        )


def check_tool() -> CheckTool:
    """From the cache, else built now, which takes minutes. Raises ToolUnavailable."""
    folder = cache_dir() / f"manifest-check-{_fingerprint()}"
    if not folder.exists():
        with exclusive("manifest-check"):
            if not folder.exists():
                _make(folder)
    return CheckTool(folder)


def _fingerprint() -> str:
    digest = hashlib.sha256()
    for path in [*sorted(SOURCES.glob("*.go")), SOURCES / "go.mod", SOURCES / "go.sum"]:
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:12]


def _make(folder: Path) -> None:
    """Whole or not at all. The caller holds the lock."""
    for abandoned in cache_dir().glob("checking-*"):  # by a run that was killed
        shutil.rmtree(abandoned, ignore_errors=True)
    with tempfile.TemporaryDirectory(dir=cache_dir(), prefix="checking-") as scratch:
        go = find_go(Path(scratch))
        made = Path(scratch) / "made"
        what = "building the manifest check (once, some minutes)"
        go.run(what, "build", "-ldflags", "-s -w", "-o", f"{made}/", ".", cwd=SOURCES)
        where = ["list", "-m", "-f", "{{.Dir}}", KUBERAY]
        module = go.run("finding KubeRay's CRDs", *where, cwd=SOURCES)
        shutil.copytree(Path(module) / "config" / "crd" / "bases", made / "crds")
        made.replace(folder)


if __name__ == "__main__":
    sys.exit(exit_code(check_tool))
