"""``python -m fleet.bench.relay``: whether a relay on the node pays.

Sessions in processes of their own report one by one, directly and by the relay in turns: at their
normal pace (once a second each), and each as fast as it is answered. What every process spent on
it is counted, so that the relay's own work is too. Nothing here is a bar but that every report is
acknowledged and kept: it says from what size on the relay is worth its setting.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from random import Random
from typing import Any, cast

import psutil

from agent_actor.messages import Allowance, UsageReport
from fleet import ray_calls
from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.load import Counted, by_the_clock, in_batches, pooled
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, exactly, only_shown
from fleet.bench.reporters import Account, accounts, reporters
from fleet.budget.client import BUDGET, get_or_create_budget_actor
from fleet.budget.relay import get_or_create_relay
from fleet.budget.relayed import RelayedBudget
from fleet.local.ray_cluster import RaySettings, local_ray
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import run_dir
from fleet.ray_calls import ActorOptions
from fleet.settings import load_settings

SESSIONS = 200
PROCESSES = 2
LIMIT_MICRO_USD = 10_000_000
NAMESPACE = "bench-relay"
WAYS = ("direct", "relay")
PACES = ("once a second", "as fast as answered")
ANSWER_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Round:
    way: str
    pace: str
    counted: Counted
    cpu_ms: Mapping[str, float]
    """For each 1,000 reports, by who spent it."""


class SessionsProcess:
    """A Ray actor: some sessions in one process, as near to many processes as two cores allow."""

    def __init__(self, of: list[Account], seed: int, budget: Any) -> None:
        self._sessions = reporters(of, seed)
        self._rng = Random(seed)
        self._ways = {"direct": budget, "relay": RelayedBudget(BUDGET, NAMESPACE)}
        gc.collect()
        gc.freeze()

    async def run(self, way: str, pace: str, duration_s: float) -> Counted:
        async def ask(report: UsageReport) -> Allowance:
            return cast(Allowance, await self._ways[way].report.remote(report))

        async def ask_one(batch: list[UsageReport]) -> list[Allowance]:
            return [await ask(batch[0])]

        count = len(self._sessions)
        if pace == PACES[0]:
            return await by_the_clock(
                self._sessions, ask, a_second=count, duration_s=duration_s, rng=self._rng
            )
        return await in_batches(
            self._sessions, ask_one, nodes=count, batch=1, duration_s=duration_s
        )

    async def acknowledged_micro_usd(self) -> int:
        return sum(session.acknowledged_micro_usd for session in self._sessions)


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    rounds, seconds = (1, 2.0) if options.smoke else (4, 8.0)
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        server = await stack.enter_async_context(RedisServer(run, fsync=Fsync.ALWAYS))
        progress.tell("starting Ray ...")
        stack.enter_context(local_ray(run, RaySettings(num_cpus=64)))
        budget = get_or_create_budget_actor(
            load_settings(
                redis_url=server.url,
                redis_namespace=NAMESPACE,
                redis_timeout_s=ANSWER_S,  # a machine that is busy is slow here, not failing
                ray_namespace=NAMESPACE,
                livekit_api_key="unused",
                livekit_api_secret="unused-secret-of-enough-length",
            )
        )
        processes = await _processes(budget, options.seed)
        names = await _names(budget, get_or_create_relay(BUDGET, NAMESPACE), processes)
        done = []
        await _round(processes, names, WAYS[1], PACES[1], 1.0)
        with progress.steps("measuring", rounds * len(PACES) * len(WAYS)) as advance:
            for _ in range(rounds):
                for pace in PACES:
                    for way in WAYS:
                        done.append(await _round(processes, names, way, pace, seconds))
                        advance(1)
        told = sum(await asyncio.gather(*(p.acknowledged_micro_usd.remote() for p in processes)))
        kept = (await budget.totals.remote()).spent_micro_usd
    return Measured(
        bars=tuple(_bars(done, kept - told)), seeds=(options.seed,), data={"rounds": _data(done)}
    )


async def _processes(budget: Any, seed: int) -> list[Any]:
    of = accounts(SESSIONS)
    await asyncio.gather(
        *(budget.open.remote(a.session_id, a.study_id, a.provider, LIMIT_MICRO_USD) for a in of)
    )
    return [
        ray_calls.create(
            SessionsProcess,
            ActorOptions(name=f"sessions-{n}", namespace=NAMESPACE),
            of[n::PROCESSES],
            seed + n,
            budget,
        )
        for n in range(PROCESSES)
    ]


async def _names(budget: Any, relay: Any, processes: Sequence[Any]) -> dict[int, str]:
    """Which of our actors a process is."""

    async def pid(actor: Any) -> int:
        ref = actor.__ray_call__.remote(lambda _: os.getpid())
        return cast(int, await ray_calls.answer(ref, part="actor", deadline_s=ANSWER_S))

    names = {await pid(budget): "budget actor", await pid(relay): "relay"}
    return names | {await pid(each): "sessions" for each in processes}


async def _round(
    processes: Sequence[Any], names: Mapping[int, str], way: str, pace: str, seconds: float
) -> Round:
    before = _cpu_s(names)
    parts = await asyncio.gather(
        *(
            ray_calls.answer(p.run.remote(way, pace, seconds), part="p", deadline_s=ANSWER_S)
            for p in processes
        )
    )
    after = _cpu_s(names)
    counted = pooled(parts)
    counted.duration_s /= len(parts)
    spent = {who: after[who] - before.get(who, 0.0) for who in after}
    a_thousand = max(counted.acknowledged, 1) / 1000
    return Round(
        way=way,
        pace=pace,
        counted=counted,
        cpu_ms={who: 1000 * s / a_thousand for who, s in spent.items()},
    )


def _cpu_s(names: Mapping[int, str]) -> dict[str, float]:
    """Of every process of this run but this one, which only waits."""
    spent: dict[str, float] = {}
    for process in psutil.Process().children(recursive=True):
        try:
            times, name = process.cpu_times(), process.name()
        except psutil.Error:
            continue
        who = names.get(process.pid, "Redis" if "redis" in name else "Ray")
        spent[who] = spent.get(who, 0.0) + times.user + times.system
    return spent


def _bars(done: Sequence[Round], difference: int) -> Iterator[Bar]:
    for pace in PACES:
        for way in WAYS:
            of = [each for each in done if (each.way, each.pace) == (way, pace)]
            all_rounds = pooled([each.counted for each in of])
            shares = _median_cpu_ms(of)
            by_whom = ", ".join(f"{who} {ms:.0f}" for who, ms in sorted(shares.items()))
            yield only_shown(
                f"{SESSIONS} sessions {pace}, {way}: CPU for 1,000 reports",
                sum(shares.values()),
                "ms",
                f"{by_whom}; {all_rounds.rate:,.0f}/s, p50 {all_rounds.p(0.5) or 0:.3g} ms, "
                f"p99 {all_rounds.p(0.99) or 0:.3g} ms",
            )
    yield exactly("reports not acknowledged", sum(each.counted.failed for each in done), 0, "")
    yield exactly("ledger − acknowledged", difference, 0, "µ$")


def _median_cpu_ms(rounds: Sequence[Round]) -> dict[str, float]:
    everyone = sorted({who for each in rounds for who in each.cpu_ms})
    return {
        who: statistics.median(each.cpu_ms.get(who, 0.0) for each in rounds) for who in everyone
    }


def _data(done: Sequence[Round]) -> list[dict[str, Any]]:
    return [
        {
            "way": each.way,
            "pace": each.pace,
            "reports_a_second": round(each.counted.rate),
            "p50_ms": each.counted.p(0.5),
            "p99_ms": each.counted.p(0.99),
            "cpu_ms_for_1000": {who: round(ms, 1) for who, ms in each.cpu_ms.items()},
        }
        for each in done
    ]


if __name__ == "__main__":
    sys.exit(bench_main("relay", measure, about=__doc__ or ""))
