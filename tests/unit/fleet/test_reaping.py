from __future__ import annotations

from dataclasses import dataclass, field, replace
from enum import StrEnum
from math import inf

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st

from agent_actor.contract import ActorId, SessionId, SessionState
from fleet.dispatch_plan import session_of_room
from fleet.reaping import Kind, Look, ReapLimits, RunSeen, Suspicions
from fleet.records import SessionRecord
from fleet.roster_model import ActorState, ActorView

S = SessionId("s-1")
A = ActorId("a-1")
ROOM = "interview-s-1"
LIMITS = ReapLimits()
JOINED_AT = 1_000.0


def record(state=SessionState.LIVE, **changes):
    values = {
        "session_id": S,
        "study_id": "study-7",
        "participant_identity": "p-1",
        "room": ROOM,
        "provider": "openai_realtime",
        "limit_micro_usd": 1,
        "created_at": JOINED_AT - 1,
        "state": state,
        "actor_id": A,
        "joined_at": JOINED_AT,
        "first_joined_at": JOINED_AT,
        "session_timeout_s": 3600.0,
        "no_show_s": 60.0,
        "reconnect_grace_s": 30.0,
        **changes,
    }
    return SessionRecord(**values)


def booked(actor_id=A, state=ActorState.LIVE, session_id=S):
    return ActorView(actor_id=actor_id, state=state, session_id=session_id, since_s=1.0)


def look(clock=0.0, **changes):
    """A healthy session as everybody sees it."""
    values = {
        "rooms": {ROOM: 1},
        "actors": frozenset({A}),
        "accounts": frozenset({S}),
        "books": (booked(),),
        "records": {S: record()},
        "runs": {S: RunSeen(room=ROOM, actor_id=A, stopping=False)},
        "owed": frozenset(),
        "at": JOINED_AT + 30 + clock,
        "clock": clock,
        **changes,
    }
    return Look(**values)


NOTHING = {
    "rooms": {},
    "actors": frozenset(),
    "accounts": frozenset(),
    "books": (),
    "records": {},
    "runs": {},
}


def looked(*looks, limits=LIMITS):
    """What the last of these looks leads to."""
    suspicions = Suspicions(limits)
    found = []
    for one in looks:
        found = suspicions.take(one)
    return [(f.kind, f.subject) for f in found]


def every_5_s(until_s, **changes):
    return [look(float(clock), **changes) for clock in range(0, until_s + 1, 5)]


def test_what_fits_together_is_left_alone():
    assert looked(*every_5_s(60)) == []


class TestOrphans:
    def test_a_room_whose_session_is_over(self):
        left = {**NOTHING, "rooms": {ROOM: 3}}
        assert looked(look(0, **left)) == []
        assert looked(look(0, **left), look(5, **left)) == [(Kind.ORPHAN_ROOM, ROOM)]

    def test_rooms_with_other_names_are_nobodys_business(self):
        left = {**NOTHING, "rooms": {"lobby": 1, "interview-": 1}}
        assert looked(*every_5_s(60, **left)) == []

    def test_a_session_in_a_room_with_another_name_owns_it(self):
        own = {"records": {S: record(room="interview-by-hand")}, "rooms": {"interview-by-hand": 1}}
        assert looked(*every_5_s(60, **own)) == []

    def test_an_actor_in_nobodys_books(self):
        left = {**NOTHING, "actors": frozenset({A})}
        assert looked(*every_5_s(5, **left)) == [(Kind.ORPHAN_ACTOR, A)]

    def test_an_actor_that_anyone_knows_is_kept(self):
        for known in (
            {"books": (booked(state=ActorState.STARTING, session_id=None),)},
            {"records": {S: record()}},
            {"runs": {S: RunSeen(room=ROOM, actor_id=A, stopping=False)}},
        ):
            left = {**NOTHING, "actors": frozenset({A}), **known}
            kinds = {kind for kind, _ in looked(*every_5_s(60, **left))}
            assert Kind.ORPHAN_ACTOR not in kinds

    def test_a_permit_of_a_session_that_is_over(self):
        left = {**NOTHING, "books": (booked(),), "actors": frozenset({A})}
        assert looked(*every_5_s(5, **left)) == [(Kind.ORPHAN_PERMIT, S)]

    def test_reservations_are_the_rosters_own(self):
        left = {**NOTHING, "books": (booked(state=ActorState.RESERVED),)}
        assert looked(*every_5_s(60, **left)) == []

    def test_an_account_of_a_session_that_is_over(self):
        left = {**NOTHING, "accounts": frozenset({S})}
        assert looked(*every_5_s(5, **left)) == [(Kind.ORPHAN_ACCOUNT, S)]

    def test_what_is_owed_is_waited_for(self):
        for part in ({"accounts": frozenset({S})}, {"rooms": {ROOM: 0}}, {"books": (booked(),)}):
            left = {**NOTHING, **part, "owed": frozenset({S})}
            assert looked(*every_5_s(60, **left)) == []


class TestLostSession:
    def test_one_with_an_actor_is_taken_over_soon(self):
        lost = {"runs": {}}
        assert looked(*every_5_s(5, **lost)) == [(Kind.LOST_SESSION, S)]

    def test_one_without_an_actor_may_have_a_dispatcher(self):
        waits = {**NOTHING, "records": {S: record(SessionState.QUEUED, actor_id=None)}}
        assert looked(*every_5_s(50, **waits)) == []
        assert looked(*every_5_s(55, **waits)) == [(Kind.LOST_SESSION, S)]

    def test_one_whose_end_is_owed_is_not_lost(self):
        assert looked(*every_5_s(60, runs={}, owed=frozenset({S}))) == []


class TestMissingRoom:
    def test_it_may_be_away_for_a_while(self):
        assert looked(*every_5_s(25, rooms={})) == []
        assert looked(*every_5_s(30, rooms={})) == [(Kind.MISSING_ROOM, S)]

    def test_one_that_came_back_starts_again(self):
        looks = every_5_s(50, rooms={})
        looks[5] = look(25.0)
        assert looked(*looks) == []

    def test_before_the_agent_is_in_there_may_be_none(self):
        assigned = {"records": {S: record(SessionState.ASSIGNED)}, "rooms": {}}
        assert looked(*every_5_s(60, **assigned)) == []

    def test_a_rehearsal_needs_none(self):
        limits = replace(LIMITS, follows_rooms=False)
        assert looked(*every_5_s(60, rooms={}), limits=limits) == []


class TestOverstayed:
    def test_a_no_show(self):
        waits = {"records": {S: record(SessionState.CONFIGURED)}, "rooms": {ROOM: 0}}
        early = look(0, at=JOINED_AT + 56, **waits)
        assert looked(early, look(5, at=JOINED_AT + 61, **waits)) == []
        assert looked(early, look(6, at=JOINED_AT + 62, **waits)) == [(Kind.NO_SHOW, S)]

    def test_one_whose_participant_is_there_is_no_no_show(self):
        there = {"records": {S: record(SessionState.CONFIGURED)}, "rooms": {ROOM: 1}}
        assert looked(*every_5_s(120, **there)) == []

    def test_a_participant_that_does_not_come_back(self):
        assert looked(*every_5_s(30, rooms={ROOM: 0})) == []
        assert looked(*every_5_s(35, rooms={ROOM: 0})) == [(Kind.ABANDONED, S)]

    def test_one_who_came_back_and_left_again_was_not_away_all_the_time(self):
        """Found by the histories below: as its session ended, its actor said nothing any more."""

        def told(clock, away_s, people):
            run = RunSeen(room=ROOM, actor_id=A, stopping=False, away_s=away_s)
            return look(clock, runs={S: run}, rooms={ROOM: people})

        there_meanwhile = (told(24, None, 0), told(29, None, 0), told(34, None, 1))
        away = [told(5.0 * n, 5.0 * n + 0.1, 0) for n in range(5)]
        again = [told(35 + 5.0 * n, 5.0 * n + 0.1, 0) for n in range(6)]
        assert looked(*away, *there_meanwhile, *again, told(64, None, 0)) == []
        # It goes on by the count, from where that began.
        silent = [told(64 + 5.0 * n, None, 0) for n in range(8)]
        assert looked(*away, *there_meanwhile, *again, *silent) == [(Kind.ABANDONED, S)]

    def test_its_actors_word_comes_before_the_servers_count(self):
        def told(away_s):
            run = RunSeen(room=ROOM, actor_id=A, stopping=False, away_s=away_s)
            return {"runs": {S: run}, "rooms": {ROOM: 1}}

        assert looked(look(0, **told(21)), look(10, **told(31))) == []
        assert looked(look(0, **told(22)), look(10, **told(32))) == [(Kind.ABANDONED, S)]

    def test_one_that_was_back_has_its_whole_grace_again(self):
        looks = every_5_s(60, rooms={ROOM: 0})
        looks[6] = look(30.0)
        assert looked(*looks) == []

    def test_overtime(self):
        for rooms in ({ROOM: 1}, {ROOM: 0}):
            before = look(0, at=JOINED_AT + 3597, rooms=rooms)
            assert looked(before, look(4, at=JOINED_AT + 3601, rooms=rooms)) == []
            assert (Kind.OVERTIME, S) in looked(before, look(5, at=JOINED_AT + 3602, rooms=rooms))

    def test_a_successor_has_what_its_predecessor_left_of_the_time(self):
        carried_on = {"records": {S: record(joined_at=JOINED_AT + 3000)}}
        before = look(0, at=JOINED_AT + 3597, **carried_on)
        found = looked(before, look(5, at=JOINED_AT + 3602, **carried_on))
        assert found == [(Kind.OVERTIME, S)]

    def test_one_that_says_its_goodbye_has_time_for_it(self):
        ends = {"records": {S: record(SessionState.ENDING)}}
        looks = [replace(one, at=one.at + 9_000) for one in every_5_s(25, **ends)]
        assert looked(*looks[:-1]) == []
        assert looked(*looks) == [(Kind.UNENDING, S)]

    def test_overtime_counts_from_the_first_of_those_that_carry_on_from_each_other(self):
        recovered = {"records": {S: record(joined_at=JOINED_AT + 3590)}}
        at = JOINED_AT + 3601
        looks = [look(float(c), at=at + c, **recovered) for c in range(0, 26, 5)]
        assert looked(*looks) == [(Kind.OVERTIME, S)]

    def test_nothing_is_concluded_from_a_record_that_does_not_say(self):
        old = record(session_timeout_s=None, no_show_s=None, reconnect_grace_s=None)
        for state in (SessionState.CONFIGURED, SessionState.LIVE):
            silent = {"records": {S: replace(old, state=state)}, "rooms": {ROOM: 0}}
            looks = [replace(one, at=one.at + 9_000) for one in every_5_s(60, **silent)]
            assert looked(*looks) == []

    def test_a_session_that_is_being_stopped_is_left_to_its_run(self):
        runs = {S: RunSeen(room=ROOM, actor_id=A, stopping=True)}
        looks = [replace(one, at=one.at + 9_000) for one in every_5_s(60, runs=runs, rooms={})]
        assert looked(*looks) == []


def silent(seconds, *others):
    def run(silent_s):
        return RunSeen(room=ROOM, actor_id=A, stopping=False, silent_s=silent_s)

    runs = {SessionId(f"s-{n}"): run(other) for n, other in enumerate(others, 2)}
    return {"runs": {S: run(seconds), **runs}}


class TestStuck:
    def test_a_loop_that_stands_still(self):
        assert looked(look(0, **silent(4.5)), look(3.4, **silent(7.9))) == []
        assert looked(look(0, **silent(4.5)), look(3.5, **silent(8.0))) == [(Kind.STUCK, S)]

    def test_one_that_writes_now_and_then_is_not(self):
        assert looked(*(look(5.0 * n, **silent(s)) for n, s in enumerate((7, 3, 7.9, 0)))) == []

    def test_one_that_need_not_write_is_not(self):
        assert looked(*every_5_s(60, **silent(None))) == []

    def test_of_many_at_once_it_is_not_theirs(self):
        def found(stuck, well):
            looks = [
                look(4.0 * n, **silent(*[s] * stuck, *[0.0] * well)) for n, s in ((0, 5), (1, 9))
            ]
            return [kind for kind, _ in looked(*looks)].count(Kind.STUCK)

        assert found(stuck=2, well=0) == 2
        assert found(stuck=3, well=0) == 0
        assert found(stuck=3, well=27) == 3


LEFT = {**NOTHING, "rooms": {ROOM: 0}}


class TestLooksInARow:
    def test_a_failed_look_between_them_begins_anew(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(0, **LEFT))
        suspicions.forget()
        assert suspicions.take(look(5, **LEFT)) == []
        assert suspicions.take(look(10, **LEFT)) != []

    def test_so_does_a_long_pause(self):
        assert looked(look(0, **LEFT), look(20.1, **LEFT)) == []

    def test_what_has_been_acted_on_is_found_again_as_such(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(0, **LEFT))
        (first,) = suspicions.take(look(5, **LEFT))
        suspicions.acted(first)
        (second,) = suspicions.take(look(10, **LEFT))
        assert (first.again, second.again) == (False, True)

    def test_what_was_not_so_at_a_closer_look_begins_anew(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(0, **LEFT))
        (finding,) = suspicions.take(look(5, **LEFT))
        suspicions.clear(finding)
        assert suspicions.take(look(10, **LEFT)) == []
        assert suspicions.take(look(15, **LEFT)) != []


class TestNextLook:
    def test_it_is_when_something_could_be_acted_on(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(0, **NOTHING))
        assert suspicions.next_at() is None
        suspicions.take(look(5, **LEFT))
        assert suspicions.next_at() == 5 + LIMITS.settle_s
        suspicions.take(look(8.2, **LEFT))
        assert suspicions.next_at() is None

    def test_a_sessions_limits_are_known_ahead(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(5, at=JOINED_AT + 3590))
        assert suspicions.next_at() == 5 + 12.0

    def test_after_a_look_that_failed_there_is_none(self):
        suspicions = Suspicions(LIMITS)
        suspicions.take(look(5, **LEFT))
        suspicions.forget()
        assert suspicions.next_at() is None


def test_whose_room():
    assert session_of_room("interview-s-1") == "s-1"
    assert session_of_room("interview-") is None
    assert session_of_room("lobby") is None


# Random histories of a session that is well


class Fate(StrEnum):
    """How it ends, by itself and in time."""

    COMPLETES = "completes"
    TIMES_OUT = "times_out"
    IS_LEFT = "is_left"
    IS_UNVISITED = "is_unvisited"


@dataclass(kw_only=True)
class Life:
    """When what of a session is there. Everything else follows from the order that the dispatcher
    and the supervisor keep."""

    begins: float
    fate: Fate
    booked_s: float
    account_s: float
    room_s: float
    starts_s: float
    joins_s: float
    configures_s: float
    comes_s: float
    stays_s: float
    absences: list[tuple[float, float]]
    outages: list[tuple[float, float]]
    stale_s: float
    told_s: float
    """What it wrote is known so much later."""
    writes_s: float
    retried: bool
    goodbye_s: float
    end_steps_s: list[float]
    at: dict[str, float] = field(default_factory=dict)

    def __post_init__(self):
        at = self.at
        at["record"] = self.begins
        at["booked"] = at["record"] + self.booked_s
        at["account"] = at["booked"] + self.account_s
        at["room"] = at["booked"] + self.room_s
        at["run"] = max(at["account"], at["room"]) + self.starts_s
        at["assigned"] = at["run"] + 0.01
        at["joined"] = at["assigned"] + self.joins_s
        at["configured"] = at["joined"] + self.configures_s
        at["live"] = at["joined"] + self.comes_s
        at["left"] = at["over"] = at["live"] + self.stays_s
        if self.fate is Fate.IS_UNVISITED:
            at["live"] = at["left"] = inf
            at["over"] = at["joined"] + 60.0
        elif self.fate is Fate.IS_LEFT:
            at["over"] = at["left"] + 30.0
        names = ("gone", "closed", "deleted", "killed", "released", "unrun")
        previous = at["over"] + self.goodbye_s
        for name, step_s in zip(names, self.end_steps_s, strict=True):
            previous = at[name] = previous + step_s

    def between(self, name, end, t):
        return self.at[name] <= t < self.at[end]

    def state(self, t):
        reached = [SessionState.QUEUED]
        for name, state in (
            ("assigned", SessionState.ASSIGNED),
            ("joined", SessionState.JOINED),
            ("configured", SessionState.CONFIGURED),
            ("live", SessionState.LIVE),
            ("over", SessionState.ENDING),
        ):
            # Written by the supervisor, or mirrored every second.
            if t >= self.at[name] + self.told_s:
                reached.append(state)
        return reached[-1]

    def actor(self, t):
        """A first actor may fail while it joins."""
        first = self.retried and t < (self.at["assigned"] + self.at["joined"]) / 2
        return ActorId("a-1") if first else ActorId("a-2")

    def absent_s(self, t):
        """How long the participant has been away; None: is there, or was not there yet."""
        if not self.between("live", "gone", t):
            return None
        begins = [self.at["left"]] if t >= self.at["left"] else []
        for begin, length in self.absences:
            since = self.at["live"] + begin
            if since <= t < since + length:
                begins.append(since)
        return t - min(begins) if begins else None

    def people(self, t):
        seen = t - self.stale_s
        return 1 if self.between("live", "left", seen) and self.absent_s(seen) is None else 0

    def rooms(self, t):
        out = any(begin <= t - self.begins < begin + length for begin, length in self.outages)
        there = self.between("room", "deleted", t) and not out
        return {f"interview-{S}": self.people(t)} if there else {}

    def actors(self, t):
        spare = {ActorId("a-warm")}
        return frozenset(spare | {self.actor(t)} if self.between("booked", "killed", t) else spare)

    def books(self, t):
        spare = booked(ActorId("a-warm"), ActorState.WARM, None)
        if not self.between("booked", "released", t):
            return (spare,)
        state = ActorState.LIVE if t >= self.at["assigned"] else ActorState.RESERVED
        return (spare, booked(self.actor(t), state, S))

    def accounts(self, t):
        return frozenset({S}) if self.between("account", "closed", t) else frozenset()

    def records(self, t):
        if not self.between("record", "gone", t):
            return {}
        state = self.state(t)
        times_out = self.fate is Fate.TIMES_OUT
        joined_at = self.at["joined"] if t >= self.at["joined"] else None
        mine = record(
            state,
            actor_id=self.actor(t) if t >= self.at["assigned"] else None,
            joined_at=joined_at,
            first_joined_at=joined_at,
            session_timeout_s=self.at["over"] - self.at["joined"] if times_out else 3600.0,
        )
        return {S: mine}

    def runs(self, t):
        if not self.between("run", "unrun", t):
            return {}
        actor_id = self.actor(t) if t >= self.at["assigned"] else None
        known = t - self.told_s
        writes = self.between("configured", "over", known)
        run = RunSeen(
            room=ROOM,
            actor_id=actor_id,
            stopping=False,
            silent_s=(known - self.at["configured"]) % self.writes_s if writes else None,
            away_s=self.absent_s(known) if known < self.at["over"] else None,
        )
        return {S: run}

    def look(self, t, pauses):
        """Each part is asked a little after the one before."""
        times = [t + sum(pauses[:n]) for n in range(len(pauses) + 1)]
        return Look(
            rooms=self.rooms(times[1]),
            actors=self.actors(times[2]),
            accounts=self.accounts(times[3]),
            books=self.books(times[4]),
            records=self.records(times[5]),
            runs={**self.runs(times[0]), **self.runs(times[6])},
            owed=frozenset(),
            at=times[5],
            clock=times[6] - 900.0,
        )


def seconds(most, least=0.0):
    return st.floats(min_value=least, max_value=most, allow_nan=False)


LIVES = st.builds(
    Life,
    begins=seconds(1_020, 1_000),
    fate=st.sampled_from(Fate),
    booked_s=seconds(15),
    account_s=seconds(5),
    room_s=seconds(3),
    starts_s=seconds(1),
    joins_s=seconds(20),
    configures_s=seconds(5),
    comes_s=seconds(59),
    stays_s=seconds(200),
    # Back within the grace, and it leaves no more often than every other minute or so.
    absences=st.lists(st.tuples(seconds(150), seconds(29)), max_size=1),
    outages=st.lists(st.tuples(seconds(300), seconds(24)), max_size=1),
    stale_s=seconds(5),
    told_s=seconds(1.5, 0.1),
    writes_s=seconds(7, 3),
    retried=st.booleans(),
    goodbye_s=seconds(15),
    end_steps_s=st.lists(seconds(5), min_size=6, max_size=6),
)
WATCHES = st.fixed_dictionaries(
    {
        "life": LIVES,
        "first": seconds(20),
        "gaps": st.lists(seconds(4.8, 3.2), min_size=7, max_size=7),
        "pauses": st.lists(seconds(1.5), min_size=6, max_size=6),
        "failing": st.sets(st.integers(min_value=0, max_value=69), max_size=5),
    }
)


def acted_on(watch, limits=LIMITS):
    """What a reaper that goes round finds to do, and when."""
    suspicions = Suspicions(limits)
    life, pauses = watch["life"], watch["pauses"]
    t = 1_000.0 + watch["first"]
    for number, gap in enumerate(watch["gaps"] * 10):
        if number in watch["failing"]:
            suspicions.forget()
        else:
            look = life.look(t, pauses)
            if found := suspicions.take(look):
                return found, t, life.at
            if (next_at := suspicions.next_at()) is not None:
                gap = min(gap, max(1.0, next_at - look.clock))
        t += gap + sum(pauses)
    return None


@settings(max_examples=300, deadline=None)
@given(watch=WATCHES)
def test_a_session_that_is_well_is_never_acted_on(watch):
    assert acted_on(watch) is None


@pytest.mark.parametrize(
    "thinner",
    [
        {"dispatch_s": 10.0},
        {"missing_room_s": 10.0},
        {"notice_s": 1.0},
        {"goodbye_s": 10.0},
        {"stuck_s": 3.0},
    ],
    ids=lambda thinner: "-".join(thinner),
)
def test_no_margin_can_be_spared(thinner):
    """The histories reach into each: with less of it, one that is well is acted on."""
    limits = replace(LIMITS, **thinner)
    search = settings(max_examples=4_000, deadline=None, database=None, phases=[Phase.generate])
    assert find(WATCHES, lambda watch: acted_on(watch, limits) is not None, settings=search)
