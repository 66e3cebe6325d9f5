"""Sends a reel's frames at the pace of speech, from a thread of its own.

Not from the event loop: that may be held up for longer than a listener's jitter buffer covers, and
a sentence would be heard in bits. A thread needs the interpreter for a moment every 20 ms only, and
when it was held up itself it sends what is missing at once, so that the track's clock, which is
counted in frames, stays with the wall's.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Protocol

import structlog

from agent_actor.reel import BEAT_S, Beats, Reel, Rest, Send, Step, Told, Wait

STOPPED_S = 2.0

log = structlog.get_logger(__name__)


class Line(Protocol):
    """Where frames go. Called by the thread alone."""

    def send(self, pcm: bytes) -> None:
        """One frame of FRAME_S, 16 bit mono, in order, at the time it is to be played."""

    def rest(self) -> None:
        """Nothing will be sent for a while. May take a moment."""


class Pacer:
    """Owns the thread and the reel's lock. ``told`` gets what the reel has to tell, in order, from
    the thread or from whoever is ``holding`` the reel, and is to return at once."""

    def __init__(self, reel: Reel, line: Line, told: Callable[[list[Told]], None]) -> None:
        self._reel = reel
        self._beats = Beats(reel)
        self._line = line
        self._told = told
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="interviewer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @contextmanager
    def holding(self) -> Iterator[Reel]:
        """The reel, for a moment. What was changed about it is seen at once."""
        with self._changed:
            yield self._reel
            self._tell()
            self._changed.notify()

    def stop(self) -> None:
        """Blocks for a beat or two. Nothing is sent any more. Idempotent."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join(STOPPED_S)

    def _run(self) -> None:
        while True:
            with self._changed:
                if self._stopping:
                    return
                step = self._beats.step(time.monotonic(), time.time())
                self._tell()
                if isinstance(step, Wait):
                    self._changed.wait(_left_s(step.until))
                    continue
            try:
                self._take(step)
            except Exception as error:
                log.warning("interviewer not sent", error_type=type(error).__name__)
                time.sleep(BEAT_S)

    def _tell(self) -> None:
        if told := self._reel.take_told():
            self._told(told)

    def _take(self, step: Step) -> None:
        match step:
            case Send(frames=frames, due=due):
                for pcm in frames:
                    self._line.send(pcm or self._reel.silence)
                time.sleep(max(0.0, due - time.monotonic()))
            case Rest():
                self._line.rest()


def _left_s(until: float | None) -> float | None:
    return None if until is None else max(0.0, until - time.monotonic())
