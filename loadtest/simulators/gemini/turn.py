"""One generation put on the wire: wait, speak faster than real time, call, wait for playback."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Protocol

from loadtest.simulators.faults import Fault, FaultKind
from loadtest.simulators.gemini import wire
from loadtest.simulators.gemini.context import AUDIO_TOKENS_PER_S, text_tokens
from loadtest.simulators.gemini.frames import FRAME_MS, SpeechFrames
from loadtest.simulators.gemini.session import Generation, Session
from loadtest.simulators.script import Reply, ToolCall

SLOW_TTFA_MS = 3_000.0
SLOW_SPEED = 1.0
MALFORMED_FRAME = '{"serverContent":{"modelTurn":{"parts":[{"inlineData":{"mimeType":"audio/pcm'
FRAMES_PER_CAPTION = 5


class Stage(Protocol):
    """What a turn needs of its connection."""

    session: Session
    frames: SpeechFrames
    speed: float
    lock: asyncio.Lock

    async def send(self, frame: bytes) -> None: ...

    def drop(self) -> None: ...

    def take_fault(self, kind: FaultKind) -> Fault | None: ...

    def playing(self, ms: int) -> None:
        """So much more speech is with the client, who plays it in real time."""
        ...

    def playback_left_s(self) -> float: ...

    async def generation_ended(
        self, generation: Generation, calls: Sequence[tuple[str, ToolCall]]
    ) -> None:
        """All content is produced; the lock is held. Closes the output or sends the calls."""
        ...

    async def playback_ended(self) -> None: ...


class TurnPlayer:
    """Runs one generation. Cancelled by an interruption, it leaves what was sent counted.

    A reply whose function call was never sent is taken back from the script: the interviewer
    would otherwise believe that it has called.
    """

    def __init__(self, stage: Stage, generation: Generation, *, call_id: Callable[[], str]) -> None:
        self._stage, self._generation, self._call_id = stage, generation, call_id

    async def run(self, *, empty: bool) -> None:
        """`empty` answers without a word, as newer models answer a bare placeholder."""
        session = self._stage.session
        if session.setup.resumption:
            await self._stage.send(wire.resumption_update(None))
        reply = None if empty else session.interviewer.reply(session.prompt())
        try:
            await self._put_out(reply)
        finally:
            if reply is not None and self._generation.line is None:
                session.interviewer.take_back(reply)
        if reply is None or reply.tool is None:
            await asyncio.sleep(self._stage.playback_left_s())
            await self._stage.playback_ended()

    async def _put_out(self, reply: Reply | None) -> None:
        slow = self._stage.take_fault(FaultKind.SLOW)
        ttfa_ms = reply.ttfa_ms if reply else self._stage.session.interviewer.script.ttfa_ms[0]
        await asyncio.sleep((slow.number("ttfa_ms", SLOW_TTFA_MS) if slow else ttfa_ms) / 1_000)
        if reply is not None:
            await self._say(reply, slow.number("speed", SLOW_SPEED) if slow else self._stage.speed)
        call = reply.tool if reply else None
        async with self._stage.lock:
            if call is None:
                await self._stage.generation_ended(self._generation, [])
            else:
                self._generation.written += text_tokens(call.name + call.arguments)
                await self._stage.generation_ended(self._generation, [(self._call_id(), call)])

    async def _say(self, reply: Reply, speed: float) -> None:
        if not self._stage.session.setup.audio_out:
            await self._write(reply.text)
            return
        drop = self._stage.take_fault(FaultKind.DROP_MID_RESPONSE)
        malformed = self._stage.take_fault(FaultKind.MALFORMED_EVENT)
        clip = self._stage.frames.clip(
            choice=len(reply.text), duration_ms=self._allowed_ms(reply.speech_ms)
        )
        captions = _captions(reply)
        for index, (frame, ms) in enumerate(clip):
            if index == 1 and malformed:
                for text in malformed.texts(MALFORMED_FRAME):
                    await self._stage.send(text.encode())
            if drop and 2 * self._generation.spoken_ms >= reply.speech_ms:
                self._stage.drop()
            await self._stage.send(frame)
            self._generation.spoken_ms += ms
            self._stage.playing(ms)
            if captions and index % FRAMES_PER_CAPTION == 0:
                await self._caption(captions.pop(0))
            await asyncio.sleep(ms / 1e3 / speed)
        for caption in captions:
            await self._caption(caption)

    async def _caption(self, text: str) -> None:
        if self._stage.session.setup.output_transcription:
            await self._stage.send(wire.output_transcription(text))

    async def _write(self, text: str) -> None:
        if text:
            await self._stage.send(wire.text_frame(text))
            self._generation.written += text_tokens(text)

    def _allowed_ms(self, speech_ms: int) -> int:
        limit = self._stage.session.setup.max_output_tokens
        if limit is None:
            return speech_ms
        return min(speech_ms, limit * 1_000 // AUDIO_TOKENS_PER_S)


def call_frames(calls: Sequence[tuple[str, ToolCall]]) -> list[tuple[str, str, dict[str, object]]]:
    """Calls as `wire.tool_call` takes them."""
    return [(call_id, call.name, json.loads(call.arguments)) for call_id, call in calls]


def _captions(reply: Reply) -> list[str]:
    """The text in pieces, one for each run of frames that gets a caption."""
    words = reply.text.split()
    count = max(1, -(-reply.speech_ms // (FRAME_MS * FRAMES_PER_CAPTION)))
    size = max(1, -(-len(words) // count))
    pieces = [words[i : i + size] for i in range(0, len(words), size)]
    return [(" " if i else "") + " ".join(piece) for i, piece in enumerate(pieces)]
