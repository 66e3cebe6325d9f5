"""What an OpenAI connection has begun and not yet billed."""

from __future__ import annotations

import asyncio
import contextlib
from typing import Any


class OpenWork:
    """What the provider has begun and not yet billed: responses and input transcriptions."""

    def __init__(self, *, transcribes: bool) -> None:
        self.responses: set[str] = set()
        self.transcribes = transcribes
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
            case "input_audio_buffer.committed" if self.transcribes:
                self._transcriptions.add(str(event.get("item_id")))
        self._update()

    def clear(self) -> None:
        """The connection is gone: nothing more will come of it."""
        self.responses.clear()
        self._transcriptions.clear()
        self._update()

    @property
    def pending(self) -> bool:
        return bool(self.responses or self._transcriptions)

    async def wait_settled(self, timeout_s: float) -> None:
        """Returns when all bills are in, or after ``timeout_s``: what is missing then is
        charged an upper bound by the meter."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(timeout_s):
                await self._settled.wait()

    def _update(self) -> None:
        if self.pending:
            self._settled.clear()
        else:
            self._settled.set()


def _response_id(event: dict[str, Any]) -> str:
    return str(id_of(event.get("response")))


def id_of(thing: Any) -> str | None:
    """What the provider calls it; whatever stands there instead must not hide it from the meter."""
    found = thing.get("id") if isinstance(thing, dict) else None
    return found if isinstance(found, str) else None
