"""Server events on their way out: serialised when queued, written in order by one task."""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from typing import Any

from aiohttp import web


@dataclass(frozen=True, kw_only=True)
class _Close:
    code: int
    reason: str


class Outbox:
    """Queue of one connection. `write` is the task that empties it."""

    def __init__(self, socket: web.WebSocketResponse, *, event_prefix: str) -> None:
        self.bytes_out = 0
        self.frozen = False
        """What is queued is not sent any more."""
        self._socket, self._prefix = socket, event_prefix
        self._queue: asyncio.Queue[str | _Close] = asyncio.Queue()
        self._events = 0

    def send(self, kind: str, **fields: Any) -> None:
        """Queue an event as it is now: later changes to its parts do not show."""
        self._events += 1
        event_id = f"event_{self._prefix}{self._events:x}"
        self.send_raw(json.dumps({"type": kind, "event_id": event_id, **fields}))

    def send_raw(self, text: str) -> None:
        """Queue a text frame."""
        self.bytes_out += len(text)
        self._queue.put_nowait(text)

    def close(self, code: int, reason: str) -> None:
        """Close the connection once all that is queued went out."""
        self._queue.put_nowait(_Close(code=code, reason=reason))

    async def write(self) -> None:
        """Send until closed; returns early when the connection is gone."""
        while True:
            outgoing = await self._queue.get()
            if self.frozen:
                continue
            if isinstance(outgoing, _Close):
                await self._socket.close(code=outgoing.code, message=outgoing.reason.encode())
                return
            try:
                await self._socket.send_str(outgoing)
            except ConnectionError:
                return
