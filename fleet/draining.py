"""Nodes, or the whole fleet, that are to be empty, and what that asks of each session. Pure.

A drain begins with refusing: no session begins there any more. Those under way may end by
themselves until its deadline. Then sessions of a node are moved to others; where the whole fleet
drains there are no others, and they are ended.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from agent_actor.contract import SessionId
from fleet.roster_model import NodeId

WHOLE_FLEET = NodeId("*")
"""Stands where a node does."""


@dataclass(frozen=True, kw_only=True)
class Drain:
    """Epoch seconds."""

    since: float
    deadline: float


@dataclass(frozen=True, kw_only=True)
class Held:
    """A session under way. ``node_id``: where its actor is, if that is known."""

    session_id: SessionId
    node_id: NodeId | None
    stopping: bool


@dataclass(frozen=True, kw_only=True)
class Move:
    """Another actor, elsewhere, is to carry it on. Said again until it is so."""

    session_id: SessionId


@dataclass(frozen=True, kw_only=True)
class End:
    """With a goodbye."""

    session_id: SessionId


def asked(known: Drain | None, *, now: float, deadline_s: float) -> Drain:
    """Asking again sets another deadline."""
    return Drain(since=known.since if known else now, deadline=now + deadline_s)


def due(drains: Mapping[NodeId, Drain], sessions: Iterable[Held], now: float) -> list[Move | End]:
    """A session that is ending already is left to that."""
    over = {node for node, drain in drains.items() if now >= drain.deadline}
    commands: list[Move | End] = []
    for held in sessions:
        if held.stopping:
            continue
        if WHOLE_FLEET in over:
            commands.append(End(session_id=held.session_id))
        elif held.node_id in over:
            commands.append(Move(session_id=held.session_id))
    return commands
