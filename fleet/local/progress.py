"""Showing that something slow goes on, on standard error: a spinner, or lines where nobody sees."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

LINE_EVERY_S = 15.0


@contextmanager
def progress(what: str, console: Console | None = None) -> Iterator[None]:
    """Say `what` goes on, with the time so far, until the block ends; then how long it took."""
    console = console or Console(stderr=True)
    started = time.monotonic()
    with _spinner(what, console) if console.is_terminal else _lines(what, console):
        yield
    console.print(f"{what}: done in {time.monotonic() - started:.0f} s", highlight=False)


@contextmanager
def _spinner(what: str, console: Console) -> Iterator[None]:
    columns = SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn()
    with Progress(*columns, console=console, transient=True) as shown:
        shown.add_task(what, total=None)
        yield


@contextmanager
def _lines(what: str, console: Console) -> Iterator[None]:
    started, ended = time.monotonic(), threading.Event()

    def tell() -> None:
        while not ended.wait(LINE_EVERY_S):
            elapsed_s = time.monotonic() - started
            console.print(f"{what}: {elapsed_s:.0f} s so far", highlight=False)

    console.print(f"{what} ...", highlight=False)
    teller = threading.Thread(target=tell, name="progress", daemon=True)
    teller.start()
    try:
        yield
    finally:
        ended.set()
        teller.join()
