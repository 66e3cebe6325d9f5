"""What each job of the livekit-agents worker does: the interview of ``agent_actor.session`` with
livekit-agents' own means.

The same: contract in the room, instructions, tools, provider model with its options, AgentSession
options, room options. Not there: metering and budget, journal and transcripts, phases that move
on, reconnect and no-show timers. The room's audio output is the framework's own.
"""

from __future__ import annotations

import json
import os
import time
from functools import cache
from typing import Any

from livekit.agents import JobContext, JobProcess

from agent_actor import prompting
from agent_actor.contract import parse_tolerant
from agent_actor.interviewer import Interviewer, agent_session
from agent_actor.permits import Permit
from agent_actor.providers.base import WireTaps
from agent_actor.providers.factory import build_provider
from agent_actor.settings import AgentSettings
from agent_actor.transport import room_options
from fleet.bench.peer import contract


class _Tools:
    """Phases do not move here; the simulator is told to call neither."""

    async def advance(self, completed: str | None) -> str:
        return "Not done: this is the last phase."

    async def end(self) -> str:
        return prompting.CLOSING


def note(event: str, **more: Any) -> None:
    """One write, whole: many processes note in the same file."""
    line = json.dumps({"event": event, "pid": os.getpid(), "at": time.time(), **more})
    handle = os.open(os.environ[contract.NOTES_VARIABLE], os.O_WRONLY | os.O_APPEND)
    try:
        os.write(handle, line.encode() + b"\n")
    finally:
        os.close(handle)


def set_up(_: JobProcess) -> None:
    """In each process before it counts as warm: settings read, as our actors have them."""
    settings()
    note("warm")


@cache
def settings() -> AgentSettings:
    return AgentSettings()


async def hold(ctx: JobContext) -> None:
    note("begun", room=ctx.job.room.name)
    await ctx.connect()
    note("in_room", room=ctx.job.room.name)
    config = parse_tolerant(ctx.room.metadata or "")
    provider = build_provider(config, settings(), config.model or "", _untapped())
    session = agent_session(provider.model)
    agent = Interviewer(instructions=prompting.instructions_for(config, 0), tools=_Tools())
    await session.start(
        agent,
        room=ctx.room,
        room_options=room_options(config.participant_identity),
        session_host=False,
        record=False,
    )
    await ctx.wait_for_participant(identity=config.participant_identity)
    session.generate_reply(instructions=prompting.opening(config))


def _untapped() -> WireTaps:
    return WireTaps(
        server=lambda raw: None,
        client=lambda event: None,
        connected=lambda event: None,
        disconnected=lambda event: None,
        permit=Permit,
        may_hear=lambda audio_ms: True,
    )
