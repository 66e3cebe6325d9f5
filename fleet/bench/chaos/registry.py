"""Every fault there is, in the order in which they run."""

from __future__ import annotations

from fleet.bench.chaos import actor_kill, bridge
from fleet.bench.chaos.fault import Fault

FAULTS: tuple[Fault, ...] = (actor_kill.FAULT, bridge.FAULT)
