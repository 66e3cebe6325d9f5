"""LiveKit's agent worker protocol: its words as plain data. Pure.

A worker opens a WebSocket and sends ``Register``; the server answers ``Registered``. From then on
the server offers jobs (``Offered``), which each want an ``Answer``; to the first worker that says
yes the job is given (``Assigned``). A worker tells how busy it is (``Load``) and what becomes of
its jobs (``JobUpdate``); the server tells that one is to end (``Terminated``).

The server asks its workers for a job one after the other, and gives them 3 s together, from which
it takes 0.2 s to choose a node. A worker that is silent for longer loses the job for everybody.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

MOST_LOAD = 0.6
"""A node of LiveKit all of whose workers are at 0.7 (its ``agents.target_load``) or above is not
chosen for a job at all. So a worker with any room says less; one with none says it is full."""


@dataclass(frozen=True, kw_only=True)
class JobOffer:
    """A job, in the server's words. Metadata may hold anything, and is nobody else's business."""

    job_id: str
    dispatch_id: str
    room: str
    room_sid: str
    room_metadata: str = field(default="", repr=False)
    metadata: str = field(default="", repr=False)
    participant_identity: str | None = None
    """Whom the job is about; None: the room as a whole."""


# What the server says


@dataclass(frozen=True, kw_only=True)
class Registered:
    worker_id: str
    server_version: str = ""


@dataclass(frozen=True, kw_only=True)
class Offered:
    job: JobOffer


@dataclass(frozen=True, kw_only=True)
class Assigned:
    """It comes with a token too, which is not used: see docs/decisions/0013."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class Terminated:
    """The job is to end, or its agent has left the room: the server does not say which."""

    job_id: str


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Not a message, or none that is known here."""

    why: str


Event = Registered | Offered | Assigned | Terminated

# What a worker says


@dataclass(frozen=True, kw_only=True)
class Register:
    agent_name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    job_id: str
    available: bool
    identity: str = ""
    """Of the agent, should the job be given to us."""
    name: str = ""


@dataclass(frozen=True, kw_only=True)
class Load:
    """``load`` from 0 to MOST_LOAD: of workers with room, the emptier ones are asked more often."""

    full: bool
    load: float
    jobs: int


class JobStatus(StrEnum):
    RUNNING = "running"
    SUCCESS = "success"
    FAILED = "failed"


@dataclass(frozen=True, kw_only=True)
class JobUpdate:
    job_id: str
    status: JobStatus
    error: str = ""


@dataclass(frozen=True, kw_only=True)
class Resumed:
    """The jobs that are under way here, after a new registration."""

    job_ids: tuple[str, ...]


ToServer = Register | Answer | Load | JobUpdate | Resumed


def load_of(*, taken: int, slots: int, draining: bool, jobs: int) -> Load:
    """What to tell of a fleet with so many of its slots taken."""
    full = draining or taken >= slots
    share = 1.0 if slots <= 0 else min(1.0, max(0.0, taken / slots))
    return Load(full=full, load=MOST_LOAD * share, jobs=jobs)


def pause_s(failures: int, roll: float, *, first_s: float = 0.5, longest_s: float = 3.0) -> float:
    """Before the next try to connect, after so many that failed: it doubles up to ``longest_s``,
    and ``roll`` (0 to 1) takes up to half of it off, so that bridges do not come all at once."""
    full = min(longest_s, first_s * 2.0 ** min(max(failures, 1) - 1, 10))
    return full * (1.0 - 0.5 * roll)
