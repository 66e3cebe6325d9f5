"""Carries out drains: keeps the roster told, and moves or ends sessions when their time is up.
``fleet.draining`` decides.

It runs beside the supervisor, in its process. Nothing of a drain is done once and for all: every
second what is still to be done is asked for again, so whoever was restarted meanwhile hears of it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_actor.contract import EndReason, SessionId
from agent_actor.messages import StopMode
from fleet import draining
from fleet.draining import WHOLE_FLEET, Drain, End, Held, Move
from fleet.errors import FleetError, SessionNotFound
from fleet.pool import PoolSnapshot
from fleet.reaping import RunSeen
from fleet.roster_model import ActorState, NodeId

EVERY_S = 1.0
FORGET_S = 3600.0
"""A node that Ray does not know any more is forgotten so long after its deadline: while the head
restarts it knows none."""

log = structlog.get_logger(__name__)


class Book(Protocol):
    """Raises RegistryUnavailable."""

    async def all(self) -> dict[NodeId, Drain]: ...

    async def put(self, node_id: NodeId, drain: Drain) -> None: ...

    async def drop(self, node_id: NodeId) -> None: ...


class Roster(Protocol):
    """Raises ControlPlaneUnavailable."""

    async def drain(self, on: bool, nodes: frozenset[NodeId]) -> None: ...

    async def snapshot(self) -> PoolSnapshot: ...


class Sessions(Protocol):
    """The supervisor."""

    async def under_way(self) -> Mapping[SessionId, RunSeen]: ...

    async def move(self, session_id: SessionId, patience_s: float) -> bool:
        """Whether its actor has been asked to leave. Raises SessionNotFound."""

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        """Raises SessionNotFound."""


@dataclass(frozen=True, kw_only=True)
class DrainParts:
    book: Book
    roster: Roster
    sessions: Sessions
    nodes: Callable[[], Awaitable[frozenset[NodeId]]]
    """Those that Ray has, alive."""
    now: Callable[[], float] = time.time


class Drainer:
    """``keep_draining`` is a task of the supervisor's process; nothing answers before it runs."""

    def __init__(self, parts: DrainParts, *, patience_s: float) -> None:
        """``patience_s``: how long an actor that is to leave may wait for a moment to do so."""
        self._parts = parts
        self._patience_s = patience_s
        self._drains: dict[NodeId, Drain] = {}
        self._loaded = asyncio.Event()
        self._wake = asyncio.Event()
        self._silent = False

    async def drains(self) -> dict[NodeId, Drain]:
        """Answers once those of an earlier supervisor are known: before, it would be wrong."""
        await self._loaded.wait()
        return dict(self._drains)

    async def drain(self, node_id: NodeId, deadline_s: float) -> Drain:
        """Returns when it is written down and the roster, if it is there, refuses. Asking again
        sets another deadline. Raises RegistryUnavailable; nothing is changed then."""
        known = (await self.drains()).get(node_id)
        drain = draining.asked(known, now=self._parts.now(), deadline_s=deadline_s)
        await self._parts.book.put(node_id, drain)
        self._drains[node_id] = drain
        log.info("drain_asked", node_id=node_id, deadline_s=deadline_s)
        await self._tell_roster()
        return drain

    async def undrain(self, node_id: NodeId) -> bool:
        """Whether it was draining. Sessions that have left are not called back."""
        if node_id not in await self.drains():
            return False
        await self._parts.book.drop(node_id)
        self._drains.pop(node_id, None)
        log.info("drain_taken_back", node_id=node_id)
        await self._tell_roster()
        return True

    async def keep_draining(self) -> None:
        """For ever: whatever a look fails with, the next one is made."""
        while True:
            try:
                await self.look()
                self._silent = False
            except FleetError as error:
                # Once and not each second: an outage may last.
                if not self._silent:
                    log.warning("drains_wait", error=str(error))
                self._silent = True
            except Exception:
                log.exception("draining_failed")
            await self._pause()

    async def look(self) -> None:
        """Once. Raises FleetError when a part does not answer."""
        if not self._loaded.is_set():
            self._drains = await self._parts.book.all()
            self._loaded.set()
        if not self._drains:
            return
        await self._parts.roster.drain(WHOLE_FLEET in self._drains, self._nodes)
        now = self._parts.now()
        if any(now >= drain.deadline for drain in self._drains.values()):
            due = draining.due(self._drains, await self._held(), now)
            await asyncio.gather(*(self._carry_out(command) for command in due))
            await self._forget(now)

    # Inside

    @property
    def _nodes(self) -> frozenset[NodeId]:
        return frozenset(self._drains) - {WHOLE_FLEET}

    async def _tell_roster(self) -> None:
        try:
            await self._parts.roster.drain(WHOLE_FLEET in self._drains, self._nodes)
        except FleetError as error:
            # A restarted one asks for it, and so it does when it is opened anew.
            log.warning("roster_not_told_of_drain", error=str(error))
        self._wake.set()

    async def _held(self) -> list[Held]:
        books = (await self._parts.roster.snapshot()).books
        where = {
            view.session_id: view.node_id
            for view in books.actors
            if view.session_id is not None and view.state is ActorState.LIVE
        }
        return [
            Held(session_id=session_id, node_id=where.get(session_id), stopping=run.stopping)
            for session_id, run in (await self._parts.sessions.under_way()).items()
        ]

    async def _carry_out(self, command: Move | End) -> None:
        sessions, session_id = self._parts.sessions, command.session_id
        try:
            match command:
                case Move():
                    await sessions.move(session_id, self._patience_s)
                case End():
                    await sessions.stop(session_id, EndReason.DRAINED, StopMode.GOODBYE)
        except SessionNotFound:
            # It has just ended.
            pass

    async def _forget(self, now: float) -> None:
        old = {n for n, d in self._drains.items() if now - d.deadline > FORGET_S} - {WHOLE_FLEET}
        for node_id in old - await self._parts.nodes() if old else ():
            await self._parts.book.drop(node_id)
            del self._drains[node_id]

    async def _pause(self) -> None:
        self._wake.clear()
        try:
            async with asyncio.timeout(EVERY_S):
                await self._wake.wait()
        except TimeoutError:
            return
