"""``python -m fleet.bench.rehearsal [--seed N] [--out FOLDER]``. There is one form of it."""

from __future__ import annotations

import sys

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.rehearsal import __doc__ as about
from fleet.bench.rehearsal.course import Rehearsal, measured
from fleet.bench.rehearsal.site import open_site
from fleet.bench.report import Measured
from fleet.errors import FleetError


async def rehearse(options: BenchOptions, progress: Progress) -> Measured:
    try:
        async with open_site(progress, options.seed) as site:
            found = await Rehearsal(site, progress, options.seed).run()
    except ExceptionGroup as group:
        # A step that cannot be made ends the interviews that are under way, each with an error.
        first, _ = group.split(FleetError)
        if first is None:
            raise
        raise _one_of(first) from group
    return measured(found, options.seed)


def _one_of(group: ExceptionGroup[FleetError]) -> FleetError:
    first = group.exceptions[0]
    return _one_of(first) if isinstance(first, ExceptionGroup) else first


if __name__ == "__main__":
    sys.exit(bench_main("rehearsal", rehearse, about=about or ""))
