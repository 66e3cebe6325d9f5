"""Everything a session's process does once and lazily, done before it is needed.

Imports come with this module's own; the rest is what the first session of a process would
otherwise do while a participant waits: the WebRTC library's start, TLS trust, the schemas of
the provider's events, the tools' schema.
"""

from __future__ import annotations

import asyncio
import ssl

from google.genai import types as genai_types
from livekit import rtc
from livekit.agents import llm
from livekit.plugins.openai import realtime as openai_realtime

from agent_actor.interviewer import Interviewer
from agent_actor.settings import AgentSettings


class _NoTools:
    async def advance(self, completed: str | None) -> str:
        raise NotImplementedError

    async def end(self) -> str:
        raise NotImplementedError


async def warm_process(settings: AgentSettings) -> None:
    """Safe to call more than once. Nothing is connected and nothing is billed."""
    await asyncio.to_thread(ssl.create_default_context)
    _warm_webrtc()
    _warm_schemas()


def _warm_webrtc() -> None:
    # Constructing a source starts the native library, its threads and its audio device module.
    source = rtc.AudioSource(24_000, 1, queue_size_ms=0)
    rtc.Room()
    del source


def _warm_schemas() -> None:
    agent = Interviewer(instructions="warm", tools=_NoTools())
    llm.ToolContext(agent.tools).parse_function_tools("openai")
    genai_types.LiveServerMessage.model_validate({"serverContent": {"turnComplete": True}})
    genai_types.LiveClientMessage.model_json_schema()
    _ = openai_realtime.RealtimeSession
