"""The one place that knows which module serves which provider."""

from __future__ import annotations

from typing import Protocol

from agent_actor.contract import Provider, SessionConfig
from agent_actor.metering import Meter
from agent_actor.pricing import Rate, TranscriptionRate
from agent_actor.providers import gemini, openai
from agent_actor.providers.base import ProviderModel, RawEvent, WireTaps
from agent_actor.providers.gemini_wire import GeminiWire
from agent_actor.providers.openai_wire import OpenAIWire
from agent_actor.settings import AgentSettings
from agent_actor.wire_events import WireEvent


class Wire(Protocol):
    """Reads raw events in order and returns what they mean for the meter."""

    def read(self, raw: RawEvent, /) -> tuple[WireEvent, ...]: ...


def build_provider(
    config: SessionConfig, settings: AgentSettings, model_name: str, taps: WireTaps
) -> ProviderModel:
    """The provider's model for this session. ``model_name`` is the dated name of the rate table.
    Raises ProviderKeyMissing.
    """
    match config.provider:
        case Provider.OPENAI_REALTIME:
            return openai.build(config, settings, model_name, taps)
        case Provider.GEMINI_LIVE:
            return gemini.build(config, settings, model_name, taps)


def is_capped(provider: Provider) -> bool:
    """Whether it can be made to ask before each response and takes bounds for it."""
    return provider is Provider.OPENAI_REALTIME


def new_meter(
    provider: Provider,
    settings: AgentSettings,
    rate: Rate,
    transcription: TranscriptionRate | None,
) -> Meter:
    """By what the provider can bound a response with."""
    if is_capped(provider):
        cap = openai.response_cap(settings)
        return Meter(rate=rate, transcription=transcription, max_output_tokens=cap)
    return Meter(
        rate=rate,
        transcription=transcription,
        max_output_tokens=gemini.response_cap(settings),
        goodbye_output_tokens=None,
        can_be_alone=False,
        thinks_beside=True,
    )


def new_wire(provider: Provider, connection: int) -> Wire:
    """A reader for the ``connection``-th connection of a session, counted from 1."""
    match provider:
        case Provider.OPENAI_REALTIME:
            return OpenAIWire()
        case Provider.GEMINI_LIVE:
            return GeminiWire(prefix=f"g{connection}-")
