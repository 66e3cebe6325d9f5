from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.simulators.invoice import (
    PICO_PER_USD,
    InvoiceBook,
    ResponseLine,
    TokenPrices,
    TokenUsage,
    TranscriptionLine,
    duration_pico_usd,
    pico_per_token,
    tokens_pico_usd,
    usd_string,
)

PRICES = TokenPrices.per_million(text=("5", "2.5", "20"), audio=("40", "2.5", "80"))


def test_prices_a_token_are_whole_pico_dollars() -> None:
    assert pico_per_token("40") == 40_000_000
    assert pico_per_token("0.06") == 60_000
    with pytest.raises(ValueError, match="whole"):
        pico_per_token("0.0000001")


def test_a_million_of_each_costs_the_list_price() -> None:
    million = 1_000_000
    usage = TokenUsage(
        input_text=million, input_audio=million, output_text=million, output_audio=million
    )
    assert tokens_pico_usd(usage, PRICES) == (5 + 40 + 20 + 80) * PICO_PER_USD


def test_cached_tokens_cost_the_cached_rate_instead() -> None:
    usage = TokenUsage(input_text=100, cached_text=64, input_audio=200, cached_audio=128)
    by_hand = 36 * Decimal(5) + 64 * Decimal("2.5") + 72 * Decimal(40) + 128 * Decimal("2.5")
    assert tokens_pico_usd(usage, PRICES) == by_hand * 10**6


@pytest.mark.parametrize(
    "counts", [{"input_text": -1}, {"input_text": 1, "cached_text": 2}, {"cached_audio": 1}]
)
def test_impossible_usage_is_refused(counts: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="token"):
        TokenUsage(**counts)


def test_minutes_are_billed_by_the_millisecond() -> None:
    assert duration_pico_usd(60_000, pico_per_minute=6 * 10**9) == 6 * 10**9
    assert duration_pico_usd(1, pico_per_minute=6 * 10**9) == 100_000


@given(pico=st.integers(min_value=0, max_value=10**18))
def test_dollar_text_is_exact(pico: int) -> None:
    assert Decimal(usd_string(pico)) * PICO_PER_USD == pico


def test_totals_are_the_sum_of_the_lines() -> None:
    book = InvoiceBook()
    invoice = book.open(session_id="sess_1", model="m", now_s=0.0)
    usage = TokenUsage(output_audio=20)
    for number in range(3):
        invoice.responses.append(
            ResponseLine(
                response_id=f"resp_{number}",
                status="completed",
                usage=usage,
                usage_sent=number != 1,
                pico_usd=tokens_pico_usd(usage, PRICES),
            )
        )
    invoice.transcriptions.append(
        TranscriptionLine(item_id="item_1", model="whisper-1", usage={}, pico_usd=7)
    )
    shown = invoice.as_json()
    assert shown["total_pico_usd"] == 3 * 20 * 80_000_000 + 7
    assert shown["total_usd"] == "0.004800000007"
    assert shown["opened_at"] == "1970-01-01T00:00:00.000+00:00"
    assert shown["closed_at"] is None
    assert book.as_json()["total_pico_usd"] == shown["total_pico_usd"]


def test_invoices_are_found_by_instructions_and_never_show_them() -> None:
    book = InvoiceBook()
    for number in (1, 2):
        invoice = book.open(session_id=f"sess_{number}", model="m", now_s=0.0)
        invoice.instructions = f"study {number}: ask about the week"
    (found,) = book.as_json(match="study 2")["invoices"]
    assert found["session_id"] == "sess_2"
    assert "ask about" not in str(found)


def test_a_session_has_one_invoice() -> None:
    book = InvoiceBook()
    book.open(session_id="sess_1", model="m", now_s=0.0)
    with pytest.raises(ValueError, match="exists"):
        book.open(session_id="sess_1", model="m", now_s=1.0)
