"""What the factory returns and what a provider's model lets us see."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from livekit import rtc
from livekit.agents import Agent, llm

from agent_actor.permits import Permit
from agent_actor.wire_events import WireEvent

RETRY_EVERY_S, RETRIES = 1.0, 60
"""Of a connection that was lost. How long a session waits is its own to say, and less."""

RawEvent = Any
"""A server event as the provider sent it: a dict (OpenAI) or a LiveServerMessage (Gemini)."""


async def nothing_opened(url: str) -> None:
    """No connection was opened ahead."""


@dataclass(frozen=True, kw_only=True)
class Connected:
    """A connection is set up."""

    id: str | None = None
    """The provider's own, of its session, where it tells one."""
    unanswered: bool = False
    """The provider is being sent once more what the participant has said and got no answer to."""


@dataclass(frozen=True, kw_only=True)
class Disconnected:
    planned: bool = False
    """It was left for another one, before the provider would have ended it."""
    cut_short: bool = False
    """Words of the interviewer were lost with it, or an answer that we had asked for."""


@dataclass(frozen=True, kw_only=True)
class WireTaps:
    """Called synchronously, in wire order, before the framework handles the event. Must not
    raise and must not block.
    """

    server: Callable[[RawEvent], None]
    client: Callable[[WireEvent], None]
    """What we sent, as far as it can cost: audio, text, requests for a response."""
    connected: Callable[[Connected], None]
    disconnected: Callable[[Disconnected], None]
    permit: Callable[[], Permit | None]
    """Asked before each response that we ask for; None: there is no money for it."""
    may_hear: Callable[[float], bool]
    """Asked before audio is sent, with its length in milliseconds."""
    heard: Callable[[rtc.AudioFrame], None] = lambda frame: None
    """What the participant is heard to say, whether it is sent or not."""
    opened: Callable[[str], Awaitable[Any | None]] = nothing_opened
    """A connection that is open to this address already; each is given once."""


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
    begin: Callable[[Agent], Coroutine[Any, Any, None]]
    """Open the session that ``agent`` will have and tell it all that it has to know, before the
    framework asks for it. Returns when the provider has it all; may be called once, or never."""
    take_turns: Callable[[bool], None] = lambda by_server: None
    """Whether the server may answer the participant by itself, where that can be chosen."""
    listen: Callable[[], None] = lambda: None
    """There is money again for what was kept back because of ``may_hear``."""


NO_MONEY = "no money for this response"


def refused() -> asyncio.Future[llm.GenerationCreatedEvent]:
    """What ``generate_reply`` returns in place of a response that there is no money for."""
    future: asyncio.Future[llm.GenerationCreatedEvent] = asyncio.Future()
    future.set_exception(llm.RealtimeError(NO_MONEY))
    return future
