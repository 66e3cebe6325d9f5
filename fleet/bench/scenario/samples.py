"""What was seen of the fleet while it ran, moment by moment. Pure data and sums over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any, TypeVar

Provider = TypeVar("Provider", bound=str)

GROUPS: Mapping[str, tuple[str, ...]] = {
    "session actors": ("ray::SessionActor", "ray::session-actor", "session-actor"),
    "control": ("ray::Supervisor", "ray::Roster", "ray::Budget"),
    "ingress": ("serve", "ray::Serve", "ray::Proxy"),
    "Redis": ("redis",),
    "LiveKit": ("livekit",),
    "simulators": ("loadtest.simulators",),
    "Ray itself": (
        "gcs_server",
        "raylet",
        "ray::",
        "dashboard",
        "log_monitor",
        "monitor",
        "setup_",
    ),
}
"""Names of processes begin so; the first that fits. What fits none is "other"."""
FLEET_GROUPS = ("session actors", "control", "ingress", "Ray itself", "other")
"""Whose memory counts as the fleet's: all but the simulators and the servers it uses."""
GCS = "gcs_server"
"""It remembers so many dead actors."""
DISPATCH_GROUPS = ("control", "ingress", "Redis", "LiveKit", "Ray itself")
"""Who has work with a dispatch beside the session's own actor."""


def group_of(name: str) -> str:
    """Of a process, or of those of its children that have ended."""
    name = name.removeprefix("ended children of ")
    found = (group for group, starts in GROUPS.items() if name.startswith(starts))
    return next(found, "other")


def is_kept(name: str) -> bool:
    """Whether what a process has more after a load is things of sessions that are over, which it is
    meant to keep."""
    return name.startswith(GCS) or group_of(name) not in FLEET_GROUPS


def grouped(by_name: Mapping[str, float]) -> dict[str, float]:
    sums: dict[str, float] = {}
    for name, value in by_name.items():
        group = group_of(name)
        sums[group] = sums.get(group, 0.0) + value
    return sums


@dataclass(frozen=True, kw_only=True)
class Sample:
    """``at_s``: since the run began. ``cpu_s``: by the processes' names, since they began.
    ``memory_mib``: their shares of memory, where that was looked at."""

    at_s: float
    live: int
    sessions: Mapping[str, int]
    """By state."""
    warm: int
    starting: int
    queue: int
    spent_micro_usd: int
    cpu_s: Mapping[str, float]
    busy: float
    """Of all cores, since the sample before: 1 is all."""
    processes: int
    memory_mib: Mapping[str, float] = field(default_factory=dict)

    def cpu_of(self, groups: Iterable[str]) -> float:
        sums = grouped(self.cpu_s)
        return sum(sums.get(group, 0.0) for group in groups)


@dataclass(frozen=True, kw_only=True)
class Window:
    """CPU-s by the processes' names in a stretch of time, and what was dispatched in it."""

    live: float
    duration_s: float
    cpu_s: Mapping[str, float]
    dispatches: int
    busy: float

    def cpu_of(self, groups: Iterable[str]) -> float:
        sums = grouped(self.cpu_s)
        return sum(sums.get(group, 0.0) for group in groups)


@dataclass(frozen=True, kw_only=True)
class Stair:
    """At one number of users: windows without and with added dispatches, in turn."""

    live: float
    calm: tuple[Window, ...]
    probed: tuple[Window, ...]

    def a_dispatch_s(self, groups: Iterable[str]) -> float | None:
        """CPU-s that a dispatch takes beside what all sessions take."""
        chosen = tuple(groups)
        more = sum(w.dispatches for w in self.probed) - sum(w.dispatches for w in self.calm)
        spent = sum(w.cpu_of(chosen) for w in self.probed)
        spent -= sum(w.cpu_of(chosen) for w in self.calm)
        return spent / more if more > 0 else None

    def a_session_share(self, groups: Iterable[str]) -> float | None:
        """Of a core, that each live session costs those parts while nothing is added."""
        chosen = tuple(groups)
        time_s = sum(w.duration_s * w.live for w in self.calm)
        return sum(w.cpu_of(chosen) for w in self.calm) / time_s if time_s else None


def window(before: Sample, after: Sample, dispatches: int, live: Sequence[int]) -> Window:
    spent = {
        name: max(0.0, cpu_s - before.cpu_s.get(name, 0.0)) for name, cpu_s in after.cpu_s.items()
    }
    return Window(
        live=sum(live) / len(live) if live else float(after.live),
        duration_s=after.at_s - before.at_s,
        cpu_s=spent,
        dispatches=dispatches,
        busy=after.busy,
    )


def duties(
    first: Mapping[tuple[Provider, str], int],
    second: Mapping[tuple[Provider, str], int],
    most: Mapping[Provider, float],
) -> list[float]:
    """Which part of the time each microphone was sent, by the bytes that a provider's session had
    received at two moments; ``most``: by provider, of one that is sent all the time. Those without
    a participant say nothing of how much one speaks; a connection that was changed meanwhile
    counts from nothing again."""
    return [
        (second[key] - sent) / most[key[0]]
        for key, sent in first.items()
        if second.get(key, 0) > 0 and second[key] >= sent
    ]


def longest_s(
    samples: Sequence[Sample], held: Callable[[Sample], bool], *, most_apart_s: float
) -> float:
    """The longest stretch in which every sample held. What was not looked at for longer than
    ``most_apart_s`` did not."""
    longest, since_s, last_s = 0.0, 0.0, -inf
    for sample in samples:
        if not held(sample):
            last_s = -inf
            continue
        if sample.at_s - last_s > most_apart_s:
            since_s = sample.at_s
        last_s = sample.at_s
        longest = max(longest, sample.at_s - since_s)
    return longest


def as_json(samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """With CPU and memory by group: by process they would fill the file."""
    return [
        {
            "at_s": round(each.at_s, 1),
            "live": each.live,
            "sessions": dict(each.sessions),
            "warm": each.warm,
            "starting": each.starting,
            "queue": each.queue,
            "spent_micro_usd": each.spent_micro_usd,
            "busy": round(each.busy, 3),
            "processes": each.processes,
            "cpu_s": {k: round(v, 2) for k, v in grouped(each.cpu_s).items()},
            "memory_mib": {k: round(v, 1) for k, v in grouped(each.memory_mib).items()},
        }
        for each in samples
    ]
