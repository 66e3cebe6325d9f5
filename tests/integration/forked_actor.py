"""An actor that tells how its process came to be, and how to see processes end."""

from __future__ import annotations

import fcntl
import os
import random
import select
import socket
import struct
import time
import uuid
from collections.abc import Sequence
from typing import Any

import numpy as np
import ray
from ray._raylet import UniqueID

from agent_actor.forkserver.child import forked_by


class Forked:
    def about(self) -> dict[str, Any]:
        return {
            "pid": os.getpid(),
            "forked_by": forked_by(),
            "raylet": int(os.environ["RAY_RAYLET_PID"]),
            "node": ray.get_runtime_context().get_node_id(),
            "auth": bool(os.environ.get("RAY_AUTH_TOKEN")),
            "env": os.environ.get("FLEET_TEST"),
            "launcher": launcher(),
        }

    def dice(self) -> list[str]:
        """As many as this process may throw, of each library."""
        return [
            str(random.random()),
            str(np.random.random()),
            uuid.uuid4().hex,
            UniqueID.from_random().hex(),
            ray.put(1).hex(),
        ]


def launcher() -> int | None:
    """The process at the other end of the one descriptor of ours that signals its close."""
    for each in map(int, os.listdir("/proc/self/fd")):
        try:
            signals = fcntl.fcntl(each, fcntl.F_GETFL) & os.O_ASYNC
        except OSError:
            continue
        if signals:
            with socket.socket(fileno=os.dup(each)) as tie:
                size = struct.calcsize("3i")
                peer = tie.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size)
                return int(struct.unpack("3i", peer)[0])
    return None


def ended(pids: Sequence[int], *, within_s: float) -> bool:
    """Whether all of them end in time. They need not be children of ours."""
    deadline = time.monotonic() + within_s
    return all(_ended(pid, max(deadline - time.monotonic(), 0)) for pid in pids)


def _ended(pid: int, within_s: float) -> bool:
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    try:
        return bool(select.select([handle], [], [], within_s)[0])
    finally:
        os.close(handle)
