"""What an arm takes at rest, and what live sessions take: memory as their number grows, CPU by
what the microphone does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fleet.bench.peer import processes
from fleet.bench.peer.arms import Arm
from fleet.bench.peer.found import LiveCpu, Memory, Standing
from fleet.bench.peer.scenario import SETTLE_S, Held, Place, begin, end

CALM_S = 36.0
"""After the last session's first words: greetings are spoken, and the pool is full again. Ours says
one that nobody answers again, twice, each time after 8.5 s."""
TRIES = 6
"""A worker that thinks the machine full refuses for a while; what live sessions take is asked of
it all the same."""
BETWEEN_TRIES_S = 2.5


@dataclass(frozen=True, kw_only=True)
class LivePlan:
    sizes: tuple[int, int] = (5, 15)
    """Between which memory's slope is taken; CPU is measured at the first."""
    window_s: float = 15.0


async def standing(arms: tuple[Arm, ...], repetition: int, window_s: float) -> list[Standing]:
    """Both at rest at once: neither does anything."""
    before = [processes.cpu_by_part(arm.pids()) for arm in arms]
    began = time.monotonic()
    await asyncio.sleep(window_s)  # the length of the window is what is measured against
    found = []
    for arm, used_before in zip(arms, before, strict=True):
        pids, warm = arm.pids(), await arm.warm_pids()
        took_s = time.monotonic() - began
        cores = {
            name: (used_s - used_before.get(name, 0.0)) / took_s
            for name, used_s in processes.cpu_by_part(pids).items()
        }
        found.append(
            Standing(
                arm=arm.name,
                repetition=repetition,
                parts_cores=cores,
                warm_pss_mib=processes.pss_mib(warm) / max(len(warm), 1),
                pss_mib=processes.pss_mib(pids),
                processes=processes.names(pids),
            )
        )
    return found


async def live(
    place: Place, arm: Arm, plan: LivePlan, repetition: int
) -> tuple[list[Memory], list[LiveCpu]]:
    few, many = plan.sizes
    memory, cpu = [], []
    async with _sessions(place, arm) as sessions:
        await sessions.grow(few, "muted")
        memory.append(await _memory(arm, repetition))
        cpu.append(await _cpu(arm, "muted", plan.window_s, repetition))
        await sessions.grow(many, "muted")
        memory.append(await _memory(arm, repetition))
    for microphone in ("open", "talking"):
        async with _sessions(place, arm) as sessions:
            await sessions.grow(few, microphone)
            cpu.append(await _cpu(arm, microphone, plan.window_s, repetition))
    return memory, cpu


class _Sessions:
    def __init__(self, place: Place, arm: Arm) -> None:
        self._place = place
        self._arm = arm
        self.held: list[Held] = []

    async def grow(self, count: int, microphone: str) -> None:
        """To ``count`` of them, as far as the arm takes them, and calm."""
        for _ in range(TRIES):
            await self._more(count - len(self.held), microphone)
            if len(self.held) >= count:
                break
            await asyncio.sleep(BETWEEN_TRIES_S)
        await self._arm.settled(len(self.held), SETTLE_S / 2)
        await asyncio.sleep(CALM_S)  # for greetings to be spoken: nobody would tell us

    async def end(self) -> None:
        await asyncio.gather(*(end(self._place, held) for held in self.held))
        await self._arm.settled(0, SETTLE_S)

    async def _more(self, count: int, microphone: str) -> None:
        asked = await asyncio.gather(
            *(begin(self._place, self._arm, microphone) for _ in range(count))
        )
        for held in asked:
            if held.lost is None:
                self.held.append(held)
            else:
                await end(self._place, held)


@asynccontextmanager
async def _sessions(place: Place, arm: Arm) -> AsyncIterator[_Sessions]:
    sessions = _Sessions(place, arm)
    try:
        yield sessions
    finally:
        await sessions.end()


async def _memory(arm: Arm, repetition: int) -> Memory:
    live, warm = await arm.live_pids(), await arm.warm_pids()
    return Memory(
        arm=arm.name,
        repetition=repetition,
        live=len(live),
        warm=len(warm),
        pss_mib=processes.pss_mib(arm.pids() - warm),
    )


async def _cpu(arm: Arm, microphone: str, window_s: float, repetition: int) -> LiveCpu:
    own, whole = await arm.live_pids(), arm.pids()
    own_before_s, whole_before_s = processes.own_cpu_s(own), processes.cpu_s(whole)
    began = time.monotonic()
    await asyncio.sleep(window_s)  # the length of the window is what is measured against
    took_s = time.monotonic() - began
    return LiveCpu(
        arm=arm.name,
        repetition=repetition,
        microphone=microphone,
        live=len(own),
        own_cores=(processes.own_cpu_s(own) - own_before_s) / took_s / max(len(own), 1),
        arm_cores=(processes.cpu_s(arm.pids()) - whole_before_s) / took_s,
    )
