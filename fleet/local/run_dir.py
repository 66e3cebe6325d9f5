"""The folder of one run, and how a running fleet is found from outside.

ifleet-XXXXXXXX/        mode 700, under $TMPDIR; removed at the end
├── owner.lock          locked by the owner for as long as it lives
├── fleet.json          addresses, mode 600, written once the parts are up
├── logs/               a NAME.log and NAME.out of each part
└── ...                 what the parts keep
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fleet.local.errors import RunDirError

PREFIX = "ifleet-"
UNLOCKED_S = 60.0
KEEP_VARIABLE = "INTERVIEW_FLEET_KEEP_RUN"

# Linux takes 107 bytes for a Unix socket's path. The longest below a run folder is Ray's:
# r/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store, 66 bytes.
LONGEST_PATH = 107 - len("/") - 66


@dataclass(frozen=True, kw_only=True)
class RunDir:
    path: Path

    @property
    def logs(self) -> Path:
        return self.path / "logs"

    def folder(self, name: str) -> Path:
        """A folder for one part, made if it is not there."""
        folder = self.path / name
        folder.mkdir(mode=0o700, exist_ok=True)
        return folder

    def write_secret(self, name: str, text: str) -> Path:
        """A file that only its owner can read; whole or not at all."""
        part = self.path / f".{name}.part"
        part.unlink(missing_ok=True)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with open(handle, "w", encoding="utf-8") as file:
            file.write(text)
        return part.replace(self.path / name)

    def announce(self, addresses: Mapping[str, Any]) -> None:
        """Tell `fleet status` and the like where this fleet is; may be called again."""
        self.write_secret("fleet.json", json.dumps({"pid": os.getpid(), **addresses}, indent=2))


@dataclass(frozen=True, kw_only=True)
class RunningFleet:
    run_dir: Path
    addresses: Mapping[str, Any]


@contextmanager
def run_dir(*, keep: bool | None = None) -> Iterator[RunDir]:
    """A fresh run folder, removed when the block ends.

    `keep` (default: INTERVIEW_FLEET_KEEP_RUN=1) leaves it, for its logs. Folders that killed runs
    left behind are removed on the way in.
    """
    keep = os.environ.get(KEEP_VARIABLE) == "1" if keep is None else keep
    remove_dead()
    path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=_base()))
    try:
        with (path / "owner.lock.part").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            (path / "owner.lock.part").rename(path / "owner.lock")  # never seen without its lock
            (path / "logs").mkdir(mode=0o700)
            if keep:
                (path / "keep").touch()
            yield RunDir(path=path)
    finally:
        if not keep:
            shutil.rmtree(path, ignore_errors=True)


def find_running() -> list[RunningFleet]:
    """The fleets of this user that are up, newest first."""
    found: list[tuple[float, RunningFleet]] = []
    for path in _own_run_dirs():
        file = path / "fleet.json"
        with suppress(OSError, ValueError):
            if _is_private(path) and _is_owned(path):
                fleet = RunningFleet(run_dir=path, addresses=json.loads(file.read_text()))
                found.append((file.stat().st_mtime, fleet))
    return [fleet for _, fleet in sorted(found, key=lambda each: each[0], reverse=True)]


def remove_dead() -> None:
    """Remove the run folders whose owner is gone, unless they were to be kept."""
    for path in _own_run_dirs():
        with suppress(OSError):
            if not (path / "keep").exists() and not _is_owned(path):
                shutil.rmtree(path, ignore_errors=True)


def _own_run_dirs() -> Iterator[Path]:
    for path in _base().glob(f"{PREFIX}*"):
        with suppress(OSError):
            status = path.lstat()
            if stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid():
                yield path


def _is_private(path: Path) -> bool:
    return not path.stat().st_mode & 0o077


def _is_owned(path: Path) -> bool:
    """Whether the run's owner lives: a lock says so more surely than a pid, which is used again.

    A folder without its lock file is just being made or removed by someone who lives; an old one
    was made again by a process that outlived its run.
    """
    try:
        handle = (path / "owner.lock").open()
    except FileNotFoundError:
        return time.time() - path.stat().st_mtime < UNLOCKED_S
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _base() -> Path:
    base = Path(tempfile.gettempdir())
    if len(str(base)) + len(f"/{PREFIX}XXXXXXXX") > LONGEST_PATH:
        base = Path("/tmp")
    if not os.access(base, os.W_OK):
        raise RunDirError(f"cannot write to {base}; set TMPDIR to a short path")
    return base
