"""Which workers are asked for without Ray's own preparation, and which are left to Ray."""

from __future__ import annotations

import json
import sys
from typing import Any

import pytest

from agent_actor import forkserver
from agent_actor.forkserver import ray_private
from agent_actor.forkserver.setup_worker import expand, forkable

WORKER = ["default_worker.py", "--worker-id=1"]


def arguments(**context: Any) -> list[str]:
    serialized = json.dumps({"command_prefix": [], "java_jars": [], **context})
    return [*WORKER, f"--serialized-runtime-env-context={serialized}", "--language=PYTHON"]


def test_an_actor_that_names_the_launcher_is_ours() -> None:
    command = forkserver.command(preload=("fleet.actor_shell",))
    found = forkable(arguments(py_executable=command, env_vars={"A": "1"}))
    assert found == (["--preload=fleet.actor_shell", *WORKER], {"A": "1"})


@pytest.mark.parametrize(
    "context",
    [
        {},
        {"py_executable": sys.executable},
        {"py_executable": forkserver.command().replace("launcher.py", "other.py")},
        {"py_executable": "/another/python -I -S " + forkserver.command().split()[-1]},
        {"py_executable": forkserver.command(), "command_prefix": ["cd", "/x", "&&"]},
        {"py_executable": forkserver.command(), "override_worker_entrypoint": "w.py"},
    ],
)
def test_every_other_one_is_left_to_ray(context: dict[str, Any]) -> None:
    assert forkable(arguments(**context)) is None
    assert forkable(WORKER) is None


def test_variables_are_expanded_as_ray_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THERE", "x")
    monkeypatch.delenv("NOT_THERE", raising=False)
    assert expand("a${THERE}b$THERE${NOT_THERE}c") == "axbxc"


def test_another_ray_keeps_its_own_preparation(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "SETUP_WORKER_FILENAME", "setup_worker.py")
    monkeypatch.setattr(ray, "__version__", "2.59.0")
    assert not ray_private.skip_setup_worker()
    assert ray_constants.SETUP_WORKER_FILENAME == "setup_worker.py"


def test_the_ray_that_is_known_skips_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._private import ray_constants

    monkeypatch.setattr(ray_constants, "SETUP_WORKER_FILENAME", "setup_worker.py")
    assert ray_private.skip_setup_worker()
    assert ray_constants.SETUP_WORKER_FILENAME == ray_private.SETUP_WORKER
    assert ray_private.skip_setup_worker(), "a second time changes nothing"


def test_only_the_ray_that_is_known_goes_without_its_log_monitor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray
    from ray._private.node import Node

    own = Node.start_log_monitor
    monkeypatch.setattr(Node, "start_log_monitor", own)
    monkeypatch.setattr(ray, "__version__", "2.59.0")
    assert not ray_private.skip_log_monitor()
    assert Node.start_log_monitor is own
    monkeypatch.undo()
    monkeypatch.setattr(Node, "start_log_monitor", own)
    assert ray_private.skip_log_monitor()
    assert Node.start_log_monitor is not own
