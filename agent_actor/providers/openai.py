"""OpenAI Realtime: the real plugin's model, with its wire events tapped."""

from __future__ import annotations

import asyncio
import contextlib
from functools import partial
from typing import Any

import aiohttp
import structlog
from livekit import rtc
from livekit.agents import Agent, APIConnectionError, APIConnectOptions, APIError, llm, utils
from livekit.plugins import openai
from openai.types.realtime import (
    AudioTranscription,
    RealtimeClientEvent,
    RealtimeErrorEvent,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
)
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from agent_actor import prompting
from agent_actor.contract import SessionConfig, VadConfig
from agent_actor.errors import ProviderKeyMissing
from agent_actor.permits import Permit
from agent_actor.providers import openai_bounds
from agent_actor.providers.base import ProviderModel, WireTaps, refused, tell_all, tell_of_death
from agent_actor.providers.openai_wire import base64_ms
from agent_actor.settings import AgentSettings
from agent_actor.wire_events import ContextLimit, ResponseRequested, UserAudio

log = structlog.get_logger(__name__)

DEFAULT_VOICE = "marin"
TRANSCRIPTION_MODEL = "gpt-4o-mini-transcribe"
SETTLE_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 3.0
HEARTBEAT_S = 20.0
AUDIO_TOKENS_PER_S = 20
_TURNS = "turns_update_"
_TRUNCATION = "truncation_update_"
_SETUP_EVENTS = ("session_update_", "tools_update_")
"""What the plugin names the events by which a session is set up, when it begins or reconnects."""


class TappedSession(openai.realtime.RealtimeSession):
    """The plugin's session, seen at the wire and closed only when its bill is in.

    The plugin ignores every server event from the moment it is asked to close, so a response
    under way would be billed and never metered.
    """

    _permit: Permit | None = None
    """For the response that is being asked for."""

    def __init__(
        self,
        model: TappedModel,
        taps: WireTaps,
        *,
        farewell: str,
        turn_detection_disabled: bool,
    ) -> None:
        super().__init__(model, turn_detection_disabled=turn_detection_disabled)
        self._taps = taps
        tell_of_death(self._main_atask, partial(self._emit_error, recoverable=False))
        self._open = OpenWork(transcribes=self._opts.input_audio_transcription is not None)
        self._farewell = farewell
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

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        self._taps.heard(frame)
        super().push_audio(frame)

    def take_turns(self, by_server: bool) -> None:
        """Whether the server may answer the participant by itself; a reconnect keeps it."""
        detection = self._opts.turn_detection
        if not isinstance(detection, ServerVad):
            return
        self._opts.turn_detection = openai_bounds.turns(detection, by_server=by_server)
        self._update(_TURNS, openai_bounds.with_detection(self._opts.turn_detection))

    def generate_reply(self, **options: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        """As the plugin's, under a permit: without one nothing is sent and it fails at once."""
        self._permit = self._taps.permit()
        if self._permit is None:
            return refused()
        return super().generate_reply(**options)

    def send_event(self, event: RealtimeClientEvent | dict[str, Any]) -> None:
        if isinstance(event, ResponseCreateEvent) and self._permit is not None:
            permit, self._permit = self._permit, None
            self._bound(event, permit)
        super().send_event(event)

    def _bound(self, event: ResponseCreateEvent, permit: Permit) -> None:
        if permit.context_tokens is not None:
            self._cut_context(permit.context_tokens)
        event.response = event.response or RealtimeResponseCreateParams()
        openai_bounds.bound(event.response, permit, closing=self._farewell)
        self._taps.client(
            ResponseRequested(
                id=event.event_id, max_output_tokens=permit.max_output_tokens, alone=permit.alone
            )
        )

    def _cut_context(self, tokens: int) -> None:
        self._opts.truncation = openai_bounds.truncation(tokens)
        request = RealtimeSessionCreateRequest(type="realtime", truncation=self._opts.truncation)
        self._update(_TRUNCATION, request)
        self._taps.client(ContextLimit(tokens=tokens))

    def _update(self, name: str, request: RealtimeSessionCreateRequest) -> None:
        super().send_event(self._wrap_session_update(utils.shortuuid(name), request))

    async def _create_ws_conn(self) -> aiohttp.ClientWebSocketResponse:
        url, _ = self._create_ws_url_and_headers()
        opened: aiohttp.ClientWebSocketResponse | None = await self._taps.opened(url)
        if opened is not None:
            self._report_connection_acquired(0.0)
            return opened
        return await super()._create_ws_conn()

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
        about = event.error.event_id or ""
        if about.startswith(_TRUNCATION):
            self._opts.truncation = None
            self._taps.client(ContextLimit(tokens=None))
        if about.startswith((*_SETUP_EVENTS, _TURNS)):
            # The plugin goes on: with no instructions, no tools and nobody's voice.
            problem = f"{event.error.param or 'session'}: {event.error.message}"
            raise APIError(f"settings refused: {problem}", retryable=False)

    def _on_server(self, event: dict[str, Any]) -> None:
        if event.get("type") == "session.created":
            self._taps.connected(_id_of(event.get("session")))
        self._open.see(event)
        self._taps.server(event)

    def _on_client(self, event: dict[str, Any]) -> None:
        if event.get("type") == "input_audio_buffer.append":
            self._taps.client(UserAudio(ms=base64_ms(event["audio"])))


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
    return str(_id_of(event.get("response")))


def _id_of(thing: Any) -> str | None:
    """What the provider calls it; whatever stands there instead must not hide it from the meter."""
    found = thing.get("id") if isinstance(thing, dict) else None
    return found if isinstance(found, str) else None


class TappedModel(openai.realtime.RealtimeModel):
    """The plugin's model; each of its sessions reports to ``taps``."""

    def __init__(self, *, taps: WireTaps, farewell: str, **options: Any) -> None:
        """``farewell``: what a goodbye without the conversation goes by."""
        super().__init__(**options)
        self._taps = taps
        self._farewell = farewell
        self._begun: TappedSession | None = None

    async def begin(self, agent: Agent) -> None:
        """See ProviderModel."""
        self._begun = session = self.session()
        await tell_all(session, agent)

    async def aclose(self) -> None:
        if self._begun is not None:
            await self._begun.aclose()
        await super().aclose()

    def session(self, *, turn_detection_disabled: bool = False) -> TappedSession:
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        session = TappedSession(
            self,
            self._taps,
            farewell=self._farewell,
            turn_detection_disabled=turn_detection_disabled,
        )
        self._sessions.add(session)
        return session

    def take_turns(self, by_server: bool) -> None:
        """Holds for sessions that are still to be opened too."""
        if isinstance(detection := self._opts.turn_detection, ServerVad):
            self._opts.turn_detection = openai_bounds.turns(detection, by_server=by_server)
        for session in tuple(self._sessions):
            if isinstance(session, TappedSession):
                session.take_turns(by_server)


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
        conn_options=APIConnectOptions(timeout=settings.provider_connect_timeout_s),
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
