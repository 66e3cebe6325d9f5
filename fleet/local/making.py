"""Making what a run needs: steps that take a while, run as children with their progress shown."""

from __future__ import annotations

import importlib.util
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from fleet.local.errors import LocalPartError, ToolUnavailable
from fleet.local.processes import tied_to_this_process
from fleet.local.progress import progress

DEADLINE_S = 1800


def exit_code(make: Callable[[], object]) -> int:
    """What a command that only makes something ends with; why it could not, on standard error."""

    def ended(_number: int, _frame: object) -> NoReturn:
        raise KeyboardInterrupt

    signal.signal(signal.SIGTERM, ended)  # so that a build in progress is ended with us
    try:
        make()
    except LocalPartError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def run_step(
    what: str,
    command: Sequence[str],
    *,
    log: Path,
    cwd: Path,
    env: Mapping[str, str] | None = None,
) -> str:
    """Run a step with its progress shown; all that it printed. Raises ToolUnavailable with the end
    of that."""
    with progress(what), log.open("wb") as output:
        process = subprocess.Popen(
            tied_to_this_process(command),
            cwd=cwd,
            env={**os.environ, **(env or {})},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            exit_code = process.wait(DEADLINE_S)
        except subprocess.TimeoutExpired:
            raise ToolUnavailable(f"{what}: gave up after {DEADLINE_S} s") from None
        finally:
            with suppress(ProcessLookupError):  # compilers outlive the `go` that started them
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    printed = log.read_text(errors="replace").strip()
    if exit_code != 0:
        raise ToolUnavailable(f"{what}: exit {exit_code}: {printed[-1500:]}")
    return printed


def install_locked(what: str, lock: Path, folder: Path, *, log: Path) -> None:
    """The wheels of `lock` into `folder`. Raises ToolUnavailable."""
    pinned = ["--target", str(folder), "--require-hashes", "--no-deps", "--requirement"]
    run_step(what, [*_install(), *pinned, str(lock)], log=log, cwd=folder.parent)


def _install() -> list[str]:
    """By uv (an environment made by it has no pip), else by this interpreter's pip."""
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv:
        return [uv, "pip", "install", "--quiet", "--python", sys.executable]
    if importlib.util.find_spec("pip"):
        return [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    raise ToolUnavailable("neither uv nor pip to fetch a tool with")
