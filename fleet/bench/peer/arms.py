"""The two arms behind one face.

Both begin with the room's creation, and a session of either ends when its room is deleted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import httpx
import psutil
from livekit import api

from fleet.bench.peer import contract, processes
from fleet.bench.peer.found import FLEET
from fleet.bench.waiting import until
from fleet.clients import RayRosterClient
from fleet.errors import FleetError
from fleet.livekit_client import LiveKitClient
from fleet.models import model_resolver
from fleet.pool import PoolSnapshot
from fleet.registry import Registry
from fleet.roster_model import ActorState
from fleet.settings import FleetSettings

SETTLE_POLL_S = 1.0
"""Looking costs the fleet a call to its roster, which is counted, and the worker nothing."""
TOKEN_TTL_S = 3600


@dataclass(frozen=True, kw_only=True)
class Asked:
    """``where``: what the arm knows the session by."""

    room: str
    url: str
    token: str = field(repr=False)
    where: str = ""


@dataclass(frozen=True, kw_only=True)
class Told:
    """What the arm says of a session afterwards. ``in_room_at``: when its agent's connection to
    the room was up, epoch seconds; None: it never was."""

    in_room_at: float | None = None
    steps_ms: Mapping[str, float] = field(default_factory=dict)


class Refused(Exception):
    """The arm said no: the dispatch is lost."""


class Arm(Protocol):
    name: str

    async def ask(self, room: str) -> Asked:
        """For a session; ``room`` is its name where we may choose it. Raises Refused."""

    async def told(self, asked: Asked) -> Told: ...

    async def settled(self, live: int, deadline_s: float) -> bool:
        """Whether, by the deadline, no more than ``live`` sessions were left and the pool was
        full again."""

    def pids(self) -> set[int]:
        """All processes that are there for this arm alone."""

    async def warm_pids(self) -> set[int]: ...

    async def live_pids(self) -> set[int]:
        """Those that hold a session each."""


class FleetArm:
    """``others``: the children of this process that are none of the fleet's."""

    name = FLEET

    def __init__(
        self, settings: FleetSettings, api_url: str, others: set[int], *, pool: int
    ) -> None:
        self._http = httpx.AsyncClient(base_url=api_url, timeout=60.0)
        self._roster = RayRosterClient(settings.ray_namespace)
        self._records = Registry.from_settings(settings)
        self._others = others
        self._pool = pool
        self._fork_servers: set[int] = set()

    async def aclose(self) -> None:
        await self._http.aclose()
        await self._records.aclose()

    async def ask(self, room: str) -> Asked:
        try:
            answer = await self._http.post(
                "/v1/sessions", json=contract.request(), headers={"Prefer": "respond-async"}
            )
        except httpx.HTTPError as error:
            raise Refused(type(error).__name__) from None
        if answer.is_error:
            raise Refused(f"{answer.status_code} {answer.json().get('code', '')}")
        told = answer.json()
        return Asked(
            room=told["room"],
            url=told["livekit_url"],
            token=told["participant_token"],
            where=told["session_id"],
        )

    async def told(self, asked: Asked) -> Told:
        # From the book itself: by the ingress it would be counted as the dispatch's.
        record = await self._records.get(asked.where)
        steps_ms = {name: 1000 * took_s for name, took_s in record.timings_s.items()}
        return Told(in_room_at=record.joined_at, steps_ms=steps_ms)

    async def settled(self, live: int, deadline_s: float) -> bool:
        async def so() -> bool:
            books = (await self._look()).books
            busy = books.live + books.reserved + books.starting + books.dying
            return books.warm >= self._pool and busy <= live

        return bool(await until(so, deadline_s, poll_s=SETTLE_POLL_S))

    def pids(self) -> set[int]:
        children = {child.pid for child in psutil.Process().children()} - self._others
        return processes.trees({*children, *self._fork_servers})

    async def warm_pids(self) -> set[int]:
        return await self._actors(ActorState.WARM)

    async def live_pids(self) -> set[int]:
        return await self._actors(ActorState.LIVE)

    async def _look(self) -> PoolSnapshot:
        """Fork servers belong to no process of the fleet's tree, but their workers know them; a
        new one comes up whenever the code changes."""
        pool = await self._roster.snapshot()
        for pid in pool.pids.values():
            with suppress(psutil.Error):
                parent = psutil.Process(psutil.Process(pid).ppid())
                if processes.FORK_SERVER in " ".join(parent.cmdline()):
                    self._fork_servers.add(parent.pid)
        return pool

    async def _actors(self, state: ActorState) -> set[int]:
        pool = await self._look()
        actors = [each.actor_id for each in pool.books.actors if each.state is state]
        return {pool.pids[actor] for actor in actors if actor in pool.pids}


class Notes:
    """What the worker's jobs have noted so far, by event."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._read = 0
        self.warm: dict[int, float] = {}
        """By process number, when it said so."""
        self.begun: dict[int, float] = {}
        self.in_room_at: dict[str, float] = {}

    def look(self) -> None:
        with self.path.open("rb") as file:
            file.seek(self._read)
            new = file.read()
        whole = new[: new.rfind(b"\n") + 1]
        self._read += len(whole)
        for line in whole.splitlines():
            self._take(json.loads(line))

    def _take(self, told: dict[str, Any]) -> None:
        match told["event"]:
            case "warm":
                self.warm[told["pid"]] = told["at"]
                # A number may be used again.
                self.begun.pop(told["pid"], None)
            case "begun":
                self.begun[told["pid"]] = told["at"]
            case "in_room":
                self.in_room_at[told["room"]] = told["at"]


class PeerArm:
    """``root``: the worker's process; ``agent_name``: what it is registered as."""

    def __init__(
        self,
        settings: FleetSettings,
        notes: Notes,
        root: int,
        client: LiveKitClient,
        *,
        name: str,
        agent_name: str,
        pool: int,
    ) -> None:
        self.name = name
        self._agent_name = agent_name
        secret = settings.livekit_api_secret.get_secret_value()
        self._url = settings.livekit_url
        self._api = api.LiveKitAPI(self._url, settings.livekit_api_key, secret)
        self._client = client
        self._notes = notes
        self._root = root
        self._pool = pool
        self._metadata = contract.metadata(
            model_resolver(settings, lambda: datetime.now(UTC).date())
        )

    async def aclose(self) -> None:
        await self._api.aclose()

    async def ask(self, room: str) -> Asked:
        try:
            await self._client.create_room(room, metadata=self._metadata)
            await self._api.agent_dispatch.create_dispatch(
                api.CreateAgentDispatchRequest(agent_name=self._agent_name, room=room)
            )
        except (FleetError, api.TwirpError) as error:
            raise Refused(str(error)) from None
        token = self._client.participant_token(
            room=room, identity=contract.PARTICIPANT, ttl_s=TOKEN_TTL_S
        )
        return Asked(room=room, url=self._url, token=token)

    async def told(self, asked: Asked) -> Told:
        self._notes.look()
        return Told(in_room_at=self._notes.in_room_at.get(asked.room))

    async def settled(self, live: int, deadline_s: float) -> bool:
        async def so() -> bool:
            return len(await self.warm_pids()) >= self._pool and len(self._begun()) <= live

        return bool(await until(so, deadline_s, poll_s=SETTLE_POLL_S))

    def pids(self) -> set[int]:
        return processes.trees({self._root})

    async def warm_pids(self) -> set[int]:
        self._notes.look()
        warm = {pid: at for pid, at in self._notes.warm.items() if pid not in self._notes.begun}
        return {pid for pid, at in warm.items() if processes.is_alive(pid, at)}

    async def live_pids(self) -> set[int]:
        self._notes.look()
        return self._begun()

    def _begun(self) -> set[int]:
        return {pid for pid, at in self._notes.begun.items() if processes.is_alive(pid, at)}
