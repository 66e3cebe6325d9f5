"""``python -m fleet.bench.scenario load|media|churn [--sessions N] [--resume] [--smoke] …``"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from fleet.bench.command import OUT, SEED, BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import BenchResult, Measured
from fleet.bench.scenario import __doc__ as about
from fleet.bench.scenario import forms
from fleet.bench.scenario.evidence import read_lines
from fleet.bench.scenario.forms import Form, Tier
from fleet.bench.scenario.judge import DEAREST
from fleet.bench.scenario.page import html
from fleet.bench.scenario.run import Course, run

USUAL: Mapping[Tier, int] = {Tier.LOAD: 200, Tier.MEDIA: 10, Tier.CHURN: 2000}
FORMS: Mapping[Tier, Callable[[int], Form]] = {
    Tier.LOAD: forms.load,
    Tier.MEDIA: forms.media,
    Tier.CHURN: forms.churn,
}


def main(argv: Sequence[str] | None = None) -> int:
    given = sys.argv[1:] if argv is None else argv
    parser = argparse.ArgumentParser(
        prog="python -m fleet.bench.scenario", description=about, add_help=False
    )
    tiers = [each.value for each in Tier]
    parser.add_argument("tier", choices=tiers, nargs="?", default=Tier.LOAD.value)
    parser.add_argument("--sessions", type=int, help="at once; churn: in all")
    parser.add_argument("--hold-s", type=float, help="how long they are to be live at once")
    parser.add_argument("--always-on", action="store_true", help="microphones open all the time")
    parser.add_argument("--resume", action="store_true", help="churn: go on where it broke off")
    parser.add_argument("--out", type=Path, default=OUT)
    own, rest = parser.parse_known_args(given)
    name = own.tier if own.tier == Tier.LOAD else f"load-{own.tier}"

    async def measure(options: BenchOptions, progress: Progress) -> Measured:
        measured = await run(course_of(own, options, name), progress)
        return softened(measured) if options.smoke else measured

    suffix = ".smoke" if "--smoke" in rest else ""
    source = own.out / f"{name}{suffix}.json"
    before = source.stat().st_mtime if source.exists() else None
    code = bench_main(name, measure, about=about or "", argv=[*rest, "--out", str(own.out)])
    if source.exists() and source.stat().st_mtime != before:
        page = source.with_suffix(".html")
        result = BenchResult.from_json(source.read_text(encoding="utf-8"))
        page.write_text(html(result), encoding="utf-8")
        sys.stdout.write(f"written to {page}\n")
    return code


def softened(measured: Measured) -> Measured:
    """What the machine's noise decides in so few dispatches is not judged in the short form."""
    bars = (bar.not_judged("short form") if bar.name == DEAREST else bar for bar in measured.bars)
    return replace(measured, bars=tuple(bars))


def course_of(own: argparse.Namespace, options: BenchOptions, name: str) -> Course:
    tier = Tier(own.tier)
    form = FORMS[tier](own.sessions or (4 if options.smoke else USUAL[tier]))
    if tier is Tier.LOAD:
        form = replace(form, always_on=own.always_on)
    if own.hold_s:
        form = replace(form, hold_s=own.hold_s)
    if options.smoke:
        form = forms.short(form)
    course = Course(
        form=form,
        seed=options.seed or SEED,
        study=f"{name}-{int(time.time()):x}",
        files=own.out / f"{name}.run",
    )
    return _resumed(course) if own.resume and tier is Tier.CHURN else _fresh(course)


def _fresh(course: Course) -> Course:
    shutil.rmtree(course.files, ignore_errors=True)
    course.files.mkdir(parents=True)
    return course


def _resumed(course: Course) -> Course:
    """The sessions that have not ended yet, as a study of their own."""
    done = read_lines(course.outcomes)
    if not done:
        return _fresh(course)
    first = max(each["number"] for each in done) + 1
    left = max(1, course.form.sessions - first)
    return replace(course, first=first, form=replace(course.form, sessions=left))


if __name__ == "__main__":
    sys.exit(main())
