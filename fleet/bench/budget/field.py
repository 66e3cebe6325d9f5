"""The parts that sessions need, and running many sessions on them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from agent_actor.contract import Provider
from agent_actor.messages import SessionResult
from fleet import ray_calls
from fleet.bench.budget.host import HostConfig, SessionHost, simulator_of
from fleet.bench.budget.spec import Outcome, SessionSpec
from fleet.bench.progress import Progress
from fleet.budget.client import get_or_create_budget_actor
from fleet.budget.costs import SessionCost
from fleet.errors import FleetError
from fleet.local.ray_cluster import RaySettings, local_ray
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import run_dir
from fleet.local.simulators import Simulator, SimulatorKind, simulator
from fleet.ray_calls import ActorOptions
from fleet.settings import load_settings

NAMESPACE = "bench-budget"
HOSTS = 2
AT_ONCE = 16
"""As many as two cores carry without anybody waiting for them."""
ANSWER_S = 60.0
SESSION_S = 600.0
"""None of these lasts nearly as long."""
AWAY_S = 120.0
ASK_AGAIN_S = 0.5


@dataclass(frozen=True, kw_only=True)
class Ended:
    """A session that is over: what it was, what it did, our figures and the provider's."""

    spec: SessionSpec
    result: SessionResult
    outcome: Outcome
    cost: SessionCost
    invoices: tuple[dict[str, Any], ...]

    @property
    def billed_pico(self) -> int:
        return sum(int(invoice["total_pico_usd"]) for invoice in self.invoices)

    @property
    def told_pico(self) -> int:
        """What of that the provider told us."""
        lines = [line for invoice in self.invoices for line in invoice["responses"]]
        told = sum(int(line["pico_usd"]) for line in lines if line["usage_sent"])
        return told + sum(
            int(line["pico_usd"]) for invoice in self.invoices for line in invoice["transcriptions"]
        )

    @property
    def priced_pico(self) -> int:
        """What our ledger has from what it was told."""
        usage = self.result.usage
        return usage.spent_pico_usd - usage.unpriced_pico_usd if usage else 0


@dataclass(kw_only=True)
class Field:
    """Everything started. ``redis`` may be stopped and started by whoever tests that."""

    redis: RedisServer
    simulators: dict[str, Simulator]
    hosts: list[Any]
    budget: Any
    http: aiohttp.ClientSession
    progress: Progress
    _next: int = field(default=0)

    async def run_all(
        self, specs: Sequence[SessionSpec], what: str, *, at_once: int = AT_ONCE
    ) -> list[Ended]:
        gate = asyncio.Semaphore(at_once)

        async def one(spec: SessionSpec) -> Ended:
            async with gate:
                ended = await self.run(spec)
            advance(1)
            return ended

        with self.progress.steps(what, len(specs)) as advance:
            async with asyncio.TaskGroup() as group:
                tasks = [group.create_task(one(spec)) for spec in specs]
        return [task.result() for task in tasks]

    async def run(self, spec: SessionSpec) -> Ended:
        await self._prepare(spec)
        allowance = await self._ask("open", spec.tag, "bench", spec.provider, spec.limit_micro_usd)
        self._next += 1
        host = self.hosts[self._next % len(self.hosts)]
        result, outcome = await ray_calls.answer(
            host.run.remote(spec, allowance, self.budget), part="host", deadline_s=SESSION_S
        )
        last = [result.usage] if result.usage else []
        cost = await self._ask("close", spec.tag, last)
        return Ended(
            spec=spec,
            result=result,
            outcome=outcome,
            cost=cost,
            invoices=await self._invoices(spec),
        )

    async def all_billed(self, specs: Sequence[SessionSpec], *, within_s: float) -> None:
        """Returns when each of them has been billed for a response. Raises TimeoutError."""
        waiting = list(specs)
        async with asyncio.timeout(within_s):
            while waiting:
                invoices = [await self._invoices(spec) for spec in waiting]
                waiting = [
                    spec
                    for spec, found in zip(waiting, invoices, strict=True)
                    if not any(invoice["responses"] for invoice in found)
                ]
                if waiting:
                    await asyncio.sleep(ASK_AGAIN_S)

    async def _ask(self, method: str, *args: Any) -> Any:
        """The budget actor may be away: it is asked until it answers."""
        async with asyncio.timeout(AWAY_S):
            while True:
                try:
                    ref = getattr(self.budget, method).remote(*args)
                    return await ray_calls.answer(ref, part="budget", deadline_s=ANSWER_S)
                except FleetError:
                    await asyncio.sleep(ASK_AGAIN_S)

    async def _prepare(self, spec: SessionSpec) -> None:
        await self._control(spec.provider, "scripts", {"match": spec.tag, **spec.script})
        for kind in spec.faults:
            await self._control(spec.provider, "faults", {"match": spec.tag, "kind": kind})

    async def _control(self, provider: Provider, what: str, body: dict[str, Any]) -> None:
        url = f"{self.simulators[simulator_of(provider)].control_url}/{what}"
        async with self.http.post(url, json=body) as answer:
            answer.raise_for_status()

    async def _invoices(self, spec: SessionSpec) -> tuple[dict[str, Any], ...]:
        url = f"{self.simulators[simulator_of(spec.provider)].control_url}/invoices"
        async with self.http.get(url, params={"match": f"[{spec.tag}]"}) as answer:
            answer.raise_for_status()
            return tuple((await answer.json())["invoices"])


@asynccontextmanager
async def open_field(progress: Progress) -> AsyncIterator[Field]:
    """Enter on the main thread."""
    with run_dir() as run:
        async with (
            RedisServer(run, fsync=Fsync.ALWAYS) as redis,
            simulator(run, SimulatorKind.OPENAI) as openai,
            simulator(run, SimulatorKind.GEMINI) as gemini,
            aiohttp.ClientSession() as http,
        ):
            progress.tell("starting Ray and the hosts of the sessions ...")
            with local_ray(run, RaySettings(num_cpus=64)):
                settings = load_settings(
                    redis_url=redis.url,
                    redis_namespace=NAMESPACE,
                    ray_namespace=NAMESPACE,
                    livekit_api_key="unused",
                    livekit_api_secret="unused-secret-of-enough-length",
                )
                config = HostConfig(
                    openai_base_url=openai.base_url,
                    gemini_base_url=gemini.base_url,
                    gemini_ca_cert=gemini.ca_cert,
                    redis_url=redis.url,
                    namespace=NAMESPACE,
                )
                yield Field(
                    redis=redis,
                    simulators={"openai": openai, "gemini": gemini},
                    hosts=await _hosts(config),
                    budget=get_or_create_budget_actor(settings),
                    http=http,
                    progress=progress,
                )


async def _hosts(config: HostConfig) -> list[Any]:
    hosts = [
        ray_calls.create(
            SessionHost,
            ActorOptions(name=f"host-{n}", namespace=NAMESPACE, max_concurrency=1_000),
            config,
        )
        for n in range(HOSTS)
    ]
    for host in hosts:
        await ray_calls.answer(host.warm.remote(), part="host", deadline_s=120.0)
    return hosts
