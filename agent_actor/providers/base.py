"""What the factory returns and what a provider's model lets us see."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from livekit.agents import llm

from agent_actor.wire_events import WireEvent

RawEvent = Any
"""A server event as the provider sent it: a dict (OpenAI) or a LiveServerMessage (Gemini)."""


@dataclass(frozen=True, kw_only=True)
class WireTaps:
    """Called synchronously, in wire order, before the framework handles the event. Must not
    raise and must not block.
    """

    server: Callable[[RawEvent], None]
    client: Callable[[WireEvent], None]
    """What we sent, as far as it can cost: audio, text, requests for a response."""
    connected: Callable[[str | None], None]
    """A connection is set up; with the provider's session id, where it tells one."""
    disconnected: Callable[[], None]


def tell_of_death(task: asyncio.Task[None], tell: Callable[[Exception], None]) -> None:
    """``tell`` once ``task``, a plugin's main loop, dies of an error.

    The plugins report most errors themselves, but not those of their own error handling; nobody
    would ever hear of them, and the interview would go on in silence.
    """

    def died(task: asyncio.Task[None]) -> None:
        if not task.cancelled() and isinstance(error := task.exception(), Exception):
            tell(error)

    task.add_done_callback(died)


@dataclass(frozen=True, kw_only=True)
class ProviderModel:
    model: llm.RealtimeModel
    unmapped: tuple[str, ...]
    """Settings that this provider cannot take, in words, for the session's record."""
