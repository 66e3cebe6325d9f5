"""Sessions that report by their node's relay, on a real Ray, while relay and budget actor die."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from ray.exceptions import ActorUnavailableError

from agent_actor.messages import Allowance, Verdict
from fleet import ray_calls
from fleet.bench.reporters import Reporter, accounts, reporters
from fleet.budget.client import BUDGET, get_or_create_budget_actor
from fleet.budget.costs import BudgetTotals
from fleet.budget.relay import BudgetRelay, get_or_create_relay, relay_name
from fleet.budget.relayed import RelayedBudget
from fleet.control import stop_control_plane
from fleet.errors import BudgetUnavailable, ControlPlaneUnavailable
from fleet.local.ray_cluster import RayCluster
from fleet.local.redis import Fsync, RedisServer
from fleet.local.run_dir import RunDir
from fleet.ray_calls import ActorOptions
from fleet.settings import FleetSettings, load_settings

NAMESPACE = "relay-test"
SESSIONS = 50
REPORTS = 20
DEADLINE_S = 60.0


@pytest.fixture
async def durable(run: RunDir) -> AsyncIterator[RedisServer]:
    async with RedisServer(run, fsync=Fsync.ALWAYS) as server:
        yield server


@pytest.fixture
def settings(durable: RedisServer) -> FleetSettings:
    return load_settings(
        redis_url=durable.url,
        redis_namespace="relay",
        ray_namespace=NAMESPACE,
        livekit_api_key="unused",
        livekit_api_secret="unused-secret-of-enough-length",
    )


@pytest.fixture
def budget(ray_cluster: RayCluster, settings: FleetSettings) -> Iterator[Any]:
    """The budget actor; afterwards it is gone, and so are the relays."""
    yield get_or_create_budget_actor(settings)
    for name in ray_calls.names(NAMESPACE):
        ray_calls.kill_named(name, NAMESPACE)


@pytest.fixture
async def relay(budget: Any) -> Any:
    """This node's, once it is up."""
    relay = get_or_create_relay(BUDGET, NAMESPACE)
    await pid_of(relay)
    return relay


async def pid_of(actor: Any) -> int:
    """Once it is up: one that restarts refuses calls meanwhile."""
    async with asyncio.timeout(DEADLINE_S):
        while True:
            try:
                pid: int = await actor.__ray_call__.remote(lambda _: os.getpid())
            except ActorUnavailableError:
                await asyncio.sleep(0.05)
            else:
                return pid


async def opened(budget: Any, count: int) -> list[Reporter]:
    of = accounts(count, studies=1)
    await asyncio.gather(
        *(budget.open.remote(a.session_id, a.study_id, a.provider, 10_000_000) for a in of)
    )
    return reporters(of, seed=7)


async def run_session(reporter: Reporter, ask: Callable[..., Any]) -> Allowance:
    """Every report is answered, whatever dies meanwhile."""
    for _ in range(REPORTS):
        report = reporter.report(time.time())
        allowance: Allowance = await ask(report)
        reporter.acknowledge(report)
    return allowance


async def until(done: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not done():
            await asyncio.sleep(0.02)


async def test_reports_go_by_the_relay(budget: Any, relay: Any) -> None:
    sessions = await opened(budget, SESSIONS)
    ways = [RelayedBudget(BUDGET, NAMESPACE) for _ in sessions]
    answers = await asyncio.gather(
        *(run_session(s, way.report.remote) for s, way in zip(sessions, ways, strict=True))
    )
    assert [a.session_id for a in answers] == [s.session_id for s in sessions]
    assert {a.verdict for a in answers} == {Verdict.GO_ON}
    totals: BudgetTotals = await budget.totals.remote()
    assert totals.spent_micro_usd == sum(s.acknowledged_micro_usd for s in sessions) > 0
    # One that answers late is left aside by that session: each has asked it at least once.
    assert await reports_of(relay) >= SESSIONS


async def reports_of(relay: Any) -> int:
    count: int = await relay.__ray_call__.remote(lambda actor: actor.reports)
    return count


class Elsewhere:
    """A session's process: it was handed what it reports to."""

    async def run(self, budget: Any, reporter: Reporter) -> Allowance:
        return await run_session(reporter, budget.report.remote)


async def test_a_session_in_a_process_of_its_own_finds_its_nodes_relay(
    budget: Any, relay: Any
) -> None:
    [session] = await opened(budget, 1)
    actor = ray_calls.create(Elsewhere, ActorOptions(name="elsewhere", namespace=NAMESPACE))
    answer: Allowance = await actor.run.remote(RelayedBudget(BUDGET, NAMESPACE), session)
    assert answer.session_id == session.session_id
    assert await reports_of(relay) >= 1
    assert ray_calls.names(NAMESPACE, "budget-relay-") == [relay_name(ray_calls.node_id())]


async def test_a_relay_is_killed_midway(budget: Any, relay: Any) -> None:
    """kill -9: no report is lost, sessions go on, and the relay comes back by itself."""
    sessions = await opened(budget, SESSIONS)
    pid = await pid_of(relay)
    async with asyncio.timeout(DEADLINE_S):
        async with asyncio.TaskGroup() as group:
            running = [
                group.create_task(run_session(s, RelayedBudget(BUDGET, NAMESPACE).report.remote))
                for s in sessions
            ]
            await until(lambda: sessions[0].acknowledged_micro_usd > 0)
            os.kill(pid, signal.SIGKILL)
            assert not all(task.done() for task in running)
        totals: BudgetTotals = await budget.totals.remote()
        assert totals.spent_micro_usd == sum(s.acknowledged_micro_usd for s in sessions)
        assert await pid_of(get_or_create_relay(BUDGET, NAMESPACE)) != pid


async def test_a_relay_that_hangs_keeps_nobody_waiting(budget: Any, relay: Any) -> None:
    [session] = await opened(budget, 1)
    way = RelayedBudget(BUDGET, NAMESPACE)
    with stopped(await pid_of(relay)):
        async with asyncio.timeout(10):
            await run_session(session, way.report.remote)
    assert (await budget.totals.remote()).spent_micro_usd == session.acknowledged_micro_usd


@contextmanager
def stopped(pid: int) -> Iterator[None]:
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


async def test_the_budget_actor_is_killed_midway(budget: Any, relay: Any) -> None:
    """kill -9: its successor answers; what was answered is kept."""
    sessions = await opened(budget, SESSIONS)
    pid = await pid_of(budget)

    async def patient(reporter: Reporter) -> None:
        """As a session does: what was not answered is said again with the next report."""
        way = RelayedBudget(BUDGET, NAMESPACE)
        answered = 0
        while answered < REPORTS:
            report = reporter.report(time.time())
            try:
                await way.report.remote(report)
            except ControlPlaneUnavailable:
                continue
            reporter.acknowledge(report)
            answered += 1

    async with asyncio.timeout(DEADLINE_S):
        async with asyncio.TaskGroup() as group:
            for session in sessions:
                group.create_task(patient(session))
            await until(lambda: sessions[0].acknowledged_micro_usd > 0)
            os.kill(pid, signal.SIGKILL)
        totals: BudgetTotals = await budget.totals.remote()
    assert totals.spent_micro_usd == sum(s.acknowledged_micro_usd for s in sessions)


async def test_without_a_budget_actor_the_error_is_typed_and_a_new_one_is_found(
    budget: Any, relay: Any, settings: FleetSettings
) -> None:
    [session] = await opened(budget, 1)
    way = RelayedBudget(BUDGET, NAMESPACE)
    await run_session(session, way.report.remote)
    ray_calls.kill(budget)
    with pytest.raises(ControlPlaneUnavailable):
        await run_session(session, way.report.remote)
    again = get_or_create_budget_actor(settings)
    assert (await again.totals.remote()).spent_micro_usd == session.acknowledged_micro_usd
    await run_session(session, way.report.remote)


async def test_without_its_ledger_the_budget_actor_refuses_by_the_relay_too(
    budget: Any, relay: Any, durable: RedisServer
) -> None:
    [session] = await opened(budget, 1)
    way = RelayedBudget(BUDGET, NAMESPACE)
    await durable.kill()
    with pytest.raises((BudgetUnavailable, ControlPlaneUnavailable)):
        await way.report.remote(session.report(time.time()))
    await durable.start()
    async with asyncio.timeout(DEADLINE_S):
        await run_session(session, way.report.remote)


async def test_an_unused_relay_ends(budget: Any) -> None:
    [session] = await opened(budget, 1)
    options = ActorOptions(name="short-lived", namespace=NAMESPACE, max_restarts=-1)
    relay = ray_calls.create(BudgetRelay, options, BUDGET, NAMESPACE, unused_s=2.0)
    await relay.report.remote(session.report(time.time()))
    await until(lambda: not ray_calls.exists("short-lived", NAMESPACE))


async def test_stopping_the_control_plane_leaves_no_relay(
    budget: Any, relay: Any, settings: FleetSettings
) -> None:
    await stop_control_plane(settings)
    assert ray_calls.names(NAMESPACE) == []
