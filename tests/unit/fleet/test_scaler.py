"""The scaler's rounds, on a roster and a Ray that behave; what they remember."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest
from structlog.testing import capture_logs

from agent_actor.contract import ActorId, SessionId
from autoscaler.demand import Arrivals, DayCount
from autoscaler.scaling import ScalingBounds
from fleet.arrival_book import from_json, to_json
from fleet.control import scale_limits
from fleet.errors import ControlPlaneUnavailable, RegistryUnavailable
from fleet.metrics import Metrics
from fleet.pool import PoolSnapshot
from fleet.ray_calls import RayNode
from fleet.roster import Roster
from fleet.roster_model import (
    Arrangement,
    Command,
    KillActor,
    NodeId,
    RosterLimits,
    StartActor,
)
from fleet.scaler import REMEMBER_EVERY_S, ScaleLimits, ScaleParts, Scaler
from fleet.settings import load_settings

NOW = 20_000 * 86_400.0
SLOTS = 4
LIMITS = RosterLimits(
    warm_target=1,
    max_sessions=100,
    max_starting=50,
    queue_limit=100,
    lease_s=30.0,
    expected_warm_s=0.25,
    full_retry_after_s=5.0,
)


def node(name: str, slots: int = SLOTS) -> RayNode:
    return RayNode(node_id=name, address=name, host=name, slots=slots)


@dataclass
class Fleet:
    """Roster, Ray's nodes and its autoscaler: actors are warm at once, nodes come when told."""

    roster: Roster = field(default_factory=lambda: Roster(LIMITS, prefix="t"))
    nodes: list[RayNode] = field(default_factory=lambda: [node("a"), node("head", slots=0)])
    now: float = NOW
    kept: tuple[str, ...] = ()
    more: int = 0
    down: bool = False
    saved: list[Arrivals] = field(default_factory=list)
    remembered: Arrivals = field(default_factory=Arrivals)
    book_down: bool = False

    async def snapshot(self) -> PoolSnapshot:
        books = self.roster.snapshot(self.now)
        return PoolSnapshot(books=books, nodes={}, pids={}, warm_s=(), last_start_error=None)

    async def arrange(self, arrangement: Arrangement) -> None:
        self.roster.arrange(arrangement)
        self.settle()

    def settle(self) -> None:
        while commands := self.roster.tick(self.now):
            self.execute(commands)

    def execute(self, commands: list[Command]) -> None:
        for command in commands:
            match command:
                case StartActor(actor_id=actor_id, on=on):
                    assert on is not None
                    self.execute(self.roster.actor_warm(actor_id, self.now, on))
                case KillActor(actor_id=actor_id):
                    self.roster.actor_gone(actor_id)

    def end(self, *names: str) -> None:
        for name in names:
            self.execute(self.roster.release(SessionId(name), self.now))
        self.settle()

    async def alive(self) -> list[RayNode]:
        if self.down:
            raise ControlPlaneUnavailable("ray", "away")
        return self.nodes

    async def ask(self, keep, more: int, slots: int, *, without, deadline_s: float) -> None:
        self.without = without
        assert slots == SLOTS
        self.kept, self.more = tuple(keep), more

    async def load(self) -> Arrivals:
        if self.book_down:
            raise RegistryUnavailable("arrivals")
        return self.remembered

    async def save(self, arrivals: Arrivals) -> None:
        self.saved.append(arrivals)

    def begin(self, *names: str) -> None:
        for name in names:
            self.roster.reserve(SessionId(name), self.now, 100.0)
            self.settle()
            self.roster.begin(SessionId(name), self.now)

    def node_of(self, session: str) -> str | None:
        views = self.roster.snapshot(self.now).actors
        return next((v.node_id for v in views if v.session_id == session), None)


def scaler(fleet: Fleet, sleep=asyncio.sleep, **bounds: int) -> Scaler:
    parts = ScaleParts(
        books=fleet,
        nodes=fleet.alive,
        ask=fleet.ask,
        arrivals=fleet,
        metrics=Metrics(),
        sleep=sleep,
        now=lambda: fleet.now,
    )
    limits = ScaleLimits(
        bounds=ScalingBounds(**{"min_nodes": 1, "max_nodes": 9, "max_warm": 50, **bounds}),
        node_slots=SLOTS,
        node_start_s=120.0,
        every_s=5.0,
    )
    return Scaler(parts, limits)


async def rounds(fleet: Fleet, by: Scaler, seconds: float) -> None:
    for _ in range(int(seconds // 5)):
        fleet.now += 5.0
        await by.scale()


class TestGrowing:
    async def test_a_node_is_asked_for_before_the_slots_are_taken(self):
        fleet = Fleet()
        by = scaler(fleet)
        await by.scale()
        fleet.begin("s-1", "s-2", "s-3")
        await rounds(fleet, by, 5)
        assert fleet.kept == ("a",)
        assert fleet.more >= 1

    async def test_nodes_without_slots_are_none_of_ours(self):
        fleet = Fleet(nodes=[node("head", slots=0)])
        await scaler(fleet).scale()
        assert (fleet.kept, fleet.more) == ((), 1)

    async def test_how_long_nodes_take_is_learned(self):
        fleet = Fleet(nodes=[])
        by = scaler(fleet)
        await by.scale()
        await rounds(fleet, by, 40)
        fleet.nodes.append(node("a"))
        await rounds(fleet, by, 5)
        assert by._starts.took_s == (45.0,)

    async def test_waiting_sessions_start_no_actor_where_there_is_no_slot(self):
        fleet = Fleet(nodes=[])
        by = scaler(fleet)
        await by.scale()
        fleet.begin("s-1")
        assert fleet.roster.snapshot(fleet.now).starting == 0
        fleet.nodes.append(node("a"))
        await rounds(fleet, by, 5)
        assert fleet.node_of("s-1") == "a"

    async def test_whoever_waits_gets_a_node_that_was_to_be_left(self):
        fleet = Fleet(nodes=[node("a"), node("b")])
        by = scaler(fleet)
        await by.scale()
        assert fleet.kept == ("b",)
        fleet.begin(*(f"s-{n}" for n in range(5)))
        assert fleet.node_of("s-4") == "a"


class TestShrinking:
    async def grown(self) -> tuple[Fleet, Scaler]:
        fleet = Fleet(nodes=[node("a"), node("b"), node("c")])
        by = scaler(fleet)
        await by.scale()
        fleet.begin(*(f"s-{n}" for n in range(9)))
        await rounds(fleet, by, 5)
        return fleet, by

    async def test_sessions_fill_one_node_after_the_other(self):
        fleet, _ = await self.grown()
        on = [fleet.node_of(f"s-{n}") for n in range(9)]
        assert sorted(on.count(name) for name in "abc") == [1, 4, 4]

    async def test_when_they_are_over_empty_nodes_are_let_go_and_no_other(self):
        fleet, by = await self.grown()
        last = next(n for n in range(9) if fleet.node_of(f"s-{n}") == "b")
        fleet.end(*(f"s-{n}" for n in range(9) if n != last))
        for _ in range(500):
            await rounds(fleet, by, 5)
            assert "b" in fleet.kept
        assert fleet.kept == ("b",)
        assert fleet.more == 0
        left = {v.node_id for v in fleet.roster.snapshot(fleet.now).actors}
        assert left == {NodeId("b")}

    async def test_a_draining_node_is_not_counted_on(self):
        fleet, by = await self.grown()
        fleet.roster.drain_nodes({NodeId("a")}, fleet.now)
        await rounds(fleet, by, 5)
        assert "a" not in fleet.kept
        assert fleet.more >= 1
        assert fleet.without == {"a"}


class TestOutages:
    async def test_a_round_without_ray_is_skipped_and_told_once(self):
        fleet = Fleet(down=True)
        slept = 0

        async def sleep(seconds: float) -> None:
            nonlocal slept
            slept += 1
            fleet.down = slept < 3
            if slept == 4:
                raise asyncio.CancelledError

        with capture_logs() as logs, pytest.raises(asyncio.CancelledError):
            await scaler(fleet, sleep).keep_scaling()
        assert [each["event"] for each in logs].count("scaling_skipped") == 1
        assert fleet.kept == ("a",)

    async def test_without_its_memory_it_scales_all_the_same(self):
        fleet = Fleet(book_down=True)

        async def once(seconds: float) -> None:
            raise asyncio.CancelledError

        with capture_logs(), pytest.raises(asyncio.CancelledError):
            await scaler(fleet, once).keep_scaling()
        assert fleet.kept == ("a",)

    async def test_a_roster_that_was_restarted_is_no_burst(self):
        fleet = Fleet(nodes=[node(f"n-{n}") for n in range(9)])
        by = scaler(fleet)
        await by.scale()
        fleet.begin(*(f"s-{n}" for n in range(8)))
        await rounds(fleet, by, 600)
        before = await by.scale()
        fleet.roster = Roster(LIMITS, prefix="u")
        for number in range(8):
            fleet.roster.adopt(ActorId(f"t-{number}"), SessionId(f"s-{number}"), fleet.now)
        await rounds(fleet, by, 5)
        assert (await by.scale()).reserve <= before.reserve + 1

    async def test_what_came_is_written_down_and_read_again(self):
        fleet = Fleet()
        slept = 0

        async def sleep(seconds: float) -> None:
            nonlocal slept
            slept, fleet.now = slept + 1, fleet.now + REMEMBER_EVERY_S / 2
            if slept == 4:
                raise asyncio.CancelledError

        with pytest.raises(asyncio.CancelledError):
            await scaler(fleet, sleep).keep_scaling()
        assert len(fleet.saved) == 1
        again = from_json(to_json(fleet.saved[0]))
        assert again.today == fleet.saved[0].today


class TestArrivalBook:
    DAYS = Arrivals(
        at=NOW,
        days=(DayCount(number=19_999, sums=(0.0, 1.5, 2.0)),),
        today=DayCount(number=20_000, first=7),
    )

    def test_it_reads_what_it_wrote(self):
        assert from_json(to_json(self.DAYS)) == self.DAYS

    @pytest.mark.parametrize(
        "text",
        [
            "",
            "no json",
            "[]",
            '{"at": 1}',
            '{"at": null, "days": []}',
            '{"at": 1, "days": [{"number": 1, "first": 2000, "sums": [0]}]}',
            '{"at": 1, "days": [{"number": 1, "first": 0, "sums": [2, 1]}]}',
            '{"at": 1, "days": [{"number": 1, "first": 0, "sums": []}]}',
        ],
    )
    def test_what_it_cannot_use_is_nothing(self, text):
        assert from_json(text) == Arrivals()


def test_it_is_off_unless_told_otherwise():
    keys = {"livekit_api_key": "k", "livekit_api_secret": "s"}
    assert scale_limits(load_settings(**keys)) is None
    limits = scale_limits(load_settings(autoscale=True, warm_actors=3, max_nodes=7, **keys))
    assert limits is not None
    assert (limits.bounds.min_warm, limits.bounds.max_nodes) == (3, 7)
