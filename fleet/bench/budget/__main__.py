"""See the package."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fleet.bench import reports
from fleet.bench.budget import judge
from fleet.bench.budget.field import open_field
from fleet.bench.budget.outage import disturbed
from fleet.bench.budget.spec import MAX_RESPONSE_S, limited, mixed
from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Judgement, Measured, together


@dataclass(frozen=True, kw_only=True)
class Plan:
    mixed: int
    limited: int
    steady: int


LONG = Plan(mixed=500, limited=200, steady=50)
SHORT = Plan(mixed=12, limited=4, steady=0)
NOISY = ("END to provider closed", "limit left unused")
"""What the machine's noise and so few sessions decide is not judged in the short form."""


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    """The sessions, then (in the long form) the reports through Ray."""
    sessions = await _sessions(options, progress)
    if options.smoke:
        return sessions
    progress.tell("reports through Ray ...")
    through_ray = await reports.measure(options, progress)
    return together({"sessions": sessions, "reports": through_ray})


async def _sessions(options: BenchOptions, progress: Progress) -> Measured:
    plan = SHORT if options.smoke else LONG
    async with open_field(progress) as field:
        first = await field.run_all(mixed(plan.mixed, options.seed), "sessions of every fate")
        second = await field.run_all(limited(plan.limited, options.seed), "sessions at their limit")
        third = await disturbed(field, plan.steady, options.seed) if plan.steady else None
    bars = [*judge.of_mixed(first), *judge.of_limited(second)]
    if third is not None:
        bars += judge.of_disturbed(third)
    return Measured(
        bars=tuple(_softened(bar, smoke=options.smoke) for bar in bars),
        seeds=(options.seed,),
        data={
            "max_response_s": MAX_RESPONSE_S,
            "mixed": judge.data_of(first),
            "limited": judge.data_of(second),
            "disturbed": judge.data_of(third.sessions) if third else [],
        },
    )


def _softened(bar: Bar, *, smoke: bool) -> Bar:
    if smoke and bar.judgement is not Judgement.NOT_JUDGED and bar.name.startswith(NOISY):
        return bar.not_judged("short form")
    return bar


if __name__ == "__main__":
    sys.exit(bench_main("budget", measure, about="Whether money holds, by the invoices."))
