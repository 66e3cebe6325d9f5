"""Session actors as the supervisor sees them: run a session, follow it, stop it, end it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from agent_actor.contract import ActorId, SessionId
from agent_actor.messages import Allowance, Assignment, JoinReport, SessionResult, StopOrder
from fleet import ray_calls
from fleet.budget.relayed import RelayedBudget
from fleet.crew import actor_name
from fleet.ray_calls import RemoteActor

STOP_DEADLINE_S = 5.0
RESTRAIN_DEADLINE_S = 2.0
"""A session that does not answer learns of its allowance with its next report."""
OBSERVE_DEADLINE_S = 2.0
PING_DEADLINE_S = 5.0


class SessionActors(Protocol):
    """Every method raises ActorLost as soon as the actor is known to be dead."""

    async def run(self, actor_id: ActorId, assignment: Assignment) -> SessionResult:
        """The whole session. Raises agent_actor's ActorBusy, nothing else of the actor's own."""

    async def joined(
        self, actor_id: ActorId, session_id: SessionId, deadline_s: float
    ) -> JoinReport:
        """Call after ``run``. Raises NoAnswer, or the AgentError that kept the agent out."""

    async def stop(self, actor_id: ActorId, order: StopOrder) -> None: ...

    async def restrain(self, actor_id: ActorId, allowance: Allowance) -> None:
        """Hand it a new allowance out of turn."""

    async def observe(self, actor_id: ActorId, observers: Sequence[str]) -> None:
        """Who is told what its session costs. Once it has joined."""

    async def ping(self, actor_id: ActorId) -> None:
        """Raises ActorLost, or NoAnswer (it may be busy)."""

    def kill(self, actor_id: ActorId) -> None:
        """At once. One that is dead already is left so."""

    def forget(self, actor_id: ActorId) -> None: ...


class RaySessionActors:
    """``budget`` is the budget actor, whose handle goes to each session; with ``relayed``, the
    way to it over the relay of the session's node does.
    """

    def __init__(self, namespace: str, budget: RemoteActor, *, relayed: bool = False) -> None:
        self._namespace = namespace
        self._budget = budget
        self._relayed = RelayedBudget(budget.name, namespace) if relayed else None
        self._handles: dict[ActorId, Any] = {}

    async def run(self, actor_id: ActorId, assignment: Assignment) -> SessionResult:
        ref = self._handle(actor_id).run.remote(assignment, self._relayed or self._budget.handle())
        result: SessionResult = await ray_calls.answer(ref, part=actor_name(actor_id))
        return result

    async def joined(
        self, actor_id: ActorId, session_id: SessionId, deadline_s: float
    ) -> JoinReport:
        ref = self._handle(actor_id).joined.remote(session_id)
        report: JoinReport = await ray_calls.answer(
            ref, part=actor_name(actor_id), deadline_s=deadline_s
        )
        return report

    async def stop(self, actor_id: ActorId, order: StopOrder) -> None:
        ref = self._handle(actor_id).stop.remote(order)
        await ray_calls.answer(ref, part=actor_name(actor_id), deadline_s=STOP_DEADLINE_S)

    async def restrain(self, actor_id: ActorId, allowance: Allowance) -> None:
        ref = self._handle(actor_id).restrain.remote(allowance)
        await ray_calls.answer(ref, part=actor_name(actor_id), deadline_s=RESTRAIN_DEADLINE_S)

    async def observe(self, actor_id: ActorId, observers: Sequence[str]) -> None:
        ref = self._handle(actor_id).observe.remote(tuple(observers))
        await ray_calls.answer(ref, part=actor_name(actor_id), deadline_s=OBSERVE_DEADLINE_S)

    async def ping(self, actor_id: ActorId) -> None:
        ref = self._handle(actor_id).ping.remote()
        await ray_calls.answer(ref, part=actor_name(actor_id), deadline_s=PING_DEADLINE_S)

    def kill(self, actor_id: ActorId) -> None:
        handle = self._handles.get(actor_id)
        if handle is not None:
            ray_calls.kill(handle)
        else:
            ray_calls.kill_named(actor_name(actor_id), self._namespace)

    def forget(self, actor_id: ActorId) -> None:
        self._handles.pop(actor_id, None)

    def _handle(self, actor_id: ActorId) -> Any:
        if actor_id not in self._handles:
            self._handles[actor_id] = ray_calls.find(actor_name(actor_id), self._namespace)
        return self._handles[actor_id]
