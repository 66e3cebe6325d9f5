"""How many users there are at each moment. Pure: seconds since the run's start."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class Shape(StrEnum):
    STEADY = "steady"
    """All users from the start on, at the spawn rate."""
    RAMP = "ramp"
    """From none to all in `ramp_s`, evenly."""
    BURST = "burst"
    """All at once."""
    SOAK = "soak"
    """A ramp, long and even load, and a ramp down: for leaks."""
    STAIRS = "stairs"
    """From one number of users to the next, each kept for `stair_s`."""


@dataclass(frozen=True, kw_only=True)
class Course:
    """`run_s`: when it all ends. `stairs`: numbers of users, the last of which stays."""

    shape: Shape
    users: int
    spawn_rate: float
    run_s: float
    ramp_s: float = 60.0
    stair_s: float = 120.0
    stairs: Sequence[int] = ()


@dataclass(frozen=True, kw_only=True)
class Wanted:
    users: int
    spawn_rate: float


def wanted(course: Course, at_s: float) -> Wanted | None:
    """None: the run is over.

    The same from one change to the next: whoever asks brings the users there at the spawn rate.
    """
    if at_s >= course.run_s:
        return None
    users = course.users
    match course.shape:
        case Shape.STEADY:
            return Wanted(users=users, spawn_rate=course.spawn_rate)
        case Shape.BURST:
            return Wanted(users=users, spawn_rate=float(users))
        case Shape.RAMP:
            return Wanted(users=users, spawn_rate=_evenly(users, course.ramp_s))
        case Shape.SOAK:
            down = at_s >= course.run_s - course.ramp_s
            return Wanted(users=0 if down else users, spawn_rate=_evenly(users, course.ramp_s))
        case Shape.STAIRS:
            stairs = course.stairs or (users,)
            stair = min(int(at_s // course.stair_s), len(stairs) - 1)
            return Wanted(users=stairs[stair], spawn_rate=course.spawn_rate)


def _evenly(users: int, over_s: float) -> float:
    return users / max(over_s, 1.0)
