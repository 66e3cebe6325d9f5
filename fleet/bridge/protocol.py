"""LiveKit's agent worker protocol: its words as plain data, and the state of one connection. Pure.

A worker opens a WebSocket and sends ``Register``; the server answers ``Registered``. From then on
the server offers jobs (``Offered``), which each want an ``Answer``; to the first worker that says
yes the job is given (``Assigned``). A worker tells how busy it is (``Load``) and what becomes of
its jobs (``JobUpdate``); the server tells that one is to end (``Terminated``).

The server asks its workers for a job one after the other, and gives them 3 s together, from which
it takes 0.2 s to choose a node. A worker that is silent for longer loses the job for everybody.

    registering ──Registered──▶ open        both ──silence, a breach──▶ lost
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
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
class Pong:
    pass


@dataclass(frozen=True, kw_only=True)
class Unreadable:
    """Not a message, or none that is known here."""

    why: str


FromServer = Registered | Offered | Assigned | Terminated | Pong | Unreadable
Event = Registered | Offered | Assigned | Terminated
"""What is passed on."""

# What a worker says


@dataclass(frozen=True, kw_only=True)
class Register:
    agent_name: str
    version: str


@dataclass(frozen=True, kw_only=True)
class Answer:
    """``settled``: nobody else is to be asked for the job either."""

    job_id: str
    available: bool
    settled: bool = False
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


@dataclass(frozen=True, kw_only=True)
class Ping:
    at: float


ToServer = Register | Answer | Load | JobUpdate | Resumed | Ping

# One connection


class Stage(StrEnum):
    REGISTERING = "registering"
    OPEN = "open"
    LOST = "lost"


@dataclass(frozen=True, kw_only=True)
class Timing:
    """``silence_s`` is more than two pings: the server answers each."""

    register_s: float = 5.0
    ping_s: float = 10.0
    silence_s: float = 25.0


@dataclass(frozen=True, kw_only=True)
class Link:
    stage: Stage
    timing: Timing
    heard_at: float
    pinged_at: float
    why_lost: str = ""


def opened(
    agent_name: str, version: str, now: float, timing: Timing
) -> tuple[Link, tuple[ToServer, ...]]:
    """A WebSocket has just been opened: what to send on it."""
    link = Link(stage=Stage.REGISTERING, timing=timing, heard_at=now, pinged_at=now)
    return link, (Register(agent_name=agent_name, version=version),)


def received(link: Link, message: FromServer, now: float) -> tuple[Link, Event | None]:
    """Apply one message. What is unreadable is passed over: a newer server may say more. Nothing
    brings a lost connection back."""
    if link.stage is Stage.LOST:
        return link, None
    heard = replace(link, heard_at=now)
    match message:
        case Pong() | Unreadable():
            # Neither tells that we are registered; it must not put off that deadline.
            return (heard if link.stage is Stage.OPEN else link), None
        case Registered() if link.stage is Stage.REGISTERING:
            return replace(heard, stage=Stage.OPEN, pinged_at=now), message
        case Registered():
            return heard, None
        case _ if link.stage is Stage.REGISTERING:
            return _lost(link, "the server spoke of jobs before it registered us"), None
        case _:
            return heard, message


def tick(link: Link, now: float) -> tuple[Link, tuple[ToServer, ...]]:
    """What is due at ``now``: a ping, or the end of patience."""
    if link.stage is Stage.LOST or now < next_deadline(link):
        return link, ()
    if link.stage is Stage.REGISTERING:
        return _lost(link, f"not registered within {link.timing.register_s:g} s"), ()
    if now >= link.heard_at + link.timing.silence_s:
        return _lost(link, f"nothing heard for {link.timing.silence_s:g} s"), ()
    return replace(link, pinged_at=now), (Ping(at=now),)


def next_deadline(link: Link) -> float:
    """When ``tick`` next has something to do; never, once it is lost."""
    match link.stage:
        case Stage.REGISTERING:
            return link.heard_at + link.timing.register_s
        case Stage.OPEN:
            silent = link.heard_at + link.timing.silence_s
            return min(link.pinged_at + link.timing.ping_s, silent)
        case _:
            return float("inf")


def _lost(link: Link, why: str) -> Link:
    return replace(link, stage=Stage.LOST, why_lost=why)


def load_of(*, taken: int, slots: int, draining: bool, jobs: int) -> Load:
    """What to tell of a fleet with so many of its slots taken."""
    full = draining or taken >= slots
    share = 1.0 if slots <= 0 else min(1.0, max(0.0, taken / slots))
    return Load(full=full, load=MOST_LOAD * share, jobs=jobs)


def pause_s(failures: int, roll: float, *, first_s: float = 0.5, longest_s: float = 15.0) -> float:
    """Before the next try to connect, after so many that failed: it doubles up to ``longest_s``,
    and ``roll`` (0 to 1) takes up to half of it off, so that bridges do not come all at once."""
    full = min(longest_s, first_s * 2.0 ** min(max(failures, 1) - 1, 10))
    return full * (1.0 - 0.5 * roll)
