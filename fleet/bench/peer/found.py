"""What the comparison counted, as it was counted. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Scenario(StrEnum):
    SEQUENTIAL = "sequential"
    BURST = "burst"
    BUSY = "busy burst"
    """A burst while other processes keep every core busy."""


FLEET, PEER, EAGER = "fleet", "peer", "peer without its load limit"
"""The worker as it comes, and one that takes every job, which it does not while its machine is
more than 70 % busy: as it comes it serves one or two of a burst, whose times say nothing."""
ARMS = (FLEET, PEER, EAGER)
"""In the order of every figure."""
AGAINST = {Scenario.SEQUENTIAL: PEER, Scenario.BURST: EAGER, Scenario.BUSY: EAGER}
"""Whose time or cost the fleet's is divided by."""


@dataclass(frozen=True, kw_only=True)
class Dispatch:
    """Seconds since the request began, None: never. One without first audio is lost; ``lost`` says
    why. ``listed_s``: when the LiveKit server says that the agent joined, which is before its
    connection is up."""

    arm: str
    scenario: Scenario
    repetition: int
    in_room_s: float | None = None
    listed_s: float | None = None
    audio_s: float | None = None
    lost: str | None = None
    absent: str | None = None
    """Why its participant could not take part, which is no loss: such a dispatch says nothing."""
    steps_ms: dict[str, float]
    """What the fleet says each of its steps took."""


@dataclass(frozen=True, kw_only=True)
class Round:
    """CPU of an arm from a request, or a burst of them, until its pool is full again, by what its
    processes are."""

    arm: str
    scenario: Scenario
    repetition: int
    served: int
    parts_s: dict[str, float]
    wall_s: float
    settled: bool

    @property
    def cpu_s(self) -> float:
        return sum(self.parts_s.values())


@dataclass(frozen=True, kw_only=True)
class Standing:
    """An arm with a full pool and nothing to do. CPU in parts of a core, by what its processes
    are."""

    arm: str
    repetition: int
    parts_cores: dict[str, float]
    warm_pss_mib: float
    """Of one warm process."""
    pss_mib: float
    processes: dict[str, int]

    @property
    def cpu_cores(self) -> float:
        return sum(self.parts_cores.values())


@dataclass(frozen=True, kw_only=True)
class Memory:
    """``pss_mib``: of the whole arm without its warm processes."""

    arm: str
    repetition: int
    live: int
    warm: int
    pss_mib: float


@dataclass(frozen=True, kw_only=True)
class LiveCpu:
    """In parts of a core. ``own_cores``: of one session's own process; ``arm_cores``: of the whole
    arm, its standing cost not subtracted yet."""

    arm: str
    repetition: int
    microphone: str
    live: int
    own_cores: float
    arm_cores: float


@dataclass(frozen=True, kw_only=True)
class Found:
    dispatches: tuple[Dispatch, ...] = ()
    rounds: tuple[Round, ...] = ()
    standing: tuple[Standing, ...] = ()
    memory: tuple[Memory, ...] = ()
    cpu: tuple[LiveCpu, ...] = ()
