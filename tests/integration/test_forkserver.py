"""Session actors forked by the fork server of their node, on real Ray."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from ray.exceptions import RayActorError

from agent_actor import forkserver
from agent_actor.contract import EndReason, SessionState, parse_strict
from fleet.crew import ActorSpec
from fleet.dispatcher import DispatchRequest
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.simulators import Simulator
from tests.integration.forked_actor import Forked, ended
from tests.integration.interviews import contract
from tests.integration.test_control_plane import own_fleet, settings_for

pytestmark = pytest.mark.skipif(not forkserver.available(), reason="needs Linux")

STARTED_S = 90.0
NOTICED_S = 1.0
CODE = Path(forkserver.__file__).parent
REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def crew(ray_cluster: RayCluster) -> Iterator[Crew]:
    crew = Crew()
    try:
        yield crew
    finally:
        crew.end()


class Crew:
    """Forked actors, ended with the test."""

    def __init__(self) -> None:
        self._actor: Any = ray.remote(num_cpus=0.1, max_restarts=0)(Forked)
        self._made: list[Any] = []

    def start(self, **env: str) -> tuple[Any, dict[str, Any]]:
        runtime_env = {"py_executable": forkserver.command(), "env_vars": env}
        actor = self._actor.options(runtime_env=runtime_env).remote()
        self._made.append(actor)
        return actor, ray.get(actor.about.remote(), timeout=STARTED_S)

    def end(self) -> None:
        for actor in self._made:
            ray.kill(actor)


def raises_within(actor: Any, within_s: float) -> bool:
    """Whether Ray says within that time that the actor is dead."""
    started = time.monotonic()
    with pytest.raises(RayActorError):
        ray.get(actor.about.remote(), timeout=10)
    return time.monotonic() - started < within_s


@contextmanager
def changed_code() -> Iterator[None]:
    """As if a module had been replaced in place: its time of change differs."""
    module = CODE / "protocol.py"
    before = module.stat()
    os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
    try:
        yield
    finally:
        os.utime(module, ns=(before.st_atime_ns, before.st_mtime_ns))


def test_actors_of_a_node_come_from_one_server(crew: Crew) -> None:
    first, second = crew.start(FLEET_TEST="1")[1], crew.start(FLEET_TEST="2")[1]
    assert first["forked_by"]
    assert psutil.Process(first["pid"]).ppid() == first["forked_by"]
    assert second["forked_by"] == first["forked_by"]
    assert (first["env"], second["env"]) == ("1", "2")


def test_it_starts_in_a_fraction_of_the_time(crew: Crew) -> None:
    crew.start()
    began = time.monotonic()
    crew.start()
    # Measured: 0.25 s alone on two cores, 5.9 s plainly.
    assert time.monotonic() - began < 2.5


def test_siblings_do_not_share_their_dice(crew: Crew) -> None:
    thrown = [ray.get(crew.start()[0].dice.remote(), timeout=10) for _ in range(2)]
    assert all(one != other for one, other in zip(*thrown, strict=True)), thrown


def test_a_killed_worker_is_noticed_at_once(crew: Crew) -> None:
    actor, about = crew.start()
    os.kill(about["pid"], signal.SIGKILL)
    assert raises_within(actor, NOTICED_S)
    assert ended([about["launcher"]], within_s=5)


def test_ray_kill_ends_worker_and_launcher(crew: Crew) -> None:
    actor, about = crew.start()
    ray.kill(actor)
    assert ended([about["pid"], about["launcher"]], within_s=5)


def test_a_killed_launcher_takes_its_worker_with_it(crew: Crew) -> None:
    actor, about = crew.start()
    os.kill(about["launcher"], signal.SIGKILL)
    assert ended([about["pid"]], within_s=NOTICED_S)
    assert raises_within(actor, NOTICED_S)


def test_a_killed_server_leaves_its_workers_and_the_next_starts_another(crew: Crew) -> None:
    actor, about = crew.start()
    os.kill(about["forked_by"], signal.SIGKILL)
    assert ended([about["forked_by"]], within_s=5)
    assert ray.get(actor.about.remote(), timeout=10)["pid"] == about["pid"]
    _, after = crew.start()
    assert after["forked_by"] not in (None, about["forked_by"])
    # Its tie is the kernel's, not the server's.
    ray.kill(actor)
    assert ended([about["launcher"]], within_s=5)


def test_changed_code_is_picked_up_and_the_old_server_ends(crew: Crew) -> None:
    actor, about = crew.start()
    with changed_code():
        _, after = crew.start()
        assert after["forked_by"] not in (None, about["forked_by"])
        assert not ended([about["forked_by"]], within_s=0), "it has a worker yet"
        ray.kill(actor)
        assert ended([about["forked_by"]], within_s=20), "others of its workers may be ending"


def test_a_server_that_cannot_be_had_is_no_obstacle(crew: Crew) -> None:
    """Its folder is open to others, so it is not trusted: slow, but it works."""
    folder = fork_folder()
    mode = folder.stat().st_mode if folder.exists() else None
    folder.mkdir(exist_ok=True)
    folder.chmod(0o777)
    try:
        _, about = crew.start()
    finally:
        folder.chmod(mode or 0o700)
    assert about["forked_by"] is None


def fork_folder() -> Path:
    session = ray._private.worker.global_worker.node.get_session_dir_path()
    return Path(session) / "sockets" / "fork"


@pytest.mark.timeout(240)
@pytest.mark.parametrize("arguments", [["skip"], []], ids=["without Ray's set-up", "with it"])
def test_each_node_has_its_own_that_dies_with_it(arguments: list[str]) -> None:
    """Two nodes with token authentication on; with and without the private bypass."""
    command = [sys.executable, "-m", "tests.integration.forked_nodes", *arguments]
    run = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=200)
    assert run.returncode == 0, run.stderr[-3000:]
    answer = json.loads(run.stdout.splitlines()[-1])
    first, second = answer["told"]
    assert answer["skip"] is (arguments == ["skip"])
    assert len({each["forked_by"] for each in first}) == 1
    assert len({each["forked_by"] for each in second}) == 1
    assert None not in {first[0]["forked_by"], second[0]["forked_by"]}
    assert first[0]["forked_by"] != second[0]["forked_by"]
    assert first[0]["node"] != second[0]["node"]
    assert all(each["auth"] for each in first + second)
    assert answer["second_gone"], "the removed node's server and workers"
    assert answer["first_lives"], "the other node's"
    assert answer["first_gone"], "after the cluster's end"


async def test_a_forked_actor_interviews(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
) -> None:
    settings = settings_for(
        shared_redis, livekit_server, warm_actors=1, max_sessions=2, actor_warm_timeout_s=110
    )
    environment = {
        "REDIS_URL": settings.redis_url,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
    }
    real = ActorSpec(warm_timeout_s=110, runtime_env={"env_vars": environment}, fork_server=True)
    async with own_fleet(settings, real) as fleet:
        await fleet.warm()
        given = await fleet.dispatcher.dispatch(
            DispatchRequest(config=parse_strict(contract(no_show_seconds=3)))
        )
        assert given.record.state is SessionState.JOINED
        servers = await asyncio.to_thread(children_of_fork_servers)
        assert servers, "the actor was not forked"
        record = await fleet.gone(given.record.session_id, within_s=60)
        assert record.end_reason is EndReason.NO_SHOW
        await fleet.assert_given_back(record)


def children_of_fork_servers() -> list[int]:
    return [
        process.pid
        for process in psutil.process_iter()
        if (parent := process.parent()) and "fork server" in " ".join(parent.cmdline())
        if "SessionActor" in " ".join(process.cmdline())
    ]
