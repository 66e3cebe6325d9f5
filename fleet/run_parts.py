"""What a session's run is made of, its limits, and how others see it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

from agent_actor.contract import ActorId, EndReason, SessionId
from agent_actor.telemetry import NO_TRACER, Tracer
from fleet.adoption import JournalReader
from fleet.attempt_run import AttemptLimits
from fleet.attempts import Bounds
from fleet.clusters import Clusters
from fleet.endings import Endings, Sleep
from fleet.metrics import Metrics
from fleet.parts import BudgetClient, Records, Rooms, RosterClient, StartRequest
from fleet.session_actors import SessionActors


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    livekit_url: str
    agent_token_ttl_s: int = 600
    join_timeout_s: float = 10.0
    max_attempts: int = 2
    max_recoveries: int = 3
    recover_wait_s: float = 60.0
    """How long a live interview waits for another actor: far longer than one that has yet to begin,
    which is not lost by being asked for again."""
    goodbye_grace_s: float = 20.0
    """Between asking for a goodbye and asking to stop at once."""
    stop_grace_s: float = 2.0
    """Between asking to stop at once and killing the actor."""
    overtime_s: float = 60.0
    """How long after its own time limit a session that did not end itself is stopped."""

    def for_attempt(self, request: StartRequest, elapsed_s: float) -> AttemptLimits:
        return AttemptLimits(
            join_timeout_s=self.join_timeout_s,
            goodbye_grace_s=self.goodbye_grace_s,
            stop_grace_s=self.stop_grace_s,
            longest_s=max(0.0, request.session_timeout_s + self.overtime_s - elapsed_s),
        )

    @property
    def bounds(self) -> Bounds:
        return Bounds(max_attempts=self.max_attempts, max_recoveries=self.max_recoveries)


@dataclass(frozen=True, kw_only=True)
class RunParts:
    roster: RosterClient
    records: Records
    budget: BudgetClient
    rooms: Rooms
    actors: SessionActors
    journal: JournalReader
    endings: Endings
    metrics: Metrics
    clusters: Clusters = field(default_factory=partial(Clusters, "main"))
    tracer: Tracer = NO_TRACER
    now: Callable[[], float] = time.time
    sleep: Sleep = asyncio.sleep


@dataclass(frozen=True, kw_only=True)
class RunView:
    """For ``GET /v1/fleet`` and whoever looks after sessions."""

    session_id: SessionId
    study_id: str
    provider: str
    room: str
    actor_id: ActorId | None
    attempt: int
    joined: bool
    stopping: EndReason | None
    running_s: float
    silent_s: float | None = None
    away_s: float | None = None
    """See ``fleet.vitals``."""
