"""Jobs that went with a bridge which was lost before it began their session.

LiveKit offers a job once. One that was given to the lost bridge it forgets; one that it could not
offer to it, as its connection had just broken, it offers to nobody else. What is left is a dispatch
in its room without an agent: with the job and the identity that we said its agent would have, or
with none. Each bridge looks for these again and again; that two find the same one does no harm, as
a job's session is begun once.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

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
    async def claimant(self, key: str) -> SessionRecord | None: ...


@dataclass(frozen=True, kw_only=True)
class LookingTiming:
    every_s: float = 2.0
    begun_s: float = 3.0
    """A bridge that lives has begun the session by then."""
    given_up_s: float = 300.0
    """Nobody waits any more for an agent that was dispatched so long ago."""
    most_rooms: int = 50
    """Those that one look goes into, the newest: each costs a call."""


def is_lost(
    dispatch: DispatchInfo, last: SessionRecord | None, now: float, timing: LookingTiming
) -> bool:
    """Of a dispatch that is for us. ``last``: the session that had the room last, or has it;
    one that ended since then has served it. Times are epoch seconds."""
    if not timing.begun_s <= now - dispatch.created_at <= timing.given_up_s:
        return False
    return last is None or (last.is_gone and (last.ended_at or now) < dispatch.created_at)


class LostJobs:
    """Use: ``run`` it in a task. ``identity_of``: what our agent for a job is called in a room, by
    which a job is known to be ours; others may serve dispatches of the same name."""

    def __init__(
        self,
        rooms: Rooms,
        claims: Claims,
        *,
        agent_name: str,
        identity_of: Callable[[str, str], str],
        take_up: Callable[[JobOffer], None],
        timing: LookingTiming = LookingTiming(),
        now: Callable[[], float] = time.time,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._rooms = rooms
        self._claims = claims
        self._agent_name = agent_name
        self._identity_of = identity_of
        self._take_up = take_up
        self._timing = timing
        self._now = now
        self._sleep = sleep

    async def run(self) -> None:
        while True:
            await self._sleep(self._timing.every_s)
            try:
                await self.look()
            except FleetError as error:
                # Whoever is away now is there at the next look.
                log.info("lost_jobs_not_looked_for", code=error.code)

    async def look(self) -> None:
        """Raises LiveKitError, RegistryUnavailable."""
        theirs = [r for r in await self._rooms.list_rooms() if session_of_room(r.name) is None]
        theirs.sort(key=lambda room: room.created_at, reverse=True)
        for room in theirs[: self._timing.most_rooms]:
            last = await self._claims.claimant(room_claim(room.name))
            if last is None or last.is_gone:
                await self._look_into(room, last)

    async def _look_into(self, room: RoomInfo, last: SessionRecord | None) -> None:
        for dispatch in await self._rooms.dispatches(room.name):
            job_id = self._job_for_us(room, dispatch)
            if job_id is not None and is_lost(dispatch, last, self._now(), self._timing):
                self._take_up(_offer(room, dispatch, job_id))

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
