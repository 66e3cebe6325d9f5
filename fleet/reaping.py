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
* What only becomes wrong at a known time (a session's own limits) is held from before, so that the
  first look after it acts. A session that is well says that it is ending within a second or so.
* A session that is being stopped is left to its own run, which ends with a kill.

``next_at`` says when the next look is worth more than the usual one: when something that is held
could be acted on.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from enum import StrEnum
from math import inf

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
    """A session that does not begin to end at its hard timeout."""
    UNENDING = "unending"
    """A session that began to end, and for longer than its goodbye and final report take."""
    STUCK = "stuck"
    """An actor that has written nothing for too long: its loop stands still."""


@dataclass(frozen=True, kw_only=True)
class ReapLimits:
    """Seconds. How long something has to have been so before it is acted on; never less than two
    looks."""

    settle_s: float = 3.2
    """Whatever it is: the shortest time between two looks."""
    dispatch_s: float = 55.0
    """A dispatcher's deadline, and time for it to undo what it had begun."""
    missing_room_s: float = 30.0
    """A restarted LiveKit server has no rooms until their participants have come back."""
    notice_s: float = 2.0
    """Beyond a limit that the session itself keeps: until it has said that it is ending."""
    goodbye_s: float = 22.0
    """Once it has said so: its goodbye (15 s) and its final report (5 s)."""
    stuck_s: float = 8.0
    """A session whose loop runs writes every 3 s."""
    stuck_most: int = 2
    """Of more at once it is not theirs: their machine is overloaded, or cannot reach the store. Of
    many sessions, a tenth."""
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
    silent_s: float | None = None
    away_s: float | None = None
    """See ``fleet.vitals``."""


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
    elsewhere: frozenset[SessionId] = frozenset()
    """Those of the records that another cluster looks after, see ``fleet.clusters``."""
    at: float
    """Epoch seconds, which records are written in, just before they were read."""
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


_Key = tuple[Kind, str, bool]


@dataclass(frozen=True, kw_only=True)
class Misfit:
    """Something that does not fit together in one look. It is acted on once it has been so for
    ``for_s`` seconds of our clock, and not before ``ripe_at``, in epoch seconds."""

    kind: Kind
    subject: str
    for_s: float = 0.0
    ripe_at: float = -inf
    by_count: bool = False
    """Concluded from a room's count of people, and not from its actor's word. What the one has said
    for long is not made good by a word of the other: a participant who was away, came back and left
    would have been away all the time."""

    @property
    def key(self) -> _Key:
        return self.kind, self.subject, self.by_count


@dataclass(kw_only=True)
class _Suspicion:
    since: float
    due: float = 0.0
    looks: int = 0
    acted: bool = False


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

    def next_at(self) -> float | None:
        """When the next of what is held could be acted on, in seconds of the looks' clock; None:
        nothing that is not due already."""
        if self._last is None:
            return None
        return min((s.due for s in self._held.values() if s.due > self._last), default=None)

    def forget(self) -> None:
        """A look failed: the next one is the first again."""
        self._last = None

    def clear(self, finding: Finding) -> None:
        """At a closer look it was not so."""
        for key in _keys(finding):
            self._held.pop(key, None)

    def acted(self, finding: Finding) -> None:
        for key in _keys(finding):
            if key in self._held:
                self._held[key].acted = True

    def _judged(self, look: Look, held: Mapping[_Key, _Suspicion]) -> Iterator[Finding | None]:
        for misfit in misfits(look, self._limits):
            suspicion = held.get(misfit.key) or _Suspicion(since=look.clock)
            suspicion.looks += 1
            for_s = max(misfit.for_s, self._limits.settle_s)
            suspicion.due = max(suspicion.since + for_s, look.clock + misfit.ripe_at - look.at)
            self._held[misfit.key] = suspicion
            if suspicion.looks >= 2 and look.clock >= suspicion.due:
                yield Finding(
                    kind=misfit.kind,
                    subject=misfit.subject,
                    lasted_s=look.clock - suspicion.since,
                    again=suspicion.acted,
                )


def _keys(finding: Finding) -> Iterator[_Key]:
    return ((finding.kind, finding.subject, by_count) for by_count in (False, True))


def misfits(look: Look, limits: ReapLimits) -> Iterator[Misfit]:
    """All that does not fit together in this one look."""
    known = look.records.keys() | look.runs.keys() | look.owed
    yield from _orphans(look, known)
    for session_id, record in look.records.items():
        if session_id in look.elsewhere:
            continue
        run = look.runs.get(session_id)
        if run is not None and not run.stopping:
            yield from _overstayed(look, limits, record, run)
        elif run is None and session_id not in look.owed:
            # Without an actor yet, its dispatcher may still be at work on it.
            for_s = limits.dispatch_s if record.actor_id is None else 0.0
            yield Misfit(kind=Kind.LOST_SESSION, subject=session_id, for_s=for_s)
    yield from _stuck(look, limits)


def _orphans(look: Look, known: Set[SessionId]) -> Iterator[Misfit]:
    rooms = {run.room for run in look.runs.values()} | {r.room for r in look.records.values()}
    for room in look.rooms.keys() - rooms:
        session_id = session_of_room(room)
        if session_id is not None and session_id not in known:
            yield Misfit(kind=Kind.ORPHAN_ROOM, subject=room)
    booked = {view.actor_id for view in look.books}
    at_work = {r.actor_id for r in look.records.values()} | {r.actor_id for r in look.runs.values()}
    for actor_id in look.actors - booked - at_work:
        yield Misfit(kind=Kind.ORPHAN_ACTOR, subject=actor_id)
    for view in look.books:
        # A reservation that nobody begins is the roster's own to take back.
        kept_for = view.session_id if view.state is ActorState.LIVE else None
        if kept_for is not None and kept_for not in known:
            yield Misfit(kind=Kind.ORPHAN_PERMIT, subject=kept_for)
    for session_id in look.accounts - known:
        yield Misfit(kind=Kind.ORPHAN_ACCOUNT, subject=session_id)


def _overstayed(
    look: Look, limits: ReapLimits, record: SessionRecord, run: RunSeen
) -> Iterator[Misfit]:
    """By its record and its room, whatever its actor says; only of its participant's absence its
    actor's word is believed."""
    session_id, joined_at = record.session_id, record.joined_at
    if joined_at is None:
        return
    if record.state is SessionState.ENDING:
        yield Misfit(kind=Kind.UNENDING, subject=session_id, for_s=limits.goodbye_s)
    elif record.session_timeout_s is not None:
        # A successor's clock goes on from its predecessor's.
        began_at = record.first_joined_at or joined_at
        ripe_at = began_at + record.session_timeout_s + limits.notice_s
        yield Misfit(kind=Kind.OVERTIME, subject=session_id, ripe_at=ripe_at)
    if limits.follows_rooms and record.state in _HAS_A_ROOM:
        people = look.rooms.get(record.room)
        if people is None:
            for_s = limits.missing_room_s
            yield Misfit(kind=Kind.MISSING_ROOM, subject=session_id, for_s=for_s)
        elif record.state is SessionState.LIVE:
            yield from _left(look, limits, record, run, people)
        elif people == 0 and record.no_show_s is not None:
            ripe_at = joined_at + record.no_show_s + limits.notice_s
            yield Misfit(kind=Kind.NO_SHOW, subject=session_id, ripe_at=ripe_at)


def _left(
    look: Look, limits: ReapLimits, record: SessionRecord, run: RunSeen, people: int
) -> Iterator[Misfit]:
    if record.reconnect_grace_s is None:
        return
    longest_s = record.reconnect_grace_s + limits.notice_s
    if run.away_s is not None:
        # Known at once, also to a supervisor that has just begun; the count may be seconds old.
        ripe_at = look.at + longest_s - run.away_s
        yield Misfit(kind=Kind.ABANDONED, subject=record.session_id, ripe_at=ripe_at)
    elif people == 0:
        subject = record.session_id
        yield Misfit(kind=Kind.ABANDONED, subject=subject, for_s=longest_s, by_count=True)


def _stuck(look: Look, limits: ReapLimits) -> Iterator[Misfit]:
    """Suspected after half the time, so that the second look comes when it is over."""
    silent = {
        session_id: run.silent_s
        for session_id, run in look.runs.items()
        if run.silent_s is not None and run.silent_s > limits.stuck_s / 2 and not run.stopping
    }
    if len(silent) > max(limits.stuck_most, len(look.runs) // 10):
        return
    for session_id, silent_s in silent.items():
        ripe_at = look.at + limits.stuck_s - silent_s
        yield Misfit(kind=Kind.STUCK, subject=session_id, ripe_at=ripe_at)
