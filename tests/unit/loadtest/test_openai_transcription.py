from __future__ import annotations

import pytest

from loadtest.simulators.openai_audio import Turn
from loadtest.simulators.openai_prices import TRANSCRIPTION_MODELS
from loadtest.simulators.openai_transcription import Transcription

TURN = Turn(duration_ms=2450, voiced_ms=2000)


def test_token_models_bill_audio_prompt_and_text() -> None:
    job = Transcription.of(
        TURN, settings={"model": "gpt-4o-mini-transcribe", "prompt": "x" * 20}, choice=0
    )
    assert job.usage["input_token_details"] == {"text_tokens": 5, "audio_tokens": 25}
    assert job.usage["input_tokens"] == 30
    assert job.usage["total_tokens"] == 30 + job.usage["output_tokens"]
    said = job.usage["output_tokens"] * 5_000_000
    assert job.pico_usd == 5 * 1_250_000 + 25 * 3_000_000 + said


def test_whisper_bills_the_time() -> None:
    job = Transcription.of(TURN, settings={"model": "whisper-1"}, choice=0)
    assert job.usage == {"type": "duration", "seconds": 2.45}
    assert job.pico_usd == 2450 * 100_000
    assert job.deltas == (job.text,)


@pytest.mark.parametrize("model", sorted(TRANSCRIPTION_MODELS))
def test_deltas_make_up_the_text(model: str) -> None:
    job = Transcription.of(TURN, settings={"model": model}, choice=3)
    assert "".join(job.deltas) == job.text != ""


def test_silence_has_no_words_and_costs_all_the_same() -> None:
    silent = Turn(duration_ms=1000, voiced_ms=0)
    job = Transcription.of(silent, settings={"model": "gpt-4o-transcribe"}, choice=0)
    assert (job.text, job.deltas) == ("", ())
    assert job.pico_usd == 10 * 6_000_000
