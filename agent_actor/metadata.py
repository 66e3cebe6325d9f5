"""Waiting for the session contract in the room's metadata.

An agent can be in the room 100-500 ms before the metadata reaches it. So we look at once, on
the room's metadata event, and every ``poll_s``; after ``timeout_s`` we fail fast. Metadata that
is there but unusable (half-written, say) is waited out too: a good version may follow.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from agent_actor.contract import SessionConfig, parse_tolerant
from agent_actor.errors import ContractError, MetadataTimeout
from agent_actor.transport import RoomChange, RoomEvent, Transport


@dataclass(frozen=True, kw_only=True)
class Found:
    config: SessionConfig
    waited_s: float
    problems: tuple[str, ...]
    """What was wrong with earlier versions, in order."""
    passed_over: tuple[RoomEvent, ...]
    """Room events seen while waiting, for the session to handle."""


async def wait_for_config(
    transport: Transport, *, timeout_s: float, poll_s: float
) -> Found | RoomEvent:
    """Raises MetadataTimeout, which says what was last seen. Returns the DISCONNECTED that
    put an end to the wait, where there was one."""
    started = time.monotonic()
    problems: dict[str, None] = {}
    passed: list[RoomEvent] = []
    while True:
        waited_s = time.monotonic() - started
        config = _try_parse(transport.metadata, problems)
        if config is not None:
            return Found(
                config=config,
                waited_s=waited_s,
                problems=tuple(problems),
                passed_over=tuple(passed),
            )
        if waited_s >= timeout_s:
            last = next(reversed(problems), None)
            raise MetadataTimeout(waited_s=waited_s, last_problem=last)
        event = await _next_event(transport, min(poll_s, timeout_s - waited_s))
        if event is None or event.change is RoomChange.METADATA:
            continue
        if event.change is RoomChange.DISCONNECTED:
            return event
        passed.append(event)


def _try_parse(raw: str, problems: dict[str, None]) -> SessionConfig | None:
    if not raw:
        return None
    try:
        return parse_tolerant(raw)
    except ContractError as error:
        problems[str(error)] = None
        return None


async def _next_event(transport: Transport, timeout_s: float) -> RoomEvent | None:
    try:
        async with asyncio.timeout(timeout_s):
            return await transport.events.get()
    except TimeoutError:
        return None
