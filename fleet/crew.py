"""Session actors as the roster sees them: how one is made, asked for its pulse, and ended."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol

from agent_actor.contract import ActorId
from agent_actor.messages import Pulse, WarmReport
from fleet import forked, ray_calls
from fleet.actor_shell import shell_for
from fleet.errors import ActorLost
from fleet.ray_calls import ActorOptions, RemoteActor
from fleet.roster_model import NodeId

ACTOR_PREFIX = "session-actor-"
MEET_DEADLINE_S = 10.0
SESSION_ACTOR = f"{forked.SESSION_ACTOR}:SessionActor"


def actor_name(actor_id: ActorId) -> str:
    return f"{ACTOR_PREFIX}{actor_id}"


def actor_ids(names: Iterable[str]) -> list[ActorId]:
    """The reverse, of names that all are session actors'."""
    return [ActorId(name.removeprefix(ACTOR_PREFIX)) for name in names]


@dataclass(frozen=True, kw_only=True)
class ActorSpec:
    """What session actors are made of. The class is named by its import path because workers
    import it themselves; it is called with the actor's id alone and reads its settings, keys
    among them, from the environment of its node.
    """

    class_path: str = SESSION_ACTOR
    num_cpus: float = 0.1
    warm_timeout_s: float = 60.0
    runtime_env: dict[str, Any] = field(default_factory=dict)
    fork_server: bool = False
    """See docs/forkserver.md. A ``py_executable`` in ``runtime_env`` goes before it."""
    needs_slot: bool = False
    """Also while no node has any, since nodes with slots are started on demand. Without it slots
    are asked for where there are some."""

    def worker_env(self) -> dict[str, Any]:
        """The runtime_env that an actor is created with."""
        module = self.class_path.partition(":")[0]
        return {
            **forked.worker_env(fork_server=self.fork_server, session_actor=module),
            **self.runtime_env,
        }


class Crew(Protocol):
    """What the pool does to actors. ``kill`` returns at once and never fails."""

    async def start(
        self, actor_id: ActorId, on: NodeId | None = None, not_on: Sequence[NodeId] = ()
    ) -> WarmReport:
        """Make it, on this node or on none of those, and wait until it is warm. Raises
        ControlPlaneUnavailable."""

    async def rejoin(self, actor_id: ActorId) -> WarmReport:
        """The same for one that an earlier roster made."""

    async def ping(self, actor_id: ActorId, deadline_s: float) -> Pulse | None:
        """None: it lives and says no more. Raises ActorLost (it is dead) or NoAnswer (it may be
        busy)."""

    async def look(self, actor_id: ActorId, deadline_s: float) -> Pulse | None:
        """``ping`` for one that an earlier roster made."""

    async def introduce(self, actor_id: ActorId) -> None:
        """Make it known to whoever will hand sessions to it. Raises ControlPlaneUnavailable."""

    def kill(self, actor_id: ActorId) -> None: ...

    def existing(self) -> list[ActorId]: ...


class RayCrew:
    """``supervisor``: who hands sessions to the actors, and is to know them before it does."""

    def __init__(
        self, spec: ActorSpec, namespace: str, supervisor: RemoteActor | None = None
    ) -> None:
        self._spec = spec
        self._supervisor = supervisor
        self._shell = shell_for(spec.class_path)
        self._namespace = namespace
        self._handles: dict[ActorId, Any] = {}
        """None while it is being made."""

    async def start(
        self, actor_id: ActorId, on: NodeId | None = None, not_on: Sequence[NodeId] = ()
    ) -> WarmReport:
        self._handles[actor_id] = None
        name, deadline_s = actor_name(actor_id), self._spec.warm_timeout_s
        make = partial(self._make, actor_id, on, not_on)
        handle = await ray_calls.made(make, part=name, deadline_s=deadline_s)
        if actor_id not in self._handles:
            ray_calls.kill(handle)
            raise ActorLost(name, "ended")
        self._handles[actor_id] = handle
        return await self._warm(actor_id)

    def _make(self, actor_id: ActorId, on: NodeId | None, not_on: Sequence[NodeId]) -> Any:
        slots = self._spec.needs_slot or ray_calls.has_resource(ray_calls.SLOT_RESOURCE)
        options = ActorOptions(
            name=actor_name(actor_id),
            namespace=self._namespace,
            num_cpus=self._spec.num_cpus,
            resources={ray_calls.SLOT_RESOURCE: 1} if slots else {},
            runtime_env=self._spec.worker_env(),
            node_id=on,
            not_on=tuple(not_on),
            # A node that is lost leaves warm actors on others, and what they are forked from.
            spread=True,
        )
        return ray_calls.create(self._shell, options, actor_id)

    async def rejoin(self, actor_id: ActorId) -> WarmReport:
        self._handles[actor_id] = ray_calls.find(actor_name(actor_id), self._namespace)
        return await self._warm(actor_id)

    async def ping(self, actor_id: ActorId, deadline_s: float) -> Pulse | None:
        handle = self._handles.get(actor_id)
        if handle is None:
            raise ActorLost(actor_name(actor_id), "ended")
        pulse = await ray_calls.answer(
            handle.ping.remote(), part=actor_name(actor_id), deadline_s=deadline_s
        )
        return pulse if isinstance(pulse, Pulse) else None

    async def look(self, actor_id: ActorId, deadline_s: float) -> Pulse | None:
        self._handles[actor_id] = ray_calls.find(actor_name(actor_id), self._namespace)
        return await self.ping(actor_id, deadline_s)

    async def introduce(self, actor_id: ActorId) -> None:
        handle = self._handles.get(actor_id)
        if handle is not None and self._supervisor is not None:
            await self._supervisor.call("meet", actor_id, handle, deadline_s=MEET_DEADLINE_S)

    def kill(self, actor_id: ActorId) -> None:
        handle = self._handles.pop(actor_id, None)
        if handle is not None:
            ray_calls.kill(handle)

    def existing(self) -> list[ActorId]:
        return actor_ids(ray_calls.names(self._namespace, ACTOR_PREFIX))

    async def _warm(self, actor_id: ActorId) -> WarmReport:
        report: WarmReport = await ray_calls.answer(
            self._handles[actor_id].warm.remote(),
            part=actor_name(actor_id),
            deadline_s=self._spec.warm_timeout_s,
        )
        return report
