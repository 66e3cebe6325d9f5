"""``python -m fleet.bench.reports``: how many reports the budget actor takes, and how fast.

Everything is real: Ray, the budget actor, a Redis that syncs every write, and reports as sessions
make them. Every answer counted came after its report was in the ledger. At each size (accounts
open at once) the same is measured, the sizes taking turns, so that whatever else the machine does
falls on all of them; so does an actor that only answers, which shows what Ray and the machine take
by themselves. At the end Redis is killed, and what it then still has is compared with what was
acknowledged.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import sys
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, cast

from redis.asyncio import Redis

from agent_actor.messages import Allowance, UsageReport
from agent_actor.redis_client import open_redis
from fleet import ray_calls
from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.load import Counted, by_the_clock, in_batches, pooled
from fleet.bench.percentiles import percentile
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown
from fleet.bench.reporters import Account, Reporter, accounts, reporters
from fleet.budget.client import get_or_create_budget_actor
from fleet.budget.ledger import Ledger
from fleet.local.ray_cluster import RaySettings, local_ray
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import run_dir
from fleet.ray_calls import ActorOptions
from fleet.settings import FleetSettings, load_settings

LIMIT_MICRO_USD = 10_000_000
BATCH = 100
NODES = 2
SINGLES_A_SECOND = 500
ANSWER_S = 30.0
OPENING_AT_ONCE = 200

LEAST_RATE = 5_000
MOST_P99_MS = 50
MOST_RATIO = 1.3

# In the short form a busy machine decides: only what is broken falls below these.
LEAST_RATE_SMOKE = 500
MOST_P99_MS_SMOKE = 5_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``rounds`` of every kind at every size, the sizes taking turns."""

    sizes: tuple[int, ...]
    rounds: int
    batches_s: float
    singles_s: float


LONG = Plan(sizes=(200, 2_000, 20_000), rounds=6, batches_s=3.0, singles_s=8.0)
SHORT = Plan(sizes=(200, 1_000), rounds=2, batches_s=0.5, singles_s=2.0)


@dataclass(kw_only=True)
class Size:
    """So many accounts with a budget actor and a ledger of their own."""

    accounts: int
    budget: Any
    namespace: str
    sessions: list[Reporter]
    batches: list[Counted] = field(default_factory=list)
    singles: list[Counted] = field(default_factory=list)

    async def ask(self, report: UsageReport) -> Allowance:
        answer = await ray_calls.answer(
            self.budget.report.remote(report), part="budget", deadline_s=ANSWER_S
        )
        return cast(Allowance, answer)

    async def ask_many(self, batch: list[UsageReport]) -> list[Allowance]:
        answer = await ray_calls.answer(
            self.budget.report_batch.remote(batch), part="budget", deadline_s=ANSWER_S
        )
        return cast("list[Allowance]", answer)


class OnlyAnswers:
    """A Ray actor that is called as the budget actor is, and does nothing."""

    async def report(self, report: UsageReport) -> Allowance:
        return Allowance(
            session_id=report.session_id, up_to_micro_usd=0, limit_micro_usd=0, expires_at=0.0
        )


@dataclass(frozen=True, kw_only=True)
class Kept:
    """What the ledger has after Redis was killed, against what was acknowledged."""

    accounts: int
    wrong_accounts: int
    acknowledged_micro_usd: int
    ledger_micro_usd: int


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    plan = SHORT if options.smoke else LONG
    async with AsyncExitStack() as stack:
        run = stack.enter_context(run_dir())
        server = await stack.enter_async_context(RedisServer(run, fsync=Fsync.ALWAYS))
        progress.tell("starting Ray ...")
        stack.enter_context(local_ray(run, RaySettings(num_cpus=64)))
        sizes = [await _opened(n, server.url, options.seed, progress) for n in plan.sizes]
        nothing = _nothing(options.seed)
        stack.enter_context(_quiet_generator())
        await _take_turns(plan, sizes, nothing, options.seed, progress)
        progress.tell("killing Redis, reading what it kept ...")
        await server.kill()
        await server.start()
        kept = {size.accounts: await _kept(size, server.url) for size in sizes}
    return Measured(
        bars=tuple(_bars(sizes, nothing, kept, smoke=options.smoke)),
        seeds=(options.seed,),
        data=_data([*sizes, nothing], plan),
    )


# Measuring


async def _opened(count: int, redis_url: str, seed: int, progress: Progress) -> Size:
    settings = _settings(count, redis_url)
    budget = get_or_create_budget_actor(settings)
    of = accounts(count)
    gate = asyncio.Semaphore(OPENING_AT_ONCE)

    async def open_one(account: Account) -> None:
        async with gate:
            ref = budget.open.remote(
                account.session_id, account.study_id, account.provider, LIMIT_MICRO_USD
            )
            await ray_calls.answer(ref, part="budget", deadline_s=ANSWER_S)
        advance(1)

    with progress.steps(f"opening {count:,} accounts", count) as advance:
        await asyncio.gather(*(open_one(account) for account in of))
    return Size(
        accounts=count,
        budget=budget,
        namespace=settings.redis_namespace,
        sessions=reporters(of, seed),
    )


def _nothing(seed: int) -> Size:
    actor = ray_calls.create(
        OnlyAnswers, ActorOptions(name="only-answers", namespace="bench", max_concurrency=10_000)
    )
    return Size(accounts=0, budget=actor, namespace="", sessions=reporters(accounts(200), seed))


async def _take_turns(
    plan: Plan, sizes: Sequence[Size], nothing: Size, seed: int, progress: Progress
) -> None:
    rng = Random(seed)
    # A first, uncounted round: processes, connections, code paths.
    await nothing.ask(nothing.sessions[0].report(time.time()))
    for size in sizes:
        await in_batches(size.sessions, size.ask_many, nodes=NODES, batch=BATCH, duration_s=0.5)
    with progress.steps("measuring", plan.rounds * (2 * len(sizes) + 1)) as advance:
        for _ in range(plan.rounds):
            for size in sizes:
                size.batches.append(
                    await in_batches(
                        size.sessions,
                        size.ask_many,
                        nodes=NODES,
                        batch=BATCH,
                        duration_s=plan.batches_s,
                    )
                )
                advance(1)
            for size in (*sizes, nothing):
                size.singles.append(
                    await by_the_clock(
                        size.sessions,
                        size.ask,
                        a_second=SINGLES_A_SECOND,
                        duration_s=plan.singles_s,
                        rng=rng,
                    )
                )
                advance(1)


async def _kept(size: Size, redis_url: str) -> Kept:
    prefix = f"{size.namespace}:budget:"
    async with _redis(redis_url) as redis:
        kept = await Ledger(redis, size.namespace).accounts([s.session_id for s in size.sessions])
        spent = {account.session_id: account.spent for account in kept}
        stored = [spent.get(session.session_id, -1) for session in size.sessions]
        total = await cast(Any, redis.hget(f"{prefix}fleet", "spent"))
    told = [session.acknowledged_micro_usd for session in size.sessions]
    return Kept(
        accounts=len(told),
        wrong_accounts=sum(a != b for a, b in zip(told, stored, strict=True)),
        acknowledged_micro_usd=sum(told),
        ledger_micro_usd=int(total or 0),
    )


def _settings(count: int, redis_url: str) -> FleetSettings:
    return load_settings(
        redis_url=redis_url,
        redis_namespace=f"bench-{count}",
        redis_timeout_s=ANSWER_S,  # a machine that is busy is slow here, not failing
        ray_namespace=f"bench-{count}",
        livekit_api_key="unused",
        livekit_api_secret="unused-secret-of-enough-length",
    )


@asynccontextmanager
async def _redis(url: str) -> AsyncIterator[Redis]:
    redis = open_redis(url, timeout_s=10.0)
    try:
        yield redis
    finally:
        await redis.aclose()


@contextmanager
def _quiet_generator() -> Iterator[None]:
    """Thousands of sessions in one process are the generator's alone; a collection over them all
    would be counted as the budget actor's."""
    gc.collect()
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()


# Judging


def _bars(
    sizes: Sequence[Size], nothing: Size, kept: dict[int, Kept], *, smoke: bool
) -> Iterator[Bar]:
    rates = [statistics.median(each.rate for each in size.batches) for size in sizes]
    for size, rate in zip(sizes, rates, strict=True):
        least = min(each.rate for each in size.batches)
        yield at_least(
            f"in batches, {size.accounts:,} accounts",
            rate,
            LEAST_RATE_SMOKE if smoke else LEAST_RATE,
            "/s",
            f"median of {len(size.batches)} rounds, worst {least:,.0f}; a batch took "
            f"p50 {_ms(pooled(size.batches).p(0.5))}, p99 {_ms(pooled(size.batches).p(0.99))}",
        )
    for size in sizes:
        all_rounds = pooled(size.singles)
        yield at_most(
            f"single at {SINGLES_A_SECOND}/s, {size.accounts:,} accounts, p99",
            all_rounds.p(0.99),
            MOST_P99_MS_SMOKE if smoke else MOST_P99_MS,
            "ms",
            f"{len(all_rounds.took_ms):,} reports; p50 {_ms(all_rounds.p(0.5))}, max "
            f"{_ms(all_rounds.p(1.0))}; the generator itself was late by "
            f"p99 {_ms(percentile(all_rounds.late_ms, 0.99))}",
        )
    by_itself = pooled(nothing.singles)
    yield only_shown(
        f"single at {SINGLES_A_SECOND}/s, an actor that only answers, p99",
        by_itself.p(0.99),
        "ms",
        f"what Ray and the machine take; p50 {_ms(by_itself.p(0.5))}, max {_ms(by_itself.p(1.0))}",
    )
    for bar in (_ratio("in batches", rates), _ratio("single, p99", _median_p99s(sizes))):
        yield bar.not_judged("short form") if smoke else bar
    failed = sum(each.failed for size in sizes for each in (*size.batches, *size.singles))
    yield exactly("reports not acknowledged", failed, 0, "")
    yield from _kept_bars(kept)


def _kept_bars(kept: dict[int, Kept]) -> Iterator[Bar]:
    for count, what in kept.items():
        yield exactly(
            f"ledger − acknowledged, {count:,} accounts",
            what.ledger_micro_usd - what.acknowledged_micro_usd,
            0,
            "µ$",
            f"of {what.acknowledged_micro_usd:,} µ$, after kill -9 of Redis",
        )
    wrong = sum(each.wrong_accounts for each in kept.values())
    yield exactly("accounts whose ledger differs", wrong, 0, "")


def _ratio(name: str, figures: Sequence[float | None]) -> Bar:
    known = [each for each in figures if each]
    figure = max(known) / min(known) if len(known) == len(figures) else None
    return at_most(
        f"{name}: dearest size against the cheapest", figure, MOST_RATIO, "×", "medians of rounds"
    )


def _median_p99s(sizes: Sequence[Size]) -> list[float | None]:
    return [
        statistics.median(p for each in size.singles if (p := each.p(0.99)) is not None)
        for size in sizes
    ]


def _data(sizes: Sequence[Size], plan: Plan) -> dict[str, Any]:
    return {
        "batch": BATCH,
        "nodes": NODES,
        "singles_a_second": SINGLES_A_SECOND,
        "rounds": plan.rounds,
        "sizes": {
            str(size.accounts): {
                "batches_a_second": [round(each.rate) for each in size.batches],
                "single_p50_ms": [_rounded(each.p(0.5)) for each in size.singles],
                "single_p99_ms": [_rounded(each.p(0.99)) for each in size.singles],
                "single_max_ms": [_rounded(each.p(1.0)) for each in size.singles],
            }
            for size in sizes
        },
    }


def _rounded(ms: float | None) -> float | None:
    return None if ms is None else round(ms, 2)


def _ms(ms: float | None) -> str:
    return "-" if ms is None else f"{ms:.3g} ms"


if __name__ == "__main__":
    sys.exit(bench_main("reports", measure, about=__doc__ or ""))
