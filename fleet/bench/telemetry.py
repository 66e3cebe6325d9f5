"""``python -m fleet.bench.telemetry``: what telemetry costs a live session.

The same talking session is run without and with it, taking turns, on one LiveKit server, one
simulator and one process of synthetic participants; a collector here takes what is sent. Sessions
differ by more than telemetry costs, so it is also counted in the session's process itself: the CPU
of making the spans and of the thread that sends them, as a share of all that the session spends.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.live import END_S, SITUATIONS, Plan, Stage, open_stage, under_way
from fleet.bench.processes import cpu_s_by_thread, spent
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_most, exactly, only_shown

ARMS = ("off", "on")
TALKING = next(s for s in SITUATIONS if s.name == "talking")
MOST_SHARE = 2.0


PLAN = Plan(rounds=4, window_s=20.0)
SMOKE = Plan(rounds=1, window_s=8.0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """``told``: what the session's process says of telemetry, see fleet.bench.live_session."""

    cpu_percent: float
    told: dict[str, Any]


@dataclass
class Collector:
    """Takes everything. ``requests`` counts."""

    url: str = ""
    requests: int = 0
    runs: dict[str, list[Run]] = field(default_factory=lambda: {arm: [] for arm in ARMS})


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    plan = SMOKE if options.smoke else PLAN
    async with AsyncExitStack() as stack:
        stage = await open_stage(stack, progress)
        collector = await stack.enter_async_context(_collecting())
        with progress.steps("sessions", plan.rounds * len(ARMS)) as advance:
            for number in range(plan.rounds):
                # Who is first changes, so that neither always follows the other.
                for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
                    name, seed = f"telemetry-{arm}-{number}", options.seed + number
                    run = await _one(stage, plan, collector.url, arm, name, seed)
                    collector.runs[arm].append(run)
                    advance(1)
    bars = list(_bars(collector))
    if options.smoke:
        bars = [bar.not_judged("short form") if "on/off" in bar.name else bar for bar in bars]
    return Measured(bars=tuple(bars), seeds=(options.seed,), data=_data(collector.runs))


async def _one(stage: Stage, plan: Plan, url: str, arm: str, name: str, seed: int) -> Run:
    env = {"FLEET_TELEMETRY": arm, "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    async with under_way(stage, TALKING, name, seed, env=env) as subject:
        child = subject.child
        before = cpu_s_by_thread(child.pid)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(plan.window_s)
        window_s = asyncio.get_running_loop().time() - began_s
        child.raise_if_ended()
        cpu_s = sum(spent(before, cpu_s_by_thread(child.pid)).values())
        await stage.client.delete_room(name)
        async with asyncio.timeout(END_S):
            await child.wait()
        told = json.loads(child.out.read_text("utf-8").splitlines()[-1])
    return Run(cpu_percent=100 * cpu_s / window_s, told=told)


@asynccontextmanager
async def _collecting() -> AsyncIterator[Collector]:
    collector = Collector()

    async def take(request: web.Request) -> web.Response:
        await request.read()
        collector.requests += 1
        return web.Response()

    app = web.Application()
    app.router.add_post("/v1/traces", take)
    runner = web.AppRunner(app)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        host, port = runner.addresses[0][:2]
        collector.url = f"http://{host}:{port}"
        yield collector
    finally:
        await runner.cleanup()


# Judging


def _bars(collector: Collector) -> Iterator[Bar]:
    runs = collector.runs
    shares = [100 * run.told["telemetry_cpu_s"] / run.told["cpu_s"] for run in runs["on"]]
    yield at_most(
        "CPU of telemetry, of the session's",
        statistics.median(shares) if shares else None,
        MOST_SHARE,
        "%",
        f"{_spread(shares)}; spans a session {_spread([r.told['spans'] for r in runs['on']])}",
    )
    cpu = {arm: [run.cpu_percent for run in runs[arm]] for arm in ARMS}
    yield only_shown(
        "CPU of a talking session, on/off",
        _ratio(cpu),
        "×",
        "; ".join(f"{arm} {_spread(cpu[arm])} % of a core" for arm in ARMS),
    )
    yield exactly("spans lost", sum(run.told["lost"] for run in runs["on"]), 0, "")
    yield exactly("spans with telemetry off", sum(r.told["spans"] for r in runs["off"]), 0, "")
    yield only_shown("requests that the collector took", collector.requests, "")


def _ratio(cpu: dict[str, list[float]]) -> float | None:
    if not all(cpu[arm] for arm in ARMS):
        return None
    return statistics.median(cpu["on"]) / statistics.median(cpu["off"])


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def _data(runs: dict[str, list[Run]]) -> dict[str, Any]:
    return {
        arm: [{"cpu_percent": round(run.cpu_percent, 2), **run.told} for run in of]
        for arm, of in runs.items()
    }


if __name__ == "__main__":
    sys.exit(bench_main("telemetry", measure, about=__doc__ or ""))
