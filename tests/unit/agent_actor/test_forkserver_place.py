"""Which server a worker is forked by: what makes it another one, and what does not."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from agent_actor.forkserver.place import Place, Unavailable, code_version, place_of, tops

ENV = {"PATH": "/bin", "RAY_RAYLET_PID": str(os.getpid()), "RAY_AUTH_TOKEN": "t", "FLEET_X": "1"}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder with the package and an installed Ray."""
    (tmp_path / "agent_actor" / "deep").mkdir(parents=True)
    (tmp_path / "agent_actor" / "deep" / "module.py").write_text("x = 1\n")
    workers = tmp_path / "site-packages" / "ray" / "_private" / "workers"
    workers.mkdir(parents=True)
    (workers / "default_worker.py").touch()
    return tmp_path


def worker(root: Path) -> list[str]:
    script = root / "site-packages/ray/_private/workers/default_worker.py"
    return [str(script), "--raylet-name=/s/sockets/raylet", "--worker-id=1"]


def place(root: Path, *, preload: str = "", python: str = "/python", **changes: str) -> Place:
    return place_of(worker(root), {**ENV, **changes}, python, preload, str(root))


def test_it_lies_beside_the_sockets_of_its_raylet(root: Path) -> None:
    found = place(root)
    assert found.folder == "/s/sockets/fork"
    assert found.raylet_pid == os.getpid()
    assert place(root).name == found.name


@pytest.mark.parametrize("name", ["FLEET_X", "REDIS_URL", "OPENAI_API_KEY", "RAY_JOB_ID", "PWD"])
def test_what_is_read_after_the_fork_may_differ(root: Path, name: str) -> None:
    assert place(root, **{name: "another"}).name == place(root).name


@pytest.mark.parametrize("name", ["RAY_AUTH_TOKEN", "SSL_CERT_FILE", "PYTHONPATH", "ANYTHING"])
def test_what_may_have_been_read_before_the_fork_may_not(root: Path, name: str) -> None:
    assert place(root, **{name: "another"}).name != place(root).name


def test_another_raylet_has_another(root: Path) -> None:
    assert place(root, RAY_RAYLET_PID="1").name != place(root).name


def test_another_interpreter_or_preload_has_another(root: Path) -> None:
    assert place(root, python="/other").name != place(root).name
    assert place(root, preload="fleet.actor_shell").name != place(root).name


@pytest.mark.parametrize(
    "change",
    [
        lambda root: (root / "agent_actor/deep/module.py").write_text("x = 22\n"),
        lambda root: os.utime(root / "agent_actor/deep/module.py", ns=(1, 1)),
        lambda root: (root / "agent_actor/new.py").touch(),
        lambda root: (root / "agent_actor/deep/module.py").unlink(),
        lambda root: os.utime(root / "site-packages", ns=(1, 1)),
    ],
)
def test_changed_code_has_another_of_the_same_node(
    root: Path, change: Callable[[Path], object]
) -> None:
    before = place(root).name.split("-")
    change(root)
    after = place(root).name.split("-")
    assert before[0] == after[0]
    assert before[1] != after[1]


def test_compiled_code_does_not_count(root: Path) -> None:
    before = place(root).name
    (root / "agent_actor" / "__pycache__").mkdir()
    (root / "agent_actor" / "__pycache__" / "module.py").touch()
    assert place(root).name == before


def test_packages_of_preloaded_modules_count(root: Path) -> None:
    script = worker(root)[0]
    (root / "fleet").mkdir()
    before = code_version(str(root), script, tops("fleet.actor_shell,fleet.other"))
    (root / "fleet" / "actor_shell.py").touch()
    assert code_version(str(root), script, tops("fleet.actor_shell")) != before
    assert code_version(str(root), script, ()) == before


@pytest.mark.parametrize(
    "argv", [[], ["-S", "worker.py", "--raylet-name=/s/raylet"], ["worker.py"]]
)
def test_what_is_no_ray_worker_has_none(root: Path, argv: list[str]) -> None:
    with pytest.raises(Unavailable):
        place_of(argv, ENV, sys.executable, "", str(root))


def test_a_raylet_that_is_gone_has_none(root: Path) -> None:
    for pid in ("", "4194305"):
        with pytest.raises(Unavailable):
            place(root, RAY_RAYLET_PID=pid)
