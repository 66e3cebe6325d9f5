"""Every fault there is, in the order in which they run, in groups of up to an hour each."""

from __future__ import annotations

from collections.abc import Mapping

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

GROUPS: Mapping[str, tuple[Fault, ...]] = {
    "parts": (actor_kill.FAULT, control_kill.FAULT, outages.REDIS, outages.LIVEKIT),
    "edges": (
        bridge.FAULT,
        zombies.FAULT,
        fuzz.FAULT,
        provider_drop.FAULT,
        provider_outage.FAULT,
    ),
    "nodes": (rolling_drain.FAULT, node_loss.FAULT, head_loss.FAULT),
}
"""What it is made of; what it has to do with at its edges; what it runs on."""

FAULTS: tuple[Fault, ...] = tuple(fault for group in GROUPS.values() for fault in group)
