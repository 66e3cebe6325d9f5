"""Looks at the fleet while it is under load: its own API, and /proc."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

import httpx
import psutil

from fleet.bench.peer import processes
from fleet.bench.processes import pss_mib
from fleet.bench.scenario.samples import Sample
from fleet.clients import RayRosterClient
from fleet.errors import FleetError

EVERY_S = 10.0
MEMORY_EVERY_S = 120.0
ANSWER_S = 30.0


class Watch:
    """``others``: processes below this one that are not the fleet's, the load's own."""

    def __init__(self, api_url: str, ray_namespace: str) -> None:
        self._roster = RayRosterClient(ray_namespace)
        self._fork_servers: set[int] = set()
        self._http = httpx.AsyncClient(base_url=api_url, timeout=ANSWER_S)
        self._began = time.monotonic()
        self._memory_at = -MEMORY_EVERY_S
        self.others: set[int] = set()
        self.samples: list[Sample] = []
        self.missed = 0
        """Looks that the API did not answer."""

    async def aclose(self) -> None:
        await self._http.aclose()

    @property
    def now_s(self) -> float:
        return time.monotonic() - self._began

    async def run(self) -> None:
        """Until cancelled."""
        psutil.cpu_percent()
        while True:
            with suppress(httpx.HTTPError, FleetError):
                await self.look(memory=self.now_s - self._memory_at >= MEMORY_EVERY_S)
            await asyncio.sleep(EVERY_S)

    async def look(self, *, memory: bool = False) -> Sample:
        """Raises httpx.HTTPError, or a FleetError of the roster's."""
        try:
            answer = await self._http.get("/v1/fleet")
            answer.raise_for_status()
        except httpx.HTTPError:
            self.missed += 1
            raise
        at_s = self.now_s
        if memory or not self._fork_servers:
            await self._find_fork_servers()
        cpu_s, memory_mib, count = await asyncio.to_thread(self._processes, memory)
        if memory:
            self._memory_at = at_s
        sample = _sample(at_s, answer.json(), cpu_s, memory_mib, count)
        self.samples.append(sample)
        return sample

    def _processes(self, memory: bool) -> tuple[dict[str, float], dict[str, float], int]:
        pids = self.fleet_pids()
        cpu_s = processes.cpu_by_part(pids)
        return cpu_s, _memory(pids) if memory else {}, len(pids)

    def fleet_pids(self) -> set[int]:
        """Of this process's children and the fork servers, which are nobody's."""
        roots = {child.pid for child in psutil.Process().children()} - self.others
        return processes.trees(roots | self._fork_servers) - processes.trees(self.others)

    async def _find_fork_servers(self) -> None:
        """There may be other fleets on this machine: ours are the parents of our actors."""
        pool = await self._roster.snapshot()
        for pid in pool.pids.values():
            with suppress(psutil.Error):
                parent = psutil.Process(psutil.Process(pid).ppid())
                if processes.FORK_SERVER in " ".join(parent.cmdline()):
                    self._fork_servers.add(parent.pid)


def _memory(pids: set[int]) -> dict[str, float]:
    by_name: dict[str, float] = {}
    for pid in pids:
        with suppress(OSError, StopIteration):
            mib = pss_mib(pid)
            for name in processes.names({pid}):
                by_name[name] = by_name.get(name, 0.0) + mib
    return by_name


def _sample(
    at_s: float,
    told: Mapping[str, Any],
    cpu_s: Mapping[str, float],
    memory_mib: Mapping[str, float],
    count: int,
) -> Sample:
    return Sample(
        at_s=at_s,
        live=told["sessions"].get("live", 0),
        sessions=told["sessions"],
        warm=told["actors"]["warm"],
        starting=told["actors"]["starting"],
        queue=told["queue"],
        spent_micro_usd=told["budget"]["spent_micro_usd"],
        cpu_s=cpu_s,
        busy=psutil.cpu_percent() / 100,
        processes=count,
        memory_mib=memory_mib,
    )
