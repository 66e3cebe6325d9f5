"""Who observes a session: admitted through the API, kept in the registry, told to the actor.

LiveKit shows hidden participants to nobody in the room, so an actor has to be told whom to send
figures to. The registry is what counts: whatever delivery fails, the next one brings the whole list
(a further observer, a further attempt, the supervisor's own round every few seconds).
"""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

import structlog

from agent_actor.contract import ActorId, SessionId
from fleet.dispatch_plan import OBSERVER_PREFIX
from fleet.errors import FleetError
from fleet.parts import Records
from fleet.records import SessionRecord
from fleet.session_actors import SessionActors

MOST_OBSERVERS = 16
"""Of one session at once: each gets every message by name."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, kw_only=True)
class ObserverPass:
    """What an observer needs to join. ``told``: the session has them in its list already; if not,
    the supervisor sees to it."""

    identity: str
    room: str
    livekit_url: str
    token: str = field(repr=False)
    expires_at: float
    told: bool


class ObserverBook(Protocol):
    """The registry's part."""

    async def add_observer(
        self, session_id: str, identity: str, *, ttl_s: int, most: int
    ) -> None: ...


class ObserverTokens(Protocol):
    """LiveKit's part."""

    def observer_token(self, *, room: str, identity: str, ttl_s: int) -> str: ...


class ObservedSessions(Protocol):
    """The supervisor's part."""

    async def observe(self, session_id: SessionId) -> bool: ...


class ObserverDesk:
    """Admits observers, for the ingress."""

    def __init__(
        self,
        *,
        book: ObserverBook,
        tokens: ObserverTokens,
        sessions: ObservedSessions,
        livekit_url: str,
        ttl_s: int,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._book = book
        self._tokens = tokens
        self._sessions = sessions
        self._livekit_url = livekit_url
        self._ttl_s = ttl_s
        self._now = now

    async def admit(self, record: SessionRecord) -> ObserverPass:
        """Another observer each time. Raises StateConflict for a session that is over or has no
        room yet, TooManyObservers, RegistryUnavailable.
        """
        identity = f"{OBSERVER_PREFIX}{secrets.token_hex(8)}"
        expires_at = self._now() + self._ttl_s
        await self._book.add_observer(
            record.session_id, identity, ttl_s=self._ttl_s, most=MOST_OBSERVERS
        )
        token = self._tokens.observer_token(room=record.room, identity=identity, ttl_s=self._ttl_s)
        return ObserverPass(
            identity=identity,
            room=record.room,
            livekit_url=self._livekit_url,
            token=token,
            expires_at=expires_at,
            told=await self._tell(SessionId(record.session_id)),
        )

    async def _tell(self, session_id: SessionId) -> bool:
        try:
            return await self._sessions.observe(session_id)
        except FleetError as error:
            log.warning("observer_not_handed_on", session_id=session_id, error=str(error))
            return False


class ObserverList:
    """One session's observers on their way to its actors, for the supervisor. Two deliveries never
    overtake each other, and each takes the list as it is then."""

    def __init__(self, session_id: SessionId, records: Records, actors: SessionActors) -> None:
        self._session_id = session_id
        self._records = records
        self._actors = actors
        self._given: tuple[str, ...] = ()
        self._lock = asyncio.Lock()

    async def for_assignment(self) -> tuple[str, ...]:
        """As known now; none while the registry is away."""
        async with self._lock:
            try:
                self._given = await self._records.observers(self._session_id)
            except FleetError as error:
                log.warning("observers_unknown", session_id=self._session_id, error=str(error))
                self._given = ()
            return self._given

    async def hand_to(self, actor_id: ActorId) -> bool:
        """Give it the list, unless that is what it has. False if that did not work."""
        async with self._lock:
            try:
                observers = await self._records.observers(self._session_id)
                if observers != self._given:
                    await self._actors.observe(actor_id, observers)
            except FleetError as error:
                log.info("observers_not_told", session_id=self._session_id, error=str(error))
                return False
            self._given = observers
            return True
