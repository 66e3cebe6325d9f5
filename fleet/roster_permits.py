"""The roster's book of permits: no question costs more with more live sessions. Pure.

A permit is **pending** until its session begins: it waits for an actor, or has one that it may lose
again. Only pending ones have a time by which something must have happened.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from agent_actor.contract import ActorId, SessionId


@dataclass(kw_only=True)
class Permit:
    """``began_at`` and ``successor_id`` are the book's to change, and ``holds_slot`` is not changed
    while it is in the book: it counts by them."""

    session_id: SessionId
    actor_id: ActorId | None = None
    """None while it waits for one."""
    until: float
    """While waiting: the deadline. While reserved: the end of the lease."""
    estimate_s: float = 0.0
    holds_slot: bool = False
    admitted: bool = False
    """It has a slot, and has yet to ask for an actor. ``until``: the end of its time for that."""
    began_at: float | None = None
    successor_id: ActorId | None = None
    """Set aside to carry it on, while ``actor_id`` still has it."""


class PermitBook:
    def __init__(self) -> None:
        self._permits: dict[SessionId, Permit] = {}
        self._pending: dict[SessionId, Permit] = {}
        self._with_successor: dict[SessionId, Permit] = {}
        self._slots_taken = 0

    def __len__(self) -> int:
        return len(self._permits)

    def __iter__(self) -> Iterator[Permit]:
        return iter(self._permits.values())

    def __getitem__(self, session_id: SessionId) -> Permit:
        return self._permits[session_id]

    def get(self, session_id: SessionId) -> Permit | None:
        return self._permits.get(session_id)

    @property
    def slots_taken(self) -> int:
        return self._slots_taken

    @property
    def pending(self) -> Collection[Permit]:
        """Not to be kept: it changes with the book."""
        return self._pending.values()

    def is_pending(self, session_id: SessionId) -> bool:
        return session_id in self._pending

    @property
    def with_successor(self) -> Collection[SessionId]:
        return self._with_successor.keys()

    def put(self, permit: Permit, *, pending: bool = True) -> None:
        """In place of the one that the session has, if it has one."""
        self.pop(permit.session_id)
        self._permits[permit.session_id] = permit
        self._slots_taken += permit.holds_slot
        if pending:
            self._pending[permit.session_id] = permit

    def pop(self, session_id: SessionId) -> Permit | None:
        permit = self._permits.pop(session_id, None)
        if permit is not None:
            self._slots_taken -= permit.holds_slot
            self._pending.pop(session_id, None)
            self._with_successor.pop(session_id, None)
        return permit

    def begin(self, permit: Permit, now: float) -> None:
        """The session has its actor for good; the first time counts."""
        self._pending.pop(permit.session_id, None)
        if permit.began_at is None:
            permit.began_at = now

    def set_successor(self, permit: Permit, actor_id: ActorId | None) -> None:
        permit.successor_id = actor_id
        if actor_id is None:
            self._with_successor.pop(permit.session_id, None)
        else:
            self._with_successor[permit.session_id] = permit

    def clear(self) -> None:
        for session_id in list(self._permits):
            self.pop(session_id)
