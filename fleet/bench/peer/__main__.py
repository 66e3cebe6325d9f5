"""``python -m fleet.bench.peer [--smoke] [--repetitions N] [--peer-unbounded] …``

--repetitions N    of the long form, 3
--peer-unbounded   the worker does not refuse jobs on a busy machine, as it would by default
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fleet.bench.command import OUT, BenchOptions, bench_main
from fleet.bench.peer import __doc__ as about
from fleet.bench.peer.comparison import FULL, SMOKE, compare
from fleet.bench.peer.plot import svg
from fleet.bench.progress import Progress
from fleet.bench.report import BenchResult, Measured
from fleet.bench.views import circumstances

NAME = "peer"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--repetitions", type=int, default=FULL.repetitions)
    parser.add_argument("--peer-unbounded", action="store_true")
    parser.add_argument("--out", type=Path, default=OUT)
    own, rest = parser.parse_known_args(argv)

    async def measure(options: BenchOptions, progress: Progress) -> Measured:
        form = SMOKE if options.smoke else replace(FULL, repetitions=own.repetitions)
        form = replace(form, peer_unbounded=own.peer_unbounded)
        return await compare(options, progress, form)

    drawn = own.out / f"{NAME}{'.smoke' if '--smoke' in rest else ''}"
    source = drawn.with_name(f"{drawn.name}.json")
    before = source.stat().st_mtime if source.exists() else None
    code = bench_main(NAME, measure, about=about or "", argv=[*rest, "--out", str(own.out)])
    if source.exists() and source.stat().st_mtime != before:
        picture = drawn.with_name(f"{drawn.name}.svg")
        picture.write_text(_picture(source), encoding="utf-8")
        sys.stdout.write(f"written to {picture}\n")
    return code


def _picture(source: Path) -> str:
    result = BenchResult.from_json(source.read_text(encoding="utf-8"))
    return svg(result.measured.data["found"]["dispatches"], circumstances(result))


if __name__ == "__main__":
    sys.exit(main())
