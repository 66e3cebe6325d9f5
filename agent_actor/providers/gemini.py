"""Gemini Live: the real plugin's model, with its wire messages tapped.

Two things differ from the plugin as it comes. Every server message is seen before the plugin
handles it, because the plugin drops usage that arrives with no active generation. And changed
instructions are sent only between turns, because the Live API takes client content during a
generation for an interruption of it.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

from google.genai import types
from google.genai.live import AsyncSession
from livekit import rtc
from livekit.agents import Agent, APIConnectOptions, llm
from livekit.plugins.google.realtime import realtime_api

from agent_actor.contract import SessionConfig, VadConfig
from agent_actor.errors import ProviderKeyMissing, ProviderRefused
from agent_actor.providers.base import ProviderModel, WireTaps, refused, tell_all, tell_of_death
from agent_actor.providers.failures import classify
from agent_actor.providers.trust import trust
from agent_actor.settings import AgentSettings
from agent_actor.wire_events import InstructionsSet, ResponseRequested, TextSent, UserAudio

DEFAULT_VOICE = "Puck"
_HIGH_BELOW = 0.5
SETTLE_TIMEOUT_S = 2.0
AUDIO_TOKENS_PER_S = 25
MOST_UNHEARD_FRAMES = 1_000
"""Of 50 ms or less each: more than that, and the oldest is lost."""


Connect = Callable[..., contextlib.AbstractAsyncContextManager[AsyncSession]]


class TappedSession(realtime_api.RealtimeSession):
    def __init__(self, model: TappedModel, taps: WireTaps) -> None:
        super().__init__(model)
        self._taps = taps
        tell_of_death(self._main_atask, partial(self._emit_error, recoverable=False))
        live = self._client.aio.live
        live.connect = self._persistent(live.connect)  # type: ignore[method-assign,assignment]
        self._instructions_due: str | None = None
        self._restored_told = False
        self._unheard: deque[rtc.AudioFrame] = deque(maxlen=MOST_UNHEARD_FRAMES)
        self._billed = asyncio.Event()
        self._billed.set()

    def _persistent(self, connect: Connect) -> Connect:
        """``connect``, tried as often as the options say: the plugin gives a live session up when
        a single attempt to connect again fails.
        """

        @contextlib.asynccontextmanager
        async def persistent(**options: Any) -> AsyncIterator[AsyncSession]:
            async with contextlib.AsyncExitStack() as stack:
                yield await self._connected(stack, partial(connect, **options))

        return persistent

    async def _connected(
        self,
        stack: contextlib.AsyncExitStack,
        connect: Callable[[], contextlib.AbstractAsyncContextManager[AsyncSession]],
    ) -> AsyncSession:
        tries = self._opts.conn_options
        for attempt in range(tries.max_retry):
            try:
                return await stack.enter_async_context(connect())
            except Exception as error:
                if isinstance(classify(error), ProviderRefused):
                    raise
                self._emit_error(error, recoverable=True)
                await asyncio.sleep(tries._interval_for_retry(attempt))
        return await stack.enter_async_context(connect())

    async def update_instructions(self, instructions: str) -> None:
        if self._active_session is None or not self._generating():
            await super().update_instructions(instructions)
            return
        # A reconnect before the turn's end is to come up with the new ones already.
        self._opts.instructions = instructions
        self._instructions_due = instructions

    async def aclose(self) -> None:
        # Usage comes with or after the turn's end; what is missing after the timeout is charged
        # an upper bound by the meter.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._billed.wait()
        await super().aclose()

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        """Audio is kept back while the turn that it may complete could not be paid for."""
        self._taps.heard(frame)
        self._unheard.append(frame)
        self.listen()

    def listen(self) -> None:
        """Send what was kept back, as far as it can be paid for now."""
        while self._unheard and self._taps.may_hear(self._unheard[0].duration * 1000):
            heard = self._unheard.popleft()
            self._taps.client(UserAudio(ms=heard.duration * 1000))
            super().push_audio(heard)

    def generate_reply(self, **options: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        """As the plugin's, under a permit: without one nothing is sent and it fails at once."""
        return super().generate_reply(**options) if self._taps.permit() else refused()

    def _send_client_event(self, event: Any) -> None:
        match event:
            case types.LiveClientContent(turn_complete=complete):
                self._taps.client(TextSent(utf8_bytes=_size(event)))
                if complete:
                    self._taps.client(ResponseRequested())
            case types.LiveClientToolResponse():
                # The model goes on by itself once it has the answer.
                if self._taps.permit() is None:
                    return
                self._taps.client(TextSent(utf8_bytes=_size(event)))
                self._taps.client(ResponseRequested())
        super()._send_client_event(event)

    async def _recv_task(self, session: AsyncSession) -> None:
        if self._session_should_close.is_set():
            # The plugin connects before it knows the tools, and connects again with them. Whoever
            # took this first connection for the one to talk on would have the greeting eaten:
            # its sender still takes a message, and drops it.
            await super()._recv_task(session)
            return
        self._taps.connected(session.session_id)
        self._taps.client(InstructionsSet(utf8_bytes=self._setup_bytes()))
        self._tell_restored()
        session.receive = _tapped(session.receive, self._on_message)  # type: ignore[method-assign]
        try:
            await super()._recv_task(session)
        finally:
            self._billed.set()
            self._taps.disconnected()

    def _on_message(self, message: types.LiveServerMessage) -> None:
        if message.usage_metadata:
            self._billed.set()
        elif message.tool_call or (message.server_content and message.server_content.model_turn):
            self._billed.clear()
        self._taps.server(message)

    def _mark_current_generation_done(self) -> None:
        super()._mark_current_generation_done()
        if self._instructions_due is not None and self._active_session is not None:
            due, self._instructions_due = self._instructions_due, None
            self._send_client_event(
                types.LiveClientContent(
                    turns=[types.Content(parts=[types.Part(text=due)], role="model")],
                    turn_complete=False,
                )
            )

    def _setup_bytes(self) -> int:
        tools = self._build_connect_config().tools or []
        instructions = str(self._opts.instructions or "")
        return len(instructions.encode()) + sum(len(str(tool).encode()) for tool in tools)

    def _tell_restored(self) -> None:
        """The plugin opens with the conversation that it was given, past ``_send_client_event``."""
        if self._restored_told:
            return
        self._restored_told = True
        size = sum(len((m.text_content or "").encode()) for m in self._chat_ctx.messages())
        if size:
            self._taps.client(TextSent(utf8_bytes=size))

    def _generating(self) -> bool:
        return self._current_generation is not None and not self._current_generation._done


class TappedModel(realtime_api.RealtimeModel):
    """The plugin's model; each of its sessions reports to ``taps``."""

    def __init__(self, *, taps: WireTaps, **options: Any) -> None:
        super().__init__(**options)
        self._taps = taps
        self._begun: TappedSession | None = None

    async def begin(self, agent: Agent) -> None:
        """See ProviderModel."""
        self._begun = session = self.session()
        await tell_all(session, agent)

    async def aclose(self) -> None:
        if self._begun is not None:
            await self._begun.aclose()
        await super().aclose()

    def session(self, **_: Any) -> TappedSession:
        begun, self._begun = self._begun, None
        if begun is not None:
            return begun
        session = TappedSession(self, self._taps)
        self._sessions.add(session)
        return session

    def listen(self) -> None:
        for session in tuple(self._sessions):
            if isinstance(session, TappedSession):
                session.listen()


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
            sliding_window=types.SlidingWindow()
        ),
        session_resumption=types.SessionResumptionConfig(),
        conn_options=APIConnectOptions(timeout=settings.provider_connect_timeout_s),
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


def _size(content: types.LiveClientContent | types.LiveClientToolResponse) -> int:
    return len(content.model_dump_json(exclude_none=True).encode())


def _tapped(
    receive: Callable[[], AsyncIterator[types.LiveServerMessage]],
    see: Callable[[types.LiveServerMessage], None],
) -> Callable[[], AsyncIterator[types.LiveServerMessage]]:
    async def tapped() -> AsyncIterator[types.LiveServerMessage]:
        async for message in receive():
            see(message)
            yield message

    return tapped
