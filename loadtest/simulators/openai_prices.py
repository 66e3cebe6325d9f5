"""Models of the OpenAI Realtime simulator: prices and context sizes, read in November 2026.

Sources: developers.openai.com/api/docs/models/<model> for each model named below, and
/api/docs/guides/realtime-costs for how tokens are counted. `gpt-4o-realtime-preview` is shut down
at the real service; it stays here because its prices are the ones budgets were planned with.
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from loadtest.simulators.invoice import PICO_PER_USD, TokenPrices

USER_AUDIO_MS_PER_TOKEN = 100
ASSISTANT_AUDIO_MS_PER_TOKEN = 50
CHARACTERS_PER_TOKEN = 4
# "A 32k context model with 4,096 max output tokens can only include 28,224 tokens in the context."
SMALL_CONTEXT = 28_224
LARGE_CONTEXT = 128_000 - 32_000


@dataclass(frozen=True, kw_only=True)
class RealtimeModel:
    """What a dated model costs and how many input tokens it takes."""

    prices: TokenPrices
    max_input_tokens: int = SMALL_CONTEXT


@dataclass(frozen=True, kw_only=True)
class TranscriptionModel:
    """Billed by tokens (text in, audio in, out) or else by the minute; pico-dollars."""

    text_in: int = 0
    audio_in: int = 0
    text_out: int = 0
    per_minute: int | None = None


_GPT_4O = RealtimeModel(
    prices=TokenPrices.per_million(text=("5", "2.5", "20"), audio=("40", "2.5", "80"))
)
# The first snapshot cost more: community.openai.com/t/1060242 quotes its price list.
_GPT_4O_OCTOBER = RealtimeModel(
    prices=TokenPrices.per_million(text=("5", "2.5", "20"), audio=("100", "20", "200"))
)
_GPT_4O_MINI = RealtimeModel(
    prices=TokenPrices.per_million(text=("0.6", "0.3", "2.4"), audio=("10", "0.3", "20"))
)
_GPT_REALTIME = RealtimeModel(
    prices=TokenPrices.per_million(text=("4", "0.4", "16"), audio=("32", "0.4", "64"))
)
_GPT_REALTIME_2 = RealtimeModel(
    prices=TokenPrices.per_million(text=("4", "0.4", "24"), audio=("32", "0.4", "64")),
    max_input_tokens=LARGE_CONTEXT,
)
_GPT_REALTIME_MINI = RealtimeModel(
    prices=TokenPrices.per_million(text=("0.6", "0.06", "2.4"), audio=("10", "0.3", "20"))
)

REALTIME_MODELS: dict[str, RealtimeModel] = {
    "gpt-4o-realtime-preview": _GPT_4O,
    "gpt-4o-realtime-preview-2024-10-01": _GPT_4O_OCTOBER,
    "gpt-4o-realtime-preview-2024-12-17": _GPT_4O,
    "gpt-4o-realtime-preview-2025-06-03": _GPT_4O,
    "gpt-4o-mini-realtime-preview": _GPT_4O_MINI,
    "gpt-4o-mini-realtime-preview-2024-12-17": _GPT_4O_MINI,
    "gpt-realtime": _GPT_REALTIME,
    "gpt-realtime-2025-08-28": _GPT_REALTIME,
    "gpt-realtime-1.5": _GPT_REALTIME,
    "gpt-realtime-2": _GPT_REALTIME_2,
    "gpt-realtime-mini": _GPT_REALTIME_MINI,
    "gpt-realtime-mini-2025-10-06": _GPT_REALTIME_MINI,
    "gpt-realtime-mini-2025-12-15": _GPT_REALTIME_MINI,
    "gpt-realtime-2.1-mini": RealtimeModel(
        prices=_GPT_REALTIME_MINI.prices, max_input_tokens=LARGE_CONTEXT
    ),
}


def _by_minute(usd: str) -> TranscriptionModel:
    return TranscriptionModel(per_minute=int(Decimal(usd) * PICO_PER_USD))


def _by_token(text_in: str, audio_in: str, text_out: str) -> TranscriptionModel:
    prices = TokenPrices.per_million(text=(text_in, "0", text_out), audio=(audio_in, "0", "0"))
    return TranscriptionModel(
        text_in=prices.text_in, audio_in=prices.audio_in, text_out=prices.text_out
    )


TRANSCRIPTION_MODELS: dict[str, TranscriptionModel] = {
    # The model pages give one input price; the pricing page lists audio apart and dearer, and
    # audio is what is sent.
    "gpt-4o-transcribe": _by_token("2.5", "6", "10"),
    "gpt-4o-mini-transcribe": _by_token("1.25", "3", "5"),
    "gpt-4o-mini-transcribe-2025-12-15": _by_token("1.25", "3", "5"),
    "gpt-transcribe": _by_minute("0.0045"),
    "whisper-1": _by_minute("0.006"),
}


def text_tokens(text: str) -> int:
    """About four characters a token, rounded up."""
    return -(-len(text) // CHARACTERS_PER_TOKEN)


def user_audio_tokens(duration_ms: int) -> int:
    """One token for each 100 ms begun."""
    return -(-duration_ms // USER_AUDIO_MS_PER_TOKEN)


def assistant_audio_tokens(duration_ms: int) -> int:
    """One token for each 50 ms begun."""
    return -(-duration_ms // ASSISTANT_AUDIO_MS_PER_TOKEN)
