"""Who speaks: the order of the protocol, and every way to interrupt it."""

from __future__ import annotations

from loadtest.simulators.gemini.floor import Finish, Floor, Generate, Interrupt, Stage


def generating(*, interruptible: bool = True) -> Floor:
    floor = Floor(interruptible=interruptible)
    floor.activity_started()
    floor.activity_ended()
    return floor


def playing(*, interruptible: bool = True) -> Floor:
    floor = generating(interruptible=interruptible)
    floor.generation_ended()
    return floor


def calling(*ids: str) -> Floor:
    floor = generating()
    floor.generation_ended(ids)
    return floor


def test_a_turn_of_the_user_is_answered_and_finishes_after_playback() -> None:
    floor = Floor()
    assert floor.activity_started() == []
    assert floor.activity_ended() == [Generate()]
    assert floor.generation_ended() == []
    assert floor.stage is Stage.PLAYING
    assert floor.playback_ended() == [Finish()]
    assert floor.stage is Stage.IDLE


def test_speech_interrupts_a_generation() -> None:
    floor = generating()
    assert floor.activity_started() == [Interrupt()]
    assert floor.activity_ended() == [Generate()]


def test_speech_interrupts_what_is_still_playing() -> None:
    floor = playing()
    assert floor.activity_started() == [Interrupt()]
    assert floor.playback_ended() == []


def test_without_interruption_the_answer_waits_for_the_end_of_playback() -> None:
    floor = playing(interruptible=False)
    assert floor.activity_started() == []
    assert floor.activity_ended() == []
    assert floor.playback_ended() == [Finish(), Generate()]


def test_a_waiting_answer_waits_on_while_the_user_speaks_again() -> None:
    floor = playing(interruptible=False)
    floor.activity_started()
    floor.activity_ended()
    floor.activity_started()
    assert floor.playback_ended() == [Finish()]
    assert floor.activity_ended() == [Generate()]


def test_activity_taken_back_is_not_answered() -> None:
    floor = Floor()
    floor.activity_started()
    floor.activity_withdrawn()
    assert floor.stage is Stage.IDLE
    assert not floor.user_active


def test_a_complete_turn_of_content_is_answered_at_once() -> None:
    assert Floor().content_added(turn_complete=True) == [Generate()]
    assert generating().content_added(turn_complete=True) == [Interrupt(), Generate()]
    assert playing().content_added(turn_complete=True) == [Interrupt(), Generate()]


def test_incomplete_content_interrupts_a_generation_but_no_playback() -> None:
    assert Floor().content_added(turn_complete=False) == []
    assert generating().content_added(turn_complete=False) == [Interrupt()]
    assert playing().content_added(turn_complete=False) == []


def test_content_between_a_call_and_its_result_changes_nothing() -> None:
    floor = calling("a")
    assert floor.content_added(turn_complete=False) == []
    assert floor.results_added({"a"}) == [Generate()]


def test_the_turn_goes_on_when_every_result_is_in() -> None:
    floor = calling("a", "b")
    assert floor.known(["a", "x"]) == {"a"}
    assert floor.results_added({"a"}) == []
    assert floor.results_added({"b"}) == [Generate()]


def test_speech_during_a_call_cancels_it() -> None:
    floor = calling("b", "a")
    assert floor.activity_started() == [Interrupt(("a", "b"))]
    assert floor.results_added({"a", "b"}) == []
