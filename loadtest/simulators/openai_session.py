"""One WebSocket connection to the simulated Realtime API: dispatch, turns, billing."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from random import Random
from typing import Any

from aiohttp import WSMsgType, web

from loadtest.simulators.control import World
from loadtest.simulators.faults import Fault, FaultKind
from loadtest.simulators.invoice import ResponseLine, TokenUsage, tokens_pico_usd
from loadtest.simulators.openai_audio import ChunkLibrary, InputBuffer, Turn, decode_audio
from loadtest.simulators.openai_config import SessionConfig, check_item, check_response
from loadtest.simulators.openai_conversation import Conversation, Item
from loadtest.simulators.openai_events import CLOSE_GOING_AWAY, new_id, user_audio_item
from loadtest.simulators.openai_outbox import Outbox
from loadtest.simulators.openai_planner import Planner
from loadtest.simulators.openai_prices import RealtimeModel
from loadtest.simulators.openai_requests import client_item
from loadtest.simulators.openai_response import ResponseRun
from loadtest.simulators.openai_schema import ClientError, invalid_type, invalid_value, missing
from loadtest.simulators.openai_transcription import Transcription
from loadtest.simulators.script import Interviewer
from loadtest.simulators.vad import SpeechStarted, SpeechStopped


@dataclass(frozen=True, kw_only=True)
class SessionOptions:
    """What every session of this simulator shares."""

    speed: float
    session_limit_s: float
    cache_min_tokens: int
    chunks: ChunkLibrary


class OpenAISession:
    """Serves one client until the connection ends. All handlers are synchronous; order is theirs.

    Implements the `LiveSession` of the control side and the `Host` of responses.
    """

    def __init__(
        self,
        *,
        world: World,
        options: SessionOptions,
        model_name: str,
        model: RealtimeModel,
        socket: web.WebSocketResponse,
        transport: asyncio.Transport,
    ) -> None:
        self.session_id = new_id("sess")
        self.speed = options.speed
        self._world, self._options, self._model = world, options, model
        self._model_name, self._socket, self._transport = model_name, socket, transport
        self._config = SessionConfig(
            session_id=self.session_id,
            model=model_name,
            expires_at=int(time.time() + options.session_limit_s),
        )
        self._conversation = Conversation(conversation_id=new_id("conv"))
        self._invoice = world.invoices.open(
            session_id=self.session_id, model=model_name, now_s=time.time()
        )
        number = world.opened(self)
        self._random = Random(world.seed * 1_000_003 + number)
        self._interviewer = Interviewer(
            seed=self._random.randrange(2**32), script=world.scripts.resolve("")
        )
        self._planner = Planner(
            conversation=self._conversation,
            interviewer=self._interviewer,
            random=self._random,
            max_input_tokens=model.max_input_tokens,
            cache_min_tokens=options.cache_min_tokens,
        )
        self._input = InputBuffer(settings=self._config.vad_settings(), manual=False)
        self._outbox = Outbox(socket, event_prefix=self.session_id.removeprefix("sess_"))
        self._tasks: set[asyncio.Task[None]] = set()
        self._runs: dict[str, ResponseRun] = {}
        self._active: ResponseRun | None = None
        self._turn_item_id: str | None = None
        self._expiry: asyncio.TimerHandle | None = None
        self._has_spoken = False
        self._turns = 0
        self._bytes_in = 0

    # -- life ---------------------------------------------------------------------------------

    async def serve(self) -> None:
        """Run until the client leaves, the connection is aborted or the session expires."""
        self.send("session.created", session=self._config.data)
        writer = asyncio.create_task(self._outbox.write(), name="openai-writer")
        self.end(self._options.session_limit_s)
        try:
            async for message in self._socket:
                if self._outbox.frozen:
                    continue
                if message.type is WSMsgType.TEXT:
                    self._receive(message.data)
                elif message.type is WSMsgType.PING:
                    await self._socket.pong(message.data)
        finally:
            if self._expiry is not None:
                self._expiry.cancel()
            await self._leave(writer)

    async def _leave(self, writer: asyncio.Task[None]) -> None:
        for run in list(self._runs.values()):
            run.drop()
        self._invoice.closed_at_s = time.time()
        self._world.closed(self)
        tasks = [writer, *self._tasks]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _expire(self) -> None:
        minutes = self._options.session_limit_s / 60
        message = f"Your session hit the maximum duration of {minutes:g} minutes."
        self._world.stats["sessions_expired"] += 1
        self._send_error(ClientError(message, code="session_expired"), None)
        self.hang_up(CLOSE_GOING_AWAY, message)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- LiveSession --------------------------------------------------------------------------

    def describe(self) -> dict[str, Any]:
        return {
            "session_id": self.session_id,
            "model": self._model_name,
            "opened_at": self._invoice.as_json()["opened_at"],
            "turns": self._turns,
            "phase": self._interviewer.phase,
            "responding": self._active is not None,
            "bytes_in": self._bytes_in,
            "bytes_out": self._outbox.bytes_out,
            "total_pico_usd": self._invoice.total_pico_usd,
        }

    def matches(self, text: str) -> bool:
        return text in self._config.instructions

    def drop(self) -> None:
        self.abort()

    def freeze(self) -> None:
        self._outbox.frozen = True

    def end(self, time_left_s: float | None) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = asyncio.get_running_loop().call_later(time_left_s or 0.0, self._expire)

    # -- Host ---------------------------------------------------------------------------------

    def send(self, kind: str, **fields: Any) -> None:
        self._outbox.send(kind, **fields)

    def send_raw(self, text: str) -> None:
        self._outbox.send_raw(text)

    def audio_piece(self, choice: int, start_ms: int, end_ms: int) -> str:
        return self._options.chunks.piece(choice=choice, start_ms=start_ms, end_ms=end_ms)

    def add_output(self, item: Item) -> str | None:
        self._conversation.insert(item)
        return self._conversation.previous_id(item.item_id)

    def take_fault(self, kind: FaultKind) -> Fault | None:
        return self._world.faults.take(kind, self._config.instructions, self._model_name)

    def abort(self) -> None:
        self._world.stats["sessions_dropped"] += 1
        self._transport.abort()

    def hang_up(self, code: int, reason: str) -> None:
        self._outbox.close(code, reason)

    def price(self, usage: TokenUsage) -> int:
        return tokens_pico_usd(usage, self._model.prices)

    def spoke(self, choice: int) -> None:
        self._has_spoken = True

    def ended(self, run: ResponseRun, line: ResponseLine) -> None:
        self._invoice.responses.append(line)
        self._world.stats[f"responses_{line.status}"] += 1
        self._runs.pop(run.response_id, None)
        if self._active is run:
            self._active = None
        if run.tool_sent:
            self._world.stats["function_calls"] += 1
        else:
            self._interviewer.take_back(run.plan.reply)

    # -- client events ------------------------------------------------------------------------

    def _receive(self, data: str) -> None:
        self._bytes_in += len(data)
        event: Any = None
        try:
            event = _parse(data)
            self._handler(event)(self, event)
        except ClientError as error:
            self._send_error(error, event.get("event_id") if isinstance(event, dict) else None)

    def _handler(self, event: Any) -> Callable[[OpenAISession, dict[str, Any]], None]:
        if not isinstance(event, dict) or not isinstance(event.get("type"), str):
            raise ClientError("The 'type' field is missing.", code="invalid_event")
        if event["type"] not in self._handlers:
            raise invalid_value("type", event["type"], tuple(self._handlers))
        return self._handlers[event["type"]]

    def _send_error(self, error: ClientError, client_event_id: Any) -> None:
        self._world.stats["errors_sent"] += 1
        known = client_event_id if isinstance(client_event_id, str) else None
        self.send("error", error=error.as_json(known))

    def _session_update(self, event: dict[str, Any]) -> None:
        if "session" not in event:
            raise missing("session")
        self._config.update(event["session"], has_spoken=self._has_spoken)
        self._invoice.instructions = self._config.instructions
        self._interviewer.script = self._world.scripts.resolve(self._config.instructions)
        self._input.configure(
            settings=self._config.vad_settings(), manual=self._config.turn_detection is None
        )
        self.send("session.updated", session=self._config.data)

    def _append(self, event: dict[str, Any]) -> None:
        for heard in self._input.append(decode_audio(event.get("audio"))):
            if isinstance(heard, SpeechStarted):
                self._speech_started(heard)
            else:
                self._speech_stopped(heard)

    def _speech_started(self, heard: SpeechStarted) -> None:
        self._turn_item_id = new_id("item")
        self.send(
            "input_audio_buffer.speech_started",
            audio_start_ms=heard.start_ms,
            item_id=self._turn_item_id,
        )
        detection = self._config.turn_detection
        if detection is not None and detection["interrupt_response"] and self._active is not None:
            self._world.stats["interruptions"] += 1
            self._active.cancel("turn_detected")

    def _speech_stopped(self, heard: SpeechStopped) -> None:
        item_id = self._turn_item_id or new_id("item")
        self.send("input_audio_buffer.speech_stopped", audio_end_ms=heard.end_ms, item_id=item_id)
        self._commit_turn(item_id, self._input.close_turn(heard))
        detection = self._config.turn_detection
        if detection is not None and detection["create_response"] and self._active is None:
            self._respond({})

    def _commit(self, event: dict[str, Any]) -> None:
        turn = self._input.commit()
        self._commit_turn(self._turn_item_id or new_id("item"), turn)

    def _commit_turn(self, item_id: str, turn: Turn) -> None:
        self._turn_item_id = None
        self._turns += 1
        self._world.stats["turns"] += 1
        self._interviewer.user_turn(turn.voiced_ms)
        previous = self._conversation.last_id
        self.send("input_audio_buffer.committed", previous_item_id=previous, item_id=item_id)
        item = Item(body=user_audio_item(item_id), audio_ms=turn.duration_ms)
        self._conversation.insert(item)
        self._item_complete(item)
        if self._config.transcription is not None:
            self._spawn(self._transcribe(item_id, turn, choice=self._turns))

    async def _transcribe(self, item_id: str, turn: Turn, *, choice: int) -> None:
        settings = self._config.transcription or {}
        job = Transcription.of(turn, settings=settings, choice=choice)
        await asyncio.sleep(job.delay_s)
        where = {"item_id": item_id, "content_index": 0}
        prefix = "conversation.item.input_audio_transcription"
        for delta in job.deltas:
            self.send(f"{prefix}.delta", **where, delta=delta)
        self._invoice.transcriptions.append(job.line(item_id))
        self._world.stats["transcriptions"] += 1
        self.send(f"{prefix}.completed", **where, transcript=job.text, usage=job.usage)

    def _clear(self, event: dict[str, Any]) -> None:
        self._input.clear()
        self._turn_item_id = None
        self.send("input_audio_buffer.cleared")

    def _item_create(self, event: dict[str, Any]) -> None:
        if "item" not in event:
            raise missing("item")
        item = client_item(check_item(event["item"], "item"))
        self._conversation.insert(item, after=event.get("previous_item_id"))
        self._item_complete(item)

    def _item_complete(self, item: Item) -> None:
        previous = self._conversation.previous_id(item.item_id)
        for kind in ("conversation.item.added", "conversation.item.done"):
            self.send(kind, previous_item_id=previous, item=item.body)

    def _item_delete(self, event: dict[str, Any]) -> None:
        self._conversation.delete(event.get("item_id"))
        self.send("conversation.item.deleted", item_id=event["item_id"])

    def _item_truncate(self, event: dict[str, Any]) -> None:
        end_ms = event.get("audio_end_ms")
        if isinstance(end_ms, bool) or not isinstance(end_ms, int) or end_ms < 0:
            raise invalid_type("audio_end_ms", "an integer", end_ms)
        self._conversation.truncate(event.get("item_id"), audio_end_ms=end_ms)
        self._world.stats["truncations"] += 1
        self.send(
            "conversation.item.truncated",
            item_id=event["item_id"],
            content_index=0,
            audio_end_ms=end_ms,
        )

    def _item_retrieve(self, event: dict[str, Any]) -> None:
        item = self._conversation.require(
            event.get("item_id"), code="item_retrieve_invalid_item_id", doing="retrieving"
        )
        self.send("conversation.item.retrieved", item=item.body)

    def _response_create(self, event: dict[str, Any]) -> None:
        self._respond(check_response(event.get("response")))

    def _response_cancel(self, event: dict[str, Any]) -> None:
        wanted = event.get("response_id")
        run = self._active if wanted is None else self._runs.get(wanted)
        if run is None:
            raise ClientError(
                "Cancellation failed: no active response found",
                code="response_cancel_not_active",
            )
        run.cancel("client_cancelled")

    # -- responses ----------------------------------------------------------------------------

    def _respond(self, params: dict[str, Any]) -> None:
        """Create a response; one at a time may write to the conversation."""
        in_conversation = params.get("conversation", "auto") == "auto"
        if in_conversation and self._active is not None:
            raise ClientError(
                "Conversation already has an active response in progress: "
                f"{self._active.response_id}. Wait until the response is finished before "
                "creating a new one.",
                code="conversation_already_has_active_response",
            )
        run = ResponseRun(self, self._planner.plan(self._config, params))
        self._runs[run.response_id] = run
        self._world.stats["responses"] += 1
        if in_conversation:
            self._active = run
        run.task = self._spawn(run.run())

    _handlers: dict[str, Callable[[OpenAISession, dict[str, Any]], None]] = {  # noqa: RUF012
        "session.update": _session_update,
        "input_audio_buffer.append": _append,
        "input_audio_buffer.commit": _commit,
        "input_audio_buffer.clear": _clear,
        "conversation.item.create": _item_create,
        "conversation.item.retrieve": _item_retrieve,
        "conversation.item.truncate": _item_truncate,
        "conversation.item.delete": _item_delete,
        "response.create": _response_create,
        "response.cancel": _response_cancel,
    }


def _parse(data: str) -> Any:
    try:
        return json.loads(data)
    except ValueError:
        raise ClientError("The event is not valid JSON.", code="invalid_json") from None
