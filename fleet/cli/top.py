"""``fleet top``: the fleet as it is, drawn anew every few seconds until q or Ctrl-C."""

from __future__ import annotations

import os
import select
import signal
import sys
import termios
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live

from fleet.cli.client import ApiClient, ApiProblem
from fleet.cli.top_rows import Json, Look, Order, micro_usd_an_hour
from fleet.cli.top_view import Manner, frame

PAGE = 200
MOST_SESSIONS = 2_000
SPAN_S = 60.0
"""The cost by the hour is that of the last so many seconds."""
WIDTH = 150
"""Where nobody looks at a terminal."""
TERMINATED = 128 + signal.SIGTERM

WaitForKey = Callable[[float], str]
"""For so many seconds at most; "" if none came."""


class Api(Protocol):
    url: str

    def get(self, path: str, params: dict[str, Any] | None = None) -> Any: ...


def run_top(api: str | None, *, once: bool, interval_s: float, order: Order) -> int:
    """With ``once``, or where no terminal is, one frame with every session. Raises ApiProblem if
    there is no API, or it refuses; one that is away for a moment later on is asked again."""
    console = Console() if Console().is_terminal else Console(width=WIDTH)
    with ApiClient.find(api) as client:
        first = take_look(client, time.time())
        if once or not console.is_terminal:
            console.print(frame(first, Manner(order=order)))
            return 0
        with suppress(KeyboardInterrupt), _keys() as wait:
            _Screen(client, console, interval_s).show(first, Manner(order=order), wait)
    return 0


def take_look(api: Api, at: float) -> Look:
    """Raises ApiProblem."""
    fleet, nodes = api.get("/v1/fleet"), api.get("/v1/nodes")
    found: dict[str, Json] = {}
    for session in _running(api, fleet["sessions"]):
        # One that moves on meanwhile is met again in its next state.
        found[session["session_id"]] = session
        if len(found) >= MOST_SESSIONS:
            break
    return Look(at=at, url=api.url, fleet=fleet, nodes=nodes, sessions=tuple(found.values()))


def _running(api: Api, counts: Json) -> Iterator[Json]:
    for state, count in counts.items():
        if count and state != "gone":
            yield from _pages(api, {"state": state, "live": True, "limit": PAGE})


def _pages(api: Api, asked: dict[str, Any]) -> Iterator[Json]:
    cursor: str | None = None
    while True:
        page = api.get("/v1/sessions", {**asked, "cursor": cursor} if cursor else asked)
        yield from page["sessions"]
        cursor = page["next_cursor"]
        if cursor is None:
            return


class _Screen:
    def __init__(self, api: ApiClient, console: Console, interval_s: float) -> None:
        self._api = api
        self._console = console
        self._interval_s = interval_s
        self._spent: deque[tuple[float, int]] = deque()

    def show(self, look: Look, manner: Manner, wait: WaitForKey) -> None:
        with Live(console=self._console, screen=True, auto_refresh=False) as live:
            while True:
                manner = replace(manner, an_hour_micro_usd=self._an_hour(look))
                key, manner = self._stay(live, look, manner, wait)
                if key == "q":
                    return
                look, manner = self._again(look, manner)

    def _stay(self, live: Live, look: Look, manner: Manner, wait: WaitForKey) -> tuple[str, Manner]:
        """The frame until the next is due. Keys act at once."""
        ends = time.monotonic() + self._interval_s
        while (left_s := ends - time.monotonic()) > 0:
            manner = replace(manner, lines=self._console.height)
            live.update(frame(look, manner), refresh=True)
            key = wait(left_s)
            if key == "q":
                return key, manner
            if key == "s":
                manner = replace(manner, order=manner.order.next)
        return "", manner

    def _again(self, look: Look, manner: Manner) -> tuple[Look, Manner]:
        try:
            return take_look(self._api, time.time()), replace(manner, problem=None)
        except ApiProblem as problem:
            if problem.status is not None and problem.status < 500:
                raise
            return look, replace(manner, problem=str(problem))

    def _an_hour(self, look: Look) -> int | None:
        self._spent.append((look.at, look.fleet["budget"]["spent_micro_usd"]))
        while self._spent[0][0] < look.at - SPAN_S:
            self._spent.popleft()
        return micro_usd_an_hour(tuple(self._spent))


@contextmanager
def _keys() -> Iterator[WaitForKey]:
    """Keys as they are pressed, unseen, for the length of the block; SIGTERM leaves it in order.
    Without a terminal to press them at there are none."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(TERMINATED))
    if not sys.stdin.isatty():
        yield _no_key
        return
    terminal = sys.stdin.fileno()
    before = termios.tcgetattr(terminal)
    tty.setcbreak(terminal)
    try:
        yield lambda seconds: _key(terminal, seconds)
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _key(terminal: int, seconds: float) -> str:
    ready, _, _ = select.select([terminal], [], [], seconds)
    if not ready:
        return ""
    # All that is there, as an arrow key comes as several bytes. Nothing at all: nobody is there.
    return os.read(terminal, 64).decode(errors="replace")[:1] or "q"


def _no_key(seconds: float) -> str:
    time.sleep(seconds)
    return ""
