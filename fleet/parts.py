"""What the supervisor and the dispatcher need from others, as Protocols and plain data.

Implementations: fleet.clients (roster, supervisor, budget), fleet.registry, fleet.livekit_client.
Every method raises FleetError where it cannot do its work.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Unpack

from agent_actor.contract import ActorId, EndReason, SessionId, SessionState, StudyId
from agent_actor.messages import Allowance, JoinReport, StopMode, UsageReport
from fleet.dispatch_plan import AGENT_IDENTITY, own_room
from fleet.pool import Reservation
from fleet.records import Created, RecordChanges, RecordFacts, SessionRecord


def agent_identity(session_id: str, room: str) -> str:
    """In a room that is not ours the name carries the session, as another one of ours, or anybody
    called so, may be there."""
    if room == own_room(session_id):
        return AGENT_IDENTITY
    return f"{AGENT_IDENTITY}-{session_id}"


@dataclass(frozen=True, kw_only=True)
class StartRequest:
    """A session that holds a reservation, an account and a room."""

    session_id: SessionId
    study_id: StudyId
    provider: str
    room: str
    allowance: Allowance | None
    """None: to be asked for when it is needed."""
    limit_micro_usd: int
    session_timeout_s: float
    model: str | None = None
    wait_for_actor_s: float = 10.0
    """How long a further attempt may wait for an actor."""
    traceparent: str | None = None
    """Of its dispatch."""
    metadata: str | None = None
    """The contract, for a session that has no room to read it from (a rehearsal), a room that is
    not ours to write into, or one in which it is not to be read."""
    first_comer_as: str | None = None
    """Whoever comes first is interviewed, and told by this identity. None: whom the contract
    names."""

    @property
    def owns_room(self) -> bool:
        """Whether the room was made for this session, and goes with it."""
        return self.room == own_room(self.session_id)

    @property
    def agent_identity(self) -> str:
        return agent_identity(self.session_id, self.room)


class RosterClient(Protocol):
    async def reserve(self, session_id: SessionId, wait_s: float) -> Reservation:
        """Raises FleetFull, FleetDraining."""

    async def reassign(self, session_id: SessionId, wait_s: float) -> Reservation: ...

    async def prepare_move(self, session_id: SessionId) -> bool:
        """Whether ``reassign`` will have another actor at once."""

    async def begin(self, session_id: SessionId) -> ActorId | None: ...

    async def release(self, session_id: SessionId) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StopWanted:
    """A session that is to end, for whichever cluster runs it. ``at``: epoch seconds."""

    session_id: SessionId
    reason: EndReason
    mode: StopMode
    at: float


class StopOrders(Protocol):
    """See ``fleet.stop_book``."""

    async def put(self, wanted: StopWanted) -> None: ...

    async def all(self) -> Sequence[StopWanted]: ...

    async def drop(self, session_ids: Sequence[SessionId]) -> None: ...


class SupervisorClient(Protocol):
    async def start(self, request: StartRequest, deadline_s: float) -> JoinReport: ...

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        """Raises SessionNotFound for a session that is not under way here."""

    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool: ...


class BudgetClient(Protocol):
    """Failures are BudgetUnavailable."""

    async def open(
        self, session_id: SessionId, study_id: StudyId, provider: str, limit_micro_usd: int
    ) -> Allowance:
        """Opening again answers a new allowance of the same account."""

    async def close(self, session_id: SessionId, reports: Sequence[UsageReport] = ()) -> int | None:
        """What it spent in micro-dollars; None if there was no account. ``reports``: the last of
        its attempts, in case they could not be delivered.
        """

    async def overdue(self, grace_s: float) -> list[SessionId]:
        """Open accounts that were told to end, or whose lease ran out without a report, more than
        ``grace_s`` ago."""


class Records(Protocol):
    """The part of fleet.registry.Registry that is used here."""

    async def create(
        self, record: SessionRecord, *, body_hash: str = "", exclusive: bool = False
    ) -> Created: ...

    async def get(self, session_id: str) -> SessionRecord: ...

    def active(self) -> AsyncIterator[SessionRecord]: ...

    async def update(
        self,
        session_id: str,
        *,
        state: SessionState | None = None,
        attempt: int | None = None,
        **changes: Unpack[RecordChanges],
    ) -> SessionRecord: ...

    async def end(
        self,
        session_id: str,
        reason: EndReason,
        *,
        attempt: int | None = None,
        **changes: Unpack[RecordChanges],
    ) -> SessionRecord: ...

    async def add_facts(self, session_id: str, **facts: Unpack[RecordFacts]) -> SessionRecord: ...

    async def observers(self, session_id: str) -> tuple[str, ...]: ...

    async def withdraw(self, session_id: str) -> None: ...

    async def release_claim(self, session_id: str, idempotency_key: str) -> None: ...


class Rooms(Protocol):
    """The part of fleet.livekit_client.LiveKitClient that is used here."""

    async def create_room(
        self,
        name: str,
        *,
        metadata: str = "",
        empty_timeout_s: int = 120,
        departure_timeout_s: int = 60,
    ) -> Any: ...

    async def delete_room(self, name: str) -> bool: ...

    async def remove_participant(self, room: str, identity: str) -> bool: ...

    def agent_token(self, *, room: str, identity: str, ttl_s: int) -> str: ...

    def participant_token(
        self, *, room: str, identity: str, ttl_s: int, name: str | None = None
    ) -> str: ...
