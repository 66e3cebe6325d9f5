"""The named Ray actors "bridge-0", "bridge-1", …: each a registration at LiveKit. Restarted, one
registers anew; the sessions that it began are the supervisor's and go on.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from agent_actor.owned_tasks import OwnedTasks
from fleet import ray_calls
from fleet.bridge.bridge import Bridge, BridgeParts, BridgeTiming
from fleet.bridge.connection import TOKEN_TTL_S, AgentConnection, Endpoint
from fleet.bridge.contracts import Profiles
from fleet.bridge.protocol import ToServer
from fleet.clients import RayRosterClient, RaySupervisorClient
from fleet.dispatcher import Dispatcher
from fleet.errors import FleetDraining, RegistryUnavailable
from fleet.livekit_client import LiveKitClient
from fleet.logs import configure_logs
from fleet.metrics import Metrics
from fleet.registry import Registry
from fleet.settings import FleetSettings
from fleet.telemetry import keep_sending_metrics, of_registry

BRIDGE_PREFIX = "bridge-"
VERSION = "1.0.0"
"""Of the worker, as LiveKit's logs have it."""

log = structlog.get_logger(__name__)

OpenDispatcher = Callable[
    [FleetSettings], Awaitable[tuple[Dispatcher, Callable[[], Awaitable[None]]]]
]


@dataclass(frozen=True, kw_only=True)
class BridgeConfig:
    """``agent_name`` is set in ``settings``."""

    settings: FleetSettings
    profiles: Profiles
    open_dispatcher: OpenDispatcher


@dataclass(frozen=True, kw_only=True)
class BridgeSnapshot:
    pid: int
    registered: bool
    registrations: int
    running: int


class BridgeActor:
    """Restarts without limit."""

    def __init__(self, config: BridgeConfig) -> None:
        configure_logs("bridge")
        self._config = config
        self._metrics = Metrics()
        self._bridge: Bridge | None = None
        self._opening = asyncio.Lock()
        self._closed = False
        ray_calls.myself().open.remote()

    async def open(self) -> None:
        await self._ready()

    async def snapshot(self) -> BridgeSnapshot:
        bridge = await self._ready()
        return BridgeSnapshot(
            pid=os.getpid(),
            registered=self._connection.registered,
            registrations=self._connection.registrations,
            running=bridge.running,
        )

    async def exposition(self) -> bytes:
        """Its metrics, as Prometheus reads them."""
        return self._metrics.exposition()

    async def shutdown(self, settle_s: float) -> None:
        """Sessions should be over: for ``settle_s`` it still tells the server how they ended."""
        bridge = await self._ready()
        self._closed = True
        await bridge.aclose(settle_s=settle_s)
        await self._tasks.aclose()
        await self._close_dispatcher()
        await asyncio.gather(self._registry.aclose(), self._livekit.aclose())

    async def _ready(self) -> Bridge:
        if self._closed:
            raise FleetDraining
        async with self._opening:
            if self._bridge is None:
                self._bridge = await self._opened()
        return self._bridge

    async def _opened(self) -> Bridge:
        settings = self._config.settings
        dispatcher, self._close_dispatcher = await self._config.open_dispatcher(settings)
        self._livekit = LiveKitClient.from_settings(settings, observe=self._metrics.livekit_call)
        self._registry = Registry.from_settings(settings)
        bridge = Bridge(
            BridgeParts(
                fleet=await self._fleet_id(),
                agent_name=settings.agent_name or "",
                sessions=dispatcher,
                roster=RayRosterClient(settings.ray_namespace),
                supervisor=RaySupervisorClient(settings.ray_namespace),
                records=self._registry,
                rooms=self._livekit,
                profiles=self._config.profiles,
                send=self._send,
                metrics=self._metrics,
            ),
            BridgeTiming(answer_s=settings.agent_answer_s),
        )
        self._connection = AgentConnection(
            self._endpoint(settings), on_event=bridge.on_event, on_lost=bridge.on_lost
        )
        self._tasks = OwnedTasks("bridge-connection")
        await bridge.open()
        self._tasks.start(self._connection.run())
        self._tasks.start(keep_sending_metrics("bridge", of_registry(self._metrics.registry)))
        return bridge

    async def _fleet_id(self) -> str:
        """Nobody asks a restarted bridge to open again: it waits for Redis."""
        while True:
            try:
                return await self._registry.fleet_id()
            except RegistryUnavailable as error:
                log.warning("bridge_waits_for_registry", error=str(error))
                await asyncio.sleep(1.0)

    def _send(self, message: ToServer) -> bool:
        return self._connection.send(message)

    def _endpoint(self, settings: FleetSettings) -> Endpoint:
        return Endpoint(
            url=settings.livekit_url,
            agent_name=settings.agent_name or "",
            version=VERSION,
            token=lambda: self._livekit.worker_token(ttl_s=TOKEN_TTL_S),
        )


def bridge_names(settings: FleetSettings) -> list[str]:
    """None where the fleet takes no dispatches of LiveKit's."""
    count = settings.agent_bridges if settings.agent_name else 0
    return [f"{BRIDGE_PREFIX}{number}" for number in range(count)]
