"""Jobs that went with a bridge which was lost before it had handed their session on.

LiveKit offers a job once. One that was given to the lost bridge it forgets; one that it could not
offer to it, as its connection had just broken, it offers to nobody else. What is left is a dispatch
in its room without an agent: with the job and the identity that we said its agent would have, or
with none. The session of such a job may have been begun, and be known to no supervisor yet.

Each bridge looks for these again and again; that two find the same one does no harm, as a job's
session is begun once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from agent_actor.contract import SessionId, SessionState
from fleet.bridge.protocol import JobOffer
from fleet.dispatch_plan import room_claim, session_of_room
from fleet.endings import Sleep
from fleet.errors import FleetError
from fleet.livekit_client import DispatchInfo, RoomInfo
from fleet.records import SessionRecord

log = structlog.get_logger(__name__)


class Rooms(Protocol):
    async def list_rooms(self) -> Sequence[RoomInfo]: ...

    async def dispatches(self, room: str) -> Sequence[DispatchInfo]: ...


class Claims(Protocol):
    async def claimants(self, keys: Sequence[str]) -> Sequence[SessionRecord | None]: ...

    async def find(self, session_id: str) -> SessionRecord | None: ...


@dataclass(frozen=True, kw_only=True)
class LookingTiming:
    every_s: float = 2.0
    begun_s: float = 2.0
    """A bridge that lives has begun the session of a job it was given by then, and a dispatcher has
    handed it on as long after that."""
    offered_s: float = 3.5
    """LiveKit has asked all its workers for a job by then."""
    given_up_s: float = 300.0
    """Nobody waits any more for an agent that was dispatched so long ago."""
    most_rooms: int = 50
    """Of those without a session, the newest: each costs a call."""


def is_lost(
    dispatch: DispatchInfo, last: SessionRecord | None, now: float, timing: LookingTiming
) -> bool:
    """Of a dispatch that is for us. ``last``: the session that had the room last, or has it;
    one that ended since then has served it. One that is still queued is lost if no supervisor has
    it, which is not judged here. Times are epoch seconds."""
    least_s = timing.begun_s if dispatch.jobs else timing.offered_s
    if not least_s <= now - dispatch.created_at <= timing.given_up_s:
        return False
    if last is None:
        return True
    if last.is_gone:
        return (last.ended_at or now) < dispatch.created_at
    return _awaits_its_supervisor(last) and now - last.created_at >= timing.begun_s


def _awaits_its_supervisor(record: SessionRecord) -> bool:
    return record.state is SessionState.QUEUED and record.actor_id is None


class LostJobs:
    """Use: ``run`` it in a task. ``session_of`` gives a job's session, and ``identity_of`` what its
    agent is called in a room, by which a job is known to be ours; others may serve dispatches of
    the same name. ``is_run``: whether the supervisor has a session."""

    def __init__(
        self,
        rooms: Rooms,
        claims: Claims,
        *,
        agent_name: str,
        session_of: Callable[[str], SessionId],
        identity_of: Callable[[str, str], str],
        is_run: Callable[[SessionId], Awaitable[bool]],
        take_up: Callable[[JobOffer], None],
        timing: LookingTiming = LookingTiming(),
        now: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rooms = rooms
        self._claims = claims
        self._agent_name = agent_name
        self._session_of = session_of
        self._identity_of = identity_of
        self._is_run = is_run
        self._take_up = take_up
        self._timing = timing
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        while True:
            # At once: whoever was here before has perhaps just been lost.
            try:
                await self.look()
            except FleetError as error:
                # Whoever is away now is there at the next look.
                log.info("lost_jobs_not_looked_for", code=error.code)
            await self._sleep(self._timing.every_s)

    async def look(self) -> None:
        """Raises LiveKitError, RegistryUnavailable, ControlPlaneUnavailable."""
        theirs = [r for r in await self._rooms.list_rooms() if session_of_room(r.name) is None]
        theirs.sort(key=lambda room: room.created_at, reverse=True)
        last = await self._claims.claimants([room_claim(room.name) for room in theirs])
        free = [
            (room, record)
            for room, record in zip(theirs, last, strict=True)
            if record is None or record.is_gone or _awaits_its_supervisor(record)
        ]
        for room, record in free[: self._timing.most_rooms]:
            await self._look_into(room, record)

    async def _look_into(self, room: RoomInfo, last: SessionRecord | None) -> None:
        for dispatch in await self._rooms.dispatches(room.name):
            job_id = self._job_for_us(room, dispatch)
            if (
                job_id is not None
                and is_lost(dispatch, last, self._now(), self._timing)
                and await self._has_nobody(self._session_of(job_id), last)
            ):
                self._take_up(_offer(room, dispatch, job_id))

    async def _has_nobody(self, session_id: SessionId, last: SessionRecord | None) -> bool:
        if last is not None and not last.is_gone:
            return last.session_id == session_id and not await self._is_run(session_id)
        # One that has failed is not begun again, though it may have given up its room.
        known = await self._claims.find(session_id)
        return known is None or not known.is_gone

    def _job_for_us(self, room: RoomInfo, dispatch: DispatchInfo) -> str | None:
        if dispatch.agent_name != self._agent_name:
            return None
        for job in dispatch.jobs:
            return job.id if job.identity == self._identity_of(job.id, room.name) else None
        return dispatch.id


def _offer(room: RoomInfo, dispatch: DispatchInfo, job_id: str) -> JobOffer:
    """As LiveKit made it, or would have."""
    return JobOffer(
        job_id=job_id,
        dispatch_id=dispatch.id,
        room=room.name,
        room_sid=room.sid,
        room_metadata=room.metadata,
        metadata=dispatch.metadata,
    )
