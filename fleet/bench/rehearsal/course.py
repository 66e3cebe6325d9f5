"""The rehearsal's steps, in order, and what it is judged by."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass, field
from random import Random
from typing import Any

from fleet.bench.chaos import evidence
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.population import Population, talking
from fleet.bench.progress import Progress
from fleet.bench.rehearsal.host import LEASE_S, MOST_NODES, SLOTS
from fleet.bench.rehearsal.site import WITHIN_S, Cluster, Site
from fleet.bench.rehearsal.timeline import Moment, plural, steps
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown
from fleet.bench.waiting import until
from fleet.local.errors import LocalPartError

DRAIN_S = 600.0
"""Longer than any interview: each is to end by itself."""
AT_FIRST, MORE, UPGRADED = SLOTS, SLOTS, SLOTS
"""Interviews at once: what one node takes, as many more, and those on the new cluster."""
REQUEST = {
    "provider": "openai_realtime",
    "instructions": "You are not to be started.",
    "phases": [{"id": "only", "name": "Only", "duration_seconds": 60}],
    "study_id": "refused",
    "participant": {"identity": "p-1"},
}


@dataclass(kw_only=True)
class Found:
    """What the bars are made of; filled step by step."""

    moments: list[Moment] = field(default_factory=list)
    grown_to: int | None = None
    struck: int = 0
    carried_on_s: list[float] = field(default_factory=list)
    replaced_to: int | None = None
    refused_with: str = ""
    drained_s: float | None = None
    lived_through_lease: int = 0
    """Interviews that the old cluster still had longer than a lease after the new one came."""
    shrunk_from: int = 0
    shrunk_to: int | None = None
    courses: list[Course] = field(default_factory=list)
    dispatches_refused: list[str] = field(default_factory=list)
    not_followed: list[str] = field(default_factory=list)
    in_the_ledger: dict[str, Any] = field(default_factory=dict)


class Rehearsal:
    def __init__(self, site: Site, progress: Progress, seed: int) -> None:
        self.found = Found()
        self._site = site
        self._progress = progress
        self._dice = Random(f"{seed}/rehearsal")
        self._began = time.monotonic()
        self._populations: list[Population] = []
        self._drained_from = 0.0

    async def run(self) -> Found:
        """Raises LocalPartError where a step cannot be made at all."""
        old = await self._install(0)
        async with AsyncExitStack() as under_way:
            await self._load(old, under_way)
            await self._scale_up(old, under_way)
            await self._lose_a_node(old)
            new = await self._upgrade(old, under_way)
            await self._until_drained(old)
            for population in self._populations:
                population.come_to_an_end()
        await self._scale_down(new)
        for population in self._populations:
            self.found.courses += population.courses
            self.found.dispatches_refused += population.refused
            self.found.not_followed += population.unseen
        answer = await new.stage.http.get("/v1/studies/chaos/cost")
        answer.raise_for_status()
        self.found.in_the_ledger = answer.json()
        return self.found

    async def _install(self, number: int) -> Cluster:
        self._tell("install", "a cluster, its control plane and its API are started")
        cluster = await self._site.install(number)
        await self._site.people.ready()
        await cluster.stage.settle()
        nodes = len(await cluster.nodes())
        self._tell("install", f"it answers, with {plural(nodes, 'node')} and a warm actor")
        return cluster

    async def _load(self, cluster: Cluster, under_way: AsyncExitStack) -> None:
        await self._talk(cluster, AT_FIRST, under_way)
        self._tell("load", f"{plural(AT_FIRST, 'interview')} at once: a node full")

    async def _scale_up(self, cluster: Cluster, under_way: AsyncExitStack) -> None:
        self._tell("scale up", f"{MORE} more are asked for")
        await self._talk(cluster, MORE, under_way)
        self.found.grown_to = await cluster.until_nodes(lambda count: count >= MOST_NODES)
        if self.found.grown_to is None:
            raise LocalPartError("the cluster has not grown")
        self._tell("scale up", f"they talk; {plural(self.found.grown_to, 'node')}")

    async def _lose_a_node(self, cluster: Cluster) -> None:
        await cluster.until_warm(SLOTS)
        self._tell("node loss", f"{SLOTS} actors are ready beside those that work")
        nodes = await cluster.busy_nodes()
        victim = self._dice.choice([node for node in nodes if node["live"]])
        under_way = await self._attempts()
        struck, began = int(victim["live"]), time.time()
        await asyncio.to_thread(cluster.lose, victim)
        self._tell("node loss", f"a node with {plural(struck, 'interview')} is killed")

        async def carried_on() -> bool:
            looks = (i.carried_on(attempt, 0.0) for i, attempt in under_way)
            seen = [event for event in await asyncio.gather(*looks) if event is not None]
            self.found.carried_on_s = [event.at - began for event in seen]
            return len(seen) >= struck

        self.found.struck = struck
        await until(carried_on, WITHIN_S, poll_s=0.5)
        slowest = max(self.found.carried_on_s, default=0.0)
        self._tell("node loss", f"carried on elsewhere, the last after {slowest:.1f} s")

        async def another() -> int:
            left = {node["node_id"] for node in nodes} - {victim["node_id"]}
            here = [node["node_id"] for node in await cluster.nodes()]
            return len(here) if victim["node_id"] not in here and set(here) - left else 0

        self.found.replaced_to = await until(another, WITHIN_S, poll_s=0.5)
        self._tell("node loss", "another node is there")

    async def _upgrade(self, old: Cluster, under_way: AsyncExitStack) -> Cluster:
        self._tell("upgrade", "a second cluster is started beside the first")
        new = await self._site.install(1)
        await new.stage.settle()
        await self._switch_over()
        await old.drain(DRAIN_S)
        self._drained_from = time.monotonic()
        self.found.refused_with = await old.refusal(REQUEST)
        self._tell("upgrade", f"the first one drains, and refuses: {self.found.refused_with}")
        await self._talk(new, UPGRADED, under_way)
        self._tell("upgrade", f"{plural(UPGRADED, 'interview')} on the second one")
        return new

    async def _switch_over(self) -> None:
        """Nobody asks the first cluster for sessions any more."""
        for population in self._populations:
            population.come_to_an_end()

        async def none_asks() -> bool:
            return not any(population.asking for population in self._populations)

        await until(none_asks, WITHIN_S)

    async def _until_drained(self, old: Cluster) -> None:
        async def empty() -> bool:
            actors = await old.actors()
            if actors is None:
                return False
            left = actors["live"]
            if left and time.monotonic() - self._drained_from > LEASE_S:
                self.found.lived_through_lease = max(self.found.lived_through_lease, left)
            return not left

        if await until(empty, DRAIN_S, poll_s=0.5):
            self.found.drained_s = time.monotonic() - self._drained_from
        self._tell("upgrade", "the last interview of the first one has ended")
        await old.aclose()
        self._tell("upgrade", "the first cluster is gone")

    async def _scale_down(self, cluster: Cluster) -> None:
        self.found.shrunk_from = len(await cluster.nodes())
        self._tell("scale down", f"all is said; {plural(self.found.shrunk_from, 'node')}")
        self.found.shrunk_to = await cluster.until_nodes(lambda count: count == 1)
        self._tell("scale down", f"{plural(self.found.shrunk_to or 0, 'node')} left")

    async def _talk(self, cluster: Cluster, count: int, under_way: AsyncExitStack) -> None:
        """From now until they are told to come to an end, and heard out."""
        there = talking(cluster.stage, count, patience_s=WITHIN_S)
        self._populations.append(await under_way.enter_async_context(there))

    async def _attempts(self) -> list[tuple[Interview, int]]:
        under_way = [i for population in self._populations for i in population.under_way]
        return [(interview, (await interview.record()).attempt) for interview in under_way]

    def _tell(self, step: str, what: str) -> None:
        moment = Moment(at_s=time.monotonic() - self._began, step=step, what=what)
        self.found.moments.append(moment)
        self._progress.tell(str(moment))


def measured(found: Found, seed: int) -> Measured:
    return Measured(
        bars=tuple(bars(found)),
        seeds=(seed,),
        data={
            "timeline": [asdict(moment) for moment in found.moments],
            "steps_s": steps(found.moments),
            "carried_on_s": found.carried_on_s,
            "interviews": [asdict(course) for course in found.courses],
        },
    )


def bars(found: Found) -> Iterator[Bar]:
    yield at_least("nodes under load", found.grown_to, MOST_NODES, "")
    well = len(found.carried_on_s)
    name = "interviews of the lost node carried on elsewhere"
    share = evidence.percent(well, found.struck)
    yield exactly(name, share, 100, "%", f"{found.struck} interviews")
    yield at_least("nodes once another was there", found.replaced_to, 2, "")
    yield _is("the drained cluster refuses new sessions", found.refused_with == "fleet_draining")
    took = found.drained_s
    yield _is("the first cluster emptied by itself", took is not None)
    detail = f"a lease is {LEASE_S:g} s"
    name = "interviews that outlived a lease beside the second cluster"
    yield at_least(name, found.lived_through_lease, 1, "", detail)
    yield at_least("nodes of the second cluster", found.shrunk_from, 2, "")
    yield exactly("nodes when all was over", found.shrunk_to, 1, "")
    yield from evidence.of_courses(found.courses)
    yield from evidence.left_out(found.dispatches_refused, found.not_followed)
    yield from _of_the_ledger(found.in_the_ledger, found.courses)
    yield only_shown("until the first cluster was empty", took, "s")
    if found.carried_on_s:
        yield only_shown("until another actor carried on, at most", max(found.carried_on_s), "s")


def _of_the_ledger(study: dict[str, Any], courses: Sequence[Course]) -> Iterator[Bar]:
    """Read from the second cluster, of the sessions of both."""
    yield exactly("sessions in the one ledger", study["sessions"], len(courses), "")
    spent = sum(course.money.ledger_micro_usd for course in courses if course.money)
    yield exactly("its total beyond theirs", study["spent_micro_usd"] - spent, 0, "µ$")


def _is(name: str, true: bool) -> Bar:
    return exactly(name, int(true), 1, "")
