"""Speech is sent at its own pace and told of, and nothing is sent when nobody speaks."""

from __future__ import annotations

from collections.abc import Callable

from agent_actor.reel import (
    BEAT_S,
    CUSHION_S,
    FRAME_S,
    LATE_S,
    TAIL_S,
    Beats,
    Over,
    Played,
    Reel,
    Rest,
    Send,
    Started,
    Wait,
)

RATE = 24_000


class Stage:
    """A reel and its beats on a clock of their own."""

    def __init__(self) -> None:
        self.reel = Reel(sample_rate=RATE)
        self.beats = Beats(self.reel)
        self.now = 0.0
        self.sent: list[tuple[float, bytes | None]] = []
        self.rests: list[float] = []
        self.told: list[object] = []
        self._next = 0.0
        """When the sender looks again; infinity: when something changes."""

    def say(self, seconds: float) -> None:
        self.reel.put(b"\1\1" * round(RATE * seconds), self.now)
        self.look()

    def do(self, work: Callable[[Reel], object]) -> None:
        work(self.reel)
        self.told += self.reel.take_told()
        self.look()

    def look(self) -> None:
        """What a change of the reel does: whoever waits looks at once."""
        self._next = self.now if self._next > self.now + BEAT_S else self._next

    def go_on(self, seconds: float, *, held_up_s: float = 0.0) -> None:
        """``held_up_s``: so long the sender does not get to look at first."""
        until = self.now + seconds
        self._next = max(self._next, self.now + held_up_s)
        while self._next <= until:
            self.now = max(self.now, self._next)
            self._step()
        self.now = until

    def _step(self) -> None:
        step = self.beats.step(self.now, 1000.0 + self.now)
        self.told += self.reel.take_told()
        match step:
            case Send(frames=frames, due=due):
                self.sent += [(self.now, pcm) for pcm in frames]
                self._next = max(due, self.now)
            case Rest():
                self.rests.append(round(self.now, 3))
            case Wait(until=until):
                self._next = float("inf") if until is None else max(until, self.now)

    def sound(self) -> list[float]:
        return [round(at, 3) for at, pcm in self.sent if pcm is not None]

    def kinds(self) -> list[str]:
        return [type(each).__name__ for each in self.told]


def test_speech_goes_at_its_own_pace_and_is_told_of() -> None:
    on = Stage()
    on.say(1.0)
    on.do(Reel.complete)
    on.go_on(3)
    # Two frames a beat, and none ahead of its time.
    assert len(on.sound()) == 100
    assert on.sound()[::2] == [round(n * BEAT_S, 3) for n in range(50)]
    assert on.told == [
        Started(at=1000.0),
        Played(at=1000.0, offset_s=0.0, duration_s=1.0),
        Over(played_s=1.0, captured_s=1.0, interrupted=False),
    ]


def test_nothing_is_sent_while_nobody_speaks() -> None:
    on = Stage()
    on.go_on(60)
    assert on.sent == []
    on.say(0.5)
    on.do(Reel.complete)
    on.go_on(60)
    assert len(on.sent) == round((0.5 + TAIL_S) / FRAME_S)
    # The listener's clock is put right once, after the tail.
    assert on.rests == [round(60 + 0.5 + TAIL_S, 3)]


def test_an_interruption_is_over_at_once_and_told_to_the_beat() -> None:
    on = Stage()
    on.say(5.0)
    on.do(Reel.complete)
    on.go_on(1.0)
    on.do(Reel.clear)
    over = on.told[-1]
    assert isinstance(over, Over)
    assert over.interrupted
    assert abs(over.played_s - 1.0) <= BEAT_S
    on.go_on(1.0)
    assert max(on.sound()) <= 1.0


def test_clearing_says_whether_more_of_the_segment_is_to_come() -> None:
    on = Stage()
    assert not on.reel.clear()
    on.say(0.5)
    assert on.reel.clear()
    on.say(0.5)
    on.do(Reel.complete)
    assert not on.reel.clear()


def test_a_pause_loses_nothing() -> None:
    on = Stage()
    on.say(1.0)
    on.do(Reel.complete)
    on.go_on(0.399)
    on.do(Reel.pause)
    on.go_on(5)
    assert len(on.sound()) == 40
    assert len(on.rests) == 1
    on.do(Reel.resume)
    on.go_on(3)
    assert len(on.sound()) == 100
    assert on.kinds() == ["Started", "Played", "Played", "Over"]
    assert on.told[-1] == Over(played_s=1.0, captured_s=1.0, interrupted=False)


def test_late_chunks_go_on_with_a_cushion_not_in_bits() -> None:
    on = Stage()
    on.say(0.1)
    on.go_on(0.3)
    assert len(on.sound()) == 10
    on.say(CUSHION_S - 0.02)
    on.go_on(CUSHION_S / 2)
    assert len(on.sound()) == 10
    on.say(0.02)
    on.go_on(0.2)
    assert len(on.sound()) == 16
    # The last word needs no cushion.
    on.say(0.015)
    on.do(Reel.complete)
    on.go_on(1)
    assert on.told[-1] == Over(played_s=0.175, captured_s=0.175, interrupted=False)
    assert on.kinds() == ["Started", "Played", "Played", "Played", "Over"]


def test_the_last_bit_does_not_wait_for_the_segments_end() -> None:
    on = Stage()
    on.say(0.1)
    on.go_on(0.3)
    came = on.now
    # Too little for a cushion, and not a whole number of frames.
    on.say(0.035)
    on.go_on(5)
    last = on.sound()[10:]
    assert len(last) == 4
    assert last[-1] - came <= CUSHION_S + 2 * BEAT_S
    on.do(Reel.complete)
    on.go_on(1)
    assert len(on.sound()) == 14
    assert on.told[-1] == Over(played_s=0.135, captured_s=0.135, interrupted=False)


def test_a_bit_that_comes_after_a_long_silence_is_heard_too() -> None:
    on = Stage()
    on.say(0.1)
    on.go_on(TAIL_S + 5)
    on.say(0.02)
    on.go_on(CUSHION_S + BEAT_S)
    assert len(on.sound()) == 12


def test_a_segments_end_long_after_its_last_sound() -> None:
    on = Stage()
    on.say(0.1)
    on.go_on(TAIL_S + 5)
    on.do(Reel.complete)
    on.go_on(1)
    assert on.kinds()[-1] == "Over"


def test_what_a_sender_that_was_held_up_owes_is_sent_at_once() -> None:
    """The track's clock is counted in frames: one that fell behind would delay all that follows."""
    on = Stage()
    on.say(2.0)
    on.do(Reel.complete)
    on.go_on(0.5)
    on.go_on(1.5, held_up_s=0.3)
    sound = on.sound()
    assert len(sound) == 200
    assert [at for at in sound if at < 0.5][-1] < 0.5
    late = [at for at in sound if abs(at - 0.8) < 0.001]
    assert len(late) == 32
    assert sound[-1] < 2.0


def test_one_that_was_held_up_for_long_goes_on_from_there() -> None:
    on = Stage()
    on.say(1.0)
    on.do(Reel.complete)
    on.go_on(0.5)
    on.go_on(4, held_up_s=LATE_S + 0.5)
    after = [at for at in on.sound() if at > 0.5]
    assert after[0] == round(0.5 + LATE_S + 0.5, 3)
    assert min(b - a for a, b in zip(after[::2], after[2::2], strict=False)) >= BEAT_S - 0.001
