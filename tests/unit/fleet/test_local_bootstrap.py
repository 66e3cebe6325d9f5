from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from fleet.local import bootstrap

LOCK = """\
uv==0.9.1 \\
    --hash=sha256:aa \\
    --hash=sha256:bb
uvicorn==0.30.0 \\
    --hash=sha256:cc
    # via interview-fleet
"""


@pytest.fixture(autouse=True)
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working tree of its own, with an environment as set-up leaves it."""
    (tmp_path / "requirements.lock").write_text(LOCK)
    (tmp_path / "pyproject.toml").write_text("[project]\n")
    venv = tmp_path / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /usr/bin\nversion_info = 3.12.1\n")
    (venv / "bin" / "python").symlink_to(sys.executable)
    monkeypatch.setattr(bootstrap, "TREE", tmp_path)
    monkeypatch.setattr(bootstrap, "LOCK", tmp_path / "requirements.lock")
    monkeypatch.setattr(bootstrap, "VENV", venv)
    monkeypatch.setattr(bootstrap, "STAMP", venv / "stamp")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    bootstrap.STAMP.write_text(bootstrap._fingerprint("3.12.1"))
    return tmp_path


def program(folder: Path, name: str, says: str) -> Path:
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\necho {says}\n")
    path.chmod(0o755)
    return path


def test_unchanged_tree_starts_no_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def no_run(*_: object, **__: object) -> None:
        pytest.fail("a program was started")

    monkeypatch.setattr(subprocess, "run", no_run)
    assert bootstrap.main([]) == 0


@pytest.mark.parametrize("file", ["requirements.lock", "pyproject.toml"])
def test_changed_input_is_seen(tree: Path, file: str) -> None:
    assert bootstrap._in_step()
    (tree / file).write_text("changed")
    assert not bootstrap._in_step()


def test_other_python_is_seen(tree: Path) -> None:
    (tree / ".venv" / "pyvenv.cfg").write_text("version_info = 3.13.0\n")
    assert not bootstrap._in_step()


def test_removed_interpreter_is_seen(tree: Path) -> None:
    (tree / ".venv" / "bin" / "python").unlink()
    assert not bootstrap._in_step()


def test_unfinished_installation_is_seen() -> None:
    bootstrap.STAMP.unlink()
    assert not bootstrap._in_step()


def test_moved_tree_is_seen(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tree / "elsewhere").mkdir()
    monkeypatch.setattr(bootstrap, "TREE", tree / "elsewhere" / "..")
    assert not bootstrap._in_step()


def test_environment_is_made_again_when_it_was_moved_or_is_broken(tree: Path) -> None:
    activate = tree / ".venv" / "bin" / "activate"
    activate.write_text(f"VIRTUAL_ENV='{tree / '.venv'}'\n")
    assert bootstrap._usable_venv()
    activate.write_text("VIRTUAL_ENV='/elsewhere/.venv'\n")
    assert not bootstrap._usable_venv()
    activate.unlink()
    assert not bootstrap._usable_venv()


def test_locked_block_is_that_package_with_all_its_hashes() -> None:
    block = bootstrap._locked_block("uv")
    assert block.startswith("uv==0.9.1")
    assert block.count("--hash") == 2
    assert "uvicorn" not in block


def test_package_that_is_not_locked_is_an_error() -> None:
    with pytest.raises(bootstrap.SetupError, match="does not pin absent"):
        bootstrap._locked_block("absent")


def test_uv_on_path_is_used_when_new_enough(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tree / "programs", "uv", "uv 0.9.0 '(x86_64)'")
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{os.environ['PATH']}")
    assert bootstrap.find_uv() == str(on_path)


def test_uv_that_is_too_old_is_not_used(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    on_path = program(tree / "programs", "uv", "uv 0.8.22")
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{os.environ['PATH']}")
    asked: list[str] = []

    def install(folder: Path, requirements: str) -> None:
        asked.append(requirements)

    monkeypatch.setattr(bootstrap, "_pip_install_into", install)
    assert Path(bootstrap.find_uv()).is_relative_to(bootstrap.cache_dir())
    assert asked == [bootstrap._locked_block("uv")]


@pytest.mark.parametrize(
    ("version", "usable"), [("3.10.14", False), ("3.11.0", True), ("3.13.9", True)]
)
def test_python_outside_the_range_is_passed_over(
    tree: Path, monkeypatch: pytest.MonkeyPatch, version: str, usable: bool
) -> None:
    candidate = program(tree / "programs", "python3.13", version)
    monkeypatch.setenv("PATH", str(candidate.parent))
    monkeypatch.setattr(sys, "executable", "")
    failing_uv = program(tree / "programs", "false-uv", "; exit 1")
    if usable:
        assert bootstrap.find_python(str(failing_uv)) == str(candidate)
    else:
        with pytest.raises(bootstrap.SetupError, match=r"needs Python 3\.11 to 3\.13"):
            bootstrap.find_python(str(failing_uv))


def test_failed_command_is_reported_without_a_traceback(
    tree: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bootstrap.STAMP.unlink()
    script = program(tree / "programs", "uv", "uv 0.9.0")
    script.write_text('#!/bin/sh\n[ "$1" = --version ] && echo uv 0.9.0 || exit 3\n')
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{os.environ['PATH']}")
    assert bootstrap.main([]) == 1
    assert "failed (exit 3)" in capsys.readouterr().err
    assert not bootstrap.STAMP.exists()


def test_unknown_word_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert bootstrap.main(["undo"]) == 1
    assert "usage" in capsys.readouterr().err
