"""OpenAI Realtime: the real plugin's session, with its wire events tapped.

What differs from the plugin as it comes:

* It is closed only when its bill is in: the plugin ignores every server event from the moment it
  is asked to close, so a response under way would be billed and never metered.
* A connection is left between turns, well before the provider ends it; the plugin would leave it
  at a fixed time, in the middle of what the participant says.
* What the participant says while there is no connection waits for the next one, and what got no
  answer is sent again on it. The rest of the conversation is replayed by the plugin.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import aiohttp
import structlog
from livekit import rtc
from livekit.agents import APIConnectionError, APIError, llm, utils
from livekit.plugins import openai
from openai.types.realtime import (
    InputAudioBufferAppendEvent,
    RealtimeClientEvent,
    RealtimeErrorEvent,
    RealtimeResponseCreateParams,
    RealtimeSessionCreateRequest,
    ResponseCancelEvent,
    ResponseCreateEvent,
)
from openai.types.realtime.realtime_audio_input_turn_detection import ServerVad

from agent_actor.permits import Permit
from agent_actor.providers import openai_bounds
from agent_actor.providers.base import (
    Connected,
    Disconnected,
    WireTaps,
    refused,
    tell_of_death,
)
from agent_actor.providers.begun import BeginsEarly
from agent_actor.providers.openai_open_work import OpenWork, id_of
from agent_actor.providers.openai_wire import base64_ms
from agent_actor.providers.uplink import Uplink, is_loud
from agent_actor.wire_events import ContextLimit, ResponseRequested, UserAudio

log = structlog.get_logger(__name__)

SETTLE_TIMEOUT_S = 2.0
CLOSE_TIMEOUT_S = 3.0
HEARTBEAT_S = 5.0
"""After so long without a word from the server it is asked for one, and has half as long again to
answer: so a connection that was dropped without a word is found out."""
FAREWELL_S = 1.0
"""How long the server may take to answer that a connection is closed: the next one waits for it."""
LEAVE_WITHIN_S = 120.0
"""So long a moment between turns is waited for. Then a turn is cut off, as the provider would."""
DEFAULT_SILENCE_MS = 500
"""By which the server ends a turn if it is told no other."""
_TURNS = "turns_update_"
_TRUNCATION = "truncation_update_"
_SETUP_EVENTS = ("session_update_", "tools_update_")
"""What the plugin names the events by which a session is set up, when it begins or reconnects."""


class TappedSession(openai.realtime.RealtimeSession):
    _permit: Permit | None = None
    """For the response that is being asked for."""

    def __init__(
        self,
        model: TappedModel,
        taps: WireTaps,
        *,
        farewell: str,
        session_s: float,
        turn_detection_disabled: bool,
    ) -> None:
        super().__init__(model, turn_detection_disabled=turn_detection_disabled)
        self._taps = taps
        tell_of_death(self._main_atask, partial(self._emit_error, recoverable=False))
        self._open = OpenWork(transcribes=self._opts.input_audio_transcription is not None)
        self._farewell = farewell
        self._session_s = session_s
        self._uplink: Uplink[rtc.AudioFrame] = Uplink()
        self._online = False
        self._unanswered = False
        self._leave = asyncio.Event()
        self._leaving_since: float | None = None
        self.on("openai_server_event_received", self._on_server)
        self.on("openai_client_event_queued", self._on_client)

    async def aclose(self) -> None:
        if self._open.responses:
            self.send_event(ResponseCancelEvent(type="response.cancel"))
        await self._open.wait_settled(SETTLE_TIMEOUT_S)
        if not self._online:
            # It may be waiting to connect once more, which nobody needs any more.
            self._main_atask.cancel()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await super().aclose()
        except (Exception, asyncio.CancelledError) as error:
            if (task := asyncio.current_task()) and task.cancelling():
                raise
            # What had ended the session is raised once more, although it was told as an event;
            # the framework then leaves the rest of its own closing undone.
            log.info("closing the provider's session failed", error_type=type(error).__name__)

    # --- connections

    async def _create_ws_conn(self) -> aiohttp.ClientWebSocketResponse:
        url, headers = self._create_ws_url_and_headers()
        opened: aiohttp.ClientWebSocketResponse | None = await self._taps.opened(url)
        if opened is not None:
            self._report_connection_acquired(0.0)
            return opened
        http = self._realtime_model._ensure_http_session()
        try:
            async with asyncio.timeout(self._opts.conn_options.timeout):
                return await http.ws_connect(
                    url,
                    headers=headers,
                    heartbeat=HEARTBEAT_S,
                    timeout=aiohttp.ClientWSTimeout(ws_close=FAREWELL_S),
                )
        except aiohttp.ClientError as error:
            raise APIConnectionError("OpenAI cannot be reached") from error
        except TimeoutError as error:
            raise APIConnectionError("OpenAI did not answer in time") from error

    async def _run_ws(self, ws_conn: aiohttp.ClientWebSocketResponse) -> None:
        loop = asyncio.get_running_loop()
        timer = loop.call_later(self._session_s, self._grow_old)
        self._arrive()
        running = asyncio.ensure_future(super()._run_ws(ws_conn))
        leaving = asyncio.ensure_future(self._leave.wait())
        try:
            await asyncio.wait({running, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if running.done():
                running.result()
        except (ValueError, TypeError) as error:
            # The plugin would end the session over one frame that cannot be read.
            raise APIConnectionError("the provider sent what is no event") from error
        finally:
            timer.cancel()
            await utils.aio.cancel_and_wait(running, leaving)
            self._depart()

    def _arrive(self) -> None:
        self._online = True
        self._unanswered = self._uplink.again()
        self._without_audio()
        self._send_heard()

    def _depart(self) -> None:
        self._online = False
        planned, self._leaving_since = self._leave.is_set(), None
        self._leave.clear()
        cut_short = bool(self._open.responses or self._response_created_futures)
        self._open.clear()
        self._taps.disconnected(Disconnected(planned=planned, cut_short=cut_short))

    def _without_audio(self) -> None:
        """What was to be sent on the connection before is in the uplink too."""
        if self._msg_ch.closed:
            return
        queued = []
        while not self._msg_ch.empty():
            queued.append(self._msg_ch.recv_nowait())
        for event in queued:
            if not isinstance(event, InputAudioBufferAppendEvent):
                self._msg_ch.send_nowait(event)

    def _grow_old(self) -> None:
        self._leaving_since = asyncio.get_running_loop().time()
        self._leave_if_nobody_speaks()

    def _leave_if_nobody_speaks(self) -> None:
        if self._leaving_since is None:
            return
        waited_s = asyncio.get_running_loop().time() - self._leaving_since
        busy = self.has_active_generation or self._open.pending or self._uplink.in_turn
        if not busy or waited_s >= LEAVE_WITHIN_S:
            self._online = False
            self._leave.set()

    # --- sending

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        """Audio waits while there is no connection."""
        self._taps.heard(frame)
        self._uplink.put(frame, frame.duration * 1000, loud=is_loud(frame.data))
        self._leave_if_nobody_speaks()
        self._send_heard()

    def _send_heard(self) -> None:
        while self._online and self._uplink.next_ms is not None:
            super().push_audio(self._uplink.next())
        if self._online and self._uplink.may_end_turn(self._silence_ms):
            # The plugin sends whole tenths of a second.
            self._append_audio(self._bstream.flush())

    @property
    def _silence_ms(self) -> float:
        detection = self._opts.turn_detection
        given = detection.silence_duration_ms if isinstance(detection, ServerVad) else None
        return float(given or DEFAULT_SILENCE_MS)

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

    # --- what comes in

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
            id_ = id_of(event.get("session"))
            self._taps.connected(Connected(id=id_, unanswered=self._unanswered))
        self._open.see(event)
        self._follow_turn(str(event.get("type")))
        self._taps.server(event)
        self._leave_if_nobody_speaks()

    def _follow_turn(self, kind: str) -> None:
        """A turn is safe once it is known as text, which is what the next connection is given;
        without transcription there is no better moment than when its answer begins."""
        if kind == "input_audio_buffer.committed":
            self._uplink.mark()
        elif kind.startswith("conversation.item.input_audio_transcription."):
            if kind.endswith((".completed", ".failed")):
                self._uplink.settle()
        elif kind == "response.created" and not self._open.transcribes:
            self._uplink.settle()

    def _on_client(self, event: dict[str, Any]) -> None:
        if event.get("type") == "input_audio_buffer.append":
            self._taps.client(UserAudio(ms=base64_ms(event["audio"])))


class TappedModel(BeginsEarly[TappedSession], openai.realtime.RealtimeModel):
    """The plugin's model; each of its sessions reports to ``taps``."""

    def __init__(self, *, taps: WireTaps, farewell: str, session_s: float, **options: Any) -> None:
        """``farewell``: what a goodbye without the conversation goes by. ``session_s``: after so
        long a connection is changed for a new one."""
        super().__init__(**options)
        self._taps = taps
        self._farewell = farewell
        self._session_s = session_s

    def _new_session(self, *, turn_detection_disabled: bool) -> TappedSession:
        session = TappedSession(
            self,
            self._taps,
            farewell=self._farewell,
            session_s=self._session_s,
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
