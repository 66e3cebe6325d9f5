"""``python -m fleet.bench.chaos [--group GROUP | --only FAULT[,FAULT]] [--trials N] [--smoke] …``

--group    parts, edges or nodes: a third of it, in an hour at most
--only     these faults alone; else all, or with --smoke a few
--trials   strikes of each, instead of as many as the bars ask for
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence

from fleet.bench.chaos import __doc__ as about
from fleet.bench.chaos.fault import Fault, Trials
from fleet.bench.chaos.registry import FAULTS, GROUPS
from fleet.bench.chaos.stage import Stage, open_stage
from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Judgement, Measured, together


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(add_help=False)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--group", choices=GROUPS)
    which.add_argument("--only", type=_chosen)
    parser.add_argument("--trials", type=int)
    own, rest = parser.parse_known_args(argv)

    async def measure(options: BenchOptions, progress: Progress) -> Measured:
        among = GROUPS[own.group] if own.group else FAULTS
        faults = own.only or tuple(f for f in among if f.in_smoke or not options.smoke)
        return await _all(faults, options, progress, own.trials)

    name = f"chaos-{own.group}" if own.group else "chaos"
    return bench_main(name, measure, about=about or "", argv=rest)


async def _all(
    faults: Sequence[Fault], options: BenchOptions, progress: Progress, trials: int | None
) -> Measured:
    found: dict[str, Measured] = {}
    for group in _sharing(faults):
        left = list(group)
        while left:
            progress.tell(f"a stage for {', '.join(fault.name for fault in left)}")
            before = len(left)
            # What ends a fault with an error is told among the bars.
            try:
                async with open_stage(left[0].needs, progress, options.seed) as stage:
                    while left:
                        fault = left.pop(0)
                        found[fault.name] = _did_not_run("its stage was lost")
                        found[fault.name] = await _one(
                            stage, fault, _trials(fault, options, progress, trials)
                        )
                        options.keep(together(found))
                        if _failed(found[fault.name]):
                            break
                        await stage.settle()
            except Exception as error:
                # Whatever it is: an hour of the others must not go with it.
                problem = _problems(error)
                if len(left) == before:
                    found[left.pop(0).name] = _did_not_run(f"no stage: {problem}")
                else:
                    progress.tell(f"the stage was not closed well: {problem}")
    return together(found)


async def _one(stage: Stage, fault: Fault, trials: Trials) -> Measured:
    trials.progress.tell(f"{fault.name}: {fault.about}")
    try:
        return await fault.run(stage, trials)
    except Exception as error:
        return _did_not_run(_problems(error))


def _trials(fault: Fault, options: BenchOptions, progress: Progress, trials: int | None) -> Trials:
    count = trials or (1 if options.smoke else fault.trials)
    return Trials(count=count, seed=options.seed, smoke=options.smoke, progress=progress)


def _sharing(faults: Sequence[Fault]) -> list[list[Fault]]:
    """Those with equal needs together, in the order of the first of each."""
    groups: list[list[Fault]] = []
    for fault in faults:
        group = next((g for g in groups if g[0].needs == fault.needs), None)
        if group is None:
            groups.append([fault])
        else:
            group.append(fault)
    return groups


def _did_not_run(problem: str) -> Measured:
    bar = Bar(
        name=_RAN, figure=0, unit="", bar="= 1", judgement=Judgement.MISSED, detail=problem[:300]
    )
    return Measured(bars=(bar,), data={"problem": problem})


def _failed(measured: Measured) -> bool:
    return any(bar.name == _RAN for bar in measured.bars)


def _problems(error: Exception) -> str:
    return "; ".join(f"{type(each).__name__}: {each}" for each in _leaves(error))


def _leaves(group: BaseException) -> Iterator[BaseException]:
    if isinstance(group, BaseExceptionGroup):
        for each in group.exceptions:
            yield from _leaves(each)
    else:
        yield group


def _chosen(text: str) -> tuple[Fault, ...]:
    by_name = {fault.name: fault for fault in FAULTS}
    names = text.split(",")
    unknown = [name for name in names if name not in by_name]
    if unknown:
        raise argparse.ArgumentTypeError(f"no fault {unknown[0]!r}; there are {', '.join(by_name)}")
    return tuple(by_name[name] for name in names)


_RAN = "ran to its end"

if __name__ == "__main__":
    sys.exit(main())
