"""Transcription of user audio, which a separate model does and bills. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from loadtest.simulators.invoice import TranscriptionLine, duration_pico_usd
from loadtest.simulators.openai_audio import Turn
from loadtest.simulators.openai_prices import (
    TRANSCRIPTION_MODELS,
    text_tokens,
    user_audio_tokens,
)
from loadtest.simulators.sentences import user_transcript

BASE_DELAY_S = 0.15
DELAY_SHARE = 0.05
WORDS_PER_DELTA = 4
MIN_VOICED_MS = 100


@dataclass(frozen=True, kw_only=True)
class Transcription:
    """One job: the text, when it comes, in which pieces, and what it costs."""

    model: str
    text: str
    deltas: tuple[str, ...]
    delay_s: float
    usage: dict[str, Any]
    pico_usd: int

    @classmethod
    def of(cls, turn: Turn, *, settings: Mapping[str, Any], choice: int) -> Transcription:
        """Transcribe `turn` by the session's transcription settings."""
        model = settings["model"]
        text = ""
        if turn.voiced_ms >= MIN_VOICED_MS:
            text = user_transcript(choice=choice, speech_ms=turn.voiced_ms)
        prompt_tokens = text_tokens(settings.get("prompt") or "")
        usage, pico_usd = _bill(model, turn, text, prompt_tokens)
        # whisper-1 gives its text in one piece, the others as they go.
        pieces = (text,) if model == "whisper-1" else tuple(_pieces(text))
        return cls(
            model=model,
            text=text,
            deltas=tuple(piece for piece in pieces if piece),
            delay_s=BASE_DELAY_S + DELAY_SHARE * turn.duration_ms / 1000,
            usage=usage,
            pico_usd=pico_usd,
        )

    def line(self, item_id: str) -> TranscriptionLine:
        return TranscriptionLine(
            item_id=item_id, model=self.model, usage=self.usage, pico_usd=self.pico_usd
        )


def _bill(model: str, turn: Turn, text: str, prompt_tokens: int) -> tuple[dict[str, Any], int]:
    prices = TRANSCRIPTION_MODELS[model]
    if prices.per_minute is not None:
        pico_usd = duration_pico_usd(turn.duration_ms, pico_per_minute=prices.per_minute)
        return {"type": "duration", "seconds": turn.duration_ms / 1000}, pico_usd
    audio, out = user_audio_tokens(turn.duration_ms), text_tokens(text)
    usage = {
        "type": "tokens",
        "total_tokens": audio + prompt_tokens + out,
        "input_tokens": audio + prompt_tokens,
        "input_token_details": {"text_tokens": prompt_tokens, "audio_tokens": audio},
        "output_tokens": out,
    }
    pico_usd = audio * prices.audio_in + prompt_tokens * prices.text_in + out * prices.text_out
    return usage, pico_usd


def _pieces(text: str) -> list[str]:
    words = text.split(" ")
    groups = [
        " ".join(words[start : start + WORDS_PER_DELTA])
        for start in range(0, len(words), WORDS_PER_DELTA)
    ]
    return [group if index == 0 else f" {group}" for index, group in enumerate(groups)]
