"""The named control actors as their callers see them: typed, with a deadline on every call."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agent_actor.contract import ActorId, EndReason, SessionId, StudyId
from agent_actor.messages import Allowance, JoinReport, StopMode, UsageReport
from fleet.budget.costs import SessionCost
from fleet.draining import Drain
from fleet.errors import BudgetUnavailable, ControlPlaneUnavailable
from fleet.parts import StartRequest
from fleet.pool import PoolSnapshot, Reservation
from fleet.ray_calls import RemoteActor
from fleet.roster_actor import ROSTER, SUPERVISOR
from fleet.roster_model import Arrangement, NodeId
from fleet.supervisor import SupervisorSnapshot

BUDGET = "budget"
CALL_DEADLINE_S = 5.0
"""For what an actor answers out of its own memory."""


class RayRosterClient:
    def __init__(self, namespace: str) -> None:
        self._actor = RemoteActor(ROSTER, namespace)

    async def admit(self, session_id: SessionId, within_s: float) -> None:
        await self._call("admit", session_id, within_s)

    async def reserve(self, session_id: SessionId, wait_s: float) -> Reservation:
        return await self._wait("reserve", session_id, wait_s)

    async def reassign(self, session_id: SessionId, wait_s: float) -> Reservation:
        return await self._wait("reassign", session_id, wait_s)

    async def prepare_move(self, session_id: SessionId) -> bool:
        ready: bool = await self._call("prepare_move", session_id)
        return ready

    async def begin(self, session_id: SessionId) -> ActorId | None:
        found: ActorId | None = await self._call("begin", session_id)
        return found

    async def release(self, session_id: SessionId) -> None:
        await self._call("release", session_id)

    async def drain(self, on: bool, nodes: frozenset[NodeId] = frozenset()) -> None:
        """The whole fleet (``on``), and these nodes, whatever was said before."""
        await self._call("drain", on, nodes)

    async def arrange(self, arrangement: Arrangement) -> None:
        await self._call("arrange", arrangement)

    async def snapshot(self) -> PoolSnapshot:
        snapshot: PoolSnapshot = await self._call("snapshot")
        return snapshot

    async def exposition(self) -> bytes:
        text: bytes = await self._call("exposition")
        return text

    async def _wait(self, method: str, session_id: SessionId, wait_s: float) -> Reservation:
        deadline_s = wait_s + CALL_DEADLINE_S
        answer: Reservation = await self._actor.call(
            method, session_id, wait_s, deadline_s=deadline_s
        )
        return answer

    async def _call(self, method: str, *args: Any) -> Any:
        return await self._actor.call(method, *args, deadline_s=CALL_DEADLINE_S)


class RaySupervisorClient:
    def __init__(self, namespace: str) -> None:
        self._actor = RemoteActor(SUPERVISOR, namespace)

    async def start(self, request: StartRequest, deadline_s: float) -> JoinReport:
        report: JoinReport = await self._actor.call("start", request, deadline_s=deadline_s)
        return report

    async def stop(self, session_id: SessionId, reason: EndReason, mode: StopMode) -> None:
        await self._call("stop", session_id, reason, mode)

    async def restrain(self, allowances: Sequence[Allowance], *, stop: bool) -> int:
        told: int = await self._call("restrain", allowances, stop)
        return told

    async def observe(self, session_id: SessionId) -> bool:
        told: bool = await self._call("observe", session_id)
        return told

    async def wait_over(self, session_id: SessionId, timeout_s: float) -> bool:
        deadline_s = timeout_s + CALL_DEADLINE_S
        over: bool = await self._actor.call(
            "wait_over", session_id, timeout_s, deadline_s=deadline_s
        )
        return over

    async def drain(self, node_id: NodeId, deadline_s: float) -> Drain:
        drain: Drain = await self._call("drain_node", node_id, deadline_s)
        return drain

    async def undrain(self, node_id: NodeId) -> bool:
        was_draining: bool = await self._call("undrain_node", node_id)
        return was_draining

    async def drains(self) -> dict[NodeId, Drain]:
        found: dict[NodeId, Drain] = await self._call("drains")
        return found

    async def snapshot(self) -> SupervisorSnapshot:
        snapshot: SupervisorSnapshot = await self._call("snapshot")
        return snapshot

    async def exposition(self) -> bytes:
        text: bytes = await self._call("exposition")
        return text

    async def _call(self, method: str, *args: Any) -> Any:
        return await self._actor.call(method, *args, deadline_s=CALL_DEADLINE_S)


class RayBridgeClient:
    def __init__(self, name: str, namespace: str) -> None:
        self._actor = RemoteActor(name, namespace)

    async def exposition(self) -> bytes:
        text: bytes = await self._actor.call("exposition", deadline_s=CALL_DEADLINE_S)
        return text


class RayBudgetClient:
    """What the dispatcher and the supervisor ask of the budget actor."""

    def __init__(self, namespace: str) -> None:
        self._actor = RemoteActor(BUDGET, namespace)

    @property
    def actor(self) -> RemoteActor:
        return self._actor

    async def open(
        self, session_id: SessionId, study_id: StudyId, provider: str, limit_micro_usd: int
    ) -> Allowance:
        allowance: Allowance = await self._call(
            "open", session_id, study_id, provider, limit_micro_usd
        )
        return allowance

    async def close(self, session_id: SessionId, reports: Sequence[UsageReport] = ()) -> int | None:
        cost = await self._call("close", session_id, tuple(reports))
        return None if cost is None else int(cost.spent_micro_usd)

    async def set_limit(self, session_id: SessionId, micro_usd: int) -> Allowance | None:
        allowance: Allowance | None = await self._call("set_limit", session_id, micro_usd)
        return allowance

    async def limit_of(self, session_id: SessionId) -> int | None:
        """Its limit in force, in micro-dollars; None: no account."""
        cost: SessionCost | None = await self._call("cost", session_id)
        return None if cost is None else cost.limit_micro_usd

    async def set_study_limit(self, study_id: str, micro_usd: int | None) -> list[Allowance]:
        allowances: list[Allowance] = await self._call("set_study_limit", study_id, micro_usd)
        return allowances

    async def overdue(self, grace_s: float) -> list[SessionId]:
        """Sessions that should have ended more than ``grace_s`` ago and have not."""
        late: list[SessionId] = await self._call("overdue", grace_s)
        return late

    async def open_sessions(self) -> list[SessionId]:
        found: list[SessionId] = await self._call("open_sessions")
        return found

    async def has_account(self, session_id: SessionId) -> bool:
        """Open or closed: the ledger keeps them all."""
        return await self._call("cost", session_id) is not None

    async def _call(self, method: str, *args: Any) -> Any:
        try:
            return await self._actor.call(method, *args, deadline_s=CALL_DEADLINE_S)
        except ControlPlaneUnavailable as error:
            raise BudgetUnavailable(str(error)) from error
