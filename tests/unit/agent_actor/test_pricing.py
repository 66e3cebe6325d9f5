"""Prices are exact, dated and never guessed."""

from __future__ import annotations

import pickle
from datetime import date
from decimal import Decimal
from pathlib import Path

import pytest

from agent_actor.errors import ModelRetired, ModelUnpriced
from agent_actor.messages import TokenCounts, to_micro_usd
from agent_actor.pricing import RatesInvalid, RateTable, pico_per_token
from agent_actor.rates import UnpricedModels, load_rates

TODAY = date(2026, 11, 23)
ROW = """
[[rate]]
provider = "p"
model = "m-1"
since = {since}
source = "a list, read 2026-01-01"
text_in = "{text_in}"
text_out = "16"
audio_in = "32"
audio_out = "64"
context_tokens = 1000
max_output_tokens = 100
user_audio_tokens_per_s = 10
agent_audio_tokens_per_s = 20
"""


def row(*, since: str = "2026-01-01", text_in: str = "4") -> str:
    return ROW.format(since=since, text_in=text_in)


def test_a_response_is_priced_by_hand_calculation() -> None:
    rate = load_rates().rate_for("openai_realtime", "gpt-realtime", TODAY)
    tokens = TokenCounts(
        input_text=1000,
        input_audio=2000,
        cached_text=640,
        cached_audio=1280,
        output_text=50,
        output_audio=300,
    )
    usd = (
        Decimal(360) * 4
        + Decimal(640) * Decimal("0.40")
        + Decimal(720) * 32
        + Decimal(1280) * Decimal("0.40")
        + Decimal(50) * 16
        + Decimal(300) * 64
    ) / 1_000_000
    assert Decimal(rate.price(tokens)) / 10**12 == usd
    assert to_micro_usd(rate.price(tokens)) == 45_248


def test_preview_audio_costs_what_the_list_of_its_time_says() -> None:
    rate = load_rates().rate_for("openai_realtime", "gpt-4o-realtime-preview", date(2026, 2, 1))
    assert rate.model == "gpt-4o-realtime-preview-2025-06-03"
    assert rate.price(TokenCounts(input_audio=1_000_000)) == 40 * 10**12
    assert rate.price(TokenCounts(output_audio=1_000_000)) == 80 * 10**12
    assert rate.price(TokenCounts(input_audio=1_000_000, cached_audio=1_000_000)) == 25 * 10**11


def test_a_retired_model_is_refused_by_name_of_its_successor() -> None:
    with pytest.raises(ModelRetired, match="use gpt-realtime$") as caught:
        load_rates().rate_for("openai_realtime", "gpt-4o-realtime-preview", TODAY)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


def test_an_alias_stands_in_for_a_retired_model() -> None:
    table = load_rates(aliases={"gpt-4o-realtime-preview": "gpt-realtime"})
    rate = table.rate_for("openai_realtime", "gpt-4o-realtime-preview", TODAY)
    assert rate.model == "gpt-realtime-2025-08-28"


@pytest.mark.parametrize("model", ["gpt-realtime-2025-08-29", "gpt-realtim", "gemini-3.8-live"])
def test_a_name_that_is_only_similar_has_no_rate(model: str) -> None:
    with pytest.raises(ModelUnpriced, match=model):
        load_rates().rate_for("openai_realtime", model, TODAY)


def test_told_so_a_model_without_a_rate_is_charged_the_dearest_of_its_provider() -> None:
    table = load_rates(unpriced=UnpricedModels.UPPER_BOUND)
    rate = table.rate_for("openai_realtime", "gpt-realtime-9", TODAY)
    assert (rate.model, rate.bound) == ("gpt-realtime-9", True)
    everything = TokenCounts(
        input_text=9, cached_text=3, input_audio=8, cached_audio=2, output_text=5, output_audio=7
    )
    rows = [r for (p, _), rows in table.rates.items() if p == "openai_realtime" for r in rows]
    in_force = [row for row in rows if row.since <= TODAY]
    assert all(rate.price(everything) >= row.price(everything) for row in in_force)
    assert rate.max_output_tokens == max(row.max_output_tokens for row in in_force)
    with pytest.raises(ModelUnpriced):
        table.rate_for("somebody_else", "m", TODAY)
    with pytest.raises(ModelRetired):
        table.rate_for("openai_realtime", "gpt-4o-realtime-preview", TODAY)
    assert not table.rate_for("openai_realtime", "gpt-realtime", TODAY).bound


def test_a_session_without_a_model_gets_the_tables_default() -> None:
    table = load_rates()
    assert table.rate_for("openai_realtime", None, TODAY).model == "gpt-realtime-2025-08-28"
    gemini = table.rate_for("gemini_live", None, TODAY)
    assert gemini.model == "gemini-2.5-flash-native-audio-preview-12-2025"
    with pytest.raises(ModelUnpriced):
        table.rate_for("other", None, TODAY)


def test_googles_long_form_of_a_name_is_the_same_model() -> None:
    table = load_rates()
    assert table.rate_for("gemini_live", "models/gemini-3.8-live", TODAY).model == "gemini-3.8-live"


def test_every_bundled_row_names_its_source_and_has_a_price_for_everything() -> None:
    table = load_rates()
    rates = [rate for rows in table.rates.values() for rate in rows]
    assert {r.provider for r in rates} == {"openai_realtime", "gemini_live"}
    for rate in rates:
        assert "2026-11-23" in rate.source
        assert min(rate.text_in, rate.text_out, rate.audio_in, rate.audio_out) > 0
        assert 0 < rate.text_cached <= rate.text_in
        assert 0 < rate.audio_cached <= rate.audio_in


def test_every_successor_of_a_refused_model_can_be_had() -> None:
    table = load_rates()
    for rows in table.rates.values():
        for rate in rows:
            if rate.retired:
                assert table.rate_for(rate.provider, rate.successor, TODAY)


def test_gemini_live_has_no_cached_discount() -> None:
    rate = load_rates().rate_for("gemini_live", "gemini-3.8-live", TODAY)
    assert (rate.text_cached, rate.audio_cached) == (rate.text_in, rate.audio_in)


def test_a_price_change_is_in_force_from_its_day() -> None:
    table = RateTable.parse(
        row(since="2026-06-01", text_in="5") + row(since="2026-01-01", text_in="4")
    )
    assert table.rate_for("p", "m-1", date(2026, 5, 31)).text_in == 4_000_000
    assert table.rate_for("p", "m-1", date(2026, 6, 1)).text_in == 5_000_000
    with pytest.raises(ModelUnpriced):
        table.rate_for("p", "m-1", date(2025, 12, 31))


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (row(text_in="0.0000001"), "pico"),
        (row(text_in="-4"), "pico"),
        (row(text_in="NaN"), "pico"),
        (row(text_in="four"), "decimal"),
        (row().replace('"4"', "4.0"), "decimal string"),
        (row().replace('source = "a list, read 2026-01-01"', 'source = ""'), "source"),
        (row().replace("context_tokens = 1000", "context_tokens = 0"), "context_tokens"),
        (row().replace('text_out = "16"', ""), "text_out"),
        (row(since='"2026-01-01"'), "since"),
        (row() + row(), "two rows"),
        (row() + '[resolve.p]\n"m" = "m-2"', "m-2"),
        ("[[rate", "TOML"),
    ],
)
def test_a_bad_table_is_refused_with_the_reason(broken: str, why: str) -> None:
    with pytest.raises(RatesInvalid, match=why):
        RateTable.parse(broken)


def test_prices_are_integers_of_pico_dollars() -> None:
    assert pico_per_token("0.30") == 300_000
    assert pico_per_token("0.000001") == 1


def test_transcription_by_the_minute_is_rounded_up() -> None:
    table = load_rates()
    whisper = table.transcription_rate_for("whisper-1", TODAY)
    assert whisper.price_duration(60_000) == 6 * 10**9
    assert whisper.price_duration(1) == 100_000
    realtime = table.transcription_rate_for("gpt-realtime-whisper", TODAY)
    assert realtime.price_duration(1) == 283_334


def test_transcription_by_tokens() -> None:
    rate = load_rates().transcription_rate_for("gpt-4o-transcribe", TODAY)
    assert rate.price_tokens(audio=100, text=10, output=20) == 600_000_000 + 25_000_000 + 2 * 10**8
    assert rate.price_duration(10_000) >= rate.price_tokens(audio=100, text=0, output=2000)
    with pytest.raises(ModelUnpriced):
        load_rates().transcription_rate_for("gpt-live-transcribe", TODAY)


def test_an_operators_file_takes_the_place_of_the_bundled_one(tmp_path: Path) -> None:
    path = tmp_path / "rates.toml"
    path.write_text(row())
    table = load_rates(path)
    assert table.rate_for("p", "m-1", TODAY).audio_in == 32_000_000
    with pytest.raises(ModelUnpriced):
        table.rate_for("openai_realtime", "gpt-realtime", TODAY)
    with pytest.raises(RatesInvalid, match=r"missing\.toml"):
        load_rates(tmp_path / "missing.toml")
