"""Where the rehearsal takes place: what both clusters share, and the clusters."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import psutil

from fleet.bench.chaos.stage import Stage
from fleet.bench.progress import Progress
from fleet.bench.waiting import until
from fleet.livekit_client import WEBHOOK_EVENTS
from fleet.local.crowd import Crowd, crowd
from fleet.local.errors import LocalPartError
from fleet.local.livekit import LiveKitServer
from fleet.local.processes import ChildProcess, Command, free_ports, start
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import RunDir, run_dir
from fleet.local.simulators import Simulator, SimulatorKind, simulator
from fleet.local.stack import (
    LocalFleet,
    environment,
    provider_environment,
    server_environment,
)
from fleet.settings import load_settings

READY_S = 300.0
GRACE_S = 60.0
WITHIN_S = 180.0
APART = 1000
"""Numbers of interviews that each cluster has to itself."""


class Cluster:
    """One that answers. ``stage``: interviews on it."""

    def __init__(self, name: str, stage: Stage, host: ChildProcess) -> None:
        self.name = name
        self.stage = stage
        self._host = host

    async def nodes(self) -> list[dict[str, Any]]:
        """Those that take interviews, as ``GET /v1/nodes`` has them. An API that is just being
        replaced is asked again. Raises LocalPartError."""

        async def answered() -> list[dict[str, Any]] | None:
            try:
                answer = await self.stage.http.get("/v1/nodes")
            except httpx.HTTPError:
                return None
            return None if answer.is_error else list(answer.json()["nodes"])

        found = await until(answered, WITHIN_S, poll_s=0.2)
        if found is None:
            raise LocalPartError(f"cluster {self.name} did not say what nodes it has")
        return [node for node in found if node["slots"]]

    async def busy_nodes(self) -> list[dict[str, Any]]:
        """All, once one of them carries an interview. Raises LocalPartError."""

        async def so() -> list[dict[str, Any]]:
            found = await self.nodes()
            return found if any(node["live"] for node in found) else []

        if not (found := await until(so, WITHIN_S, poll_s=0.2)):
            raise LocalPartError(f"no node of cluster {self.name} carries an interview")
        return found

    async def until_nodes(self, fit: Callable[[int], bool]) -> int | None:
        """How many there are, once that ``fit``s; None if it did not in time."""

        async def so() -> int | None:
            count = len(await self.nodes())
            return count if fit(count) else None

        return await until(so, WITHIN_S, poll_s=0.5)

    def lose(self, node: dict[str, Any]) -> None:
        """As if the machine were gone: SIGKILL to all that runs on it."""
        mine = f"--node-ip-address={node['address']}"
        for process in psutil.Process(self._host.pid).children(recursive=True):
            if mine in process.cmdline():
                for each in (process, *process.children(recursive=True)):
                    each.kill()
                return
        raise LocalPartError(f"no process runs node {node['address']}")

    async def actors(self) -> dict[str, int] | None:
        """As ``Stage.pool``."""
        return await self.stage.pool()

    async def until_warm(self, count: int) -> None:
        """Returns when so many actors are. Raises LocalPartError."""

        async def so() -> bool:
            actors = await self.actors()
            return actors is not None and actors["warm"] >= count

        if not await until(so, WITHIN_S, poll_s=0.5):
            raise LocalPartError(f"cluster {self.name} has no {count} warm actors")

    async def drain(self, deadline_s: float) -> None:
        """Returns once it refuses. Raises LocalPartError."""

        async def accepted() -> bool:
            try:
                asked = {"deadline_s": deadline_s}
                return (await self.stage.http.post("/v1/fleet/drain", params=asked)).is_success
            except httpx.HTTPError:
                return False

        if not await until(accepted, WITHIN_S, poll_s=0.5):
            raise LocalPartError(f"cluster {self.name} was not drained")

    async def refusal(self, request: dict[str, Any]) -> str:
        """The code with which a session that is asked for now is refused; "" if it is not."""
        answer = await self.stage.http.post("/v1/sessions", json=request)
        return str(answer.json()["code"]) if answer.is_error else ""

    async def aclose(self) -> None:
        """In order; what still runs on it is ended. Idempotent."""
        await self._host.aclose(grace_s=GRACE_S)


@dataclass(frozen=True, kw_only=True)
class Site:
    run: RunDir
    redis: RedisServer
    livekit: LiveKitServer
    simulators: dict[SimulatorKind, Simulator]
    people: Crowd
    ports: list[int]
    progress: Progress
    seed: int
    stack: AsyncExitStack

    async def install(self, number: int) -> Cluster:
        """Cluster a, b, …; returns when its API answers. Raises PartExited, PartNotReady."""
        name, port = "abc"[number], self.ports[number]
        command = Command(
            name=f"cluster-{name}",
            program=sys.executable,
            arguments=["-m", "fleet.bench.rehearsal.host", str(port)],
            env={"FLEET_CLUSTER": name},
        )
        host = await start(command, logs=self.run.logs)
        self.stack.push_async_callback(host.aclose, grace_s=GRACE_S)
        await host.first_line(deadline_s=READY_S)
        url = f"http://127.0.0.1:{port}"
        http = await self.stack.enter_async_context(httpx.AsyncClient(base_url=url, timeout=30.0))
        stage = Stage(
            fleet=LocalFleet(
                api_url=url,
                settings=load_settings(),
                livekit=self.livekit.access,
                simulators=self.simulators,
                run=self.run,
            ),
            redis=self.redis,
            livekit=self.livekit,
            http=http,
            people=self.people,
            progress=self.progress,
            seed=self.seed,
            warm=1,
            first=1 + number * APART,
        )
        self.stack.push_async_callback(stage.aclose)
        return Cluster(name, stage, host)


@asynccontextmanager
async def open_site(progress: Progress, seed: int) -> AsyncIterator[Site]:
    """Everything but the clusters; they are ended before it."""
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        ports = free_ports(2)
        hooks = [f"http://127.0.0.1:{port}/v1/livekit/webhook" for port in ports]
        redis = await stack.enter_async_context(RedisServer(run, fsync=Fsync.ALWAYS))
        livekit = await stack.enter_async_context(
            LiveKitServer(run, webhook_urls=hooks, webhook_events=WEBHOOK_EVENTS)
        )
        simulators = {
            kind: await stack.enter_async_context(simulator(run, kind, ("--seed", str(seed))))
            for kind in SimulatorKind
        }
        servers = server_environment(redis.url, livekit.access)
        stack.enter_context(environment({**servers, **provider_environment(simulators)}))
        people = await stack.enter_async_context(crowd(run))
        yield Site(
            run=run,
            redis=redis,
            livekit=livekit,
            simulators=simulators,
            people=people,
            ports=ports,
            progress=progress,
            seed=seed,
            stack=stack,
        )
