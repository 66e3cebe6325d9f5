"""What more sessions would take, by straight lines through what was measured. Pure.

A line is only as good as its reach: figures far beyond the highest stair are what to look at first,
not what to buy.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fleet.bench.scenario.samples import Sample, Stair, grouped

SIZES = (200, 1_000, 10_000)
ONE_EACH = (
    "ray::BudgetActor",
    "ray::SupervisorActor",
    "ray::RosterActor",
    "ray::ServeReplica:interview-fleet:ingress",
    "ray::ProxyActor",
    "redis-server",
    "gcs_server",
)
"""There is one of each for the whole fleet, and one core is all that most of it can use."""
NOT_OURS = ("simulators",)
MIB_PER_GIB = 1024


@dataclass(frozen=True, kw_only=True)
class Line:
    fixed: float
    a_session: float

    def at(self, sessions: float) -> float:
        return max(0.0, self.fixed + self.a_session * sessions)


@dataclass(frozen=True, kw_only=True)
class Size:
    """``cores`` as they were used, ``memory_gib``: of all but the simulators."""

    sessions: int
    cores: float
    memory_gib: float


@dataclass(frozen=True, kw_only=True)
class Ceiling:
    """At how many sessions a part has a core to itself. None: it does not grow with them."""

    part: str
    sessions: float | None
    line: Line


def fit(points: Sequence[tuple[float, float]]) -> Line:
    """Least squares; of fewer than two different places, a level."""
    if not points:
        return Line(fixed=0.0, a_session=0.0)
    x_mean = sum(x for x, _ in points) / len(points)
    y_mean = sum(y for _, y in points) / len(points)
    spread = sum((x - x_mean) ** 2 for x, _ in points)
    if not spread:
        return Line(fixed=y_mean, a_session=0.0)
    slope = sum((x - x_mean) * (y - y_mean) for x, y in points) / spread
    return Line(fixed=y_mean - slope * x_mean, a_session=slope)


def cores_of(stairs: Sequence[Stair]) -> dict[str, Line]:
    """By process name, while nothing was dispatched beside the usual."""
    names = {name for stair in stairs for w in stair.calm for name in w.cpu_s}
    return {
        name: fit([(w.live, w.cpu_s.get(name, 0.0) / w.duration_s) for s in stairs for w in s.calm])
        for name in names
    }


def memory_of(samples: Sequence[Sample]) -> dict[str, Line]:
    """In MiB, by group."""
    looked = [(s.live, grouped(s.memory_mib)) for s in samples if s.memory_mib]
    names = {name for _, memory in looked for name in memory}
    return {name: fit([(live, memory.get(name, 0.0)) for live, memory in looked]) for name in names}


def sizes(stairs: Sequence[Stair], samples: Sequence[Sample]) -> list[Size]:
    cores = _by_group(cores_of(stairs))
    memory = memory_of(samples)
    return [
        Size(
            sessions=sessions,
            cores=sum(line.at(sessions) for group, line in cores.items() if group not in NOT_OURS),
            memory_gib=sum(
                line.at(sessions) for group, line in memory.items() if group not in NOT_OURS
            )
            / MIB_PER_GIB,
        )
        for sessions in SIZES
    ]


def ceilings(stairs: Sequence[Stair]) -> list[Ceiling]:
    """The lowest first: where the first bottleneck would be."""
    lines = cores_of(stairs)
    found = [
        Ceiling(part=name, sessions=_full(line), line=line)
        for name in ONE_EACH
        if (line := lines.get(name)) is not None
    ]
    return sorted(found, key=lambda each: each.sessions or float("inf"))


def _full(line: Line) -> float | None:
    return (1 - line.fixed) / line.a_session if line.a_session > 0 else None


def _by_group(lines: Mapping[str, Line]) -> dict[str, Line]:
    fixed = grouped({name: line.fixed for name, line in lines.items()})
    slopes = grouped({name: line.a_session for name, line in lines.items()})
    return {group: Line(fixed=fixed[group], a_session=slopes[group]) for group in fixed}
