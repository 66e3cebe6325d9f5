"""What a participant says on its way to a provider, kept until it is answered. Pure.

A connection that is lost takes with it what the provider had heard of a turn and not yet
answered. So that is kept, and sent again on the next connection: the provider then hears the turn
from its beginning. Silence between turns is not kept: only the last ``LEAD_MS`` of it, in which
the next turn may have begun.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Generic, TypeVar

LEAD_MS = 500.0
SPEECH_MS = 100.0
"""Less sound than that is a click, and no turn."""
STALE_MS = 20_000.0
"""So long after the last sound, what was said and got no answer is not going to get one."""
MOST_MS = 60_000.0
AROUND_MS = 150.0
"""A provider does not hear a silence begin when we do, nor to the millisecond."""
LOUD = 600
"""Of 32767: a soft voice peaks at 1000 and more, a quiet room below 300."""
_STEP = 8
"""Every so many-th sample is enough to tell speech from silence."""

Frame = TypeVar("Frame")


def is_loud(samples: memoryview) -> bool:
    """Of 16 bit samples."""
    some = samples[::_STEP].tolist()
    return bool(some) and (max(some) >= LOUD or min(some) <= -LOUD)


@dataclass
class _Heard(Generic[Frame]):
    frame: Frame
    ms: float
    loud: bool
    number: int


class Uplink(Generic[Frame]):
    """``put`` what is heard, ``next`` what is to be sent; ``again`` when a new connection is up.

    ``mark`` where the provider has taken a turn, ``settle`` once it will not be lost any more:
    when it is being answered, or is known as text.
    """

    def __init__(self) -> None:
        self._sent: deque[_Heard[Frame]] = deque()
        self._waiting: deque[_Heard[Frame]] = deque()
        self._marks: deque[int] = deque()
        self._number = 0
        self._loud_ms = 0.0
        self._kept_ms = 0.0
        self.quiet_ms = 0.0
        """Since the last sound."""

    @property
    def in_turn(self) -> bool:
        """Something was said that is not settled."""
        return self._loud_ms >= SPEECH_MS

    @property
    def next_ms(self) -> float | None:
        """How long the frame is that is to be sent next; None: there is none."""
        return self._waiting[0].ms if self._waiting else None

    def may_end_turn(self, silence_ms: float) -> bool:
        """Whether the silence is now about as long as the one by which the provider ends a turn:
        what of it is held back, the participant waits for."""
        return self.in_turn and silence_ms <= self.quiet_ms < silence_ms + AROUND_MS

    def turn_may_be_over(self, silence_ms: float) -> bool:
        """Whether the provider may take what was said, and is not settled, for a whole turn."""
        return self.in_turn and self.quiet_ms >= silence_ms - AROUND_MS

    def put(self, frame: Frame, ms: float, *, loud: bool) -> None:
        self._number += 1
        self._waiting.append(_Heard(frame, ms, loud, self._number))
        self._kept_ms += ms
        if loud:
            self._loud_ms += ms
            self.quiet_ms = 0.0
        else:
            self.quiet_ms += ms
        while self._kept_ms > MOST_MS:
            self._drop(self._sent or self._waiting)

    def next(self) -> Frame:
        """Raises IndexError when nothing waits."""
        heard = self._waiting.popleft()
        self._sent.append(heard)
        self._trim()
        return heard.frame

    def mark(self) -> None:
        """The provider has taken what was sent so far for a turn."""
        self._marks.append(self._sent[-1].number if self._sent else 0)

    def settle(self) -> None:
        """The turn that was marked first is safe; without a mark, all that was sent."""
        upto = self._marks.popleft() if self._marks else self._number
        while self._sent and self._sent[0].number <= upto:
            self._drop(self._sent)

    def again(self) -> bool:
        """All that is not settled is to be sent again. Whether a turn is in it."""
        self._marks.clear()
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()
        return self.in_turn

    def _trim(self) -> None:
        if self.in_turn and self.quiet_ms >= STALE_MS:
            self._marks.clear()
            while self._sent:
                self._drop(self._sent)
        while not self.in_turn and self._sent and self._kept_ms > LEAD_MS:
            self._drop(self._sent)

    def _drop(self, frames: deque[_Heard[Frame]]) -> None:
        gone = frames.popleft()
        self._kept_ms -= gone.ms
        self._loud_ms -= gone.ms if gone.loud else 0.0
