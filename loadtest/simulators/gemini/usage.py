"""What one generation costs, and how the protocol words it; pure.

Prices as listed in September 2026 at ai.google.dev/gemini-api/docs/pricing, paid tier, in USD per
million tokens. Live sessions have no cached input: its rate is never used.
"""

from __future__ import annotations

from typing import Any

from loadtest.simulators.gemini.context import Tokens
from loadtest.simulators.invoice import TokenPrices, TokenUsage

_NATIVE_AUDIO_25 = TokenPrices.per_million(
    text=("0.50", "0.50", "2.00"), audio=("3.00", "3.00", "12.00")
)
_LIVE_3 = TokenPrices.per_million(text=("0.75", "0.75", "4.50"), audio=("3.00", "3.00", "12.00"))
PRICES: dict[str, TokenPrices] = {
    "gemini-2.5-flash-native-audio-preview-12-2025": _NATIVE_AUDIO_25,
    "gemini-live-2.5-flash-native-audio": _NATIVE_AUDIO_25,
    "gemini-3.1-flash-live-preview": _LIVE_3,
    "gemini-3.8-live": _LIVE_3,
    "gemini-3.8-live-extended-thinking": _LIVE_3,
}


def billed(prompt: Tokens, output: Tokens, thoughts: int) -> TokenUsage:
    """Thoughts are billed as text output."""
    return TokenUsage(
        input_text=prompt.text,
        input_audio=prompt.audio,
        output_text=output.text + thoughts,
        output_audio=output.audio,
    )


def usage_metadata(prompt: Tokens, output: Tokens, thoughts: int) -> dict[str, Any]:
    """`usageMetadata` as Live models send it.

    Thoughts stand apart: neither responseTokenCount nor totalTokenCount includes them (so it was
    in captures of gemini-3.8-live). Zero counts are left out, as protobuf's JSON does.
    """
    metadata: dict[str, Any] = {
        "promptTokenCount": prompt.total,
        "responseTokenCount": output.total,
        "totalTokenCount": prompt.total + output.total,
        "promptTokensDetails": _details(prompt),
        "responseTokensDetails": _details(output),
        "thoughtsTokenCount": thoughts,
    }
    return {key: value for key, value in metadata.items() if value}


def _details(tokens: Tokens) -> list[dict[str, Any]]:
    counts = (("TEXT", tokens.text), ("AUDIO", tokens.audio))
    return [{"modality": name, "tokenCount": count} for name, count in counts if count]
