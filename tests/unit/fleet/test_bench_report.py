"""What a benchmark found: judged as its bar says, kept whole as JSON, shown to people."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from fleet.bench.command import write
from fleet.bench.machine import this_machine
from fleet.bench.report import (
    Bar,
    BenchResult,
    Judgement,
    Machine,
    Measured,
    at_least,
    at_most,
    exactly,
    only_shown,
    together,
    with_unit,
)
from fleet.bench.views import markdown, table
from fleet.bench.write_up import page

MACHINE = Machine(cores=2, memory_gib=23.4, kernel="Linux 6", cpu="a cpu", python="3.11.9")


def result(*bars: Bar, smoke: bool = False) -> BenchResult:
    return BenchResult(
        name="reports",
        measured=Measured(bars=bars, seeds=(7,), data={"sizes": [200, 2000]}),
        smoke=smoke,
        machine=MACHINE,
        date="2026-11-24T10:00:00+00:00",
        load_before=0.25,
        duration_s=61.5,
    )


@pytest.mark.parametrize(
    ("bar", "judgement"),
    [
        (at_most("p99", 50.0, 50, "ms"), Judgement.HELD),
        (at_most("p99", 50.01, 50, "ms"), Judgement.MISSED),
        (at_least("rate", 5000, 5000, "/s"), Judgement.HELD),
        (at_least("rate", 4999.9, 5000, "/s"), Judgement.MISSED),
        (exactly("difference", 0, 0, "µ$"), Judgement.HELD),
        (exactly("difference", -1, 0, "µ$"), Judgement.MISSED),
        (at_most("p99", None, 50, "ms"), Judgement.MISSED),
        (at_least("rate", None, 5000, "/s"), Judgement.MISSED),
        (exactly("difference", None, 0, "µ$"), Judgement.MISSED),
        (at_most("p99", float("nan"), 50, "ms"), Judgement.MISSED),
    ],
)
def test_a_figure_is_judged_as_its_bar_says(bar: Bar, judgement: Judgement) -> None:
    assert bar.judgement is judgement


def test_a_bar_says_what_it_wants() -> None:
    assert at_least("rate", 1, 5000, "/s").bar == "≥ 5,000/s"
    assert at_most("ratio", 1, 1.3, "×").bar == "≤ 1.3×"
    assert exactly("difference", 1, 0, "µ$").bar == "= 0 µ$"


def test_figures_are_shown_to_three_digits_and_counts_exactly() -> None:
    shown = [with_unit(f, "ms") for f in (0.12345, 12.345, 1234.5, 1_234_567, None)]
    assert shown == ["0.123 ms", "12.3 ms", "1,234 ms", "1,234,567 ms", "not measured"]
    assert with_unit(3, "") == "3"


def test_what_is_not_judged_does_not_count() -> None:
    short = at_most("p99", 80, 50, "ms", "at 200").not_judged("short form")
    assert (short.judgement, short.detail) == (Judgement.NOT_JUDGED, "at 200; short form")
    assert not result(short).missed
    missed = at_most("p99", 80, 50, "ms")
    assert result(short, missed).missed == (missed,)


def test_a_figure_may_be_shown_without_a_bar() -> None:
    bar = only_shown("CPU", 12.5, "ms", "all processes")
    assert (bar.bar, bar.judgement) == ("-", Judgement.NOT_JUDGED)
    assert not result(bar).missed


def test_a_result_survives_its_file() -> None:
    before = result(at_most("p99", 80.5, 50, "ms"), exactly("lost", None, 0, "µ$"))
    text = before.to_json()
    assert '"passed": false' in text
    assert BenchResult.from_json(text) == before


def test_its_file_is_whole_and_a_short_run_leaves_a_long_one_alone(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"
    long = write(result(at_most("p99", 5, 50, "ms")), out)
    short = write(result(smoke=True), out)
    assert sorted(p.name for p in out.iterdir()) == ["reports.json", "reports.smoke.json"]
    assert len(BenchResult.from_json(long.read_text()).measured.bars) == 1
    assert BenchResult.from_json(short.read_text()).smoke


def test_several_as_one_keep_their_names() -> None:
    part = Measured(bars=(at_most("p99", 1, 2, "ms"),), seeds=(7,), data={"n": 1})
    both = together({"a": part, "b": part})
    assert [bar.name for bar in both.bars] == ["a: p99", "b: p99"]
    assert (both.seeds, both.data) == ((7,), {"a": {"n": 1}, "b": {"n": 1}})


def test_the_table_shows_figure_bar_and_circumstances() -> None:
    shown_on = io.StringIO()
    bar = at_most("p99", 80.5, 50, "ms", "at 200")
    Console(width=160, file=shown_on).print(table(result(bar, smoke=True)))
    shown = shown_on.getvalue()
    for text in ("reports, short form", "80.5 ms", "≤ 50 ms", "missed", "at 200", "2026-11-24"):
        assert text in shown
    assert "load average before 0.25" in shown


def test_a_page_is_written_anew_and_keeps_what_people_wrote() -> None:
    first = page(result(at_most("a|b", 80.5, 50, "ms")))
    assert "| a\\|b | 80.5 ms | ≤ 50 ms | missed |  |" in first
    assert first == markdown(result(at_most("a|b", 80.5, 50, "ms")), "make bench-reports")
    again = page(result(at_most("p99", 9, 50, "ms")), first + "\n## Read so\nBy hand.\n")
    assert "80.5" not in again
    assert again.endswith("\n## Read so\nBy hand.\n")


def test_this_machine_is_known() -> None:
    machine = this_machine()
    assert machine.cores >= 1
    assert machine.memory_gib > 0
    assert machine.cpu
