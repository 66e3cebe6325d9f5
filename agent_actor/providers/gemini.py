"""Gemini Live: the real plugin's model for a session contract."""

from __future__ import annotations

from google.genai import types
from livekit.agents import APIConnectOptions

from agent_actor.contract import SessionConfig, VadConfig
from agent_actor.errors import ProviderKeyMissing
from agent_actor.providers.base import RETRIES, RETRY_EVERY_S, ProviderModel, WireTaps
from agent_actor.providers.gemini_session import TappedModel
from agent_actor.providers.trust import trust
from agent_actor.settings import AgentSettings

DEFAULT_VOICE = "Puck"
_HIGH_BELOW = 0.5
AUDIO_TOKENS_PER_S = 25


def build(
    config: SessionConfig, settings: AgentSettings, model_name: str, taps: WireTaps
) -> ProviderModel:
    """Raises ProviderKeyMissing."""
    if settings.google_api_key is None:
        raise ProviderKeyMissing("GOOGLE_API_KEY is not set on the node that runs the session")
    detection, unmapped = activity_detection(config.vad_config)
    transcription = types.AudioTranscriptionConfig() if config.transcribe else None
    model = TappedModel(
        taps=taps,
        model=model_name,
        voice=config.voice or DEFAULT_VOICE,
        api_key=settings.google_api_key.get_secret_value(),
        realtime_input_config=types.RealtimeInputConfig(automatic_activity_detection=detection),
        input_audio_transcription=transcription,
        # Audio sessions end at 15 min without compression, connections at about 10.
        context_window_compression=types.ContextWindowCompressionConfig(
            trigger_tokens=settings.gemini_trigger_tokens, sliding_window=types.SlidingWindow()
        ),
        session_resumption=types.SessionResumptionConfig(),
        conn_options=APIConnectOptions(
            max_retry=RETRIES,
            retry_interval=RETRY_EVERY_S,
            timeout=settings.provider_connect_timeout_s,
        ),
        http_options=_http_options(settings),
        max_output_tokens=response_cap(settings),
    )
    return ProviderModel(model=model, unmapped=unmapped, begin=model.begin, listen=model.listen)


def response_cap(settings: AgentSettings) -> int:
    """Output tokens that a response may have, thoughts apart."""
    return round(settings.max_response_s * AUDIO_TOKENS_PER_S)


def activity_detection(vad: VadConfig) -> tuple[types.AutomaticActivityDetection, tuple[str, ...]]:
    """The silence maps; of the threshold only which half it lies in does.

    ``prefix_padding_ms`` has no counterpart: Gemini's field of that name is how long speech must
    last before it counts, not how much audio before it is kept.
    """
    eager = vad.threshold < _HIGH_BELOW
    detection = types.AutomaticActivityDetection(
        disabled=False,
        start_of_speech_sensitivity=(
            types.StartSensitivity.START_SENSITIVITY_HIGH
            if eager
            else types.StartSensitivity.START_SENSITIVITY_LOW
        ),
        end_of_speech_sensitivity=types.EndSensitivity.END_SENSITIVITY_LOW,
        silence_duration_ms=vad.silence_duration_ms,
    )
    return detection, (
        f"vad_config.threshold: Gemini Live has two start sensitivities only, {vad.threshold:g} "
        f"became {'high' if eager else 'low'}",
        "vad_config.prefix_padding_ms: Gemini Live has no such setting",
    )


def _http_options(settings: AgentSettings) -> types.HttpOptions:
    options = types.HttpOptions(timeout=int(settings.provider_connect_timeout_s * 1000))
    if settings.gemini_base_url:
        options.base_url = settings.gemini_base_url
    # A CA of its own rather than SSL_CERT_FILE, which would replace every public one.
    context = trust(str(settings.gemini_ca_cert) if settings.gemini_ca_cert else None)
    # Without "verify" the client reads all CAs again for HTTP, which a live session never uses.
    options.async_client_args = {"ssl": context, "verify": context}
    return options
