"""Every fault there is, in the order in which they run."""

from __future__ import annotations

from fleet.bench.chaos import (
    actor_kill,
    control_kill,
    head_loss,
    node_loss,
    outages,
    rolling_drain,
)
from fleet.bench.chaos.fault import Fault

FAULTS: tuple[Fault, ...] = (
    actor_kill.FAULT,
    control_kill.FAULT,
    outages.REDIS,
    outages.LIVEKIT,
    rolling_drain.FAULT,
    node_loss.FAULT,
    head_loss.FAULT,
)
