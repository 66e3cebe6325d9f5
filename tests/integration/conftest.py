"""The real parts, each started by the first test that asks for it and ended after the last.

Session-wide parts live in a thread with a loop of its own, so that tests keep a fresh loop each.
A test that breaks a part (kills it, restarts it, fills it) starts one of its own with `run`.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from typing import Any, TypeVar

import pytest
from redis.asyncio import Redis

from fleet import control
from fleet.local.livekit import LiveKitAccess, LiveKitServer
from fleet.local.ray_cluster import RayCluster, RaySettings, local_ray
from fleet.local.redis import RedisServer
from fleet.local.run_dir import RunDir, run_dir
from fleet.local.simulators import Simulator, SimulatorKind, simulator
from tests.otlp_receiver import OtlpReceiver

T = TypeVar("T")
START_S = 90.0


class Parts:
    """Async context managers entered and left in a thread that lives as long as the session."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="parts")
        self._stack = AsyncExitStack()
        self._thread.start()

    def enter(self, part: AbstractAsyncContextManager[T]) -> T:
        return self._run(self._stack.enter_async_context(part))

    def close(self) -> None:
        try:
            self._run(self._stack.aclose())
        finally:
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
            self._loop.close()

    def _run(self, work: Coroutine[object, object, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(START_S)


@pytest.fixture(scope="session")
def session_run() -> Iterator[RunDir]:
    with run_dir() as run:
        yield run


@pytest.fixture
def run() -> Iterator[RunDir]:
    """A run folder for the parts that a test starts itself."""
    with run_dir() as own:
        yield own


@pytest.fixture(scope="session")
def parts() -> Iterator[Parts]:
    parts = Parts()
    try:
        yield parts
    finally:
        parts.close()


@pytest.fixture(scope="session")
def livekit_server(parts: Parts, session_run: RunDir) -> LiveKitAccess:
    """A LiveKit server that all tests share: give rooms names of their own."""
    return parts.enter(LiveKitServer(session_run)).access


@pytest.fixture(scope="session")
def shared_redis(parts: Parts, session_run: RunDir) -> str:
    return parts.enter(RedisServer(session_run)).url


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[OtlpReceiver]:
    """Takes the traces and metrics of control actors and dispatchers that are started while it is
    there. Session actors are given its ``environment`` by their ActorSpec."""
    usual = control.control_env
    with OtlpReceiver() as receiver:

        def control_env(**options: Any) -> dict[str, Any]:
            env = usual(**options)
            return {**env, "env_vars": {**env.get("env_vars", {}), **receiver.environment}}

        monkeypatch.setattr(control, "control_env", control_env)
        for name, value in receiver.environment.items():
            monkeypatch.setenv(name, value)
        yield receiver


@pytest.fixture
async def redis_server(shared_redis: str) -> AsyncIterator[str]:
    """The URL of an empty Redis."""
    async with Redis.from_url(shared_redis) as client:
        await client.flushall()
        yield shared_redis


@pytest.fixture(scope="session")
def openai_simulator(parts: Parts, session_run: RunDir) -> Simulator:
    return parts.enter(simulator(session_run, SimulatorKind.OPENAI))


@pytest.fixture(scope="session")
def gemini_simulator(parts: Parts, session_run: RunDir) -> Simulator:
    return parts.enter(simulator(session_run, SimulatorKind.GEMINI))


@pytest.fixture(scope="session")
def ray_cluster(session_run: RunDir) -> Iterator[RayCluster]:
    """A Ray cluster that all tests share, with this process as its driver."""
    with local_ray(session_run, RaySettings(num_cpus=64)) as cluster:
        yield cluster
