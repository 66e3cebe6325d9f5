"""OpenAI Realtime: the real plugin's model for a session contract."""

from __future__ import annotations

import asyncio
from typing import Any

import aiohttp
from livekit.agents import APIConnectOptions
from livekit.plugins import openai
from openai.types.realtime import AudioTranscription
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from agent_actor import prompting
from agent_actor.contract import SessionConfig, VadConfig
from agent_actor.errors import ProviderKeyMissing
from agent_actor.providers import openai_bounds
from agent_actor.providers.base import RETRIES, RETRY_EVERY_S, ProviderModel, WireTaps
from agent_actor.providers.openai_session import HEARTBEAT_S, TappedModel
from agent_actor.settings import AgentSettings

DEFAULT_VOICE = "marin"
TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
AUDIO_TOKENS_PER_S = 20


def build(
    config: SessionConfig, settings: AgentSettings, model_name: str, taps: WireTaps
) -> ProviderModel:
    """Raises ProviderKeyMissing."""
    if settings.openai_api_key is None:
        raise ProviderKeyMissing("OPENAI_API_KEY is not set on the node that runs the session")
    options: dict[str, Any] = {}
    if settings.openai_base_url:
        options["base_url"] = settings.openai_base_url
    model = TappedModel(
        taps=taps,
        farewell=prompting.closing_in(config.language),
        model=model_name,
        voice=config.voice or DEFAULT_VOICE,
        modalities=["audio"],
        turn_detection=turn_detection(config.vad_config),
        input_audio_transcription=_transcription(config),
        api_key=settings.openai_api_key.get_secret_value(),
        conn_options=APIConnectOptions(
            max_retry=RETRIES,
            retry_interval=RETRY_EVERY_S,
            timeout=settings.provider_connect_timeout_s,
        ),
        # The plugin would cut the participant off: see openai_session.
        max_session_duration=None,
        session_s=settings.openai_session_s,
        **options,
    )
    model.update_options(max_response_output_tokens=response_cap(settings))
    return ProviderModel(model=model, unmapped=(), begin=model.begin, take_turns=model.take_turns)


async def open_ahead(
    url: str, settings: AgentSettings, http: aiohttp.ClientSession
) -> aiohttp.ClientWebSocketResponse:
    """A connection as the plugin opens it. Nothing is sent on it. Raises ProviderKeyMissing."""
    if settings.openai_api_key is None:
        raise ProviderKeyMissing("OPENAI_API_KEY is not set on the node that runs the session")
    key = settings.openai_api_key.get_secret_value()
    headers = {"User-Agent": "LiveKit Agents", "Authorization": f"Bearer {key}"}
    async with asyncio.timeout(settings.provider_connect_timeout_s):
        # The heartbeat finds out about a connection that was dropped without a word.
        return await http.ws_connect(url, headers=headers, heartbeat=HEARTBEAT_S)


def url_of(settings: AgentSettings, model_name: str) -> str:
    """Where the plugin opens a session for ``model_name``."""
    base_url = settings.openai_base_url or openai.realtime.realtime_model.OPENAI_BASE_URL
    return openai.realtime.realtime_model.process_base_url(base_url, model_name)


def response_cap(settings: AgentSettings) -> int:
    """Output tokens that a response may have, as far as the protocol can say it."""
    return min(round(settings.max_response_s * AUDIO_TOKENS_PER_S), openai_bounds.LARGEST_CAP)


def turn_detection(vad: VadConfig) -> ServerVad:
    """All three settings have a counterpart."""
    return ServerVad(
        type="server_vad",
        threshold=vad.threshold,
        silence_duration_ms=vad.silence_duration_ms,
        prefix_padding_ms=vad.prefix_padding_ms,
        create_response=True,
        interrupt_response=True,
    )


def _transcription(config: SessionConfig) -> AudioTranscription | None:
    if not config.transcribe:
        return None
    return AudioTranscription(model=TRANSCRIPTION_MODEL, language=config.language.value)
