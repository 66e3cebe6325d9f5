"""What the watch makes of what stands in the book."""

from __future__ import annotations

import asyncio

import pytest

from fleet.cluster_watch import BEAT_EVERY_S, ClusterWatch
from fleet.clusters import GONE_AFTER_S, Clusters
from fleet.errors import RegistryUnavailable


class Book:
    """In memory, as Redis keeps it."""

    def __init__(self) -> None:
        self.beats: dict[str, int] = {}
        self.down = False

    async def beat(self, own: str) -> dict[str, int]:
        if self.down:
            raise RegistryUnavailable("clusters", "down")
        self.beats[own] = self.beats.get(own, 0) + 1
        return dict(self.beats)

    async def drop(self, *names: str) -> None:
        for name in names:
            self.beats.pop(name, None)


class World:
    def __init__(self) -> None:
        self.book, self.clusters, self.clock = Book(), Clusters("new"), 0.0
        self.watch = ClusterWatch(
            self.clusters,
            self.book,  # type: ignore[arg-type]
            sleep=self.sleep,
            clock=lambda: self.clock,
        )

    async def sleep(self, seconds: float) -> None:
        self.clock += seconds
        await asyncio.sleep(0)

    async def look_until(self, at: float) -> None:
        while self.clock <= at:
            await self.watch.look()
            self.clock += BEAT_EVERY_S


@pytest.fixture
async def world() -> World:
    return World()


async def test_it_says_that_it_is_there_and_is_forgotten_when_it_leaves(world: World) -> None:
    await world.look_until(10.0)
    assert world.book.beats == {"new": 3}
    await world.watch.leave()
    assert world.book.beats == {}


async def test_one_that_is_gone_is_taken_out_of_the_book(world: World) -> None:
    world.book.beats["old"] = 7
    await world.look_until(GONE_AFTER_S - BEAT_EVERY_S)
    assert "old" in world.book.beats
    await world.look_until(GONE_AFTER_S)
    assert "old" not in world.book.beats


async def test_it_goes_on_when_the_book_is_away(world: World) -> None:
    world.book.down = True
    task = asyncio.create_task(world.watch.keep_watching())
    async with asyncio.timeout(2):
        while world.clock < 20.0:
            await asyncio.sleep(0)
        world.book.down = False
        while not world.book.beats:
            await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
