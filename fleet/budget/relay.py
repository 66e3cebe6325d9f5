"""A relay on each node: takes its sessions' single reports, passes them on in batches.

A call costs the budget actor about a millisecond, a report in a batch a tenth of that. So where
a fleet has more sessions than it can take calls from, each node's reports are gathered first. A
relay holds nothing that matters: it answers a report when the budget actor has answered it, and
sessions that find it dead or silent ask the budget actor itself (``fleet.budget.relayed``).
"""

from __future__ import annotations

import asyncio
import time
from typing import Any, cast

import structlog

from agent_actor.messages import Allowance, UsageReport
from fleet import ray_calls
from fleet.budget.gatherer import Gatherer
from fleet.errors import ActorMissing
from fleet.logs import configure_logs
from fleet.ray_calls import ActorOptions, RemoteActor

RELAY_PREFIX = "budget-relay-"
RELAY_CPUS = 0.01
UNUSED_S = 120.0
"""A relay that no session has asked for so long ends: its node would never count as idle."""
BATCH_DEADLINE_S = 1.5

log = structlog.get_logger(__name__)


def relay_name(node_id: str) -> str:
    return f"{RELAY_PREFIX}{node_id}"


def get_or_create_relay(budget: str, namespace: str) -> Any:
    """The handle of this node's relay to the actor named ``budget``; made now if there was none.
    Blocks for milliseconds.
    """
    node_id = ray_calls.node_id()
    options = ActorOptions(
        name=relay_name(node_id),
        namespace=namespace,
        num_cpus=RELAY_CPUS,
        max_restarts=-1,
        # Not asked again: its callers have another way, and go it at once.
        max_task_retries=0,
        max_concurrency=10_000,
        node_id=node_id,
    )
    return ray_calls.get_or_create(BudgetRelay, options, budget, namespace)


def find_or_start_relay(budget: str, namespace: str) -> Any | None:
    """This node's. None: there was none, it is being started; that takes seconds."""
    try:
        return ray_calls.find(relay_name(ray_calls.node_id()), namespace)
    except ActorMissing:
        get_or_create_relay(budget, namespace)
        return None


class BudgetRelay:
    """The Ray actor. Raises what the budget actor raises, or ControlPlaneUnavailable."""

    def __init__(self, budget: str, namespace: str, unused_s: float = UNUSED_S) -> None:
        configure_logs("budget-relay")
        self._budget = RemoteActor(budget, namespace)
        self._gatherer = Gatherer(self._send)
        self._unused_s = unused_s
        self._asked_at = time.monotonic()
        self._watched = False
        self.reports = 0
        """How many it was given."""

    async def report(self, report: UsageReport) -> Allowance:
        self._asked_at = time.monotonic()
        self.reports += 1
        if not self._watched:
            self._watched = True
            self._end_when_unused()
        return await self._gatherer.report(report)

    async def _send(self, reports: list[UsageReport]) -> list[Allowance]:
        answer = await self._budget.call("report_batch", reports, deadline_s=BATCH_DEADLINE_S)
        return cast("list[Allowance]", answer)

    def _end_when_unused(self) -> None:
        left_s = self._asked_at + self._unused_s - time.monotonic()
        if left_s > 0:
            asyncio.get_running_loop().call_later(left_s, self._end_when_unused)
            return
        log.info("relay ends: no session asks it", unused_s=self._unused_s)
        ray_calls.kill(ray_calls.myself())
