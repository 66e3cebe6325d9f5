"""The roster's book of actors: no question costs more with more live sessions. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from agent_actor.contract import ActorId, SessionId
from fleet.roster_model import ActorState, NodeId


@dataclass(kw_only=True)
class Actor:
    """``state`` and ``node_id`` are the book's to change: it counts by them."""

    actor_id: ActorId
    state: ActorState
    since: float
    """When it came into its state."""
    session_id: SessionId | None = None
    node_id: NodeId | None = None


class ActorBook:
    def __init__(self) -> None:
        self._actors: dict[ActorId, Actor] = {}
        self._by_state: dict[ActorState, dict[ActorId, Actor]] = {s: {} for s in ActorState}
        self._on: Counter[tuple[NodeId, ActorState]] = Counter()

    def __iter__(self) -> Iterator[Actor]:
        return iter(self._actors.values())

    def get(self, actor_id: ActorId | None) -> Actor | None:
        return self._actors.get(actor_id) if actor_id else None

    def of(self, state: ActorState) -> Collection[Actor]:
        """Whoever has been in it longest comes first. Not to be kept: it changes with the book."""
        return self._by_state[state].values()

    def first(self, state: ActorState) -> Actor | None:
        return next(iter(self.of(state)), None)

    def count(self, state: ActorState) -> int:
        return len(self._by_state[state])

    def count_on(self, node_id: NodeId, state: ActorState) -> int:
        return self._on[node_id, state]

    def add(self, actor: Actor) -> None:
        self._actors[actor.actor_id] = actor
        self._enter(actor)

    def remove(self, actor: Actor) -> None:
        self._leave(actor)
        del self._actors[actor.actor_id]

    def move(self, actor: Actor, state: ActorState, now: float) -> None:
        if actor.state is not state:
            self._leave(actor)
            actor.state, actor.since = state, now
            self._enter(actor)

    def put_on(self, actor: Actor, node_id: NodeId | None) -> None:
        """It has turned out to be on this node."""
        self._count(actor, -1)
        actor.node_id = node_id
        self._count(actor, +1)

    def _enter(self, actor: Actor) -> None:
        self._by_state[actor.state][actor.actor_id] = actor
        self._count(actor, +1)

    def _leave(self, actor: Actor) -> None:
        del self._by_state[actor.state][actor.actor_id]
        self._count(actor, -1)

    def _count(self, actor: Actor, by: int) -> None:
        if actor.node_id is None:
            return
        key = (actor.node_id, actor.state)
        self._on[key] += by
        if not self._on[key]:
            # Nodes come and go for as long as the roster lives.
            del self._on[key]
