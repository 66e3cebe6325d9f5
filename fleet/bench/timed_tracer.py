"""What tracing a session costs its process, counted where it is spent."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

from agent_actor.telemetry import FLUSH_DEADLINE_S, NO_TRACER, Tracer, open_tracer

_NS_PER_S = 1_000_000_000
_SENDER = "OtelBatch"
"""How OpenTelemetry calls the thread that sends."""


class TimedTracer(Tracer):
    """The process's own tracer, with the CPU that its spans cost: of the session's thread, which
    makes them, and of the one that sends them."""

    def __init__(self) -> None:
        super().__init__()
        self._inner = open_tracer("session-actor")
        self.spans = 0
        self._making_s = 0.0

    @property
    def cpu_s(self) -> float:
        return self._making_s + sum(_cpu_s(t) for t in threading.enumerate() if _sends(t))

    @property
    def lost(self) -> int:
        return self._inner.lost

    def write(self, name: str, **options: Any) -> None:
        if self._inner is NO_TRACER:
            return
        began = time.thread_time()
        self._inner.write(name, **options)
        self._making_s += time.thread_time() - began
        self.spans += 1

    async def flush(self, deadline_s: float = FLUSH_DEADLINE_S) -> None:
        await self._inner.flush(deadline_s)


def _sends(thread: threading.Thread) -> bool:
    return thread.name.startswith(_SENDER)


def _cpu_s(thread: threading.Thread) -> float:
    path = Path(f"/proc/self/task/{thread.native_id}/schedstat")
    return int(path.read_text(encoding="ascii").split()[0]) / _NS_PER_S
