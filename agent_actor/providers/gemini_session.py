"""Gemini Live: the real plugin's session, with its wire messages tapped.

What differs from the plugin as it comes:

* Every server message is seen before the plugin handles it, because the plugin drops usage that
  arrives with no active generation.
* Changed instructions are sent only between turns, because the Live API takes client content
  during a generation for an interruption of it.
* A connection that is told to go away is left between turns, not at once; what the participant
  says meanwhile waits, and what got no answer is sent again on the next one.
* A handle that is refused is given up for a new session with the conversation as text.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from functools import partial
from typing import Any

import structlog
from google.genai import types
from google.genai.live import AsyncSession
from livekit import rtc
from livekit.agents import llm
from livekit.agents.utils import aio
from livekit.plugins.google.realtime import realtime_api

from agent_actor.errors import ProviderRefused
from agent_actor.providers.base import (
    Connected,
    Disconnected,
    WireTaps,
    refused,
    tell_of_death,
)
from agent_actor.providers.begun import BeginsEarly
from agent_actor.providers.failures import classify
from agent_actor.providers.gemini_turns import Turns
from agent_actor.providers.gemini_wire import seconds_of
from agent_actor.providers.uplink import Uplink, is_loud
from agent_actor.wire_events import (
    AnswerDue,
    InstructionsSet,
    ResponseRequested,
    TextSent,
    UserAudio,
)

SETTLE_TIMEOUT_S = 2.0
LEAVE_BEFORE_S = 2.0
"""A connection is left so long before its announced end, at the latest."""
FAREWELL_S = 1.0
"""How long the server may take to answer that a connection is closed: the next one waits for it."""
FROZEN_AFTER_S = 12.0
"""A connection on which an answer is due is given up when for so long neither a word comes nor an
answer to a ping. Those can take long while the model is busy."""
PING_EVERY_S = 3.0
"""Meanwhile: the time counts from the last answer, so one that freezes is found that much sooner
than it would be if it were asked once."""

log = structlog.get_logger(__name__)

Connect = Callable[..., contextlib.AbstractAsyncContextManager[AsyncSession]]


class TappedSession(realtime_api.RealtimeSession):
    def __init__(self, model: TappedModel, taps: WireTaps) -> None:
        super().__init__(model)
        self._taps = taps
        tell_of_death(self._main_atask, partial(self._emit_error, recoverable=False))
        live = self._client.aio.live
        live.connect = self._persistent(live.connect)  # type: ignore[method-assign,assignment]
        self._instructions_due: str | None = None
        self._uplink: Uplink[rtc.AudioFrame] = Uplink()
        self._online = False
        self._turns = Turns()
        self._leaving: asyncio.TimerHandle | None = None
        """Set from the moment that the connection's end is announced."""
        self._left = False
        self._due = False
        """The provider may be answering, and has not said so."""
        self._silent: asyncio.Task[None] | None = None
        """Runs while the provider owes us a word."""
        self._billed = asyncio.Event()
        self._billed.set()

    # --- connecting

    def _persistent(self, connect: Connect) -> Connect:
        """``connect``, tried as often as the options say: the plugin gives a live session up when
        a single attempt to connect again fails.
        """

        @contextlib.asynccontextmanager
        async def persistent(**options: Any) -> AsyncIterator[AsyncSession]:
            async with contextlib.AsyncExitStack() as stack:
                yield await self._connected(stack, partial(connect, **options), options["config"])

        return persistent

    async def _connected(
        self,
        stack: contextlib.AsyncExitStack,
        connect: Callable[[], contextlib.AbstractAsyncContextManager[AsyncSession]],
        config: types.LiveConnectConfig,
    ) -> AsyncSession:
        tries = self._opts.conn_options
        for attempt in range(tries.max_retry):
            try:
                return await stack.enter_async_context(connect())
            except Exception as error:
                if isinstance(classify(error), ProviderRefused):
                    if not self._give_up(config):
                        raise
                    continue
                self._emit_error(error, recoverable=True)
                await asyncio.sleep(tries._interval_for_retry(attempt))
        return await stack.enter_async_context(connect())

    def _give_up(self, config: types.LiveConnectConfig) -> bool:
        """The handle, if there was one: it may be that alone which is refused."""
        if self._session_resumption_handle is None:
            return False
        log.warning("the session's handle was refused, it begins anew with its conversation")
        self._session_resumption_handle = self._resumption_chat_ctx = None
        if config.session_resumption is not None:
            config.session_resumption.handle = None
        return True

    async def _recv_task(self, session: AsyncSession) -> None:
        if self._session_should_close.is_set():
            # The plugin connects before it knows the tools, and connects again with them. Whoever
            # took this first connection for the one to talk on would have the greeting eaten:
            # its sender still takes a message, and drops it.
            await super()._recv_task(session)
            return
        self._arrive(session)
        session.receive = _tapped(session.receive, self._on_message)  # type: ignore[method-assign]
        try:
            await super()._recv_task(session)
        finally:
            self._depart()

    def _arrive(self, session: AsyncSession) -> None:
        self._turns = Turns()
        session._ws.close_timeout = FAREWELL_S
        unanswered = self._uplink.again()
        self._taps.connected(Connected(id=session.session_id, unanswered=unanswered))
        self._taps.client(InstructionsSet(utf8_bytes=self._setup_bytes()))
        if self._session_resumption_handle is None:
            self._tell_restored()
        self._online = True
        self.listen()

    def _depart(self) -> None:
        self._online = self._due = False
        self._word_came()
        self._stay()
        self._billed.set()
        # What comes next is set up with them.
        self._instructions_due = None
        planned, self._left = self._left, False
        self._taps.disconnected(Disconnected(planned=planned, cut_short=self._turns.cut_short))

    # --- leaving

    def _handle_go_away(self, go_away: types.LiveServerGoAway) -> None:
        left_s = seconds_of(go_away.time_left) or 0.0
        log.info("the provider will end this connection", left_s=left_s)
        if self._leaving is None:
            loop = asyncio.get_running_loop()
            self._leaving = loop.call_later(max(0.0, left_s - LEAVE_BEFORE_S), self._leave)
        self._leave_if_nobody_speaks()

    def _stay(self) -> None:
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def _leave_if_nobody_speaks(self) -> None:
        if self._leaving and self._turns.between and not self._uplink.in_turn:
            self._leave()

    def _leave(self) -> None:
        """The plugin closes this connection and opens the next with the newest handle."""
        if self._online and not self._session_should_close.is_set():
            self._left, self._online = True, False
            self._session_should_close.set()

    # --- a connection that only looks like one

    def _expect_word(self) -> None:
        session = self._active_session
        if self._online and session and (self._silent is None or self._silent.done()):
            self._silent = asyncio.create_task(self._find_out(session))

    async def _find_out(self, session: AsyncSession) -> None:
        """Asks until a word comes. Neither that nor a pong for too long: the plugin then hears that
        it is over."""
        loop = asyncio.get_running_loop()
        alive_at = loop.time()
        with contextlib.suppress(Exception):
            while True:
                async with asyncio.timeout_at(alive_at + FROZEN_AFTER_S):
                    await (await session._ws.ping())
                alive_at = loop.time()  # It thinks.
                await asyncio.sleep(PING_EVERY_S)
        log.warning("no word from the provider, the connection is given up")
        # Closing it properly would wait for an answer once more.
        session._ws.transport.abort()

    def _word_came(self) -> None:
        if self._silent is not None:
            self._silent.cancel()

    # --- sending

    async def update_instructions(self, instructions: str) -> None:
        if self._active_session is None or not self._generating():
            await super().update_instructions(instructions)
            return
        # A reconnect before the turn's end is to come up with the new ones already.
        self._opts.instructions = instructions
        self._instructions_due = instructions

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        """Audio waits while there is no connection, and while the turn that it may complete could
        not be paid for."""
        self._taps.heard(frame)
        self._uplink.put(frame, frame.duration * 1000, loud=is_loud(frame.data))
        self.listen()

    def listen(self) -> None:
        """Send what waits, as far as it can be paid for now."""
        while self._online and (ms := self._uplink.next_ms) and self._taps.may_hear(ms):
            self._taps.client(UserAudio(ms=ms))
            super().push_audio(self._uplink.next())
        if self._online and self._uplink.may_end_turn(self._answers_after_ms):
            self._send_rest()
        self._tell_due(self._online and self._uplink.turn_may_be_over(self._answers_after_ms))
        if self._uplink.in_turn and self._uplink.quiet_ms > self._answers_after_ms:
            self._expect_word()
        self._leave_if_nobody_speaks()

    def _tell_due(self, due: bool) -> None:
        if due != self._due:
            self._due = due
            self._taps.client(AnswerDue(due=due))

    def _send_rest(self) -> None:
        """What makes no whole message of the plugin's yet; it is metered already."""
        for frame in self._bstream.flush():
            audio = types.Blob(
                data=frame.data.tobytes(), mime_type=f"audio/pcm;rate={frame.sample_rate}"
            )
            self._send_client_event(types.LiveClientRealtimeInput(audio=audio))

    @property
    def _answers_after_ms(self) -> float:
        """Of silence: then a turn is over."""
        detection = self._opts.realtime_input_config
        activity = detection.automatic_activity_detection if detection else None
        return float(activity.silence_duration_ms or 0) if activity else 0.0

    def generate_reply(self, **options: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        """As the plugin's, under a permit: without one nothing is sent and it fails at once."""
        return super().generate_reply(**options) if self._taps.permit() else refused()

    def _send_client_event(self, event: Any) -> None:
        match event:
            case types.LiveClientContent(turn_complete=complete):
                self._taps.client(TextSent(utf8_bytes=_size(event)))
                if complete:
                    self._ask()
            case types.LiveClientToolResponse():
                # The model goes on by itself once it has the answer.
                if self._taps.permit() is None:
                    return
                self._taps.client(TextSent(utf8_bytes=_size(event)))
                self._ask()
        super()._send_client_event(event)

    def _ask(self) -> None:
        self._taps.client(ResponseRequested())
        self._turns.asked()
        self._expect_word()

    # --- what comes in

    def _on_message(self, message: types.LiveServerMessage) -> None:
        self._word_came()
        if message.usage_metadata:
            self._billed.set()
        elif message.tool_call or (message.server_content and message.server_content.model_turn):
            self._billed.clear()
        if self._turns.see(message):
            self._uplink.settle()
        self._taps.server(message)
        # The plugin keeps the handle that this message may bring before anything else happens.
        self._leave_if_nobody_speaks()

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

    def _generating(self) -> bool:
        return self._current_generation is not None and not self._current_generation._done

    # --- what the meter cannot see by itself

    def _setup_bytes(self) -> int:
        tools = self._build_connect_config().tools or []
        instructions = str(self._opts.instructions or "")
        return len(instructions.encode()) + sum(len(str(tool).encode()) for tool in tools)

    def _tell_restored(self) -> None:
        """The plugin opens a new session with the conversation, past ``_send_client_event``."""
        size = sum(len((m.text_content or "").encode()) for m in self._chat_ctx.messages())
        if size:
            self._taps.client(TextSent(utf8_bytes=size))

    # --- the end

    async def aclose(self) -> None:
        self._stay()
        # Usage comes with or after the turn's end; what is missing after the timeout is charged
        # an upper bound by the meter.
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_TIMEOUT_S):
                await self._billed.wait()
        await super().aclose()
        if self._silent is not None:
            await aio.cancel_and_wait(self._silent)


class TappedModel(BeginsEarly[TappedSession], realtime_api.RealtimeModel):
    """The plugin's model; each of its sessions reports to ``taps``."""

    def __init__(self, *, taps: WireTaps, **options: Any) -> None:
        super().__init__(**options)
        self._taps = taps

    def _new_session(self, **_: Any) -> TappedSession:
        session = TappedSession(self, self._taps)
        self._sessions.add(session)
        return session

    def listen(self) -> None:
        for session in tuple(self._sessions):
            if isinstance(session, TappedSession):
                session.listen()


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
