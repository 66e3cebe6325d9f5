"""What a provider bills, kept apart from the accounting under test. Pure integers.

Money is in pico-dollars: 1 USD = 10**12, so that $0.30 per million tokens is exactly 300,000 a
token and no price here needs rounding. `cached_*` tokens are part of the input counts, as the
providers report them, and are billed at the cached rate instead of the full one.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

PICO_PER_USD = 10**12


def pico_per_token(usd_per_million: str) -> int:
    """Price of one token from a price per million, exactly. Raises ValueError if it is not."""
    pico = Decimal(usd_per_million) * PICO_PER_USD / 1_000_000
    if pico != int(pico):
        raise ValueError(f"{usd_per_million} USD per million is not whole in pico-dollars a token")
    return int(pico)


def usd_string(pico: int) -> str:
    """Exact decimal notation of an amount, without exponent."""
    return f"{Decimal(pico) / PICO_PER_USD:.12f}"


@dataclass(frozen=True, kw_only=True)
class TokenPrices:
    """Pico-dollars a token."""

    text_in: int
    cached_text_in: int
    text_out: int
    audio_in: int
    cached_audio_in: int
    audio_out: int

    @classmethod
    def per_million(cls, *, text: tuple[str, str, str], audio: tuple[str, str, str]) -> TokenPrices:
        """From (input, cached input, output) in USD per million tokens, as price lists give it."""
        return cls(
            text_in=pico_per_token(text[0]),
            cached_text_in=pico_per_token(text[1]),
            text_out=pico_per_token(text[2]),
            audio_in=pico_per_token(audio[0]),
            cached_audio_in=pico_per_token(audio[1]),
            audio_out=pico_per_token(audio[2]),
        )


@dataclass(frozen=True, kw_only=True)
class TokenUsage:
    """Tokens of one response. Inputs include their cached part."""

    input_text: int = 0
    input_audio: int = 0
    cached_text: int = 0
    cached_audio: int = 0
    output_text: int = 0
    output_audio: int = 0

    def __post_init__(self) -> None:
        if min(asdict(self).values()) < 0:
            raise ValueError("token counts must not be negative")
        if self.cached_text > self.input_text or self.cached_audio > self.input_audio:
            raise ValueError("cached tokens are part of the input")

    @property
    def input_tokens(self) -> int:
        return self.input_text + self.input_audio

    @property
    def cached_tokens(self) -> int:
        return self.cached_text + self.cached_audio

    @property
    def output_tokens(self) -> int:
        return self.output_text + self.output_audio


def tokens_pico_usd(usage: TokenUsage, prices: TokenPrices) -> int:
    """Price of one response."""
    return (
        (usage.input_text - usage.cached_text) * prices.text_in
        + usage.cached_text * prices.cached_text_in
        + (usage.input_audio - usage.cached_audio) * prices.audio_in
        + usage.cached_audio * prices.cached_audio_in
        + usage.output_text * prices.text_out
        + usage.output_audio * prices.audio_out
    )


def duration_pico_usd(duration_ms: int, *, pico_per_minute: int) -> int:
    """Price of audio billed by the minute, to the nearest pico-dollar."""
    return (duration_ms * pico_per_minute * 2 + 60_000) // 120_000


@dataclass(frozen=True, kw_only=True)
class ResponseLine:
    """One model response. `usage_sent` tells whether the client was told its usage."""

    response_id: str
    status: str
    usage: TokenUsage
    usage_sent: bool
    pico_usd: int


@dataclass(frozen=True, kw_only=True)
class TranscriptionLine:
    """One transcribed piece of user audio, billed apart; `usage` as the provider words it."""

    item_id: str
    model: str
    usage: dict[str, Any]
    pico_usd: int


@dataclass(kw_only=True)
class Invoice:
    """All lines of one provider session (one connection, or several for a resumed one)."""

    session_id: str
    model: str
    opened_at_s: float
    closed_at_s: float | None = None
    responses: list[ResponseLine] = field(default_factory=list)
    transcriptions: list[TranscriptionLine] = field(default_factory=list)
    instructions: str = ""

    @property
    def total_pico_usd(self) -> int:
        lines: Iterable[ResponseLine | TranscriptionLine] = [*self.responses, *self.transcriptions]
        return sum(line.pico_usd for line in lines)

    def as_json(self) -> dict[str, Any]:
        """The document served to readers; the instructions stay out, they only serve to match."""
        return {
            "session_id": self.session_id,
            "model": self.model,
            "opened_at": _iso(self.opened_at_s),
            "closed_at": None if self.closed_at_s is None else _iso(self.closed_at_s),
            "responses": [asdict(line) for line in self.responses],
            "transcriptions": [asdict(line) for line in self.transcriptions],
            "total_pico_usd": self.total_pico_usd,
            "total_usd": usd_string(self.total_pico_usd),
        }


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).isoformat(timespec="milliseconds")


class InvoiceBook:
    """Every invoice since the start, by session id, oldest first."""

    def __init__(self) -> None:
        self._invoices: dict[str, Invoice] = {}

    def open(self, *, session_id: str, model: str, now_s: float) -> Invoice:
        """Start an invoice. Raises ValueError when the id is taken."""
        if session_id in self._invoices:
            raise ValueError("an invoice for this session exists")
        invoice = Invoice(session_id=session_id, model=model, opened_at_s=now_s)
        self._invoices[session_id] = invoice
        return invoice

    def get(self, session_id: str) -> Invoice | None:
        return self._invoices.get(session_id)

    def select(self, *, match: str | None = None) -> list[Invoice]:
        """All, or those whose session was last given instructions containing `match`."""
        return [i for i in self._invoices.values() if match is None or match in i.instructions]

    def as_json(self, *, match: str | None = None) -> dict[str, Any]:
        """`{invoices, total_pico_usd, total_usd}` over the selection."""
        chosen = self.select(match=match)
        total = sum(invoice.total_pico_usd for invoice in chosen)
        return {
            "invoices": [invoice.as_json() for invoice in chosen],
            "total_pico_usd": total,
            "total_usd": usd_string(total),
        }
