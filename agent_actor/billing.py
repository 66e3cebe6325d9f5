"""One usage, as a provider states it, and the price of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.messages import PicoUsd, TokenCounts
from agent_actor.pricing import Rate


@dataclass(frozen=True, kw_only=True)
class ResponseUsage:
    """One response's bill as the provider states it. None: it did not say."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_text: int | None = None
    input_audio: int | None = None
    input_image: int | None = None
    cached_tokens: int = 0
    cached_text: int | None = None
    cached_audio: int | None = None
    cached_image: int | None = None
    output_text: int | None = None
    output_audio: int | None = None


@dataclass(frozen=True, kw_only=True)
class TranscriptionUsage:
    """Either tokens or a duration (``duration_ms``)."""

    input_tokens: int = 0
    output_tokens: int = 0
    input_text: int | None = None
    input_audio: int | None = None
    duration_ms: int | None = None


@dataclass(frozen=True, kw_only=True)
class Billed:
    """A usage with nothing left open, and what it costs."""

    tokens: TokenCounts
    input_image: int
    cached_image: int
    pico: PicoUsd
    bounded: bool
    """Something was missing and was taken at its dearest."""


def settle(usage: ResponseUsage, rate: Rate) -> Billed:
    """Price a usage. Whatever it leaves open is split so that the price is the highest possible:
    tokens of no stated kind are of the dearest kind, a cached token of no stated kind is of the
    kind on which the discount is smallest.
    """
    kinds = _Kinds.of_input(usage, rate)
    cached = _Kinds.of_cached(usage, kinds, rate)
    output_text = usage.output_text or 0
    output_audio = usage.output_audio or 0
    open_output = max(usage.output_tokens - output_text - output_audio, 0)
    if rate.audio_out >= rate.text_out:
        output_audio += open_output
    else:
        output_text += open_output
    tokens = TokenCounts(
        input_text=kinds.text,
        input_audio=kinds.audio,
        cached_text=cached.text,
        cached_audio=cached.audio,
        output_text=output_text,
        output_audio=output_audio,
    )
    return Billed(
        tokens=tokens,
        input_image=kinds.image,
        cached_image=cached.image,
        pico=rate.price(tokens, input_image=kinds.image, cached_image=cached.image),
        bounded=kinds.open or cached.open or open_output > 0,
    )


@dataclass(frozen=True)
class _Kinds:
    text: int
    audio: int
    image: int
    open: bool

    @classmethod
    def of_input(cls, usage: ResponseUsage, rate: Rate) -> _Kinds:
        text, audio, image = usage.input_text or 0, usage.input_audio or 0, usage.input_image or 0
        rest = max(usage.input_tokens - text - audio - image, 0)
        if rate.audio_in >= rate.text_in:
            return cls(text, audio + rest, image, rest > 0)
        return cls(text + rest, audio, image, rest > 0)

    @classmethod
    def of_cached(cls, usage: ResponseUsage, full: _Kinds, rate: Rate) -> _Kinds:
        """Least discount first, so that the price stays an upper bound."""
        kinds = [
            (rate.text_in - rate.text_cached, "text", full.text, usage.cached_text),
            (rate.audio_in - rate.audio_cached, "audio", full.audio, usage.cached_audio),
            (rate.image_in - rate.image_cached, "image", full.image, usage.cached_image),
        ]
        unsaid = all(stated is None for _, _, _, stated in kinds)
        left = usage.cached_tokens if unsaid else _stated_cached(usage)
        found = {"text": 0, "audio": 0, "image": 0}
        for _, name, most, stated in sorted(kinds, key=lambda kind: kind[0]):
            found[name] = min(left, most if unsaid else min(stated or 0, most))
            left -= found[name]
        guessed = unsaid and usage.cached_tokens > 0
        return cls(found["text"], found["audio"], found["image"], guessed)


def _stated_cached(usage: ResponseUsage) -> int:
    """Details that add up to more than the stated total are not all believed."""
    details = (usage.cached_text or 0) + (usage.cached_audio or 0) + (usage.cached_image or 0)
    return min(details, usage.cached_tokens) if usage.cached_tokens else details
