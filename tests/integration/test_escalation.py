"""A session that ought to end and does not, on real Ray, Redis, LiveKit and WebRTC: the real actor
with a blocked loop, or deaf to every order, in mid-interview against a simulator that keeps its
own invoice.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import structlog

from agent_actor.contract import EndReason, parse_strict
from agent_actor.journal import EventKind
from fleet.budget.costs import StudyCost
from fleet.clients import BUDGET
from fleet.control import start_control_plane, stop_control_plane
from fleet.crew import ActorSpec
from fleet.dispatcher import Dispatched, DispatchRequest
from fleet.journal import Journal
from fleet.limits import LimitChanger
from fleet.local.livekit import LiveKitAccess
from fleet.local.ray_cluster import RayCluster
from fleet.local.simulators import Simulator
from fleet.ray_calls import RemoteActor
from fleet.session_actors import STOP_DEADLINE_S
from fleet.settings import FleetSettings
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.scripts import NAMED
from tests.integration.interviews import contract, invoice_pico, live_sessions
from tests.integration.test_control_plane import Fleet, fleet_of, settings_for, until
from tests.integration.unruly_actor import SIGNALS_VARIABLE, ordered, signal_to

STOP_GRACE_S = 2.0
OVERDUE_GRACE_S = 3.0
LOOK_S = 1.2
"""The longest between two looks."""
SLACK_S = 10.0
"""For two busy cores; what was measured is logged (``pytest -s``)."""
PICO_PER_MICRO = 1_000_000

log = structlog.get_logger(__name__)


@pytest.fixture(scope="module")
def signals(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("signals")


@pytest.fixture(scope="module")
def settings(
    ray_cluster: RayCluster,
    shared_redis: str,
    livekit_server: LiveKitAccess,
    openai_simulator: Simulator,
    signals: Path,
) -> Iterator[FleetSettings]:
    settings = settings_for(
        shared_redis,
        livekit_server,
        warm_actors=1,
        max_sessions=3,
        actor_warm_timeout_s=110,
        stop_grace_s=STOP_GRACE_S,
        overdue_grace_s=OVERDUE_GRACE_S,
    )
    environment = {
        "REDIS_URL": settings.redis_url,
        "FLEET_REDIS_NAMESPACE": settings.redis_namespace,
        "OPENAI_API_KEY": "sim-key",
        "FLEET_OPENAI_BASE_URL": openai_simulator.base_url,
        SIGNALS_VARIABLE: str(signals),
    }
    unruly = ActorSpec(
        class_path="tests.integration.unruly_actor:UnrulyActor",
        warm_timeout_s=110,
        runtime_env={"env_vars": environment},
    )
    try:
        asyncio.run(_started(settings, unruly))
        yield settings
    finally:
        asyncio.run(stop_control_plane(settings, goodbye_s=0.5))


async def _started(settings: FleetSettings, actor: ActorSpec) -> None:
    await start_control_plane(settings, actor=actor)


@pytest.fixture
async def fleet(settings: FleetSettings) -> AsyncIterator[Fleet]:
    async with fleet_of(settings) as fleet:
        await until(lambda: _one_warm(fleet), within_s=110)
        yield fleet


async def _one_warm(fleet: Fleet) -> bool:
    return (await fleet.plane.roster.snapshot()).books.warm >= 1


class Subject:
    """A session with its participant, and when what of it was over."""

    def __init__(self, fleet: Fleet, given: Dispatched, pid: int) -> None:
        self.fleet = fleet
        self.id = given.record.session_id
        self.study_id = given.record.study_id
        self.room = given.record.room
        self.pid = pid

    async def spent(self) -> int:
        return (await self.fleet.cost(self.id)).spent_micro_usd

    async def set_limit(self, micro_usd: int) -> None:
        changer = LimitChanger(
            self.fleet.plane.budget, self.fleet.plane.supervisor, self.fleet.registry
        )
        assert await changer.of_session(self.id, micro_usd) is not None

    async def over(self, since: float) -> dict[str, float]:
        """Seconds from ``since`` to each part of the end."""
        ends: dict[str, Callable[[], Awaitable[bool]]] = {
            "process_dead_s": self._process_dead,
            "room_deleted_s": self._room_deleted,
            "account_closed_s": self._account_closed,
        }
        times = await asyncio.gather(*(self._when(end) for end in ends.values()))
        return {name: round(at - since, 2) for name, at in zip(ends, times, strict=True)}

    async def _when(self, end: Callable[[], Awaitable[bool]]) -> float:
        await until(end, within_s=60, poll_s=0.02)
        return time.monotonic()

    async def _process_dead(self) -> bool:
        return not Path(f"/proc/{self.pid}").exists()

    async def _room_deleted(self) -> bool:
        return not await self.fleet.livekit.list_rooms([self.room])

    async def _account_closed(self) -> bool:
        return (await self.fleet.cost(self.id)).closed


@asynccontextmanager
async def interviewing(fleet: Fleet, defect: str, **changes: Any) -> AsyncIterator[Subject]:
    """A session that has begun to cost money, its participant talking with it."""
    body = contract(participant_identity="p-1", study_id=f"study-{defect}-{len(changes)}")
    fleet._script = defect
    request = DispatchRequest(config=parse_strict({**body, **changes}))
    given = await fleet.dispatcher.dispatch(request)
    subject = Subject(fleet, given, await fleet.pid_of(given.record))
    assert given.participant_token is not None
    options = ParticipantOptions(
        url=given.livekit_url,
        token=given.participant_token,
        script=NAMED["cooperative"],
        seed=1,
        max_s=90,
    )
    talking = asyncio.create_task(run_participant(options, lambda _event: None))
    try:
        await until(lambda: _positive(subject.spent()), within_s=30)
        yield subject
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)


async def _positive(spent: Awaitable[int]) -> bool:
    return await spent > 0


async def assert_nothing_lost(subject: Subject, simulator: Simulator) -> None:
    """Everything is given back, and what is booked is not less than what the provider billed."""
    fleet = subject.fleet
    record = await fleet.gone(subject.id)
    assert record.end_reason is EndReason.BUDGET_EXCEEDED
    await fleet.assert_given_back(record)
    billed = await _invoice(fleet, subject.id, simulator)
    cost = await fleet.cost(subject.id)
    log.info("measured", booked_micro_usd=cost.spent_micro_usd, invoiced_micro_usd=billed)
    assert cost.spent_micro_usd >= billed > 0
    assert cost.spent_micro_usd == sum(m.micro_usd for m in cost.minutes)
    budget = RemoteActor(BUDGET, fleet.settings.ray_namespace)
    study: StudyCost = await budget.call("study_cost", subject.study_id, deadline_s=5)
    assert (study.spent_micro_usd, study.committed_micro_usd) == (cost.spent_micro_usd,) * 2
    assert study.open_sessions == 0


async def _invoice(fleet: Fleet, session_id: str, simulator: Simulator) -> int:
    journal = Journal.from_settings(fleet.settings)
    try:
        entries = await journal.read(session_id, limit=500)
    finally:
        await journal.aclose()
    known = [e.event.data for e in entries if e.event.kind is EventKind.PROVIDER]
    provider_sessions = tuple(d["provider_session"] for d in known if d.get("provider_session"))
    assert provider_sessions

    async def cut_off() -> bool:
        live = {s["session_id"] for s in await live_sessions(simulator)}
        return live.isdisjoint(provider_sessions)

    await until(cut_off)
    return -(-await invoice_pico(simulator, provider_sessions) // PICO_PER_MICRO)


async def kills(fleet: Fleet) -> float:
    name = b'fleet_session_actor_kills_total{cause="budget_exceeded"} '
    for line in (await fleet.plane.supervisor.exposition()).splitlines():
        if line.startswith(name):
            return float(line.removeprefix(name))
    return 0.0


async def test_a_blocked_loop_that_never_hears_of_its_end(
    fleet: Fleet, signals: Path, openai_simulator: Simulator
) -> None:
    killed = await kills(fleet)
    async with interviewing(fleet, "blocked") as subject:
        signal_to(signals, subject.id).touch()
        began = time.monotonic()
        await subject.set_limit(await subject.spent())
        times = await subject.over(began)
        log.info("measured", case="blocked, limit lowered", **times)
        await assert_nothing_lost(subject, openai_simulator)
    assert min(times.values()) >= OVERDUE_GRACE_S
    assert max(times.values()) < OVERDUE_GRACE_S + LOOK_S + STOP_GRACE_S + SLACK_S
    assert await kills(fleet) == killed + 1


async def test_a_blocked_loop_that_is_stopped_now(
    fleet: Fleet, signals: Path, openai_simulator: Simulator
) -> None:
    async with interviewing(fleet, "blocked", language="de") as subject:
        signal_to(signals, subject.id).touch()
        began = time.monotonic()
        _, times = await asyncio.gather(subject.set_limit(0), subject.over(began))
        log.info("measured", case="blocked, limit 0", **times)
        await assert_nothing_lost(subject, openai_simulator)
    # Not the deadline for an answer to the order and then the grace.
    assert STOP_GRACE_S <= times["process_dead_s"] < STOP_GRACE_S + STOP_DEADLINE_S
    assert max(times.values()) < STOP_GRACE_S + SLACK_S


async def test_one_that_ignores_every_order(
    fleet: Fleet, signals: Path, openai_simulator: Simulator
) -> None:
    async with interviewing(fleet, "deaf", budget_limit_usd=0.02) as subject:

        async def told_to_end() -> bool:
            return (await fleet.cost(subject.id)).verdict == "end"

        await until(told_to_end, within_s=60)
        began = time.monotonic()
        times = await subject.over(began)
        log.info("measured", case="deaf to orders", **times)
        assert ordered(signals, subject.id).read_text("utf-8") == "now"
        await assert_nothing_lost(subject, openai_simulator)
    assert max(times.values()) < OVERDUE_GRACE_S + LOOK_S + STOP_GRACE_S + SLACK_S
