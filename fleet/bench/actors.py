"""What it takes to have a session actor ready, forked and plain: ``python -m fleet.bench.actors``.

Both arms in one run on one cluster of this machine, one actor at a time, taking turns; all stay
until the end, when memory is read. What is counted for one actor: its own process and, for a
forked one, its launcher and what the fork cost the server. Neither raylet nor GCS.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil

from agent_actor.contract import ActorId
from fleet.crew import ActorSpec, RayCrew
from fleet.local.ray_cluster import RaySettings, local_ray
from fleet.local.run_dir import run_dir

NAMESPACE = "bench-actors"
WARM_TIMEOUT_S = 120.0
ARMS = ("plain", "forked")
_KIB_PER_MIB = 1024
_ARGUMENT = "session-actor-launcher"


@dataclass(frozen=True, kw_only=True)
class Actor:
    """``pids`` are the processes counted; the first is the worker's."""

    arm: str
    warm_s: float
    cpu_s: float
    pids: tuple[int, ...]
    pss_mib: float = 0.0
    private_mib: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Result:
    """``first_forked``: the one that the server was started for, with all of the server's CPU."""

    actors: tuple[Actor, ...]
    first_forked: Actor
    server_pss_mib: float
    cores: int


async def measure(count: int) -> Result:
    """``count`` actors of each arm, after one of each to fill the caches. Ray must be connected."""
    crews = {
        arm: RayCrew(
            ActorSpec(warm_timeout_s=WARM_TIMEOUT_S, fork_server=arm == "forked"), NAMESPACE
        )
        for arm in ARMS
    }
    await _start(crews["plain"], "plain", "plain-first")
    first = await _start(crews["forked"], "forked", "forked-first")
    server = psutil.Process(first.pids[0]).ppid()
    actors = []
    for number in range(count):
        for arm in ARMS:
            before_s = _cpu_s(server)
            actor = await _start(crews[arm], arm, f"{arm}-{number}")
            forking_s = _cpu_s(server) - before_s if arm == "forked" else 0.0
            actors.append(replace(actor, cpu_s=actor.cpu_s + forking_s))
    return Result(
        actors=tuple(_with_memory(each) for each in actors),
        first_forked=replace(_with_memory(first), cpu_s=first.cpu_s + _cpu_s(server)),
        server_pss_mib=_memory_mib(server)["Pss"],
        cores=os.cpu_count() or 0,
    )


async def _start(crew: RayCrew, arm: str, name: str) -> Actor:
    launchers = set(_launchers())
    began = time.monotonic()
    report = await crew.start(ActorId(name))
    warm_s = time.monotonic() - began
    pids = (report.pid, *(set(_launchers()) - launchers))
    return Actor(arm=arm, warm_s=warm_s, cpu_s=sum(map(_cpu_s, pids)), pids=pids)


def _launchers() -> Iterator[int]:
    """Of the Ray that we started, whatever else there is on the machine."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if _ARGUMENT in process.cmdline():
                yield process.pid


def _cpu_s(pid: int) -> float:
    """Of the process until now, whatever programs it has been."""
    times = psutil.Process(pid).cpu_times()
    return float(times.user + times.system)


def _with_memory(actor: Actor) -> Actor:
    found = [_memory_mib(pid) for pid in actor.pids]
    return replace(
        actor,
        pss_mib=sum(each["Pss"] for each in found),
        private_mib=sum(each["Private_Clean"] + each["Private_Dirty"] for each in found),
    )


def _memory_mib(pid: int) -> dict[str, float]:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]
    fields = (line.split() for line in lines)
    return {name.rstrip(":"): int(kib) / _KIB_PER_MIB for name, kib, *_ in fields}


def table(result: Result) -> str:
    """For people: medians and the range of each figure."""
    lines = [
        "| | wall to warm, s | CPU-s | PSS, MiB | private, MiB |",
        "|---|---|---|---|---|",
        *(_row(arm, [each for each in result.actors if each.arm == arm]) for arm in ARMS),
        _row("first forked, with its server's start", [result.first_forked]),
        f"\nThe fork server itself: PSS {result.server_pss_mib:.0f} MiB, one a node. "
        f"{result.cores} cores.",
    ]
    return "\n".join(lines)


def _row(name: str, actors: Sequence[Actor]) -> str:
    figures = (
        ("{:.2f}", [each.warm_s for each in actors]),
        ("{:.2f}", [each.cpu_s for each in actors]),
        ("{:.0f}", [each.pss_mib for each in actors]),
        ("{:.0f}", [each.private_mib for each in actors]),
    )
    return " | ".join([f"| {name} ({len(actors)})", *(_spread(*each) for each in figures)]) + " |"


def _spread(form: str, values: Sequence[float]) -> str:
    middle = form.format(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({form.format(min(values))}–{form.format(max(values))})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=8, help="actors of each arm")
    parser.add_argument("--smoke", action="store_true", help="two of each")
    parser.add_argument("--ray-setup", action="store_true", help="with Ray's own set-up of workers")
    parser.add_argument("--out", type=Path, default=Path("out/bench-actors.json"))
    options = parser.parse_args()
    ray_settings = RaySettings(num_cpus=64, skip_setup_worker=not options.ray_setup)
    with run_dir() as run, local_ray(run, ray_settings):
        result = asyncio.run(measure(2 if options.smoke else options.count))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(asdict(result), indent=2))
    sys.stdout.write(table(result) + "\n")


if __name__ == "__main__":
    main()
