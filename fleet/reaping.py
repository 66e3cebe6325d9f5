"""What lives on that should have ended, and what has ended that nobody noticed. Pure.

A ``Look`` holds what every part says of the fleet at about the same moment: LiveKit its rooms, Ray
its actors, the roster, registry, ledger and supervisor their books. ``Suspicions`` compares them,
look by look, and says what to do about what does not fit together.

Parts change while one looks, and no healthy interview may be ended for that. So:

* What could be left over (rooms, actors, accounts, the roster's books) is read first, who could own
  it (records, sessions under way) after that. A session's record is there before anything else of
  it, and its run is there until everything else has been given back: whatever was seen has an owner
  among those read later, unless it was ending meanwhile.
* Nothing is acted on that was not seen in two looks in a row. Looks too far apart are not in a row,
  nor are those around one that failed: nothing is concluded from a part's silence.
* What can be so for a while in a session that is well (its room is away while LiveKit restarts, its
  dispatcher still waits for an actor) has to have been so, by our own clock, for longer than that.
* A session that is being stopped is left to its own run, which ends with a kill.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum

from agent_actor.contract import ActorId, SessionId, SessionState
from fleet.dispatch_plan import session_of_room
from fleet.records import SessionRecord
from fleet.roster_model import ActorState, ActorView

_AWAITS_ITS_PARTICIPANT = frozenset({SessionState.JOINED, SessionState.CONFIGURED})
_HAS_A_ROOM = _AWAITS_ITS_PARTICIPANT | {SessionState.LIVE}


class Kind(StrEnum):
    """What does not fit together."""

    ORPHAN_ROOM = "orphan_room"
    """A room of ours whose session is over."""
    ORPHAN_ACTOR = "orphan_actor"
    """A session actor in nobody's books."""
    ORPHAN_PERMIT = "orphan_permit"
    """An actor that the roster keeps for a session that is over."""
    ORPHAN_ACCOUNT = "orphan_account"
    """An open account of a session that is over."""
    LOST_SESSION = "lost_session"
    """A record that is not gone, of a session that nobody is at work on."""
    MISSING_ROOM = "missing_room"
    """A session under way whose room has been away too long."""
    NO_SHOW = "no_show"
    """A session that still waits for its participant, after its time for that."""
    ABANDONED = "abandoned"
    """A session whose participant left, after its time for a reconnect."""
    OVERTIME = "overtime"
    """A session still under way after its hard timeout and a goodbye."""


@dataclass(frozen=True, kw_only=True)
class ReapLimits:
    """Seconds. How long something has to have been so before it is acted on; never less than two
    looks."""

    dispatch_s: float = 55.0
    """A dispatcher's deadline, and time for it to undo what it had begun."""
    missing_room_s: float = 30.0
    """A restarted LiveKit server has no rooms until their participants have come back."""
    abandoned_s: float = 5.0
    """Beyond the session's own time for a reconnect."""
    goodbye_s: float = 25.0
    """Beyond a session's hard timeout: its goodbye (15 s) and its final report (5 s)."""
    most_apart_s: float = 20.0
    """Looks further apart than this are not in a row."""
    follows_rooms: bool = True
    """False for rehearsals: nobody ever enters their rooms."""


@dataclass(frozen=True, kw_only=True)
class RunSeen:
    """A session that the supervisor runs."""

    room: str
    actor_id: ActorId | None
    stopping: bool


@dataclass(frozen=True, kw_only=True)
class Look:
    """Read in the order of the fields. Every part has answered, or there is no look."""

    rooms: Mapping[str, int]
    """Every room of the server by its name, with how many are in it: observers, but no agents."""
    actors: frozenset[ActorId]
    """Every session actor that Ray has."""
    accounts: frozenset[SessionId]
    """Open ones."""
    books: tuple[ActorView, ...]
    records: Mapping[SessionId, SessionRecord]
    """Those that are not gone."""
    runs: Mapping[SessionId, RunSeen]
    """Under way before or after all the rest was read."""
    owed: frozenset[SessionId]
    """Sessions that are over but for end steps that are tried again."""
    at: float
    """Epoch seconds, which records are written in."""
    clock: float
    """Seconds of any steady clock, by which suspicions age."""


@dataclass(frozen=True, kw_only=True)
class Finding:
    """To be acted on now. ``subject``: a room's name, an actor's id or a session's, by ``kind``."""

    kind: Kind
    subject: str
    lasted_s: float
    again: bool = False
    """It was acted on before and is still so."""


@dataclass(kw_only=True)
class _Suspicion:
    since: float
    looks: int = 0
    acted: bool = False


_Key = tuple[Kind, str]


class Suspicions:
    """What did not fit together in the last look, and since when."""

    def __init__(self, limits: ReapLimits) -> None:
        self._limits = limits
        self._held: dict[_Key, _Suspicion] = {}
        self._last: float | None = None

    def take(self, look: Look) -> list[Finding]:
        """What to act on after this look."""
        if self._last is None or look.clock - self._last > self._limits.most_apart_s:
            self._held.clear()
        self._last = look.clock
        held, self._held = self._held, {}
        return [f for f in self._judged(look, held) if f is not None]

    def forget(self) -> None:
        """A look failed: the next one is the first again."""
        self._last = None

    def clear(self, finding: Finding) -> None:
        """At a closer look it was not so."""
        self._held.pop((finding.kind, finding.subject), None)

    def acted(self, finding: Finding) -> None:
        suspicion = self._held.get((finding.kind, finding.subject))
        if suspicion is not None:
            suspicion.acted = True

    def _judged(self, look: Look, held: Mapping[_Key, _Suspicion]) -> Iterator[Finding | None]:
        for kind, subject, grace_s in misfits(look, self._limits):
            key = (kind, subject)
            suspicion = held.get(key) or _Suspicion(since=look.clock)
            suspicion.looks += 1
            self._held[key] = suspicion
            lasted_s = look.clock - suspicion.since
            if suspicion.looks >= 2 and lasted_s >= grace_s:
                again = suspicion.acted
                yield Finding(kind=kind, subject=subject, lasted_s=lasted_s, again=again)


def misfits(look: Look, limits: ReapLimits) -> Iterator[tuple[Kind, str, float]]:
    """All that does not fit together in this one look: its kind, its subject, and how long it has
    to have been so before it is acted on."""
    known = look.records.keys() | look.runs.keys() | look.owed
    yield from _orphans(look, known)
    for session_id, record in look.records.items():
        run = look.runs.get(session_id)
        if run is not None and not run.stopping:
            yield from _overstayed(look, limits, record)
        elif run is None and session_id not in look.owed:
            # Without an actor yet, its dispatcher may still be at work on it.
            grace_s = limits.dispatch_s if record.actor_id is None else 0.0
            yield Kind.LOST_SESSION, session_id, grace_s


def _orphans(look: Look, known: Set[SessionId]) -> Iterator[tuple[Kind, str, float]]:
    rooms = {run.room for run in look.runs.values()} | {r.room for r in look.records.values()}
    for room in look.rooms.keys() - rooms:
        session_id = session_of_room(room)
        if session_id is not None and session_id not in known:
            yield Kind.ORPHAN_ROOM, room, 0.0
    booked = {view.actor_id for view in look.books}
    at_work = {r.actor_id for r in look.records.values()} | {r.actor_id for r in look.runs.values()}
    for actor_id in look.actors - booked - at_work:
        yield Kind.ORPHAN_ACTOR, actor_id, 0.0
    for view in look.books:
        # A reservation that nobody begins is the roster's own to take back.
        kept_for = view.session_id if view.state is ActorState.LIVE else None
        if kept_for is not None and kept_for not in known:
            yield Kind.ORPHAN_PERMIT, kept_for, 0.0
    for session_id in look.accounts - known:
        yield Kind.ORPHAN_ACCOUNT, session_id, 0.0


def _overstayed(
    look: Look, limits: ReapLimits, record: SessionRecord
) -> Iterator[tuple[Kind, str, float]]:
    """By its record and its room, whatever its actor says."""
    session_id, joined_at = record.session_id, record.joined_at
    if joined_at is None:
        return
    here_s = look.at - joined_at
    # A successor's clock goes on from its predecessor's.
    lasted_s = look.at - (record.first_joined_at or joined_at)
    if record.session_timeout_s is not None and lasted_s > record.session_timeout_s:
        yield Kind.OVERTIME, session_id, limits.goodbye_s
    if not limits.follows_rooms or record.state not in _HAS_A_ROOM:
        return
    people = look.rooms.get(record.room)
    if people is None:
        yield Kind.MISSING_ROOM, session_id, limits.missing_room_s
    elif people == 0 and record.state is SessionState.LIVE:
        if record.reconnect_grace_s is not None:
            yield Kind.ABANDONED, session_id, record.reconnect_grace_s + limits.abandoned_s
    elif people == 0 and record.no_show_s is not None and here_s > record.no_show_s:
        yield Kind.NO_SHOW, session_id, 0.0
