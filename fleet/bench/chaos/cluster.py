"""Which process each Ray actor is, by the cluster's own table.

Ray's public state API needs its dashboard, which a local cluster does without; the table is read
by the interface that Ray keeps for debugging.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from dataclasses import dataclass
from typing import Any

import ray._private.state
import ray._private.worker

from fleet.bench.waiting import until
from fleet.errors import ActorMissing

ALIVE = "ALIVE"
POLL_S = 0.02


@dataclass(frozen=True, kw_only=True)
class RayActor:
    name: str
    kind: str
    """Its class."""
    pid: int
    node_id: str


def hush() -> None:
    """The loss of a worker, which Ray tells its driver in a long paragraph, is what we are here
    for. It stands in Ray's own logs too."""
    ray._private.worker.print_to_stdstream = lambda *_, **__: None


async def living(*, kind: str | None = None) -> list[RayActor]:
    table: dict[str, dict[str, Any]] = await asyncio.to_thread(
        ray._private.state.actors, actor_state_name=ALIVE
    )
    found = [
        RayActor(
            name=row["Name"],
            kind=row["ActorClassName"],
            pid=int(row["Pid"]),
            node_id=row["Address"]["NodeID"],
        )
        for row in table.values()
    ]
    return [actor for actor in found if kind in (None, actor.kind)]


async def find(name: str) -> RayActor:
    """Raises ActorMissing."""
    for actor in await living():
        if actor.name == name:
            return actor
    raise ActorMissing(name)


async def replaced(old: RayActor, deadline_s: float) -> RayActor | None:
    """The actor of that name in another process; None if it is not there by the deadline."""

    async def another() -> RayActor | None:
        for actor in await living():
            if actor.name == old.name and actor.pid != old.pid:
                return actor
        return None

    return await until(another, deadline_s, poll_s=POLL_S)


async def joined_by_another(old: RayActor, prefix: str, deadline_s: float) -> bool:
    """Whether, by the deadline, as many actors with names that begin so are alive as before ``old``
    was killed, and ``old`` is not among them. Call it right after the kill."""
    before = {actor.name for actor in await living() if actor.name.startswith(prefix)} | {old.name}

    async def another() -> bool:
        now = {actor.name for actor in await living() if actor.name.startswith(prefix)}
        return old.name not in now and len(now) >= len(before)

    return bool(await until(another, deadline_s, poll_s=POLL_S))


def kill_process(pid: int) -> float:
    """As the kernel does when memory is short. When, in epoch seconds."""
    at = time.time()
    os.kill(pid, signal.SIGKILL)
    return at
