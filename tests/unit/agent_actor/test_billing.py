"""Whatever a usage leaves open is priced at the most it can be, and stated usage exactly."""

from __future__ import annotations

from datetime import date

from hypothesis import given
from hypothesis import strategies as st

from agent_actor.billing import ResponseUsage, settle
from agent_actor.messages import TokenCounts
from agent_actor.pricing import Rate
from agent_actor.rates import load_rates

BUNDLED = [rate for rows in load_rates().rates.values() for rate in rows]
REALTIME = load_rates().rate_for("openai_realtime", "gpt-realtime", date(2026, 11, 23))

counts = st.integers(0, 40_000)


@st.composite
def token_counts(draw: st.DrawFn) -> TokenCounts:
    text, audio = draw(counts), draw(counts)
    return TokenCounts(
        input_text=text,
        input_audio=audio,
        cached_text=draw(st.integers(0, text)),
        cached_audio=draw(st.integers(0, audio)),
        output_text=draw(counts),
        output_audio=draw(counts),
    )


def usage_of(t: TokenCounts) -> ResponseUsage:
    return ResponseUsage(
        input_tokens=t.input_total,
        output_tokens=t.output_total,
        input_text=t.input_text,
        input_audio=t.input_audio,
        cached_tokens=t.cached_text + t.cached_audio,
        cached_text=t.cached_text,
        cached_audio=t.cached_audio,
        output_text=t.output_text,
        output_audio=t.output_audio,
    )


@given(token_counts(), st.sampled_from(BUNDLED))
def test_a_complete_usage_is_priced_exactly(tokens: TokenCounts, rate: Rate) -> None:
    billed = settle(usage_of(tokens), rate)
    assert billed.tokens == tokens
    assert billed.pico == rate.price(tokens)
    assert not billed.bounded


@given(
    token_counts(),
    st.sampled_from(BUNDLED),
    st.sets(
        st.sampled_from(
            ["input_text", "input_audio", "cached", "cached_text", "output_text", "output_audio"]
        )
    ),
)
def test_hiding_any_detail_never_makes_it_cheaper(
    tokens: TokenCounts, rate: Rate, hidden: set[str]
) -> None:
    full = usage_of(tokens)
    shown = {**full.__dict__}
    for name in hidden:
        for field in ["cached_text", "cached_audio"] if name == "cached" else [name]:
            shown[field] = None
    billed = settle(ResponseUsage(**shown), rate)
    assert billed.pico >= rate.price(tokens)
    assert billed.tokens.input_total == tokens.input_total
    assert billed.tokens.output_total == tokens.output_total


@given(st.integers(0, 60), st.integers(0, 60), st.data(), st.sampled_from(BUNDLED))
def test_cached_tokens_of_no_stated_kind_are_split_at_the_highest_price(
    text: int, audio: int, data: st.DataObject, rate: Rate
) -> None:
    cached = data.draw(st.integers(0, text + audio))
    dearest = max(
        rate.price(
            TokenCounts(input_text=text, input_audio=audio, cached_text=c, cached_audio=cached - c)
        )
        for c in range(max(0, cached - audio), min(text, cached) + 1)
    )
    usage = ResponseUsage(
        input_tokens=text + audio, input_text=text, input_audio=audio, cached_tokens=cached
    )
    assert settle(usage, rate).pico == dearest


def test_a_real_usage_block() -> None:
    """Published in OpenAI's developer community (topic 1060242)."""
    usage = ResponseUsage(
        input_tokens=789,
        output_tokens=32,
        input_text=313,
        input_audio=476,
        cached_tokens=640,
        cached_text=256,
        cached_audio=384,
        output_text=9,
        output_audio=23,
    )
    micro = 57 * 4 + 92 * 32 + 9 * 16 + 23 * 64 + (640 * 4) / 10
    assert settle(usage, REALTIME).pico == micro * 1_000_000


def test_details_beyond_the_total_are_billed() -> None:
    usage = ResponseUsage(input_tokens=10, input_text=10, input_audio=5)
    assert settle(usage, REALTIME).tokens.input_total == 15


def test_no_more_cached_than_stated_in_total() -> None:
    usage = ResponseUsage(
        input_tokens=200,
        input_text=100,
        input_audio=100,
        cached_tokens=50,
        cached_text=50,
        cached_audio=50,
    )
    billed = settle(usage, REALTIME)
    assert billed.tokens.cached_text + billed.tokens.cached_audio == 50
    assert billed.tokens.cached_text == 50  # the smaller discount


def test_images_have_their_own_price() -> None:
    usage = ResponseUsage(input_tokens=300, input_text=0, input_audio=0, input_image=300)
    billed = settle(usage, REALTIME)
    assert billed.input_image == 300
    assert billed.pico == 300 * 5_000_000
