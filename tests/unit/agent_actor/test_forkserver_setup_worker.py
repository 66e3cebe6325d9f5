"""Which workers are asked for without Ray's own preparation, and which are left to Ray."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from agent_actor import forkserver
from agent_actor.forkserver import ray_private
from agent_actor.forkserver.setup_worker import expand, forkable

WORKER = ["default_worker.py", "--worker-id=1"]
NODE = "ab" * 28


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


@pytest.mark.parametrize(
    ("skip", "method"),
    [
        (ray_private.skip_log_monitor, "start_log_monitor"),
        (ray_private.skip_client_server, "start_ray_client_server"),
    ],
)
def test_only_the_ray_that_is_known_goes_without_what_it_can_do_without(
    monkeypatch: pytest.MonkeyPatch, skip: Callable[[], bool], method: str
) -> None:
    import ray
    from ray._private.node import Node

    own = getattr(Node, method)
    monkeypatch.setattr(Node, method, own)
    with monkeypatch.context() as another:
        another.setattr(ray, "__version__", "2.59.0")
        assert not skip()
        assert getattr(Node, method) is own
    assert skip()
    assert getattr(Node, method) is not own


def test_only_the_ray_that_is_known_goes_without_its_dashboard(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import ray
    from ray._private import ray_constants, services

    name = "_build_python_executable_command_memory_profileable"
    own, server = getattr(services, name), services.start_api_server
    with monkeypatch.context() as another:
        another.setattr(ray, "__version__", "2.59.0")
        assert not ray_private.skip_dashboard()
    assert (getattr(services, name), services.start_api_server) == (own, server)
    monkeypatch.setattr(services, name, own)
    monkeypatch.setattr(services, "start_api_server", server)
    assert ray_private.skip_dashboard()
    build = getattr(services, name)
    assert build(ray_constants.PROCESS_TYPE_DASHBOARD_AGENT, "")[-1] == ray_private.IDLE_AGENT
    other = ray_constants.PROCESS_TYPE_RUNTIME_ENV_AGENT
    assert build(other, "") == own(other, "")


def test_what_stands_in_for_the_agent_offers_nothing_and_ends_with_its_raylet(
    tmp_path: Path,
) -> None:
    from ray import _raylet

    agent = (
        f"{sys.executable} -I -S {ray_private.IDLE_AGENT} --node-id={NODE} --session-dir={tmp_path}"
    )
    command = f"RAY_RAYLET_PID=$$ {agent} & echo $!; read _"
    with subprocess.Popen(
        ["sh", "-c", command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as raylet:
        assert raylet.stdout is not None
        os.kill(int(raylet.stdout.readline()), 0)
        for name in ("METRICS_AGENT", "METRICS_EXPORT", "DASHBOARD_AGENT_LISTEN"):
            service = getattr(_raylet, f"{name}_PORT_NAME")
            assert _raylet.wait_for_persisted_port(str(tmp_path), NODE, service, 10_000) == -1
        raylet.kill()
        # The pipe ends with the last who holds it: the agent.
        assert raylet.communicate(timeout=10)[0] == ""
