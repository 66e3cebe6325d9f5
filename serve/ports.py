"""What the routes need from the rest of the fleet, as Protocols and plain data.

The routes know nothing else: serve/wiring.py fills these with the real parts, the unit tests
with fakes. Every method raises fleet.errors.FleetError (or agent_actor.errors.AgentError where
an agent's failure is the answer). Money is micro-dollars, times are epoch seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from agent_actor.contract import EndReason, Provider, SessionConfig, SessionState
from fleet.budget.costs import BudgetTotals, SessionCost, StudyCost
from fleet.budget.export import CostRow
from fleet.changes import Changed
from fleet.journal import JournalEntry, LiveState, Turn
from fleet.limits import LimitChange
from fleet.livekit_client import ParticipantPass, WebhookEvent
from fleet.nodes import FleetNodes
from fleet.observers import ObserverPass
from fleet.records import Page, SessionRecord
from fleet.telemetry import NO_TRACER, Tracer


@dataclass(frozen=True, kw_only=True)
class NewSession:
    """One accepted request. ``split`` is given instead of a chosen provider: then the provider
    in ``config`` is a placeholder that whoever starts the session replaces.
    """

    config: SessionConfig
    split: Mapping[Provider, float] | None = None
    participant_name: str | None = None
    idempotency_key: str | None = None
    body_hash: str
    """Of the request's meaning, not its bytes: key order and white space do not change it."""
    respond_async: bool = False
    traceparent: str | None = None
    """Of the request: its session belongs to the same trace."""


@dataclass(frozen=True, kw_only=True)
class Started:
    """``existing``: the Idempotency-Key was known, this is the session it first made."""

    record: SessionRecord
    livekit_url: str
    participant_token: str | None = field(repr=False)
    """None once the session is gone."""
    token_expires_at: float | None
    existing: bool = False


class Starter(Protocol):
    async def start(self, request: NewSession) -> Started:
        """Answers when the agent is in the room, or once it is accepted if ``respond_async``."""

    async def stop(
        self, session_id: str, *, reason: EndReason = EndReason.OPERATOR, at_once: bool = False
    ) -> None:
        """Ask a session to end: after a goodbye, or ``at_once``. One that is ending can only be
        hurried, for one that is gone nothing changes.
        """

    async def wait_gone(self, session_id: str, *, timeout_s: float) -> bool:
        """Whether it is gone, its record with it, within ``timeout_s``."""


class Sessions(Protocol):
    """The registry, read-only but for erasure."""

    async def get(self, session_id: str) -> SessionRecord: ...

    async def find_many(self, session_ids: Sequence[str]) -> dict[str, SessionRecord]:
        """Those of them that there are."""

    def active(self) -> AsyncIterator[SessionRecord]:
        """Every session that is not gone, once."""

    async def list(
        self,
        *,
        state: SessionState | None = None,
        study_id: str | None = None,
        limit: int = 50,
        cursor: str | None = None,
    ) -> Page: ...

    async def counts(self, *, study_id: str | None = None) -> dict[SessionState, int]: ...

    async def anonymise(self, session_id: str, *, now: float) -> SessionRecord: ...


class Journal(Protocol):
    async def read(
        self, session_id: str, *, after_id: str | None = None, limit: int = 200
    ) -> list[JournalEntry]: ...

    def follow(
        self,
        session_id: str,
        *,
        after_id: str | None = None,
        until: Callable[[], Awaitable[bool]] | None = None,
    ) -> AsyncIterator[JournalEntry | None]:
        """Entries as they come, None in quiet moments; ends when ``until`` says so in one."""

    async def transcript(self, session_id: str) -> tuple[Turn, ...]: ...

    async def live(self, session_id: str) -> LiveState | None: ...

    async def live_many(self, session_ids: Sequence[str]) -> tuple[LiveState | None, ...]: ...

    async def erase(self, session_id: str) -> None:
        """Journal, transcript, live state and checkpoint, now and for good: what a late writer
        still sends is refused. Erasing twice is fine.
        """


class Changes(Protocol):
    async def mark(self) -> int:
        """Of the newest change."""

    async def since(self, mark: int) -> Changed:
        """What has changed since the one with this mark."""


class Money(Protocol):
    async def cost(self, session_id: str) -> SessionCost | None:
        """None: no account, the session never came so far."""

    async def study_cost(self, study_id: str) -> StudyCost | None: ...

    async def totals(self) -> BudgetTotals: ...

    def study_rows(self, study_id: str) -> AsyncIterator[tuple[CostRow, ...]]:
        """Page by page; no page at all: no session of it has an account."""

    async def session_rows(self, session_id: str) -> tuple[CostRow, ...]: ...

    async def set_limit(self, session_id: str, micro_usd: int) -> LimitChange | None:
        """None: no account."""

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> LimitChange: ...


class Observers(Protocol):
    async def admit(self, record: SessionRecord) -> ObserverPass:
        """Another observer each time. Raises StateConflict for a session that is over, or that
        has no room yet; TooManyObservers."""


@dataclass(frozen=True, kw_only=True)
class Preopened:
    """Connections to providers that warm actors opened ahead: ``open`` now, ``opened`` in all, and
    ``wasted``, never used or used by a session that nobody came to."""

    open: int
    opened: int
    wasted: int


@dataclass(frozen=True, kw_only=True)
class Crew:
    """The actors, by what they do now. ``slots`` is the most sessions there may be at once,
    ``free`` how many more are admitted now.
    """

    warm: int
    reserved: int
    live: int
    starting: int
    slots: int
    free: int
    queue: int
    """Accepted sessions that no actor has yet."""
    estimated_wait_s: float | None = 0.0
    """Until a session asked for now has an actor; None: nobody knows."""
    preopened: Preopened | None = None
    """None: it could not be read."""


class Roster(Protocol):
    async def crew(self) -> Crew: ...


class Nodes(Protocol):
    """A node goes by its Ray id, the beginning of it, its address or its host name; None is the
    whole fleet. Raises NodeNotFound."""

    async def look(self) -> FleetNodes: ...

    async def drain(self, wanted: str | None, deadline_s: float) -> FleetNodes: ...

    async def undrain(self, wanted: str | None) -> FleetNodes: ...


@dataclass(frozen=True, kw_only=True)
class ProviderInfo:
    """``simulated``: a simulator speaks in this provider's place."""

    provider: Provider
    simulated: bool
    endpoint: str | None = None


class Webhooks(Protocol):
    def verify_webhook(self, body: bytes, authorization: str | None) -> WebhookEvent:
        """The event, if the LiveKit server signed exactly these bytes. Raises WebhookRejected."""


class Passes(Protocol):
    def read_pass(self, token: str) -> ParticipantPass | None:
        """Whom a participant's LiveKit token was given to, its time over or not; None for any other
        text."""


Check = Callable[[], Awaitable[str | None]]
"""A readiness check: None is ready, else why not. May raise, which is "not ready" too."""


@dataclass(frozen=True, kw_only=True)
class Ports:
    """Everything the app is made of."""

    starter: Starter
    sessions: Sessions
    journal: Journal
    changes: Changes
    money: Money
    observers: Observers
    roster: Roster
    nodes: Nodes
    passes: Passes
    livekit_url: str
    """As browsers reach it."""
    public_url: str | None
    """As browsers reach this ingress; None: as it was asked."""
    drain_deadline_s: float
    """Of a drain that was asked for without one."""
    webhooks: Webhooks
    checks: Mapping[str, Check]
    providers: tuple[ProviderInfo, ...]
    clock: Callable[[], float]
    """Epoch seconds."""
    session_of_room: Callable[[str], str | None]
    """The session that a room's name belongs to; None for a room that is not ours."""
    expositions: Callable[[], Awaitable[list[bytes]]]
    """The control actors' own metrics, those that answer, as Prometheus text."""
    aclose: Callable[[], Awaitable[None]] | None = None
    tracer: Tracer = NO_TRACER
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
