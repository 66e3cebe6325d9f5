"""Showing how far a benchmark is, on standard error: a bar, or lines where nobody sees one."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
from rich.progress import Progress as RichProgress

LINE_EVERY_S = 15.0


class Progress:
    def __init__(
        self, console: Console | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._console = console or Console(stderr=True)
        self._clock = clock

    def tell(self, line: str) -> None:
        """What is being done now."""
        self._console.print(line, style="dim", highlight=False)

    @contextmanager
    def steps(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        """For long work: call what is yielded with the number of steps that are newly done."""
        with (
            self._bar(what, total) if self._console.is_terminal else self._lines(what, total)
        ) as advance:
            yield advance

    @contextmanager
    def _bar(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()
        with RichProgress(
            *columns, TimeElapsedColumn(), console=self._console, transient=True
        ) as shown:
            task = shown.add_task(what, total=total)
            yield lambda done: shown.advance(task, done)

    @contextmanager
    def _lines(self, what: str, total: int) -> Iterator[Callable[[int], None]]:
        done, told_at = 0, self._clock()
        self.tell(f"{what} ...")

        def advance(newly: int) -> None:
            nonlocal done, told_at
            done += newly
            if self._clock() - told_at >= LINE_EVERY_S:
                told_at = self._clock()
                self.tell(f"{what}: {done} of {total}")

        yield advance
