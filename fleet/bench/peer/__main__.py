"""``python -m fleet.bench.peer [--smoke] [--repetitions N] …``

--repetitions N    of the long form, 3
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from fleet.bench.command import OUT, BenchOptions, bench_main
from fleet.bench.peer import __doc__ as about
from fleet.bench.peer.comparison import FULL, SMOKE, compare
from fleet.bench.peer.found import FLEET, PEER
from fleet.bench.peer.plot import svg
from fleet.bench.progress import Progress
from fleet.bench.report import BenchResult, Measured
from fleet.bench.views import circumstances

NAME = "peer"
SHOWN_S = 0.002


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--repetitions", type=int, default=FULL.repetitions)
    parser.add_argument("--out", type=Path, default=OUT)
    own, rest = parser.parse_known_args(argv)

    async def measure(options: BenchOptions, progress: Progress) -> Measured:
        form = SMOKE if options.smoke else replace(FULL, repetitions=own.repetitions)
        return await compare(options, progress, form)

    drawn = own.out / f"{NAME}{'.smoke' if '--smoke' in rest else ''}"
    source = drawn.with_name(f"{drawn.name}.json")
    before = source.stat().st_mtime if source.exists() else None
    code = bench_main(NAME, measure, about=about or "", argv=[*rest, "--out", str(own.out)])
    if source.exists() and source.stat().st_mtime != before:
        result = BenchResult.from_json(source.read_text(encoding="utf-8"))
        drawing = svg(result.measured.data["found"]["dispatches"], circumstances(result))
        picture = drawn.with_name(f"{drawn.name}.svg")
        picture.write_text(drawing, encoding="utf-8")
        sys.stdout.write("\n".join([f"written to {picture}", *_read_so(result), ""]))
    return code


def _read_so(result: BenchResult) -> Iterator[str]:
    """What to know before the figures are compared, and which processes they are of."""
    yield from (f"- {difference}" for difference in result.measured.data["differences"])
    counted = {each["arm"]: each for each in result.measured.data["found"]["standing"]}
    for each in (counted[FLEET], counted[PEER]):
        listed = ", ".join(f"{count} {name}" for name, count in each["processes"].items())
        yield f"- counted for the {each['arm']}, standing still: {listed}"
    for arm, parts in result.measured.data["cpu_a_dispatch_s"].items():
        most = ", ".join(f"{name} {1000 * s:.0f}" for name, s in parts.items() if s > SHOWN_S)
        yield f"- CPU-ms a dispatch of the {arm}, sequential: {most}"


if __name__ == "__main__":
    sys.exit(main())
