"""``python -m fleet.bench.autoscaler [--smoke] [--seed N] [--out FOLDER]``"""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from fleet.bench.autoscaler import __doc__ as about
from fleet.bench.autoscaler.plot import days_svg, frontier_svg
from fleet.bench.autoscaler.trial import (
    OURS,
    RULES,
    TURNED_AWAY_S,
    Scene,
    Score,
    Variant,
    judged_scores,
    run,
    scene,
    score,
    variants,
)
from fleet.bench.command import OUT, BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, BenchResult, Measured, at_most, exactly, only_shown
from fleet.simulation.scaling.days import MEANING, Shape
from fleet.simulation.scaling.nodes import Hardware, Outcome

NAME = "autoscaler"
MOST_COLD_SHARE = 0.01
MOST_TO_ORACLE = 1.15
DAYS = 4
"""Seeds of each shape."""
DRAWN = ("this fleet", "CPU at 50 %")


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    hardware = Hardware()
    seeds = tuple(range(options.seed, options.seed + (1 if options.smoke else DAYS)))
    shapes = [Shape.LAUNCH, Shape.SURPRISE] if options.smoke else list(Shape)
    tried = list(variants(frontier=not options.smoke))
    scenes = {shape: [scene(shape, seed, hardware) for seed in seeds] for shape in shapes}
    found: dict[Shape, list[tuple[Variant, dict[Scene, Outcome]]]] = {s: [] for s in shapes}
    with progress.steps("days", len(tried) * len(shapes) * len(seeds)) as advance:
        for shape in shapes:
            for variant in tried:
                outcomes: dict[Scene, Outcome] = {}
                for at in scenes[shape]:
                    outcomes[at] = run(variant, at, hardware)
                    advance(1)
                    await asyncio.sleep(0)  # so that it can be interrupted
                found[shape].append((variant, outcomes))
    scores = {shape: [score(v, o) for v, o in each] for shape, each in found.items()}
    return Measured(
        bars=tuple(bar for shape in shapes for bar in _bars(shape, scores[shape], scenes[shape])),
        seeds=seeds,
        data={
            "hardware": asdict(hardware),
            "shapes": {shape.value: MEANING[shape] for shape in shapes},
            "scores": {s.value: [asdict(each) for each in scores[s]] for s in shapes},
            "days": {s.value: _drawn(found[s], scenes[s][0]) for s in shapes},
        },
    )


def _bars(shape: Shape, scores: Sequence[Score], scenes: Sequence[Scene]) -> Iterator[Bar]:
    """What nobody can foresee is shown and not judged."""
    by_rule = judged_scores(scores, MOST_COLD_SHARE)
    ours, others = by_rule[OURS], [each for each in scores if each.rule != OURS]
    bars = [
        at_most(
            f"{shape}: cold starts",
            100 * ours.cold_share,
            100 * MOST_COLD_SHARE,
            "%",
            f"{ours.cold} of {ours.sessions:,}; worst day {ours.worst_cold_share:.2%}; "
            f"wait {_waits(ours)}",
        ),
        at_most(
            f"{shape}: node-hours to the oracle's",
            ours.to_oracle,
            MOST_TO_ORACLE,
            "×",
            f"worst day {ours.worst_to_oracle:.3f}; {_floor(scenes)}",
        ),
        exactly(
            f"{shape}: settings of other rules that are no worse in either",
            sum(each.no_worse(ours) for each in others),
            0,
            "",
            f"of {len(others)}; worse in both: {sum(ours.better(each) for each in others)}",
        ),
    ]
    foreseen = shape is not Shape.SURPRISE
    yield from (bar if foreseen else bar.not_judged("nobody can foresee it") for bar in bars)
    for rule in RULES:
        if rule != OURS:
            yield _of_rule(shape, by_rule[rule])


def _of_rule(shape: Shape, its: Score) -> Bar:
    return only_shown(
        f"{shape}: {its.rule} ({its.setting}), cold starts",
        100 * its.cold_share,
        "%",
        f"node-hours {its.to_oracle:.2f} × the oracle's; wait {_waits(its)}",
    )


def _waits(its: Score) -> str:
    away = its.turned_away / its.sessions
    return (
        f"p50 {its.wait_p50_s:.3g}, p99 {its.wait_p99_s:.3g} s, "
        f"over {TURNED_AWAY_S:.0f} s {away:.2%}"
    )


def _floor(scenes: Sequence[Scene]) -> str:
    oracle, floor = sum(s.oracle_hours for s in scenes), sum(s.floor_hours for s in scenes)
    return f"the oracle's {oracle:,.0f}; if sessions could be moved {floor:,.0f}"


def _drawn(
    found: Sequence[tuple[Variant, Mapping[Scene, Outcome]]], at: Scene
) -> dict[str, list[tuple[float, int, int]]]:
    """Of the first day: (hour, live sessions, nodes) for the rules that are drawn."""
    return {
        variant.rule: [(s.at / 3600, s.live, s.nodes) for s in outcomes[at].samples]
        for variant, outcomes in found
        if variant.judged and variant.rule in DRAWN
    }


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    parser.add_argument("--out", type=Path, default=OUT)
    own, rest = parser.parse_known_args(argv)
    file = own.out / f"{NAME}{'.smoke' if '--smoke' in rest else ''}.json"
    before = file.stat().st_mtime if file.exists() else None
    code = bench_main(NAME, measure, about=about or "", argv=[*rest, "--out", str(own.out)])
    if file.exists() and file.stat().st_mtime != before:
        data = BenchResult.from_json(file.read_text(encoding="utf-8")).measured.data
        slots = data["hardware"]["node_slots"]
        for suffix, drawing in (
            ("", frontier_svg(data["scores"], 100 * MOST_COLD_SHARE, MOST_TO_ORACLE)),
            ("-days", days_svg(data["days"], slots)),
        ):
            picture = file.with_name(f"{file.stem}{suffix}.svg")
            picture.write_text(drawing, encoding="utf-8")
            sys.stdout.write(f"written to {picture}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
