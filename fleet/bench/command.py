"""``python -m fleet.bench.NAME [--smoke] [--seed N] [--out FOLDER]``, the same for every benchmark.

0: every bar that was judged held. 1: one fell short, or a part did not start. 130: interrupted;
what the benchmark had started was ended first.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from rich.console import Console

from fleet.bench.machine import load_average, this_machine
from fleet.bench.progress import Progress
from fleet.bench.report import BenchResult, Measured
from fleet.bench.views import table
from fleet.errors import FleetError
from fleet.logs import configure_logs

OUT = Path("out")
SEED = 7
INTERRUPTED = 130
WIDTH = 150
"""Where nobody looks at a terminal (CI, a file) 80 columns would break every cell."""


def _kept_nowhere(measured: Measured) -> None: ...


@dataclass(frozen=True, kw_only=True)
class BenchOptions:
    smoke: bool = False
    seed: int = SEED
    """Of everything that is drawn."""
    keep: Callable[[Measured], None] = _kept_nowhere
    """Told now and then what there is so far, it is in ``out/NAME.so-far.json`` until the whole
    is: of a long run that is lost not all is lost."""


Measure = Callable[[BenchOptions, Progress], Awaitable[Measured]]
"""Runs on the main thread's loop (Ray may be entered there) and ends what it started, also when
it is cancelled."""


def bench_main(
    name: str, measure: Measure, *, about: str, argv: Sequence[str] | None = None
) -> int:
    """The process's exit code. Prints the table, writes ``out/NAME.json``."""
    arguments = _parser(name, about).parse_args(argv)
    configure_logs(f"bench-{name}", level="ERROR")
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    date, load_before, began = datetime.now(UTC), load_average(), time.monotonic()
    so_far = f"{name}.so-far"

    def result(measured: Measured, name: str = name) -> BenchResult:
        return BenchResult(
            name=name,
            measured=measured,
            smoke=arguments.smoke,
            machine=this_machine(),
            date=date.isoformat(timespec="seconds"),
            load_before=load_before,
            duration_s=round(time.monotonic() - began, 1),
        )

    def keep(measured: Measured) -> None:
        write(result(measured, so_far), arguments.out)

    options = BenchOptions(smoke=arguments.smoke, seed=arguments.seed, keep=keep)
    try:
        measured = asyncio.run(_until_signal(measure(options, Progress())))
    except FleetError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False)
        return 1
    if measured is None:
        return INTERRUPTED
    found = result(measured)
    console.print(table(found))
    console.print(f"written to {write(found, arguments.out)}")
    (arguments.out / result(measured, so_far).file_name).unlink(missing_ok=True)
    return 1 if found.missed else 0


def write(result: BenchResult, folder: Path) -> Path:
    """The result's file in ``folder``, which is made; whole or not at all."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / result.file_name
    part = path.with_name(f".{path.name}.part")
    part.write_text(result.to_json() + "\n", encoding="utf-8")
    return part.replace(path)


async def _until_signal(work: Awaitable[Measured]) -> Measured | None:
    """None if SIGINT or SIGTERM came first: ``work`` is then cancelled, once, and waited for."""
    task = asyncio.ensure_future(work)
    interrupted = False

    def interrupt() -> None:
        nonlocal interrupted
        if not interrupted:
            Console(stderr=True).print("interrupted; ending everything ...")
            interrupted = True
            task.cancel()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, interrupt)
    await asyncio.wait({task})
    if interrupted and task.cancelled():
        return None
    return task.result()


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m fleet.bench.{name}", description=about)
    parser.add_argument("--smoke", action="store_true", help="the short form, as CI runs it")
    parser.add_argument("--seed", type=int, default=SEED, help="of everything that is drawn")
    parser.add_argument("--out", type=Path, default=OUT, help="folder for the result")
    return parser
