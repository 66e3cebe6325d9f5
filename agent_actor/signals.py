"""What a running session reacts to. All of it goes through one queue to one consumer."""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.errors import AgentError
from agent_actor.messages import StopOrder, Verdict
from agent_actor.transport import RoomEvent


@dataclass(frozen=True, kw_only=True)
class ProtocolOver:
    """The phase machine has closed: a goodbye is due. ``early``: before its last phase was
    through."""

    early: bool


@dataclass(frozen=True, kw_only=True)
class TurnToAnswer:
    """The participant has spoken, and the answer is ours to ask for."""


@dataclass(frozen=True, kw_only=True)
class GoodbyeSpoken:
    """The goodbye is over, or it is clear that it will not come."""


@dataclass(frozen=True, kw_only=True)
class HandOver:
    """Another actor is to carry on. Leave at the next moment at which no words are lost by it, and
    after ``patience_s`` at the latest."""

    patience_s: float


@dataclass(frozen=True, kw_only=True)
class Broken:
    """The interview cannot go on: the provider is gone, or a part of the session crashed."""

    error: AgentError


Signal = (
    RoomEvent
    | StopOrder
    | Verdict
    | ProtocolOver
    | TurnToAnswer
    | GoodbyeSpoken
    | HandOver
    | Broken
)
