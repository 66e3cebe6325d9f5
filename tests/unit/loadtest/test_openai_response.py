from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulators.openai_prices import assistant_audio_tokens, text_tokens
from loadtest.simulators.openai_response import within
from loadtest.simulators.script import Reply, ReplyKind


def reply(text: str, speech_ms: int) -> Reply:
    return Reply(kind=ReplyKind.QUESTION, text=text, speech_ms=speech_ms, ttfa_ms=0)


def test_without_a_limit_all_is_said() -> None:
    said = reply("How was it?", 2000)
    assert within(said, audio=True, max_tokens=None) == ("How was it?", 2000, True)
    assert within(said, audio=True, max_tokens=43) == ("How was it?", 2000, True)


def test_text_alone_has_no_audio() -> None:
    assert within(reply("How was it?", 2000), audio=False, max_tokens=3)[1:] == (0, True)


@given(
    length=st.integers(min_value=1, max_value=300),
    units=st.integers(min_value=1, max_value=300),
    limit=st.integers(min_value=1, max_value=200),
    audio=st.booleans(),
)
def test_a_limited_reply_keeps_to_its_limit(
    length: int, units: int, limit: int, audio: bool
) -> None:
    text, speech_ms, whole = within(reply("x" * length, units * 20), audio=audio, max_tokens=limit)
    used = text_tokens(text) + assistant_audio_tokens(speech_ms)
    assert used <= limit
    assert whole is (len(text) == length and speech_ms == (units * 20 if audio else 0))


@pytest.mark.parametrize("limit", [20, 40])
def test_a_limit_is_used_up(limit: int) -> None:
    text, speech_ms, whole = within(reply("x" * 160, 4000), audio=True, max_tokens=limit)
    assert not whole
    assert text_tokens(text) + assistant_audio_tokens(speech_ms) >= limit - 2
