from __future__ import annotations

import array

from hypothesis import given
from hypothesis import strategies as st

from agent_actor.providers.uplink import (
    AROUND_MS,
    LEAD_MS,
    LOUD,
    MOST_MS,
    STALE_MS,
    Uplink,
    is_loud,
)

FRAME_MS = 50.0


def say(uplink: Uplink[int], *numbers: int, loud: bool = True) -> None:
    for number in numbers:
        uplink.put(number, FRAME_MS, loud=loud)


def sent(uplink: Uplink[int]) -> list[int]:
    found = []
    while uplink.next_ms is not None:
        found.append(uplink.next())
    return found


def frames(ms: float) -> range:
    return range(round(ms / FRAME_MS))


def test_what_is_not_answered_is_sent_again_from_its_beginning() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, 1, 2, 3)
    assert sent(uplink) == [1, 2, 3]
    say(uplink, 4, 5)
    assert uplink.again()
    assert sent(uplink) == [1, 2, 3, 4, 5]
    assert uplink.next_ms is None


def test_what_waits_for_a_connection_comes_after_what_is_sent_again() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, 1, 2, 3)
    assert uplink.next() == 1
    uplink.again()
    say(uplink, 4)
    assert sent(uplink) == [1, 2, 3, 4]


def test_an_answered_turn_is_not_sent_again() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, 1, 2, 3)
    sent(uplink)
    uplink.settle()
    assert not uplink.in_turn
    assert not uplink.again()
    assert sent(uplink) == []


def test_around_the_silence_that_ends_a_turn_nothing_is_to_be_held_back() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, *frames(500), loud=False)
    assert not uplink.may_end_turn(500), "nobody has said anything"
    say(uplink, *frames(200))
    near = []
    for _ in frames(1_000):
        say(uplink, 0, loud=False)
        near.append(uplink.may_end_turn(500))
    assert [ms for ms, is_near in zip(range(50, 1_050, 50), near, strict=True) if is_near] == list(
        range(500, 500 + round(AROUND_MS), 50)
    )


def test_a_turn_may_be_over_a_little_before_the_silence_is() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, *frames(1_000), loud=False)
    assert not uplink.turn_may_be_over(500), "nobody has said anything"
    say(uplink, *frames(200))
    say(uplink, *frames(500 - AROUND_MS - FRAME_MS), loud=False)
    assert not uplink.turn_may_be_over(500)
    say(uplink, 0, loud=False)
    assert uplink.turn_may_be_over(500)
    say(uplink, 0)
    assert not uplink.turn_may_be_over(500), "it goes on"


def test_a_turn_is_settled_only_up_to_its_mark() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, 1, 2, 3)
    sent(uplink)
    uplink.mark()
    say(uplink, 4, 5, 6)
    sent(uplink)
    uplink.settle()
    assert uplink.again()
    assert sent(uplink) == [4, 5, 6]


def test_of_silence_only_the_last_is_kept() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, *frames(3_000), loud=False)
    assert len(sent(uplink)) == len(frames(3_000))
    assert not uplink.again()
    assert len(sent(uplink)) == len(frames(LEAD_MS))


def test_a_click_is_no_turn() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, 1)
    say(uplink, 2, loud=False)
    sent(uplink)
    assert not uplink.in_turn


def test_what_nobody_answers_for_long_is_given_up() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, *frames(500))
    say(uplink, *frames(STALE_MS - 100), loud=False)
    sent(uplink)
    assert uplink.in_turn
    say(uplink, *frames(200), loud=False)
    sent(uplink)
    assert not uplink.in_turn


def test_the_oldest_goes_when_there_is_too_much() -> None:
    uplink: Uplink[int] = Uplink()
    say(uplink, *frames(MOST_MS + 1_000))
    kept = sent(uplink)
    assert len(kept) == len(frames(MOST_MS))
    assert kept[-1] == len(frames(MOST_MS + 1_000)) - 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("put"), st.booleans()),
            st.tuples(st.sampled_from(["next", "mark", "settle", "again"]), st.none()),
        ),
        max_size=200,
    )
)
def test_frames_are_sent_in_order_and_none_that_is_loud_is_skipped(steps: list) -> None:
    """On any one connection: consecutive numbers, but for silence that was let go in between."""
    uplink: Uplink[int] = Uplink()
    number, loud_by_number, on_this = 0, {}, []
    for step, loud in steps:
        if step == "put":
            number += 1
            loud_by_number[number] = loud
            uplink.put(number, FRAME_MS, loud=loud)
        elif step == "next" and uplink.next_ms is not None:
            on_this.append(uplink.next())
        elif step in ("mark", "settle"):
            getattr(uplink, step)()
        elif step == "again":
            uplink.again()
            on_this = []
        assert on_this == list(range(on_this[0], on_this[-1] + 1)) if on_this else True


def test_speech_is_told_from_silence_by_its_level() -> None:
    quiet = memoryview(array.array("h", [LOUD - 1, 1 - LOUD] * 100))
    assert not is_loud(quiet)
    assert is_loud(memoryview(array.array("h", [0] * 80 + [LOUD] * 80)))
    assert is_loud(memoryview(array.array("h", [-LOUD] * 80)))
    assert not is_loud(memoryview(array.array("h", [])))
