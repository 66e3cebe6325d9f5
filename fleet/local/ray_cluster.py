"""A local Ray cluster, or the one that RAY_ADDRESS names.

Ray is a singleton of the process: one cluster at a time, joined by the process that opens it.
"""

from __future__ import annotations

import logging
import os
import random
import secrets
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from agent_actor.forkserver import ray_private
from fleet.local.run_dir import RunDir

NAMESPACE = "interview-fleet"
ENDED_S = 5.0
OBJECT_STORE_BYTES = 150_000_000

# Read by Ray when it is imported or when it starts its processes, so set before either.
ENVIRONMENT = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0",  # else workers re-create the environment under `uv run`
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves real-time audio
    "RAY_enable_metrics_collection": "0",  # nobody asks a local cluster, and every worker pays
}


@dataclass(frozen=True, kw_only=True)
class RayCluster:
    """`address` is for other drivers; `own` tells whether closing ends the cluster."""

    address: str
    own: bool


@dataclass(frozen=True, kw_only=True)
class RaySettings:
    """What a local cluster claims to have. `num_cpus` is a count of places, not of cores."""

    num_cpus: int = 16
    resources: Mapping[str, float] = field(default_factory=dict)
    object_store_bytes: int = OBJECT_STORE_BYTES
    system_config: Mapping[str, Any] = field(default_factory=dict)
    skip_setup_worker: bool = True
    """Fork session actors without Ray's own second of preparation: see docs/forkserver.md."""


@contextmanager
def ray_cluster(run: RunDir, settings: RaySettings | None = None) -> Iterator[RayCluster]:
    """RAY_ADDRESS's cluster, or a local one that ends with the block. See `local_ray`."""
    existing = os.environ.get("RAY_ADDRESS")
    if not existing:
        with local_ray(run, settings) as cluster:
            yield cluster
        return
    with _joined(address=existing) as address:
        yield RayCluster(address=address, own=False)


@contextmanager
def local_ray(run: RunDir, settings: RaySettings | None = None) -> Iterator[RayCluster]:
    """A cluster of our own, whatever else runs on this machine; this process is its driver.

    Blocks for seconds on the way in and out. Enter from a thread that outlives the cluster (the
    main one): the kernel kills Ray's processes when the thread that started them ends.
    """
    settings = settings or RaySettings()
    # Ray's own default, a token for every cluster of the user, would be written to their home.
    if not any(name.startswith("RAY_AUTH_") for name in os.environ):
        os.environ["RAY_AUTH_TOKEN"] = secrets.token_hex(32)
    options: dict[str, Any] = {
        "num_cpus": settings.num_cpus,
        "num_gpus": 0,
        "resources": dict(settings.resources),
        "object_store_memory": settings.object_store_bytes,
        "include_dashboard": False,
        "_node_ip_address": loopback_address(),
        "_temp_dir": str(run.folder("r")),  # short: see run_dir.LONGEST_PATH
        "_system_config": dict(settings.system_config) or None,
        "skip_setup_worker": settings.skip_setup_worker,
    }
    try:
        with _joined(address="local", **options) as address:
            yield RayCluster(address=address, own=True)
    finally:
        _end_processes_of(run.path / "r")


@contextmanager
def joined_ray(address: str, *, node_address: str | None = None) -> Iterator[str]:
    """This process as a driver of the cluster at ``address``, on the node at ``node_address``, by
    default on its head. A driver goes with its node.
    """
    options: dict[str, Any] = {} if node_address is None else {"_node_ip_address": node_address}
    with _joined(address=address, **options) as found:
        yield found


@contextmanager
def _joined(*, skip_setup_worker: bool = False, **options: Any) -> Iterator[str]:
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    import ray  # takes a second, and reads the variables above

    if skip_setup_worker:
        ray_private.skip_setup_worker()
    ray_private.skip_log_monitor()
    with _sigterm_kept():
        ray.init(namespace=NAMESPACE, log_to_driver=False, logging_level=logging.ERROR, **options)
    try:
        yield ray.get_runtime_context().gcs_address
    finally:
        ray.shutdown()


@contextmanager
def _sigterm_kept() -> Iterator[None]:
    """`ray.init` takes SIGTERM for itself and exits the process; keep it with who had it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handler = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, handler)


def _end_processes_of(folder: Path) -> None:
    """End our child processes that serve the cluster in `folder`, and wait until they are gone.

    After an orderly shutdown there are none. A `ray.init` that failed or was interrupted leaves
    them, and they would write into the run folder after it has been removed.
    """
    for child in psutil.Process().children(recursive=True):
        with suppress(psutil.Error):
            if any(str(folder) in part for part in child.cmdline()):
                child.kill()
                child.wait(ENDED_S)


def loopback_address() -> str | None:
    """A loopback address for this cluster alone, so that fixed ports of two do not meet.

    Ray replaces 127.0.0.1 by the machine's outer address; others of 127/8 it keeps. Only Linux has
    those without being told.
    """
    if sys.platform != "linux":
        return None
    pick = random.SystemRandom().randint
    return f"127.{pick(1, 254)}.{pick(0, 255)}.{pick(2, 254)}"
