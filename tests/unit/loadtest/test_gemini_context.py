"""Token counts, and the sliding window."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulators.gemini.context import (
    ContextWindow,
    Role,
    Tokens,
    audio_tokens,
    text_tokens,
)
from loadtest.simulators.gemini.setup import Compression


def window(*tokens: int, preamble: int = 10) -> ContextWindow:
    """Turns of the user and the model by turns, beginning with the user."""
    built = ContextWindow(preamble=Tokens(text=preamble))
    for index, count in enumerate(tokens):
        built = built.add(Role.MODEL if index % 2 else Role.USER, Tokens(audio=count))
    return built


def test_audio_is_25_tokens_a_second_and_begun_tokens_count() -> None:
    assert audio_tokens(60_000) == Tokens(audio=1_500)
    assert audio_tokens(41) == Tokens(audio=2)
    assert audio_tokens(0) == Tokens()


def test_text_is_four_characters_a_token() -> None:
    assert [text_tokens("x" * n).text for n in (0, 1, 4, 5)] == [0, 1, 1, 2]


def test_the_whole_window_counts() -> None:
    assert window(5, 7).tokens == Tokens(text=10, audio=12)


def test_empty_entries_are_not_kept() -> None:
    assert window(0, 0).entries == ()


def test_no_compression_without_a_setting_or_below_the_trigger() -> None:
    full = window(50, 50)
    assert full.compressed(None) is full
    assert full.compressed(Compression(trigger=110, target=20)) is full


def test_compression_cuts_oldest_first_at_a_users_turn() -> None:
    cut = window(50, 50, 30, 20, 5).compressed(Compression(trigger=100, target=70))
    assert cut == window(30, 20, 5)


def test_the_newest_turn_of_the_user_stays() -> None:
    cut = window(50, 50, 300).compressed(Compression(trigger=100, target=20))
    assert cut == window(300)


@given(
    st.lists(st.integers(1, 500), max_size=30),
    st.integers(20, 1_000),
    st.integers(1, 19),
)
def test_compression_keeps_a_suffix_that_begins_with_the_user(
    counts: list[int], trigger: int, target: int
) -> None:
    full = window(*counts)
    cut = full.compressed(Compression(trigger=trigger, target=target))
    assert full.entries[len(full.entries) - len(cut.entries) :] == cut.entries
    assert cut.preamble == full.preamble
    assert not cut.entries or cut.entries[0].role is Role.USER
