"""``python -m fleet.bench.simulation``: the pure decisions at a thousand to a hundred thousand
sessions at once, on a virtual clock: what each costs as their number grows, and whether the books
hold.
"""

from __future__ import annotations

import gc
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.percentiles import percentile
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_most, exactly, only_shown
from fleet.simulation.world import Tally, World

SIZES = {1_000: 2_000, 10_000: 1_000, 100_000: 100}
"""Sessions at once: how many ends are watched."""
SHORT = {100: 100, 1_000: 100}
GROWTH = 1.5
BUDGET = ("open an account", "report", "close an account")
ROSTER = ("reserve", "begin", "release", "actor warm", "tick")
A_SESSION = {"reserve": 1, "begin": 1, "release": 1, "actor warm": 1, "tick": 3}
"""How often a session needs each; a tick follows whatever happens."""


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    tallies: dict[int, Tally] = {}
    bars: list[Bar] = []
    for size, ends in (SHORT if options.smoke else SIZES).items():
        progress.tell(f"{size:,} sessions at once ...")
        world = World(size, seed=options.seed, clock=time.thread_time)
        world.fill()
        world.tally.costs.clear()
        gc.collect()
        tallies[size] = world.run(ends)
        bars += _books(size, world)
    bars += _growth(tallies)
    data = {str(size): _data(tally) for size, tally in tallies.items()}
    return Measured(bars=tuple(bars), seeds=(options.seed,), data=data)


def _books(size: int, world: World) -> Iterator[Bar]:
    tally = world.tally
    ends = ", ".join(f"{count} {reason}" for reason, count in tally.ended.items())
    yield exactly(f"{size:,}: sessions over their limit", tally.over_limit, 0, "", ends)
    yield exactly(f"{size:,}: sums that do not add up", int(not world.adds_up()), 0, "")
    lost = tally.came - tally.began - tally.turned_away - world.waiting
    yield exactly(f"{size:,}: sessions lost or doubled", lost, 0, "", f"of {tally.came} that came")
    permits = world.roster.snapshot(world.timeline.now_s).permits
    yield at_most(f"{size:,}: permits", permits, world.slots, "")
    wait_s = percentile(tally.waits_s, 0.95)
    yield only_shown(f"{size:,}: wait for an actor, p95", wait_s, "s")


def _growth(tallies: dict[int, Tally]) -> Iterator[Bar]:
    for what in (*BUDGET, *ROSTER):
        means = {s: c.mean_us for s, t in tallies.items() if (c := t.costs.get(what)) is not None}
        known = {size: mean for size, mean in means.items() if mean}
        detail = ", ".join(f"{size:,}: {mean:,.3g} µs" for size, mean in known.items())
        ratio = max(known.values()) / next(iter(known.values())) if known else None
        if what == "report":
            yield at_most(f"{what}: dearest against the smallest", ratio, GROWTH, "×", detail)
        else:
            yield only_shown(f"{what}: dearest against the smallest", ratio, "×", detail)
    spent_us = {size: _roster_us(tally) for size, tally in tallies.items()}
    detail = ", ".join(f"{size:,}: {us:,.3g} µs" for size, us in spent_us.items())
    first = next(iter(spent_us.values()))
    ratio = max(spent_us.values()) / first if first else None
    name = "all the roster's for a session: dearest against the smallest"
    yield at_most(name, ratio, GROWTH, "×", detail)
    for size, tally in tallies.items():
        most = 1e6 / spent_us[size] if spent_us[size] else None
        yield only_shown(f"{size:,}: dispatches that one roster could decide", most, "/s")
        report = tally.costs.get("report")
        most = 1e6 / report.mean_us if report and report.mean_us else None
        yield only_shown(f"{size:,}: reports that one set of accounts could take", most, "/s")


def _roster_us(tally: Tally) -> float:
    return sum(
        times * (tally.costs[what].mean_us or 0.0)
        for what, times in A_SESSION.items()
        if what in tally.costs
    )


def _data(tally: Tally) -> dict[str, object]:
    return {
        "came": tally.came,
        "began": tally.began,
        "turned_away": tally.turned_away,
        "ended": dict(tally.ended),
        "costs": {what: asdict(cost) for what, cost in tally.costs.items()},
    }


if __name__ == "__main__":
    sys.exit(bench_main("load-sim", measure, about=__doc__ or ""))
