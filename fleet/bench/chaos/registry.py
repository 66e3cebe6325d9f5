"""Every fault there is, in the order in which they run."""

from __future__ import annotations

from fleet.bench.chaos import (
    actor_kill,
    bridge,
    control_kill,
    fuzz,
    head_loss,
    node_loss,
    outages,
    provider_drop,
    provider_outage,
    rolling_drain,
    zombies,
)
from fleet.bench.chaos.fault import Fault

FAULTS: tuple[Fault, ...] = (
    actor_kill.FAULT,
    control_kill.FAULT,
    outages.REDIS,
    outages.LIVEKIT,
    bridge.FAULT,
    zombies.FAULT,
    fuzz.FAULT,
    rolling_drain.FAULT,
    node_loss.FAULT,
    head_loss.FAULT,
    provider_drop.FAULT,
    provider_outage.FAULT,
)
