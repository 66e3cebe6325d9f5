"""The command around a benchmark: its exit code, its file, its end by a signal."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import pytest
from rich.console import Console

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import BenchResult, Measured, at_most, exactly
from fleet.local.errors import LocalPartError


def run(measure: object, out: Path, *arguments: str) -> int:
    return bench_main("some", measure, about="", argv=["--out", str(out), *arguments])  # type: ignore[arg-type]


@pytest.mark.parametrize(("p99_ms", "code"), [(10.0, 0), (90.0, 1)])
def test_a_bar_that_falls_short_fails_the_process(
    tmp_path: Path, p99_ms: float, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(_: BenchOptions, __: Progress) -> Measured:
        return Measured(bars=(at_most("p99", p99_ms, 50, "ms"),))

    assert run(measure, tmp_path) == code
    written = BenchResult.from_json((tmp_path / "some.json").read_text())
    assert written.measured.bars[0].figure == p99_ms
    assert "≤ 50 ms" in capsys.readouterr().out


def test_options_reach_the_benchmark(tmp_path: Path) -> None:
    seen: list[BenchOptions] = []

    async def measure(options: BenchOptions, _: Progress) -> Measured:
        seen.append(options)
        return Measured(bars=())

    assert run(measure, tmp_path, "--smoke", "--seed", "3") == 0
    assert [(options.smoke, options.seed) for options in seen] == [(True, 3)]
    assert (tmp_path / "some.smoke.json").exists()


def test_what_there_is_so_far_is_kept_until_the_whole_is(tmp_path: Path) -> None:
    so_far = tmp_path / "some.so-far.json"

    async def lost(options: BenchOptions, _: Progress) -> Measured:
        options.keep(Measured(bars=(exactly("lost", 0, 0, ""),)))
        raise LocalPartError("the machine is full")

    assert run(lost, tmp_path) == 1
    assert json.loads(so_far.read_text())["measured"]["bars"][0]["name"] == "lost"

    async def whole(options: BenchOptions, _: Progress) -> Measured:
        options.keep(Measured(bars=()))
        assert so_far.exists()
        return Measured(bars=())

    assert run(whole, tmp_path) == 0
    assert not so_far.exists()


def test_a_part_that_does_not_start_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async def measure(_: BenchOptions, __: Progress) -> Measured:
        raise LocalPartError("redis is not here")

    assert run(measure, tmp_path) == 1
    assert "redis is not here" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_what_was_started_and_is_told_by_the_code(
    tmp_path: Path, number: signal.Signals
) -> None:
    ended: list[str] = []

    async def measure(_: BenchOptions, __: Progress) -> Measured:
        try:
            os.kill(os.getpid(), number)
            await asyncio.Event().wait()
        finally:
            os.kill(os.getpid(), number)  # an impatient second one does not stop the ending
            await asyncio.sleep(0.01)
            ended.append("all")
        raise AssertionError

    assert run(measure, tmp_path) == 130
    assert ended == ["all"]
    assert not list(tmp_path.iterdir())


def test_progress_where_nobody_sees_is_a_line_now_and_then(tmp_path: Path) -> None:
    now = 0.0
    with (tmp_path / "log").open("w+") as log:
        progress = Progress(Console(file=log), clock=lambda: now)
        with progress.steps("opening accounts", 30) as advance:
            for _ in range(30):
                now += 1.0
                advance(1)
        log.seek(0)
        assert log.read().splitlines() == [
            "opening accounts ...",
            "opening accounts: 15 of 30",
            "opening accounts: 30 of 30",
        ]
