"""OpenAI Realtime: the real plugin's model, with its wire events tapped."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import aiohttp
import structlog
from livekit.agents import APIConnectionError, APIConnectOptions, APIError
from livekit.plugins import openai
from openai.types.realtime import (
    AudioTranscription,
    RealtimeErrorEvent,
    ResponseCancelEvent,
)
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from agent_actor.contract import SessionConfig, VadConfig
from agent_actor.errors import ProviderKeyMissing
from agent_actor.providers.base import ProviderModel, WireTaps, tell_of_death
from agent_actor.providers.openai_wire import base64_ms
from agent_actor.settings import AgentSettings
from agent_actor.wire_events import ResponseRequested, UserAudio

log = structlog.get_logger(__name__)

DEFAULT_VOICE = "marin"
TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
SETTLE_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 3.0
_SETUP_EVENTS = ("session_update_", "tools_update_")
"""What the plugin names the events by which a session is set up, when it begins or reconnects."""


class TappedSession(openai.realtime.RealtimeSession):
    """The plugin's session, seen at the wire and closed only when its bill is in.

    The plugin ignores every server event from the moment it is asked to close, so a response
    under way would be billed and never metered.
    """

    def __init__(
        self, model: TappedModel, taps: WireTaps, *, turn_detection_disabled: bool
    ) -> None:
        super().__init__(model, turn_detection_disabled=turn_detection_disabled)
        self._taps = taps
        tell_of_death(self._main_atask, partial(self._emit_error, recoverable=False))
        self._open = OpenWork(transcribes=self._opts.input_audio_transcription is not None)
        self.on("openai_server_event_received", self._on_server)
        self.on("openai_client_event_queued", self._on_client)

    async def aclose(self) -> None:
        if self._open.responses:
            self.send_event(ResponseCancelEvent(type="response.cancel"))
        await self._open.wait_settled(SETTLE_TIMEOUT_S)
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await super().aclose()
        except Exception as error:
            # What had ended the session is raised once more, although it was told as an event;
            # the framework then leaves the rest of its own closing undone.
            log.info("closing the provider's session failed", error_type=type(error).__name__)

    async def _run_ws(self, ws_conn: aiohttp.ClientWebSocketResponse) -> None:
        try:
            await super()._run_ws(ws_conn)
        except (ValueError, TypeError) as error:
            # The plugin would end the session over one frame that cannot be read.
            raise APIConnectionError("the provider sent what is no event") from error
        finally:
            self._open.clear()
            self._taps.disconnected()

    def _handle_error(self, event: RealtimeErrorEvent) -> None:
        super()._handle_error(event)
        if (event.error.event_id or "").startswith(_SETUP_EVENTS):
            # The plugin goes on: with no instructions, no tools and nobody's voice.
            problem = f"{event.error.param or 'session'}: {event.error.message}"
            raise APIError(f"settings refused: {problem}", retryable=False)

    def _on_server(self, event: dict[str, Any]) -> None:
        if event.get("type") == "session.created":
            self._taps.connected((event.get("session") or {}).get("id"))
        self._open.see(event)
        self._taps.server(event)

    def _on_client(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "input_audio_buffer.append":
                self._taps.client(UserAudio(ms=base64_ms(event["audio"])))
            case "response.create":
                self._taps.client(ResponseRequested())


class OpenWork:
    """What the provider has begun and not yet billed: responses and input transcriptions."""

    def __init__(self, *, transcribes: bool) -> None:
        self.responses: set[str] = set()
        self._transcribes = transcribes
        self._transcriptions: set[str] = set()
        self._settled = asyncio.Event()
        self._settled.set()

    def see(self, event: dict[str, Any]) -> None:
        match event.get("type"):
            case "response.created":
                self.responses.add(_response_id(event))
            case "response.done":
                self.responses.discard(_response_id(event))
            case (
                "conversation.item.input_audio_transcription.completed"
                | "conversation.item.input_audio_transcription.failed"
            ):
                self._transcriptions.discard(str(event.get("item_id")))
            case "input_audio_buffer.committed" if self._transcribes:
                self._transcriptions.add(str(event.get("item_id")))
        self._update()

    def clear(self) -> None:
        """The connection is gone: nothing more will come of it."""
        self.responses.clear()
        self._transcriptions.clear()
        self._update()

    async def wait_settled(self, timeout_s: float) -> None:
        """Returns when all bills are in, or after ``timeout_s``: what is missing then is
        charged an upper bound by the meter."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()

    def _update(self) -> None:
        if self.responses or self._transcriptions:
            self._settled.clear()
        else:
            self._settled.set()


def _response_id(event: dict[str, Any]) -> str:
    return str((event.get("response") or {}).get("id"))


class TappedModel(openai.realtime.RealtimeModel):
    """The plugin's model; each of its sessions reports to ``taps``."""

    def __init__(self, *, taps: WireTaps, **options: Any) -> None:
        super().__init__(**options)
        self._taps = taps

    def session(self, *, turn_detection_disabled: bool = False) -> TappedSession:
        session = TappedSession(self, self._taps, turn_detection_disabled=turn_detection_disabled)
        self._sessions.add(session)
        return session


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
        model=model_name,
        voice=config.voice or DEFAULT_VOICE,
        modalities=["audio"],
        turn_detection=turn_detection(config.vad_config),
        input_audio_transcription=_transcription(config),
        api_key=settings.openai_api_key.get_secret_value(),
        conn_options=APIConnectOptions(timeout=settings.provider_connect_timeout_s),
        **options,
    )
    return ProviderModel(model=model, unmapped=())


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
