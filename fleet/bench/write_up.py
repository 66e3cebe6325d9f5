"""``python -m fleet.bench.write_up NAME``: docs/benchmarks/NAME.md from out/NAME.json.

What stands in the page below its first ``## `` heading is written by hand, and is kept.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from fleet.bench.command import OUT
from fleet.bench.report import BenchResult
from fleet.bench.views import markdown

PAGES = Path("docs/benchmarks")


def page(result: BenchResult, before: str = "") -> str:
    """``before``: the page as it is now."""
    _, heading, prose = before.partition("\n## ")
    name, _, group = result.name.partition("-")
    if name == "chaos":
        target = f"chaos GROUP={group}" if group else name
    else:
        target = result.name if name in ("rehearsal", "load") else f"bench-{result.name}"
    written = markdown(result, f"make {target}")
    return f"{written}{heading}{prose}" if heading else written


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name")
    parser.add_argument("--out", type=Path, default=OUT, help="where the result is")
    arguments = parser.parse_args()
    result = BenchResult.from_json((arguments.out / f"{arguments.name}.json").read_text("utf-8"))
    path = PAGES / f"{arguments.name}.md"
    before = path.read_text("utf-8") if path.exists() else ""
    path.write_text(page(result, before), encoding="utf-8")
    sys.stdout.write(f"written to {path}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
