"""A real ingress over a populace that is only written down.

The control plane keeps its own sessions in a namespace of its own: in the populace's it would end,
as it should, what nobody runs.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from fleet.control import start_control_plane, stop_control_plane
from fleet.local.livekit import LiveKitServer
from fleet.local.processes import Command, free_ports, running
from fleet.local.ray_cluster import RaySettings, ray_cluster
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import run_dir
from fleet.local.stack import INGRESS_GRACE_S, INGRESS_READY_S, environment
from fleet.settings import load_settings
from tests.integration.test_control_plane import SCRIPTED

KEY = "key-of-the-fleet-page-0001"
CONTROL, PEOPLE = "stage-control", "stage-people"
"""Namespaces."""


@dataclass(frozen=True, kw_only=True)
class Stage:
    url: str
    redis_url: str


@asynccontextmanager
async def fleet_stage(
    before: Callable[[str], Awaitable[None]], *, warm_actors: int = 4
) -> AsyncIterator[Stage]:
    """``before`` is run with Redis alone, given its URL. Enter it on the main thread."""
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        redis = await stack.enter_async_context(RedisServer(run, fsync=Fsync.ALWAYS))
        livekit = (await stack.enter_async_context(LiveKitServer(run))).access
        await before(redis.url)
        port = free_ports(1)[0]
        values = {
            "REDIS_URL": redis.url,
            "LIVEKIT_URL": livekit.url,
            "LIVEKIT_API_KEY": livekit.api_key,
            "LIVEKIT_API_SECRET": livekit.api_secret,
            "FLEET_API_PORT": str(port),
            "FLEET_API_KEY": KEY,
            "FLEET_REDIS_NAMESPACE": CONTROL,
            "FLEET_WARM_ACTORS": str(warm_actors),
            "FLEET_MAX_SESSIONS": "600",
            # Accounts of people whom nobody runs are to stay open meanwhile.
            "FLEET_REAP_EVERY_S": "60",
        }
        stack.enter_context(environment(values))
        settings = load_settings()
        cluster = stack.enter_context(ray_cluster(run, RaySettings(num_cpus=64)))
        stack.enter_context(environment({"RAY_ADDRESS": cluster.address}))
        stack.push_async_callback(stop_control_plane, settings, goodbye_s=0.5)
        await start_control_plane(settings, actor=SCRIPTED)
        stack.enter_context(environment({"FLEET_REDIS_NAMESPACE": PEOPLE}))
        ingress = Command(name="ingress", program=sys.executable, arguments=["-m", "serve"])
        child = await stack.enter_async_context(
            running(ingress, logs=run.logs, grace_s=INGRESS_GRACE_S)
        )
        assert json.loads(await child.first_line(deadline_s=INGRESS_READY_S))["ready"]
        yield Stage(url=f"http://127.0.0.1:{port}", redis_url=redis.url)
