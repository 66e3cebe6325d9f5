"""What of the interviewer's words is to be sent when, and what was played of them. Pure.

A segment is what is put until ``complete``. Frames leave one after the other; ``told`` says, in
order, when a segment's first sound left, each stretch that left without a break, and once how it
ended. ``Beats`` says when. Not for several threads: see ``agent_actor.pacer``.
"""

from __future__ import annotations

from dataclasses import dataclass

FRAME_S = 0.01
FRAMES_A_BEAT = 2
BEAT_S = FRAME_S * FRAMES_A_BEAT
"""As long as a packet: one leaves at each beat."""
TAIL_S = 0.6
"""Of silence after the last sound: the codec ends it, and short breaks between sentences need no
``rest``."""
LATE_S = 1.0
"""A process this late goes on from there instead of sending what nobody would hear any more."""
CUSHION_S = 0.06
"""Gathered before going on when the audio had run out in mid-segment, or late chunks would be
heard as a stutter; for no longer than this, as it may be all that comes until the segment's end.
Not at the beginning: there it would only delay."""


@dataclass(frozen=True, kw_only=True)
class Started:
    at: float


@dataclass(frozen=True, kw_only=True)
class Played:
    """A stretch, and where in the segment it lies."""

    at: float
    offset_s: float
    duration_s: float


@dataclass(frozen=True, kw_only=True)
class Over:
    """``played_s`` of ``captured_s``."""

    played_s: float
    captured_s: float
    interrupted: bool


Told = Started | Played | Over


class Reel:
    """Times are the caller's: ``now`` for waiting, ``wall`` for what is told."""

    def __init__(self, *, sample_rate: int) -> None:
        self._bytes_a_s = 2 * sample_rate
        self._frame_bytes = 2 * round(sample_rate * FRAME_S)
        self.silence = bytes(self._frame_bytes)
        """A frame of it."""
        self._paused = False
        self._told: list[Told] = []
        self._begin()

    def _begin(self) -> None:
        self._waiting = bytearray()
        self._captured = 0
        self._sent = 0
        self._complete = False
        self._started = False
        self._dry = False
        """Ran out in mid-segment, and is gathering its cushion."""
        self._gathered_by: float | None = None
        """When it has been gathering for long enough."""
        self._run_from = 0
        self._run_began_at: float | None = None

    # --- whoever speaks

    def put(self, pcm: bytes | memoryview, now: float) -> None:
        self._waiting += pcm
        self._captured += len(pcm)
        if self._dry and self._gathered_by is None:
            self._gathered_by = now + CUSHION_S

    def complete(self) -> bool:
        """Nothing more comes of this segment. Whether there is one."""
        self._complete = self._captured > 0
        return self._complete

    def clear(self) -> bool:
        """Cut the segment short. Whether it was still to be captured in part."""
        if not self._captured:
            return False
        more = not self._complete
        self._finish(interrupted=True)
        return more

    def pause(self) -> None:
        self._paused = True
        self._end_run()

    def resume(self) -> None:
        self._paused = False

    def take_told(self) -> list[Told]:
        told, self._told = self._told, []
        return told

    # --- whoever sends

    def frame(self, now: float, wall: float) -> bytes | None:
        """The next one; None: silence."""
        if not self.playable(now):
            return None
        pcm = bytes(self._waiting[: self._frame_bytes])
        del self._waiting[: self._frame_bytes]
        self._note_sent(len(pcm), wall)
        return pcm.ljust(self._frame_bytes, b"\0")

    def playable(self, now: float) -> bool:
        """A frame can be sent now; also notes when the audio has run out."""
        if self._paused or not self._waiting:
            self._run_out()
            return False
        if self._complete or not self._held_back(now):
            self._dry, self._gathered_by = False, None
            return True
        return False

    def playable_at(self) -> float | None:
        """When what waits may go without more coming, if it may not now."""
        return None if self._paused else self._gathered_by

    def end_if_played(self) -> None:
        if self._complete and not self._waiting:
            self._finish(interrupted=False)

    # --- inside

    def _held_back(self, now: float) -> bool:
        """Whether what waits is to wait for more."""
        if not self._dry:
            return not self._started and len(self._waiting) < self._frame_bytes
        gathered = len(self._waiting) >= CUSHION_S * self._bytes_a_s
        long_enough = self._gathered_by is not None and now >= self._gathered_by
        return not (gathered or long_enough)

    def _run_out(self) -> None:
        if self._started and not self._paused and not self._complete:
            self._dry = True
            self._end_run()

    def _note_sent(self, count: int, wall: float) -> None:
        if not self._started:
            self._started = True
            self._told.append(Started(at=wall))
        if self._run_began_at is None:
            self._run_from, self._run_began_at = self._sent, wall
        self._sent += count

    def _end_run(self) -> None:
        began_at, self._run_began_at = self._run_began_at, None
        if began_at is not None:
            self._told.append(
                Played(
                    at=began_at,
                    offset_s=self._run_from / self._bytes_a_s,
                    duration_s=(self._sent - self._run_from) / self._bytes_a_s,
                )
            )

    def _finish(self, *, interrupted: bool) -> None:
        self._end_run()
        self._told.append(
            Over(
                played_s=self._sent / self._bytes_a_s,
                captured_s=self._captured / self._bytes_a_s,
                interrupted=interrupted,
            )
        )
        self._begin()


@dataclass(frozen=True, kw_only=True)
class Wait:
    """Nothing is to be sent before something changes, or before ``until``."""

    until: float | None


@dataclass(frozen=True, kw_only=True)
class Send:
    """These frames now (None: silence), and the next step at ``due``."""

    frames: tuple[bytes | None, ...]
    due: float


@dataclass(frozen=True, kw_only=True)
class Rest:
    """Nothing will be sent for a while."""


Step = Wait | Send | Rest


class Beats:
    """What is to be done when. Pure."""

    def __init__(self, reel: Reel) -> None:
        self._reel = reel
        self._due: float | None = None
        """Of the next beat, while there is speech or its tail."""
        self._quiet_s = 0.0

    def step(self, now: float, wall: float) -> Step:
        reel = self._reel
        reel.end_if_played()
        if self._due is None:
            if not reel.playable(now):
                return Wait(until=reel.playable_at())
            self._due, self._quiet_s = now, 0.0
        elif self._quiet_s >= TAIL_S:
            self._due = None
            return Rest()
        if now - self._due > LATE_S:
            self._due = now
        frames = tuple(reel.frame(now, wall) for _ in range(FRAMES_A_BEAT))
        self._quiet_s = 0.0 if any(frames) else self._quiet_s + BEAT_S
        self._due += BEAT_S
        return Send(frames=frames, due=self._due)
