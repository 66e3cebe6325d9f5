"""The whole fleet on one machine: Redis, LiveKit, providers, Ray, control plane, ingress.

Started in that order, each needed by the next, and stopped in the reverse one. Whatever the
environment already names (REDIS_URL, LIVEKIT_URL, RAY_ADDRESS, provider keys with
``Providers.REAL``) is used as it is and outlives us.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum

from fleet.control import start_control_plane, stop_control_plane
from fleet.drain_book import DrainBook
from fleet.draining import WHOLE_FLEET
from fleet.livekit_client import WEBHOOK_EVENTS
from fleet.local.errors import LocalPartError
from fleet.local.livekit import LiveKitAccess
from fleet.local.livekit import livekit as livekit_server
from fleet.local.processes import Command, free_ports, running
from fleet.local.ray_cluster import RayCluster, RaySettings, ray_cluster
from fleet.local.redis import Fsync
from fleet.local.redis import redis as redis_server
from fleet.local.run_dir import RunDir, run_dir
from fleet.local.simulators import Simulator, SimulatorKind, simulator
from fleet.local.web import ensure_pages
from fleet.settings import FleetSettings, load_settings

INGRESS_READY_S = 90.0
INGRESS_GRACE_S = 30.0
SIMULATOR_KEY = "simulator"
PROVIDER_KEYS = ("OPENAI_API_KEY", "GOOGLE_API_KEY")

Tell = Callable[[str], None]


class Providers(StrEnum):
    SIMULATED = "simulated"
    REAL = "real"


@dataclass(frozen=True, kw_only=True)
class StackOptions:
    """``settings`` are FLEET_* values laid over the environment's, by field name."""

    providers: Providers = Providers.SIMULATED
    simulator_arguments: Mapping[SimulatorKind, tuple[str, ...]] = field(default_factory=dict)
    settings: Mapping[str, str] = field(default_factory=dict)
    api_host: str = "127.0.0.1"
    api_port: int = 0
    cluster: Callable[[RunDir], AbstractContextManager[RayCluster]] | None = None
    """Ray, if it is not to be one node: entered with the fleet's environment in place."""


@dataclass(frozen=True, kw_only=True)
class LocalFleet:
    """A fleet that answers. ``simulators`` is empty with real providers."""

    api_url: str
    settings: FleetSettings
    livekit: LiveKitAccess
    simulators: Mapping[SimulatorKind, Simulator]
    run: RunDir


@asynccontextmanager
async def local_fleet(options: StackOptions, tell: Tell) -> AsyncIterator[LocalFleet]:
    """Enter from the main thread. ``tell`` gets a line for each part, as it starts and stops.

    Raises LocalPartError (which part, why, and where its log is) or fleet.errors.FleetError.
    """
    require_keys(options.providers, os.environ)
    async with AsyncExitStack() as stack:
        await _build_pages(tell)
        run = stack.enter_context(run_dir())
        port = options.api_port or free_ports(1)[0]
        api_url = f"http://{options.api_host}:{port}"
        with _timed(tell, "Redis"):
            # The ledger of money is in it: nothing that was acknowledged may be lost.
            redis_url = await stack.enter_async_context(redis_server(run, fsync=Fsync.ALWAYS))
        with _timed(tell, "LiveKit server"):
            hook = f"{api_url}/v1/livekit/webhook"
            server = livekit_server(run, webhook_urls=[hook], webhook_events=WEBHOOK_EVENTS)
            livekit = await stack.enter_async_context(server)
        simulators = await _start_simulators(stack, run, options, tell)
        values = {
            **server_environment(redis_url, livekit),
            "FLEET_API_HOST": options.api_host,
            "FLEET_API_PORT": str(port),
            **provider_environment(simulators),
            **{f"FLEET_{name.upper()}": value for name, value in options.settings.items()},
        }
        # Ray's workers take the environment that the cluster is started with.
        stack.enter_context(environment(values))
        settings = load_settings()
        with _timed(tell, "Ray"):
            cluster = stack.enter_context((options.cluster or _one_node)(run))
        stack.enter_context(environment({"RAY_ADDRESS": cluster.address}))
        stack.callback(tell, "stopping Ray")
        with _timed(tell, "control plane"):
            stack.push_async_callback(_stop_control_plane, settings, tell)
            if cluster.own:
                await _forget_the_last_stop(settings)
            await start_control_plane(settings)
        with _timed(tell, "ingress"):
            await stack.enter_async_context(_ingress(run, tell))
        run.announce({"api_url": api_url, "started_at": time.time()})
        yield LocalFleet(
            api_url=api_url, settings=settings, livekit=livekit, simulators=simulators, run=run
        )


def require_keys(providers: Providers, env: Mapping[str, str]) -> None:
    """Raises LocalPartError naming the variables that real providers still need."""
    if providers is Providers.REAL:
        missing = [name for name in PROVIDER_KEYS if not env.get(name)]
        if missing:
            raise LocalPartError(f"--providers real needs {' and '.join(missing)} to be set")


@contextmanager
def environment(values: Mapping[str, str]) -> Iterator[None]:
    """``values`` in this process's environment for the length of the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


async def _build_pages(tell: Tell) -> None:
    """Without them the API works, and says so where they would be."""
    try:
        await asyncio.to_thread(ensure_pages)
    except LocalPartError as error:
        tell(f"no web pages: {error}")


def _one_node(run: RunDir) -> AbstractContextManager[RayCluster]:
    return ray_cluster(run, RaySettings(num_cpus=64))


async def _start_simulators(
    stack: AsyncExitStack, run: RunDir, options: StackOptions, tell: Tell
) -> dict[SimulatorKind, Simulator]:
    started: dict[SimulatorKind, Simulator] = {}
    if options.providers is Providers.REAL:
        tell("providers: the real ones, with the keys of the environment")
        return started
    for kind in SimulatorKind:
        with _timed(tell, f"{kind.value} simulator (no real model speaks here)"):
            arguments = options.simulator_arguments.get(kind, ())
            started[kind] = await stack.enter_async_context(simulator(run, kind, arguments))
    return started


def server_environment(redis_url: str, livekit: LiveKitAccess) -> dict[str, str]:
    """By which a fleet finds its Redis and its LiveKit server."""
    return {
        "REDIS_URL": redis_url,
        "LIVEKIT_URL": livekit.url,
        "LIVEKIT_API_KEY": livekit.api_key,
        "LIVEKIT_API_SECRET": livekit.api_secret,
    }


def provider_environment(simulators: Mapping[SimulatorKind, Simulator]) -> dict[str, str]:
    values: dict[str, str] = {}
    if openai := simulators.get(SimulatorKind.OPENAI):
        values |= {"OPENAI_API_KEY": SIMULATOR_KEY, "FLEET_OPENAI_BASE_URL": openai.base_url}
    if gemini := simulators.get(SimulatorKind.GEMINI):
        values |= {"GOOGLE_API_KEY": SIMULATOR_KEY, "FLEET_GEMINI_BASE_URL": gemini.base_url}
        if gemini.ca_cert is not None:
            values["FLEET_GEMINI_CA_CERT"] = str(gemini.ca_cert)
    return values


@asynccontextmanager
async def _ingress(run: RunDir, tell: Tell) -> AsyncIterator[None]:
    """`python -m serve` as a child: the ingress is above us, so we know it by name only."""
    command = Command(name="ingress", program=sys.executable, arguments=["-m", "serve"])
    async with running(command, logs=run.logs, grace_s=INGRESS_GRACE_S) as child:
        line = await child.first_line(deadline_s=INGRESS_READY_S)
        if json.loads(line).get("ready") is not True:
            raise LocalPartError(f"ingress said {line[:200]!r} instead of a ready line")
        try:
            yield
        finally:
            tell("stopping the ingress")


async def _forget_the_last_stop(settings: FleetSettings) -> None:
    """Of a fleet that was killed as it drained for its own end: this one is to take sessions."""
    book = DrainBook.from_settings(settings)
    try:
        await book.drop(WHOLE_FLEET)
    finally:
        await book.aclose()


async def _stop_control_plane(settings: FleetSettings, tell: Tell) -> None:
    tell("ending sessions and the control plane")
    await stop_control_plane(settings)


@contextmanager
def _timed(tell: Tell, part: str) -> Iterator[None]:
    tell(f"starting {part} ...")
    started = time.monotonic()
    yield
    tell(f"{part} is up ({time.monotonic() - started:.1f} s)")
