"""Whose turn it is in a Gemini Live session; pure: events in, commands out.

The order the real server keeps: a generation ends with generationComplete; its turn ends with
turnComplete only when the client must have played the speech out. What the client says in
between, or earlier, interrupts (interrupted, then turnComplete), unless the session asked for
NO_INTERRUPTION. A function call holds the turn until its results are in.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum, auto


class Stage(Enum):
    IDLE = auto()
    GENERATING = auto()
    CALLING = auto()
    """The generation ended in function calls whose results are awaited."""
    PLAYING = auto()
    """All speech is sent, and by the clock the client still plays it."""


@dataclass(frozen=True, slots=True)
class Interrupt:
    """Cut the turn short; `cancelled` calls are to be announced first."""

    cancelled: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Generate:
    """Start a generation on the context as it is."""


@dataclass(frozen=True, slots=True)
class Finish:
    """The turn is over in the ordinary way."""


Command = Interrupt | Generate | Finish


class Floor:
    """One session's turn taking. Every command is to be executed before the next event."""

    def __init__(self, *, interruptible: bool = True) -> None:
        self.interruptible = interruptible
        self.stage = Stage.IDLE
        self.user_active = False
        self._calls: set[str] = set()
        self._answer_due = False

    def activity_started(self) -> list[Command]:
        """The user began to speak, by the server's ears or the client's signal."""
        self.user_active = True
        if self.stage is Stage.IDLE or not self.interruptible:
            return []
        return [self._cut()]

    def activity_ended(self) -> list[Command]:
        """The user's turn is complete and in the context."""
        self.user_active = False
        return self._answer()

    def activity_withdrawn(self) -> None:
        """The user's activity held nothing to answer."""
        self.user_active = False

    def content_added(self, *, turn_complete: bool) -> list[Command]:
        """clientContent always interrupts a generation; only a complete turn is answered.

        While calls are pending an incomplete turn changes nothing: clients add context between
        a call and its result.
        """
        commands: list[Command] = []
        generating = self.stage is Stage.GENERATING
        if generating or (turn_complete and self.stage is not Stage.IDLE):
            commands.append(self._cut())
        return commands + self._answer() if turn_complete else commands

    def known(self, call_ids: Iterable[str]) -> set[str]:
        """Those of the ids whose results are awaited."""
        return self._calls.intersection(call_ids)

    def results_added(self, call_ids: Iterable[str]) -> list[Command]:
        """Function results; the turn goes on when no call is left without one."""
        if self.stage is not Stage.CALLING:
            return []
        self._calls.difference_update(call_ids)
        if self._calls:
            return []
        self.stage = Stage.GENERATING
        return [Generate()]

    def generation_ended(self, call_ids: Iterable[str] = ()) -> list[Command]:
        """All of it is sent; with calls the turn goes on once their results are in."""
        self._calls = set(call_ids)
        self.stage = Stage.CALLING if self._calls else Stage.PLAYING
        return []

    def playback_ended(self) -> list[Command]:
        """By the clock the client has played everything."""
        if self.stage is not Stage.PLAYING:
            return []
        self.stage = Stage.IDLE
        due, self._answer_due = self._answer_due, False
        return [Finish(), *(self._answer() if due and not self.user_active else [])]

    def _answer(self) -> list[Command]:
        if self.stage is not Stage.IDLE:
            self._answer_due = True
            return []
        self._answer_due = False
        self.stage = Stage.GENERATING
        return [Generate()]

    def _cut(self) -> Interrupt:
        cancelled = tuple(sorted(self._calls)) if self.stage is Stage.CALLING else ()
        self._calls = set()
        self._answer_due = False
        self.stage = Stage.IDLE
        return Interrupt(cancelled)
