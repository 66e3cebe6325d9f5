"""Everything a session actor's process does once and lazily, done before it is needed.

What no fork may come after is here, the rest is in ``prepare``.
"""

from __future__ import annotations

from livekit import rtc

from agent_actor.prepare import prepare
from agent_actor.settings import AgentSettings


async def warm_process(settings: AgentSettings) -> None:
    """Safe to call more than once. Nothing is connected and nothing is billed."""
    prepare()
    _start_webrtc()


def _start_webrtc() -> None:
    # Constructing a source starts the native library, its threads and its audio device module.
    source = rtc.AudioSource(24_000, 1, queue_size_ms=0)
    rtc.Room()
    del source
