from __future__ import annotations

import json
import os
import stat
import tempfile
from pathlib import Path

import pytest

from fleet.local import run_dir as module
from fleet.local.run_dir import find_running, remove_dead, run_dir


@pytest.fixture(autouse=True)
def base(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # gettempdir remembers its answer; a short folder, as socket paths are limited.
    with_short_path = Path(tempfile.mkdtemp(prefix="t"))
    monkeypatch.setattr(tempfile, "tempdir", str(with_short_path))
    return with_short_path


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def left_by_a_killed_run(base: Path) -> Path:
    """What stays behind when nothing gets to clean up: everything but the lock's holder."""
    path = base / f"{module.PREFIX}dead"
    path.mkdir(mode=0o700)
    (path / "owner.lock").touch()
    (path / "fleet.json").write_text("{}")
    return path


def test_folder_is_private_and_goes_with_the_run() -> None:
    with run_dir() as run:
        assert mode(run.path) == 0o700
        assert run.logs.is_dir()
    assert not run.path.exists()


def test_folder_stays_when_it_is_to_be_kept(base: Path) -> None:
    with run_dir(keep=True) as run:
        pass
    assert run.path.exists()
    remove_dead()
    assert run.path.exists()


def test_folder_goes_when_the_run_fails() -> None:
    with pytest.raises(ZeroDivisionError), run_dir() as run:
        _ = 1 / 0
    assert not run.path.exists()


def test_secret_file_is_for_its_owner_alone_and_can_be_written_again() -> None:
    with run_dir() as run:
        run.write_secret("config", "one")
        path = run.write_secret("config", "two")
        assert path == run.path / "config"
        assert path.read_text() == "two"
        assert mode(path) == 0o600


def test_announced_fleet_is_found_with_its_addresses() -> None:
    with run_dir() as run:
        run.announce({"api": "http://127.0.0.1:1"})
        [fleet] = find_running()
        assert fleet.run_dir == run.path
        assert fleet.addresses["api"] == "http://127.0.0.1:1"
        assert mode(run.path / "fleet.json") == 0o600
    assert find_running() == []


def test_run_that_announced_nothing_is_not_found() -> None:
    with run_dir():
        assert find_running() == []


def test_dead_fleet_is_not_found_and_its_folder_is_removed_by_the_next_run(base: Path) -> None:
    dead = left_by_a_killed_run(base)
    assert find_running() == []
    with run_dir() as run:
        assert not dead.exists()
        assert run.path.exists()


def test_folder_of_a_living_run_is_left_alone() -> None:
    with run_dir() as one, run_dir() as other:
        remove_dead()
        assert one.path.exists()
        assert other.path.exists()


def test_folder_without_a_lock_is_removed_once_it_is_old(base: Path) -> None:
    again = base / f"{module.PREFIX}again"
    again.mkdir(mode=0o755)
    remove_dead()
    assert again.exists()
    os.utime(again, (0, 0))
    remove_dead()
    assert not again.exists()


def test_folder_that_others_can_write_is_not_trusted(base: Path) -> None:
    with run_dir() as run:
        run.announce(json.loads('{"api": "http://127.0.0.1:1"}'))
        run.path.chmod(0o777)
        assert find_running() == []


def test_long_temporary_folder_is_not_used(base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    long = base / ("x" * 60)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    with run_dir() as run:
        assert len(str(run.path)) <= module.LONGEST_PATH
