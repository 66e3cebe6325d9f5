"""One WebSocket connection: frames in, turns out.

Its tasks are the reader, the watch over its deadline, and at most one turn at a time. Every
event, be it a frame or the end of a generation, is decided and carried out under one lock, so
that commands never interleave; an interruption cancels the turn and waits for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Any

from aiohttp import WSMsgType, web

from loadtest.simulators.faults import Fault, FaultKind
from loadtest.simulators.gemini import wire
from loadtest.simulators.gemini.closing import (
    ClientGone,
    ConnectionClosing,
    Countdown,
    closing_of,
    invalid_argument,
)
from loadtest.simulators.gemini.floor import Command, Finish, Floor, Generate, Interrupt
from loadtest.simulators.gemini.listening import Heard, Listener, TurnStarted
from loadtest.simulators.gemini.service import Service
from loadtest.simulators.gemini.session import (
    COMPLETED,
    FAILED,
    INTERRUPTED,
    Generation,
    Session,
    charge,
)
from loadtest.simulators.gemini.setup import CLOSE_INTERNAL
from loadtest.simulators.gemini.turn import TurnPlayer, call_frames
from loadtest.simulators.invoice import Invoice
from loadtest.simulators.script import ToolCall
from loadtest.simulators.sentences import user_transcript

QUOTA_REASON = "You exceeded your current quota, please check your plan and billing details."
PLACEHOLDER = "."


class Connection:
    """A configured connection. `run` owns all its tasks and returns when it is over."""

    def __init__(
        self,
        *,
        service: Service,
        session: Session,
        invoice: Invoice,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport | None,
    ) -> None:
        """Raises SetupError when the session is over already."""
        self.service, self.session, self.invoice = service, session, invoice
        self.frames, self.speed = service.frames, service.speed
        self.lock = asyncio.Lock()
        self.closed = asyncio.Event()
        self.floor = Floor(interruptible=session.setup.interruptible)
        self._socket, self._transport = socket, transport
        self._listener = Listener(session.setup)
        self._countdown = Countdown(service.limits.deadline(session, now_s=time.monotonic()))
        self._turn: asyncio.Task[None] | None = None
        self._turn_failed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._generation: Generation | None = None
        self._empty_answer = False
        self._played_at_s = 0.0
        self._frozen = False
        self._turns = self._calls = self._bytes_in = self._bytes_out = 0

    @property
    def session_id(self) -> str:
        return self.session.session_id

    def describe(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "model": self.session.setup.model,
            "turns": self._turns,
            "phase": self.session.interviewer.phase,
            "stage": self.floor.stage.name.lower(),
            "context_tokens": self.session.context.tokens.total,
            "bytes_in": self._bytes_in,
            "bytes_out": self._bytes_out,
        }

    def matches(self, text: str) -> bool:
        return text in self.session.all_instructions

    def drop(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def freeze(self) -> None:
        self._frozen = True

    def end(self, time_left_s: float | None) -> None:
        soon = self.service.limits.soon(now_s=time.monotonic(), left_s=time_left_s)
        self._countdown.move(soon)

    async def run(self) -> None:
        """Serve until the client leaves. Raises ConnectionClosing when the server ends it."""
        closing: ConnectionClosing | None = None
        try:
            await self.send(wire.setup_complete(self.session_id))
            async with asyncio.TaskGroup() as group:
                group.create_task(self._countdown.run(self.send))
                group.create_task(self._read())
                group.create_task(_raise_from(self._turn_failed))
        except* ConnectionClosing as ended:
            closing = closing_of(ended)
        except* (ClientGone, ConnectionError):
            pass
        finally:
            await self._abandon_turn()
            self.closed.set()
        if closing is not None:
            raise closing

    async def send(self, frame: bytes) -> None:
        """Raises ClientGone when there is nobody to send to."""
        if self._socket.closed:
            raise ClientGone
        if self._frozen:
            return
        self._bytes_out += len(frame)
        try:
            await self._socket.send_bytes(frame)
        except (ConnectionError, RuntimeError) as error:
            raise ClientGone from error

    # What comes in.

    async def _read(self) -> None:
        async for message in self._socket:
            if self._frozen or message.type is WSMsgType.PONG:
                continue
            if message.type is WSMsgType.PING:
                await self._socket.pong(message.data)
                continue
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            self._bytes_in += len(message.data)
            self._strike_with_go_away()
            try:
                parsed = wire.parse(message.data)
            except wire.WireError as error:
                raise invalid_argument() from error
            async with self.lock:
                await self._handle(parsed)
        raise ClientGone

    async def _handle(self, message: wire.ClientMessage) -> None:
        match message:
            case wire.Audio(pcm=pcm):
                await self._hear(self._listener.feed(pcm))
            case wire.Signal():
                if not self._listener.allows(message):
                    raise invalid_argument()
                await self._hear(self._listener.signal(message))
            case wire.RealtimeText(text=text):
                await self._execute(self.floor.activity_started())
                self.session.add_user_text(text)
                await self._execute(self.floor.activity_ended())
            case wire.ClientContent():
                await self._add_content(message)
            case wire.ToolResponse(results=results):
                known = self.floor.known(result.id for result in results)
                for result in results:
                    if result.id in known:
                        self.session.add_tool_output(result.text)
                await self._execute(self.floor.results_added(known))
            case wire.ContextUpdate(instructions=instructions):
                self.session.update = instructions or self.session.update
                self.invoice.instructions = self.session.all_instructions
            case wire.Setup():
                raise invalid_argument()

    async def _hear(self, heard: Sequence[Heard]) -> None:
        for turn in heard:
            if isinstance(turn, TurnStarted):
                await self._execute(self.floor.activity_started())
            elif not turn.billed_ms:
                self.floor.activity_withdrawn()
            else:
                self._turns += 1
                self.session.add_user_speech(duration_ms=turn.billed_ms, voiced_ms=turn.voiced_ms)
                await self._transcribe(turn.voiced_ms)
                await self._execute(self.floor.activity_ended())

    async def _transcribe(self, voiced_ms: int) -> None:
        if self.session.setup.transcribes_input:
            text = user_transcript(choice=self._turns * 7, speech_ms=voiced_ms)
            await self.send(wire.input_transcription(f" {text}"))

    async def _add_content(self, content: wire.ClientContent) -> None:
        roles = {turn.role for turn in content.turns}
        newer = self.session.setup.generation != "2.5"
        if not roles <= {"user", "model", None} or (newer and None in roles):
            raise invalid_argument()
        self.session.add_turns(content.turns, turn_complete=content.turn_complete)
        self.invoice.instructions = self.session.all_instructions
        # The newer models answer a bare placeholder with an empty turn.
        last = content.turns[-1].text if content.turns else ""
        self._empty_answer = newer and last == PLACEHOLDER
        await self._execute(self.floor.content_added(turn_complete=content.turn_complete))

    # What goes out.

    async def _execute(self, commands: Sequence[Command]) -> None:
        """Carry out what the floor decided. The lock must be held."""
        for command in commands:
            match command:
                case Interrupt(cancelled=cancelled):
                    await self._interrupt(cancelled)
                case Finish():
                    await self._end_turn(COMPLETED)
                case Generate():
                    self._start_turn()

    def _start_turn(self) -> None:
        if self.take_fault(FaultKind.INSUFFICIENT_QUOTA):
            raise ConnectionClosing(CLOSE_INTERNAL, QUOTA_REASON)
        self.service.world.stats["responses"] += 1
        number = len(self.invoice.responses) + 1
        generation = self.session.begin(f"{self.session_id}/{number}")
        if generation.prompt.total > self.service.limits.context_tokens:
            raise invalid_argument()
        generation.thoughts = self.service.thoughts(self.session.setup)
        self._generation = generation
        player = TurnPlayer(self, generation, call_id=self._next_call_id)
        self._turn = asyncio.create_task(player.run(empty=self._empty_answer))
        self._turn.add_done_callback(self._turn_done)
        self._empty_answer = False

    def _turn_done(self, task: asyncio.Task[None]) -> None:
        """A turn that failed takes the connection with it."""
        if task.cancelled() or (error := task.exception()) is None:
            return
        if not self._turn_failed.done():
            self._turn_failed.set_exception(error)

    async def generation_ended(
        self, generation: Generation, calls: Sequence[tuple[str, ToolCall]]
    ) -> None:
        """It is owed from here on, whatever becomes of the connection."""
        self.session.keep_output(generation)
        self.floor.generation_ended(call_id for call_id, _ in calls)
        charge(self.invoice, generation, status=COMPLETED, usage_sent=False)
        if not calls:
            await self.send(wire.generation_complete())
            return
        usage = self._settle(generation)
        await self.send(wire.tool_call(call_frames(calls), usage))
        charge(self.invoice, generation, status=COMPLETED, usage_sent=usage is not None)

    async def playback_ended(self) -> None:
        async with self.lock:
            await self._execute(self.floor.playback_ended())

    async def _interrupt(self, cancelled: Sequence[str]) -> None:
        await self._cancel_turn()
        self._played_at_s = 0.0
        if cancelled:
            await self.send(wire.tool_call_cancellation(cancelled))
        await self.send(wire.interrupted())
        await self._end_turn(INTERRUPTED)

    async def _end_turn(self, status: str) -> None:
        """turnComplete with the usage beside it, then a handle for the state reached."""
        generation, self._generation = self._generation, None
        if generation is None:
            return
        if generation.line is None:
            self.session.keep_output(generation)
        told = generation.line is not None and self.invoice.responses[generation.line].usage_sent
        charge(self.invoice, generation, status=status, usage_sent=told)
        usage = self._settle(generation)
        idle = self.session.setup.generation == "3.8"
        await self.send(wire.turn_complete(usage, idle=idle))
        charge(self.invoice, generation, status=status, usage_sent=told or usage is not None)
        await self._offer_handle()

    def _settle(self, generation: Generation) -> dict[str, object] | None:
        """Its usage, for the one message that carries it; None if it has had its message."""
        if generation.settled:
            return None
        generation.settled = True
        return None if self.take_fault(FaultKind.NO_USAGE) else generation.metadata

    async def _offer_handle(self) -> None:
        if self.session.setup.resumption:
            state = self.session.snapshot()
            handle = self.service.handles.issue(state, now_s=time.monotonic())
            await self.send(wire.resumption_update(handle))

    async def _cancel_turn(self) -> None:
        turn, self._turn = self._turn, None
        if turn is not None and turn is not asyncio.current_task():
            turn.cancel()
            await asyncio.wait({turn})

    async def _abandon_turn(self) -> None:
        """The connection is gone: bill what was generated and never reported."""
        await self._cancel_turn()
        if not self._turn_failed.cancel() and not self._turn_failed.cancelled():
            self._turn_failed.exception()
        generation, self._generation = self._generation, None
        if generation is not None and generation.line is None:
            charge(self.invoice, generation, status=FAILED, usage_sent=False)

    # Playback, as the server reckons it.

    def playing(self, ms: int) -> None:
        self._played_at_s = max(self._played_at_s, time.monotonic()) + ms / 1_000

    def playback_left_s(self) -> float:
        return max(0.0, self._played_at_s - time.monotonic())

    # Limits and faults.

    def _strike_with_go_away(self) -> None:
        if fault := self.take_fault(FaultKind.GO_AWAY):
            left = fault.params.get("time_left_s")
            self.end(None if left is None else float(left))

    def take_fault(self, kind: FaultKind) -> Fault | None:
        subjects = (self.session.setup.model, self.session_id, self.session.all_instructions)
        return self.service.world.faults.take(kind, *subjects)

    def _next_call_id(self) -> str:
        self._calls += 1
        return f"function-call-{self.session_id}-{len(self.invoice.responses)}-{self._calls}"


async def _raise_from(future: asyncio.Future[None]) -> None:
    await future
