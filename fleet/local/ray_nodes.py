"""Several Ray nodes on this machine, each by a ``ray start`` of its own on its own loopback address,
as on several machines: each may be lost, stopped and started by itself.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psutil

from agent_actor.forkserver import ray_start
from fleet.local.errors import LocalPartError
from fleet.local.processes import ChildProcess, Command, free_ports, start
from fleet.local.ray_cluster import ENVIRONMENT, OBJECT_STORE_BYTES, loopback_address
from fleet.local.run_dir import RunDir

READY_S = 90.0
STOP_GRACE_S = 15.0
OUTAGE_S = 600
"""How long a node's raylet and its workers wait for a head that is away; with Ray's own 60 s a
node ends itself, and all interviews on it, before a head's pod is back."""


@dataclass(frozen=True, kw_only=True)
class NodeSettings:
    """What a node claims to have. ``num_cpus`` is a count of places, not of cores."""

    num_cpus: int = 16
    resources: Mapping[str, float] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)
    """For its workers, session actors among them."""


class RayNodeProcess:
    """Made by ``ray_node`` or ``ray_head``. ``address`` is the node's own."""

    def __init__(self, name: str, address: str, command: Command, logs: Path) -> None:
        self.name = name
        self.address = address
        self._command = command
        self._logs = logs
        self._child: ChildProcess | None = None

    async def start(self) -> None:
        """Returns when it has joined. Raises PartExited, PartNotReady."""
        self._child = await start(self._command, logs=self._logs)
        await self._child.ready(self._has_started, deadline_s=READY_S)

    async def kill(self) -> None:
        """As if the machine were gone: SIGKILL to all that runs on it, the parents first."""
        if self._child is None:
            return
        for process in _tree(self._child.pid):
            with suppress(psutil.Error):
                process.kill()
        await self._child.wait()

    async def aclose(self) -> None:
        """In order: SIGTERM, as Kubernetes ends a pod; then what is left of it. Idempotent."""
        child, self._child = self._child, None
        if child is None:
            return
        left = _tree(child.pid) if child.running else []
        await child.aclose(grace_s=STOP_GRACE_S)
        for process in left:
            with suppress(psutil.Error):
                process.kill()

    async def _has_started(self) -> bool:
        assert self._child is not None
        return "Ray runtime started" in self._child.out.read_text("utf-8", errors="replace")


@asynccontextmanager
async def ray_node(
    run: RunDir, head: str, settings: NodeSettings | None = None
) -> AsyncIterator[RayNodeProcess]:
    """One more node of the cluster whose GCS is at ``head`` ("host:port"). Linux only: elsewhere
    there is one loopback address. Raises PartExited, PartNotReady.
    """
    node = _node(run, settings or NodeSettings(), [f"--address={head}"], {})
    try:
        await node.start()
        yield node
    finally:
        await node.aclose()


@dataclass(frozen=True, kw_only=True)
class RayHead:
    """``address`` is for ``ray_node`` and drivers; it stays the same after a restart."""

    address: str
    process: RayNodeProcess
    folder: Path

    async def restart(self) -> None:
        """After a ``kill``: the next head goes on with what stands in Redis."""
        # Where this machine's last head was: a new one would take it for a running cluster.
        (self.folder / "ray_current_cluster").unlink(missing_ok=True)
        await self.process.start()


@asynccontextmanager
async def ray_head(
    run: RunDir, settings: NodeSettings | None = None, *, redis_url: str | None = None
) -> AsyncIterator[RayHead]:
    """The head of a cluster. With ``redis_url`` its state outlives it. Sets RAY_AUTH_TOKEN for this
    process, if nothing is, for nodes and drivers to have the same.
    """
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    folder, (port,) = run.folder("r"), free_ports(1)
    arguments = ["--head", f"--port={port}", f"--temp-dir={folder}", "--include-dashboard=false"]
    env: dict[str, str] = {}
    if redis_url is not None:
        redis = urlsplit(redis_url)
        env["RAY_REDIS_ADDRESS"] = f"{redis.hostname}:{redis.port}"
        # Ray takes it no other way, and shows it in its own processes' arguments too.
        arguments += [f"--redis-password={unquote(redis.password)}"] if redis.password else []
    node = _node(run, settings or NodeSettings(), arguments, env)
    try:
        await node.start()
        yield RayHead(address=f"{node.address}:{port}", process=node, folder=folder)
    finally:
        await node.aclose()


def _node(
    run: RunDir, settings: NodeSettings, arguments: Sequence[str], env: Mapping[str, str]
) -> RayNodeProcess:
    address = loopback_address()
    if address is None:
        raise LocalPartError("several Ray nodes on one machine need Linux's loopback addresses")
    name = f"ray-{address}"
    command = Command(
        name=name,
        program=sys.executable,
        arguments=[
            *("-m", ray_start.__name__, "start", "--block", "--disable-usage-stats"),
            *arguments,
            f"--node-ip-address={address}",
            f"--num-cpus={settings.num_cpus}",
            "--num-gpus=0",
            f"--resources={json.dumps(dict(settings.resources))}",
            f"--object-store-memory={OBJECT_STORE_BYTES}",
            *("--min-worker-port=0", "--max-worker-port=0"),
        ],
        env={
            **ENVIRONMENT,
            "PYTHONUNBUFFERED": "1",  # or what it says stays in its buffer while it blocks
            "RAY_gcs_rpc_server_reconnect_timeout_s": str(OUTAGE_S),
            **settings.env,
            **env,
        },
    )
    return RayNodeProcess(name, address, command, run.logs)


def _tree(pid: int) -> list[psutil.Process]:
    """The process and all below it, from the top, so that nobody is there to bring one back."""
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []
