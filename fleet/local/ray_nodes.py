"""Several Ray nodes on this machine, each by a ``ray start`` of its own on its own loopback
address, as on several machines: each may be lost, stopped and started by itself. Linux only:
elsewhere there is one such address.

Everything here blocks, for seconds where something starts.
"""

from __future__ import annotations

import itertools
import json
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from fleet.local import ray_lean
from fleet.local.errors import LocalPartError, PartExited, PartNotReady
from fleet.local.processes import free_ports, tied_to_this_process
from fleet.local.ray_cluster import ENVIRONMENT, OBJECT_STORE_BYTES, loopback_address
from fleet.local.run_dir import RunDir
from fleet.local.tools import find_redis_server

READY_S = 90.0
STOP_GRACE_S = 15.0
POLL_S = 0.05
_NUMBERS = itertools.count()
SURVIVES_ITS_HEAD = {
    # Nodes and their workers wait so long for a head that is away. After Ray's own 60 s they end
    # themselves, and all interviews on them, before a head's pod is back.
    "RAY_gcs_rpc_server_reconnect_timeout_s": "600",
    # A node that is lost is known to be after 3 s; by Ray's own figures after 15 s.
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_failure_threshold": "3",
}
"""For every process of the cluster, and its drivers."""
_LEAN = {
    # There is no agent that would take them.
    "RAY_enable_metrics_collection": "0",
    "RAY_prestart_worker_first_driver": "0",
}
"""For every process of a node."""
_HEAD_ALONE = ("--include-dashboard=false", "--no-monitor")
"""No dashboard and no autoscaler."""


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node claims to have. ``num_cpus`` is a count of places, not of cores."""

    num_cpus: int = 16
    resources: Mapping[str, float] = field(default_factory=dict)


class RayNode:
    """``address`` is the node's own, and stays the same when it is started again. ``folder``: a
    short name that no other node of this run has; by default one that none of this process has."""

    def __init__(
        self,
        run: RunDir,
        settings: NodeSettings,
        arguments: Sequence[str],
        *,
        folder: str | None = None,
    ) -> None:
        address = loopback_address()
        if address is None:
            raise LocalPartError("several Ray nodes on one machine need Linux's loopback addresses")
        self.address = address
        self._run = run
        # Nodes that share one choose names for their sockets that are taken by the time they bind.
        self.folder = run.folder(folder or f"{next(_NUMBERS):x}")
        self._arguments = [*arguments, *_arguments(settings, address, self.folder)]
        self._env: dict[str, str] = {}
        self._process: subprocess.Popen[bytes] | None = None

    def with_env(self, env: Mapping[str, str]) -> RayNode:
        self._env = dict(env)
        return self

    def start(self) -> None:
        """Returns when it has joined the cluster. Raises PartExited, PartNotReady."""
        self.launch()
        self.wait()

    def launch(self) -> None:
        """``start`` without waiting for it."""
        name = f"ray-{self.address}"
        command = [sys.executable, "-m", ray_lean.__name__, "start", "--block", *self._arguments]
        # Or what it says stays in its buffer while it blocks.
        env = {**os.environ, **ENVIRONMENT, **SURVIVES_ITS_HEAD, **_LEAN, "PYTHONUNBUFFERED": "1"}
        self._process = _spawn(name, command, self._run.logs, {**env, **self._env})

    def wait(self) -> None:
        """Until it has joined."""
        assert self._process is not None
        name = f"ray-{self.address}"
        out = self._run.logs / f"{name}.out"
        _until(
            lambda: "Ray runtime started" in out.read_text("utf-8", errors="replace"),
            name,
            self._process,
            self._run.logs / f"{name}.log",
        )

    def kill(self) -> None:
        """As if the machine were gone: SIGKILL to all that runs on it."""
        if self._process is not None:
            _kill(_tree(self._process.pid))
            self._process.wait()

    def close(self) -> None:
        """In order: SIGTERM, as Kubernetes ends a pod; then SIGKILL to what is left. Idempotent."""
        process, self._process = self._process, None
        if process is None:
            return
        tree = _tree(process.pid)
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_GRACE_S)
        _kill(tree)
        process.wait()


class RayNodes:
    """A cluster under way: a head without places for session actors, and nodes."""

    def __init__(self, run: RunDir, head: RayNode, address: str) -> None:
        self._run = run
        self.head = head
        self.address = address
        """Of the GCS, for drivers and nodes."""
        self.nodes: list[RayNode] = []

    def add(self, *settings: NodeSettings) -> None:
        """More nodes, side by side; they are in the cluster when this returns."""
        added = [RayNode(self._run, each, [f"--address={self.address}"]) for each in settings]
        self.nodes += added
        for node in added:
            node.launch()
        for node in added:
            node.wait()

    def restart_head(self) -> None:
        """After it was killed: it goes on with what stands in its Redis."""
        # Where the last head of this folder was: a new one would take it for a running cluster.
        (self.head.folder / "ray_current_cluster").unlink(missing_ok=True)
        self.head.start()

    def close(self) -> None:
        for node in (*self.nodes, self.head):
            node.close()


@contextmanager
def ray_nodes(
    run: RunDir, settings: Sequence[NodeSettings], *, durable: bool = False
) -> Iterator[RayNodes]:
    """A head, and a node for each of ``settings``. ``durable``: the head's books are in a Redis of
    their own, and outlive it. This process joins as a driver by itself, see ``ray_cluster``.
    """
    agree_on_a_token()
    with ExitStack() as stack:
        (port,) = free_ports(1)
        arguments = ["--head", f"--port={port}"]
        env: dict[str, str] = {}
        if durable:
            books = stack.enter_context(_gcs_redis(run))
            env["RAY_REDIS_ADDRESS"] = f"127.0.0.1:{books.port}"
            # Ray takes it no other way, and shows it in its own processes' arguments too.
            arguments.append(f"--redis-password={books.password}")
        head = RayNode(run, NodeSettings(), [*arguments, *_HEAD_ALONE])
        cluster = RayNodes(run, head.with_env(env), f"{head.address}:{port}")
        stack.callback(cluster.close)
        head.start()
        cluster.add(*settings)
        yield cluster


@contextmanager
def ray_node(run: RunDir, address: str, settings: NodeSettings) -> Iterator[RayNode]:
    """One more node of a cluster that is there already, for the length of the block."""
    node = RayNode(run, settings, [f"--address={address}"])
    try:
        node.start()
        yield node
    finally:
        node.close()


@dataclass(frozen=True, kw_only=True)
class _Books:
    port: int
    password: str


@contextmanager
def _gcs_redis(run: RunDir) -> Iterator[_Books]:
    """Ray needs TCP, and its books are no part of the fleet's ledger."""
    (port,), password = free_ports(1), secrets.token_urlsafe(24)
    text = f"bind 127.0.0.1\nport {port}\nrequirepass {password}\nappendonly no\nsave ''\n"
    config = run.write_secret("gcs-redis.conf", text)
    process = _spawn("gcs-redis", [str(find_redis_server()), str(config)], run.logs, os.environ)
    try:
        _until(lambda: _listens(port), "gcs-redis", process, run.logs / "gcs-redis.log")
        yield _Books(port=port, password=password)
    finally:
        process.kill()
        process.wait()


def agree_on_a_token() -> None:
    """Nodes and drivers have it from this process's environment. Ray's own default would be written
    to the user's home; and it makes its own mind up for a head only, not for nodes and drivers."""
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    os.environ.setdefault("RAY_AUTH_MODE", "token")
    # What ``ray.init`` does for a cluster of its own: this process may have read its settings.
    import ray._raylet

    ray._raylet.Config.initialize("")  # type: ignore[attr-defined]


def _arguments(settings: NodeSettings, address: str, folder: Path) -> list[str]:
    (port,) = free_ports(1)
    return [
        # Told and not chosen by the agent: a raylet that has to wait for its choice ends itself
        # after 15 s, and on a busy machine the agent takes longer to be imported.
        f"--runtime-env-agent-port={port}",
        "--include-log-monitor=false",
        "--disable-usage-stats",
        f"--temp-dir={folder}",
        f"--node-ip-address={address}",
        f"--num-cpus={settings.num_cpus}",
        "--num-gpus=0",
        f"--resources={json.dumps(dict(settings.resources))}",
        f"--object-store-memory={OBJECT_STORE_BYTES}",
        "--min-worker-port=0",
        "--max-worker-port=0",
    ]


def _spawn(
    name: str, command: Sequence[str], logs: Path, env: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    with (logs / f"{name}.out").open("wb") as stdout, (logs / f"{name}.log").open("ab") as stderr:
        return subprocess.Popen(
            tied_to_this_process(command),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            stderr=stderr,
            env=dict(env),
            start_new_session=True,
        )


def _until(
    true: Callable[[], bool], name: str, process: subprocess.Popen[bytes], log: Path
) -> None:
    deadline = time.monotonic() + READY_S
    while not true():
        if process.poll() is not None:
            raise PartExited(name, process.returncode, log)
        if time.monotonic() >= deadline:
            raise PartNotReady(name, READY_S, log)
        time.sleep(POLL_S)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _tree(pid: int) -> list[psutil.Process]:
    """The process and all below it, from the top, so that nobody is there to bring one back."""
    with suppress(psutil.NoSuchProcess):
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    return []


def _kill(processes: Sequence[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
