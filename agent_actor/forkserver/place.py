"""Where the fork server of a worker is: one a node, environment and version of the code.

The name of its socket is made of two hashes: of all that must not differ between a server and
its workers (``node_key``), and of the code (``code_version``). Whatever changes, the next worker
asks at another name, finds nobody and starts a server that fits.

Imported by the launcher, so nothing here may cost time to import.
"""

from __future__ import annotations

import os

try:
    from _blake2 import blake2b  # hashlib would load OpenSSL for it, 5 ms
except ImportError:
    from hashlib import blake2b

FOLDER = "fork"
_RAYLET_PID = "RAY_RAYLET_PID"
_RAYLET_NAME = "--raylet-name="
_OURS = (
    *("FLEET_", "LIVEKIT_URL", "LIVEKIT_API_", "OPENAI_API_KEY", "GOOGLE_API_KEY", "REDIS_URL"),
    *("OTEL_EXPORTER_", "OTEL_BSP_", "OTEL_METRIC_", "OTEL_SERVICE_NAME", "OTEL_RESOURCE_"),
)
"""Read by the session actor when it is constructed, which is after the fork."""
_EACH_WORKER = ("RAY_JOB_ID", "PWD", "OLDPWD", "SHLVL", "_")
_WATCHED = (".py", ".toml", ".json")


class Unavailable(Exception):
    """No fork server to be had, and why: the worker is to be started plainly."""


class Place:
    """A server's folder and name. ``raylet_pid``: the process with which it dies."""

    __slots__ = ("folder", "name", "raylet_pid")

    def __init__(self, folder: str, name: str, raylet_pid: int) -> None:
        self.folder = folder
        self.name = name
        self.raylet_pid = raylet_pid


def place_of(argv: list[str], env: dict[str, str], python: str, preload: str, root: str) -> Place:
    """The place for the worker ``argv`` with ``env``, run by ``python`` with the code under
    ``root``. Raises Unavailable where it is not a Ray worker as we know them."""
    names = [each[len(_RAYLET_NAME) :] for each in argv if each.startswith(_RAYLET_NAME)]
    if not argv or argv[0].startswith("-") or not names or not env.get(_RAYLET_PID, "").isdigit():
        raise Unavailable("not a Ray worker's command line")
    raylet_pid = int(env[_RAYLET_PID])
    what = (started_at(raylet_pid), names[0], python, argv[0], preload, os.getcwd())
    node = node_key(env, what)
    code = code_version(root, argv[0], ("agent_actor", *tops(preload)))
    folder = os.path.join(os.path.dirname(names[0]), FOLDER)
    return Place(folder, f"{node}-{code}", raylet_pid)


def node_key(env: dict[str, str], what: tuple[str, ...]) -> str:
    """A hash of ``what`` and of the environment, without what may differ between a node's workers.

    All of it, not only what is known to matter: any library may have read a variable when it was
    imported, as Ray does with its own.
    """
    kept = sorted(
        f"{name}={value}"
        for name, value in env.items()
        if name not in _EACH_WORKER and not name.startswith(_OURS)
    )
    return _hash("\0".join((*what, *kept)))


def code_version(root: str, worker: str, packages: tuple[str, ...]) -> str:
    """A hash of the sources of ``packages`` under ``root`` (names, sizes, times of change), and of
    when something was last installed or removed beside Ray, of which ``worker`` is a file."""
    found: list[str] = []
    for package in packages:
        _sources(os.path.join(root, package), found)
    installed = worker
    for _ in ("workers", "_private", "ray", "site-packages"):
        installed = os.path.dirname(installed)
    found.append(f"{installed} {os.stat(installed).st_mtime_ns}")
    return _hash("\0".join(sorted(found)))


def tops(preload: str) -> tuple[str, ...]:
    """The top packages of a comma-separated list of modules."""
    return tuple(sorted({each.partition(".")[0] for each in preload.split(",") if each}))


def started_at(pid: int) -> str:
    """When the process began, in the kernel's ticks: a pid alone is used again. Raises
    Unavailable if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as file:
            return file.read().rpartition(")")[2].split()[19]
    except OSError:
        raise Unavailable("the node's raylet is gone") from None


def _sources(folder: str, found: list[str]) -> None:
    try:
        entries = list(os.scandir(folder))
    except OSError:
        return
    for entry in entries:
        if entry.is_dir():
            if entry.name != "__pycache__":
                _sources(entry.path, found)
        elif entry.name.endswith(_WATCHED):
            status = entry.stat()
            found.append(f"{entry.path} {status.st_size} {status.st_mtime_ns}")


def _hash(text: str) -> str:
    return blake2b(os.fsencode(text), digest_size=6).hexdigest()
