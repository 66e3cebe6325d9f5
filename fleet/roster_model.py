"""The words of the roster: actor states, its limits, what it answers and commands, its snapshot.

Frozen, picklable, plain data: they cross Ray actors.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NewType

from agent_actor.contract import ActorId, SessionId
from autoscaler.policy import PoolBounds

NodeId = NewType("NodeId", str)
"""Ray's own, 56 hex digits."""


class ActorState(StrEnum):
    STARTING = "starting"
    WARM = "warm"
    RESERVED = "reserved"
    LIVE = "live"
    DYING = "dying"


class Why(StrEnum):
    """Why a session was turned away."""

    DRAINING = "draining"
    SLOTS = "slots"
    QUEUE = "queue"
    WAIT = "wait"
    GIVEN_UP = "given_up"


@dataclass(frozen=True, kw_only=True)
class RosterLimits:
    warm_target: int
    max_sessions: int
    max_starting: int
    queue_limit: int
    """Sessions that may wait for an actor at once."""
    lease_s: float
    """How long a reservation holds before the session begins on its actor."""
    expected_warm_s: float
    """How long an actor takes to get warm, until the first ones have shown it."""
    full_retry_after_s: float
    """What a session is told when every slot is taken, until the first sessions have shown how
    long one lasts."""
    max_retry_after_s: float = 60.0
    """Nobody is sent away for longer than this: an interview may end at any time."""
    start_backoff_s: float = 1.0
    """Pause after a failed start; doubles with each further failure."""
    max_start_backoff_s: float = 30.0
    refill_calm_s: float = 0.0
    """How long after the last session was given its actor the pool is filled up again: what joins
    needs the CPU more. Nobody who waits for an actor is kept waiting by it."""
    max_refill_hold_s: float = 6.0
    """The pool is filled up after so long however many sessions still come."""
    scaled: bool = False
    """A scaler says how many are to be warm: until it has, none is one too many. A roster that was
    restarted finds what the one before it had been told to keep."""

    def bounds(self, moving: int, slots: int | None = None) -> PoolBounds:
        """``moving`` sessions have two actors each for a moment. ``slots``: that nodes have."""
        most = self.max_sessions + moving
        return PoolBounds(
            warm_target=self.warm_target,
            slots=most if slots is None else min(slots, most),
            max_starting=self.max_starting,
        )


@dataclass(frozen=True, kw_only=True)
class Arrangement:
    """What the scaler wants of the warm pool, until it wants something else."""

    warm_target: int
    slots: Mapping[NodeId, int]
    """Of every node that takes session actors."""
    leave: frozenset[NodeId] = frozenset()
    """Those among them that are to be left empty. None had a session when this was decided."""


@dataclass(frozen=True, kw_only=True)
class StartActor:
    actor_id: ActorId
    on: NodeId | None = None
    """None: where Ray likes."""
    not_on: tuple[NodeId, ...] = ()
    """Nodes that are draining."""


@dataclass(frozen=True, kw_only=True)
class KillActor:
    """End this actor, then tell ``actor_gone``."""

    actor_id: ActorId


@dataclass(frozen=True, kw_only=True)
class Grant:
    """The session's actor. Also given again to a session that asks twice."""

    session_id: SessionId
    actor_id: ActorId


@dataclass(frozen=True, kw_only=True)
class Wait:
    """The session is in the queue. An answer follows by ``until`` at the latest."""

    session_id: SessionId
    estimate_s: float
    until: float


@dataclass(frozen=True, kw_only=True)
class TurnAway:
    """The session holds no permit (any more)."""

    session_id: SessionId
    why: Why
    retry_after_s: float
    estimate_s: float | None = None
    """How long it would have had to wait; None: nobody knows."""


@dataclass(frozen=True, kw_only=True)
class Handover:
    """What a roster that was restarted has to be told."""

    assignments: Mapping[SessionId, ActorId] = field(default_factory=dict)
    """Of sessions under way."""
    fleet_drains: bool = False
    draining_nodes: frozenset[NodeId] = frozenset()


Answer = Grant | Wait | TurnAway
Command = StartActor | KillActor | Grant | TurnAway


@dataclass(frozen=True, kw_only=True)
class ActorView:
    actor_id: ActorId
    state: ActorState
    session_id: SessionId | None
    since_s: float
    """How long it has been in this state."""
    node_id: NodeId | None = None
    """None: not known yet."""


@dataclass(frozen=True, kw_only=True)
class RosterSnapshot:
    """The books at one moment. ``*_total`` count since this roster began."""

    starting: int
    warm: int
    reserved: int
    live: int
    dying: int
    waiting: int
    permits: int
    max_sessions: int
    warm_target: int
    draining: bool
    draining_nodes: tuple[NodeId, ...]
    moving: int
    """Live sessions that are to have another actor: it is set aside, or being waited for."""
    expected_warm_s: float
    expected_session_s: float | None
    """How long sessions last, by those that have ended; None: none has."""
    estimated_wait_s: float | None
    """Of a session asked for now; None: nobody knows."""
    granted_total: int
    waited_total: int
    turned_away_total: dict[str, int]
    started_total: int
    start_failures_total: int
    lost_total: int
    leases_expired_total: int
    actors: tuple[ActorView, ...]
