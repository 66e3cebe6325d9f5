"""The one place that knows which module serves which provider."""

from __future__ import annotations

from agent_actor.contract import Provider, SessionConfig
from agent_actor.providers import gemini, openai
from agent_actor.providers.base import ProviderModel, WireTaps
from agent_actor.settings import AgentSettings


def build_provider(config: SessionConfig, settings: AgentSettings, taps: WireTaps) -> ProviderModel:
    """The provider's model for this session. Raises ProviderKeyMissing."""
    match config.provider:
        case Provider.OPENAI_REALTIME:
            return openai.build(config, settings, taps)
        case Provider.GEMINI_LIVE:
            return gemini.build(config, settings, taps)


def default_model(provider: Provider) -> str:
    match provider:
        case Provider.OPENAI_REALTIME:
            return openai.DEFAULT_MODEL
        case Provider.GEMINI_LIVE:
            return gemini.DEFAULT_MODEL
