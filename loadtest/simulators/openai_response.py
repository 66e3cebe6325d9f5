"""One response of the simulated Realtime API, from `response.created` to `response.done`."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from loadtest.simulators.faults import Fault, FaultKind
from loadtest.simulators.invoice import ResponseLine, TokenUsage
from loadtest.simulators.openai_audio import CHUNK_MS
from loadtest.simulators.openai_conversation import Item, Weight
from loadtest.simulators.openai_events import (
    CLOSE_REFUSED,
    QUOTA_MESSAGE,
    call_item,
    message_item,
    new_id,
    status_details,
    usage_json,
)
from loadtest.simulators.openai_prices import assistant_audio_tokens, text_tokens
from loadtest.simulators.script import Reply, ToolCall

SLOW_TTFA_MS = 5000.0
SLOW_SPEED = 0.5
MALFORMED_EVENT = '{"type": "response.'


class Host(Protocol):
    """What a response needs of its session."""

    speed: float

    def send(self, kind: str, **fields: Any) -> None: ...
    def send_raw(self, text: str) -> None: ...
    def audio_piece(self, choice: int, start_ms: int, end_ms: int) -> str: ...
    def add_output(self, item: Item) -> str | None:
        """Append to the conversation; returns the id of the item before it."""
        ...

    def take_fault(self, kind: FaultKind) -> Fault | None: ...
    def abort(self) -> None: ...
    def hang_up(self, code: int, reason: str) -> None: ...
    def ended(self, run: ResponseRun, line: ResponseLine) -> None:
        """Book the line and forget the run; called exactly once."""
        ...

    def price(self, usage: TokenUsage) -> int: ...
    def spoke(self, choice: int) -> None: ...


@dataclass(frozen=True, kw_only=True)
class Plan:
    """A response as decided at its creation; `shown` are the fields its JSON repeats."""

    reply: Reply
    weight: Weight
    cached: Weight
    max_tokens: int | None
    audio: bool
    in_conversation: bool
    choice: int
    shown: Mapping[str, Any]


def within(reply: Reply, *, audio: bool, max_tokens: int | None) -> tuple[str, int, bool]:
    """(text, speech_ms, whole): what of the spoken part fits into `max_tokens`."""
    text, speech_ms = reply.text, reply.speech_ms if audio else 0
    whole = text_tokens(text) + assistant_audio_tokens(speech_ms)
    if max_tokens is None or whole <= max_tokens:
        return text, speech_ms, True
    length = len(text) * max_tokens // whole
    while length and text_tokens(text[:length]) + _audio_for(reply, length, audio) > max_tokens:
        length -= 1
    cut_ms = _audio_for(reply, length, audio) * 50
    return text[:length], cut_ms, False


def _audio_for(reply: Reply, length: int, audio: bool) -> int:
    """Audio tokens spoken along with the first `length` characters."""
    return reply.speech_ms * length // len(reply.text) // 50 if audio else 0


class ResponseRun:
    """Streams one planned response. `run` is its task; `cancel` and `drop` end it from outside."""

    def __init__(self, host: Host, plan: Plan) -> None:
        self.response_id = new_id("resp")
        self.plan = plan
        self.task: asyncio.Task[None] | None = None
        self.tool_sent = False
        self._host = host
        self._output: list[dict[str, Any]] = []
        self._text, self._speech_ms, self._whole = within(
            plan.reply, audio=plan.audio, max_tokens=plan.max_tokens
        )
        self._message: Item | None = None
        self._sent_ms = 0
        self._sent_text = ""
        self._tool_tokens = 0
        self._done = False
        self._hide_usage = False
        self._previous: str | None = None

    async def run(self) -> None:
        """Speak, then call the tool, then be done."""
        self._host.send("response.created", response=self._json("in_progress"))
        self._host.send("rate_limits.updated", rate_limits=_rate_limits(self.plan.weight))
        slow = self._host.take_fault(FaultKind.SLOW)
        quota = self._host.take_fault(FaultKind.INSUFFICIENT_QUOTA)
        ttfa_ms = slow.number("ttfa_ms", SLOW_TTFA_MS) if slow else self.plan.reply.ttfa_ms
        if quota is not None:
            self._fail_for_quota()
            return
        await asyncio.sleep(ttfa_ms / 1000)
        if self._text:
            speed = slow.number("speed", SLOW_SPEED) if slow else self._host.speed
            await self._speak(speed)
        if self._done:
            return
        if not self._whole:
            self._finish("incomplete", reason="max_output_tokens")
            return
        if self.plan.reply.tool is not None:
            self._call(self.plan.reply.tool)
        self._hide_usage = self._host.take_fault(FaultKind.NO_USAGE) is not None
        self._finish("completed")

    def cancel(self, reason: str) -> None:
        """End now; what was generated is billed. Harmless when already done."""
        if not self._done:
            self._close_message("incomplete")
            self._finish("cancelled", reason=reason)
            self._stop()

    def drop(self) -> None:
        """The connection is gone: bill what was generated, tell nobody. Harmless when done."""
        if not self._done:
            self._done = True
            self._host.ended(self, self._line("cancelled", usage_sent=False))
            self._stop()

    def _stop(self) -> None:
        if self.task is not None and self.task is not asyncio.current_task():
            self.task.cancel()

    async def _speak(self, speed: float) -> None:
        dropping = self._host.take_fault(FaultKind.DROP_MID_RESPONSE)
        malformed = self._host.take_fault(FaultKind.MALFORMED_EVENT)
        self._open_message()
        loop = asyncio.get_running_loop()
        started_s = loop.time()
        steps = self._steps()
        for number, (end_ms, end_char) in enumerate(steps):
            if dropping is not None and number * 2 >= len(steps):
                self.drop()
                self._host.abort()
                return
            if malformed is not None and number * 2 >= len(steps):
                for text in malformed.texts(MALFORMED_EVENT):
                    self._host.send_raw(text)
                malformed = None
            self._emit(end_ms, end_char)
            due_s = started_s + end_ms / 1000 / speed
            await asyncio.sleep(max(0.0, due_s - loop.time()))
        self._close_message("completed" if self._whole else "incomplete")

    def _steps(self) -> list[tuple[int, int]]:
        """(audio end, text end) of each piece; text-only replies get paced as if spoken."""
        total_ms = self._speech_ms or self.plan.reply.speech_ms
        ends = [*range(CHUNK_MS, total_ms, CHUNK_MS), total_ms]
        steps = []
        for end_ms in ends:
            at = len(self._text) * end_ms // total_ms if total_ms else len(self._text)
            space = self._text.find(" ", at)
            steps.append((end_ms, space if space >= 0 and end_ms != total_ms else len(self._text)))
        steps[-1] = (total_ms, len(self._text))
        return steps

    def _open_message(self) -> None:
        body = message_item(new_id("item"), content=[], status="in_progress")
        self._message = Item(body=body)
        self._add(self._message)
        self._part("added", {"type": "audio", "transcript": ""} if self.plan.audio else _TEXT_PART)
        kind = "output_audio" if self.plan.audio else "output_text"
        field = "transcript" if self.plan.audio else "text"
        body["content"] = [{"type": kind, field: ""}]
        self._host.spoke(self.plan.choice)

    def _emit(self, end_ms: int, end_char: int) -> None:
        delta = self._text[len(self._sent_text) : end_char]
        kind = "response.output_audio_transcript" if self.plan.audio else "response.output_text"
        if delta:
            self._host.send(f"{kind}.delta", **self._where(), content_index=0, delta=delta)
        self._sent_text = self._text[:end_char]
        assert self._message is not None
        content = self._message.body["content"][0]
        content["transcript" if self.plan.audio else "text"] = self._sent_text
        if not self.plan.audio:
            return
        piece = self._host.audio_piece(self.plan.choice, self._sent_ms, end_ms)
        self._host.send(
            "response.output_audio.delta", **self._where(), content_index=0, delta=piece
        )
        self._sent_ms = end_ms
        self._message.audio_ms = end_ms

    def _close_message(self, status: str) -> None:
        message, self._message = self._message, None
        if message is None:
            return
        where = {**self._where(), "item_id": message.item_id}
        message.body["status"] = status
        if self.plan.audio:
            self._host.send("response.output_audio.done", **where, content_index=0)
            self._host.send(
                "response.output_audio_transcript.done",
                **where,
                content_index=0,
                transcript=self._sent_text,
            )
            part = {"type": "audio", "transcript": self._sent_text}
        else:
            self._host.send(
                "response.output_text.done", **where, content_index=0, text=self._sent_text
            )
            part = {"type": "text", "text": self._sent_text}
        self._host.send("response.content_part.done", **where, content_index=0, part=part)
        self._item_done(message)

    def _call(self, tool: ToolCall) -> None:
        call_id = new_id("call")
        body = call_item(
            new_id("item"), call_id=call_id, name=tool.name, arguments="", status="in_progress"
        )
        item = Item(body=body)
        self._add(item)
        where = {**self._where(), "item_id": item.item_id, "call_id": call_id}
        middle = len(tool.arguments) // 2
        for delta in (tool.arguments[:middle], tool.arguments[middle:]):
            if delta:
                self._host.send("response.function_call_arguments.delta", **where, delta=delta)
        self._host.send(
            "response.function_call_arguments.done",
            **where,
            name=tool.name,
            arguments=tool.arguments,
        )
        body["arguments"], body["status"] = tool.arguments, "completed"
        self._tool_tokens = text_tokens(tool.name + tool.arguments)
        self.tool_sent = True
        self._item_done(item)

    def _add(self, item: Item) -> None:
        previous = self._host.add_output(item) if self.plan.in_conversation else None
        self._output.append(item.body)
        self._host.send(
            "response.output_item.added",
            response_id=self.response_id,
            output_index=len(self._output) - 1,
            item=item.body,
        )
        if self.plan.in_conversation:
            self._previous = previous
            self._host.send("conversation.item.added", previous_item_id=previous, item=item.body)

    def _item_done(self, item: Item) -> None:
        self._host.send(
            "response.output_item.done",
            response_id=self.response_id,
            output_index=self._output.index(item.body),
            item=item.body,
        )
        if self.plan.in_conversation:
            self._host.send(
                "conversation.item.done", previous_item_id=self._previous, item=item.body
            )

    def _part(self, what: str, part: Mapping[str, Any]) -> None:
        self._host.send(
            f"response.content_part.{what}", **self._where(), content_index=0, part=part
        )

    def _where(self) -> dict[str, Any]:
        return {
            "response_id": self.response_id,
            "item_id": self._output[-1]["id"],
            "output_index": len(self._output) - 1,
        }

    def _fail_for_quota(self) -> None:
        error = {
            "type": "insufficient_quota",
            "code": "insufficient_quota",
            "message": QUOTA_MESSAGE,
        }
        self._done = True
        line = ResponseLine(
            response_id=self.response_id,
            status="failed",
            usage=TokenUsage(),
            usage_sent=True,
            pico_usd=0,
        )
        self._host.send(
            "response.done",
            response=self._json("failed", error=error, usage=usage_json(TokenUsage())),
        )
        self._host.ended(self, line)
        self._host.hang_up(CLOSE_REFUSED, "insufficient_quota")

    def _finish(self, status: str, *, reason: str | None = None) -> None:
        if self._done:
            return
        self._done = True
        line = self._line(status, usage_sent=not self._hide_usage)
        usage = None if self._hide_usage else usage_json(line.usage)
        self._host.send("response.done", response=self._json(status, reason=reason, usage=usage))
        self._host.ended(self, line)

    def _line(self, status: str, *, usage_sent: bool) -> ResponseLine:
        usage = TokenUsage(
            input_text=self.plan.weight.text,
            input_audio=self.plan.weight.audio,
            cached_text=self.plan.cached.text,
            cached_audio=self.plan.cached.audio,
            output_text=text_tokens(self._sent_text) + self._tool_tokens,
            output_audio=assistant_audio_tokens(self._sent_ms),
        )
        return ResponseLine(
            response_id=self.response_id,
            status=status,
            usage=usage,
            usage_sent=usage_sent,
            pico_usd=self._host.price(usage),
        )

    def _json(
        self,
        status: str,
        *,
        reason: str | None = None,
        error: Mapping[str, str] | None = None,
        usage: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        return {
            "object": "realtime.response",
            "id": self.response_id,
            "status": status,
            "status_details": status_details(status, reason=reason, error=error),
            "output": self._output,
            **self.plan.shown,
            "usage": usage,
        }


_TEXT_PART = {"type": "text", "text": ""}


def _rate_limits(weight: Weight) -> list[dict[str, Any]]:
    """Limits that never bind: the simulator refuses only when asked to."""
    return [
        {"name": "requests", "limit": 20_000, "remaining": 19_999, "reset_seconds": 0.003},
        {
            "name": "tokens",
            "limit": 15_000_000,
            "remaining": 15_000_000 - weight.total,
            "reset_seconds": round(weight.total / 250_000, 3),
        },
    ]
