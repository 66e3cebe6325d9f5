"""A benchmark's result for people: a table for the terminal, a page for docs/benchmarks/. Pure."""

from __future__ import annotations

from rich.table import Table

from fleet.bench.report import Bar, BenchResult, Judgement, with_unit

_COLOURS = {Judgement.HELD: "green", Judgement.MISSED: "red", Judgement.NOT_JUDGED: "yellow"}


def table(result: BenchResult) -> Table:
    shown = Table(title=_title(result), caption=circumstances(result), expand=True)
    for column in ("what", "figure", "bar", "", "detail"):
        shown.add_column(column)
    for bar in result.measured.bars:
        colour = _COLOURS[bar.judgement]
        shown.add_row(
            bar.name,
            with_unit(bar.figure, bar.unit),
            bar.bar,
            f"[{colour}]{bar.judgement.value}[/{colour}]",
            bar.detail,
        )
    return shown


def markdown(result: BenchResult, command: str) -> str:
    """The page. What is said about the figures is written by hand below it, and kept."""
    rows = [_row(bar) for bar in result.measured.bars]
    return "\n".join(
        [
            f"# `{command}`",
            "",
            f"{circumstances(result)}.",
            "",
            "| what | figure | bar | | detail |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )


def circumstances(result: BenchResult) -> str:
    """When, on what and how: what a figure is worth nothing without."""
    machine = result.machine
    seeds = ", ".join(str(seed) for seed in result.measured.seeds)
    parts = [
        result.date[:10],
        f"{machine.cores} cores ({machine.cpu})",
        f"{machine.memory_gib:.0f} GiB",
        machine.kernel,
        f"Python {machine.python}",
        f"load average before {result.load_before:.2f}",
        f"took {result.duration_s:.0f} s",
        *([f"seed {seeds}"] if seeds else []),
    ]
    return "; ".join(parts)


def _title(result: BenchResult) -> str:
    return f"{result.name}, short form" if result.smoke else result.name


def _row(bar: Bar) -> str:
    cells = (
        bar.name,
        with_unit(bar.figure, bar.unit),
        bar.bar,
        bar.judgement.value,
        bar.detail,
    )
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
