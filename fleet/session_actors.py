"""Session actors as the supervisor sees them: run a session, follow it, stop it, end it."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

import structlog

from agent_actor.contract import ActorId, SessionId
from agent_actor.messages import Allowance, Assignment, JoinReport, SessionResult, StopOrder
from fleet import ray_calls
from fleet.budget.relayed import RelayedBudget
from fleet.crew import ACTOR_PREFIX, actor_ids, actor_name
from fleet.errors import FleetError
from fleet.ray_calls import RemoteActor

log = structlog.get_logger(__name__)

STOP_DEADLINE_S = 5.0
RESTRAIN_DEADLINE_S = 2.0
"""A session that does not answer learns of its allowance with its next report."""
OBSERVE_DEADLINE_S = 2.0
PING_DEADLINE_S = 5.0
LIST_DEADLINE_S = 5.0
MET_MOST = 1000
"""Of the actors that it has met and has no session for yet: some never get one."""


class SessionActors(Protocol):
    """Every method raises ActorLost as soon as the actor is known to be dead."""

    async def meet(self, actor_id: ActorId, handle: Any) -> None:
        """Get to know an actor before it is needed: a process's first call to another one takes
        tens of milliseconds. Raises nothing: it will be found when it is needed."""

    async def run(self, actor_id: ActorId, assignment: Assignment) -> SessionResult:
        """The whole session. Raises agent_actor's ActorBusy, nothing else of the actor's own."""

    async def joined(
        self, actor_id: ActorId, session_id: SessionId, deadline_s: float
    ) -> JoinReport:
        """Call after ``run``. Raises NoAnswer, or the AgentError that kept the agent out."""

    async def stop(self, actor_id: ActorId, order: StopOrder) -> None: ...

    async def hand_over(self, actor_id: ActorId, patience_s: float) -> None:
        """Ask it to leave the interview to another; it has, when ``run`` says so."""

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
        self._met: OrderedDict[ActorId, Any] = OrderedDict()

    async def meet(self, actor_id: ActorId, handle: Any) -> None:
        self._met[actor_id] = handle
        while len(self._met) > MET_MOST:
            self._met.popitem(last=False)
        try:
            await ray_calls.answer(
                handle.ping.remote(), part=actor_name(actor_id), deadline_s=PING_DEADLINE_S
            )
        except FleetError as error:
            log.info("actor_not_met", actor_id=actor_id, error=str(error))

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

    async def hand_over(self, actor_id: ActorId, patience_s: float) -> None:
        ref = self._handle(actor_id).hand_over.remote(patience_s)
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

    async def existing(self) -> list[ActorId]:
        """Every session actor that Ray has, whoever made it. Raises ControlPlaneUnavailable."""
        found = await ray_calls.names_soon(
            self._namespace, ACTOR_PREFIX, deadline_s=LIST_DEADLINE_S
        )
        return actor_ids(found)

    def kill(self, actor_id: ActorId) -> None:
        handle = self._handles.get(actor_id)
        if handle is not None:
            ray_calls.kill(handle)
        else:
            ray_calls.kill_named(actor_name(actor_id), self._namespace)

    def forget(self, actor_id: ActorId) -> None:
        self._handles.pop(actor_id, None)
        self._met.pop(actor_id, None)

    def _handle(self, actor_id: ActorId) -> Any:
        handle = self._handles.get(actor_id)
        if handle is None:
            handle = self._met.pop(actor_id, None)
            self._handles[actor_id] = handle or ray_calls.find(
                actor_name(actor_id), self._namespace
            )
        return self._handles[actor_id]
