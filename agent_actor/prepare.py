"""What a process does once and lazily, and can do before it is forked: no thread, no connection.

The first session of a process would otherwise do it on its loop, while a participant waits: 100
to 700 ms, in pieces of up to 160. Done in the fork server, once for all of a node's actors, what
comes of it is shared memory too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from importlib import import_module

import pydantic
import structlog
from livekit.agents import llm
from livekit.agents.tokenize.basic import hyphenate_word
from livekit.agents.utils import http_context
from livekit.rtc import _ffi_client
from openai.types import realtime as openai_events

from agent_actor.interviewer import Interviewer
from agent_actor.providers.trust import trust
from agent_actor.rates import load_rates

log = structlog.get_logger(__name__)

_IMPORTED_LATE = (
    "anyio._backends._asyncio",
    "httpcore2",
    "livekit.agents.llm.async_toolset",
    "numpy.fft",
    "uvloop",
)
"""By a session's first steps, and found by looking at what it imports."""
_SCHEMAS_OF = ("google.genai.types", "livekit.", "openai.types.realtime")
"""Modules whose pydantic models put off their own schema until first used: 680 in all."""


class _NoTools:
    async def advance(self, completed: str | None) -> str:
        raise NotImplementedError

    async def end(self) -> str:
        raise NotImplementedError


@cache
def prepare() -> None:
    """Once for each process; a fork has it from its server. What fails is left to the session,
    which will say properly what is wrong."""
    for step in (
        _import_late,
        _load_webrtc,
        _build_schemas,
        _read_server_events,
        _describe_tools,
        _read_trust,
        _hyphenate,
        load_rates,
    ):
        _try(step)


def _try(step: Callable[[], object]) -> None:
    try:
        step()
    except Exception as error:
        log.warning("a step of preparing failed", step=step.__name__, error=str(error))


def _import_late() -> None:
    for name in _IMPORTED_LATE:
        import_module(name)


def _load_webrtc() -> None:
    # Mapped, not started: that makes threads.
    _ffi_client.get_ffi_lib()


def _build_schemas() -> None:
    for model in set(_subclasses(pydantic.BaseModel)):
        if model.__module__.startswith(_SCHEMAS_OF) and not model.__pydantic_complete__:
            model.model_rebuild(raise_errors=False)


def _read_server_events() -> None:
    """As the plugin reads them: unions get a validator of their own when first met."""
    response = {
        "object": "realtime.response",
        "status": "in_progress",
        "output": [],
        "output_modalities": ["audio"],
        "audio": {},
        "metadata": {},
        "usage": {},
    }
    item = {"type": "message", "role": "assistant", "object": "realtime.item", "content": []}
    session = openai_events.RealtimeSessionCreateRequest.construct(model="gpt-realtime", tools=[])
    openai_events.SessionUpdateEvent.construct(session=session)
    openai_events.ResponseCreatedEvent.construct(response=response)
    openai_events.ResponseDoneEvent.construct(response=response)
    openai_events.ConversationItemAdded.construct(item=item, previous_item_id="i")
    openai_events.ResponseContentPartAddedEvent.construct(part={"type": "audio"})
    openai_events.ConversationItemInputAudioTranscriptionCompletedEvent.construct(usage={})
    openai_events.ConversationItemInputAudioTranscriptionDeltaEvent.construct(content_index=0)


def _describe_tools() -> None:
    agent = Interviewer(instructions="", tools=_NoTools())
    llm.ToolContext(agent.tools).parse_function_tools("openai")


def _read_trust() -> None:
    trust()
    # What the framework's HTTP session takes; kept for the process.
    http_context._create_ssl_context()


def _hyphenate() -> None:
    hyphenate_word("interview")


def _subclasses(of: type[pydantic.BaseModel]) -> Iterator[type[pydantic.BaseModel]]:
    for each in of.__subclasses__():
        yield each
        yield from _subclasses(each)
