import pickle
from dataclasses import replace

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from agent_actor.contract import ActorId, SessionId
from fleet.roster import Roster
from fleet.roster_model import (
    ActorState,
    Grant,
    KillActor,
    NodeId,
    RosterLimits,
    StartActor,
    TurnAway,
    Wait,
    Why,
)

LIMITS = RosterLimits(
    warm_target=2,
    max_sessions=4,
    max_starting=2,
    queue_limit=2,
    lease_s=30.0,
    expected_warm_s=4.0,
    full_retry_after_s=5.0,
)
N1 = NodeId("n1")
A, B, C, D, E = (SessionId(s) for s in "abcde")


def roster(**changes) -> Roster:
    return Roster(replace(LIMITS, **changes), prefix="t")


def warm_roster(now: float = 0.0, **changes) -> Roster:
    """As many warm actors as the target says."""
    books = roster(**changes)
    while started := [c for c in books.tick(now) if isinstance(c, StartActor)]:
        for command in started:
            books.actor_warm(command.actor_id, now)
    return books


def actor_of(answer) -> ActorId:
    assert isinstance(answer, Grant), answer
    return answer.actor_id


class TestHoldingTheRefill:
    def started(self, books: Roster, now: float) -> int:
        return sum(isinstance(command, StartActor) for command in books.tick(now))

    def test_while_sessions_join_nothing_is_started_for_the_pool(self):
        books = warm_roster(refill_calm_s=2.0)
        books.reserve(A, 0, 10)
        assert (self.started(books, 1.9), books.next_due(1.9)) == (0, 2.0)
        assert self.started(books, 2.0) == 1
        assert books.next_due(2.0) == LIMITS.lease_s

    def test_each_further_session_puts_it_off_but_not_for_ever(self):
        books = warm_roster(warm_target=4, max_sessions=8, refill_calm_s=2.0, max_refill_hold_s=3.0)
        books.reserve(A, 0, 10)
        books.reserve(B, 1.5, 10)
        assert self.started(books, 2.5) == 0
        books.reserve(C, 2.6, 10)
        assert self.started(books, 2.9) == 0
        assert self.started(books, 3.0) == LIMITS.max_starting

    def test_a_draining_roster_is_not_due_for_ever(self):
        books = warm_roster(refill_calm_s=2.0)
        books.reserve(A, 0, 10)
        books.begin(A, 0)
        books.drain(True)
        assert self.started(books, 2.0) == 0
        assert books.next_due(2.0) is None

    def test_whoever_waits_for_an_actor_does_not_wait_for_calm(self):
        books = warm_roster(refill_calm_s=2.0)
        books.reserve(A, 0, 10)
        books.reserve(B, 0, 10)
        assert self.started(books, 0.1) == 0
        assert isinstance(books.reserve(C, 0.2, 10), Wait)
        assert self.started(books, 0.2) > 0


class TestReserving:
    def test_two_sessions_get_two_actors(self):
        books = warm_roster()
        assert actor_of(books.reserve(A, 0, 10)) != actor_of(books.reserve(B, 0, 10))

    def test_asking_twice_gives_the_same_actor(self):
        books = warm_roster()
        assert books.reserve(A, 0, 10) == books.reserve(A, 1, 10)
        assert books.snapshot(1).reserved == 1

    def test_a_used_actor_is_replaced(self):
        books = warm_roster()
        books.reserve(A, 0, 10)
        assert [type(c) for c in books.tick(0)] == [StartActor]

    def test_an_actor_is_never_used_again(self):
        books = warm_roster()
        used = actor_of(books.reserve(A, 0, 10))
        books.begin(A, 0)
        assert books.release(A, 1) == [KillActor(actor_id=used)]
        books.actor_gone(used)
        assert used not in books.warm_actors()
        assert actor_of(books.reserve(B, 1, 10)) != used

    def test_an_actor_that_was_only_reserved_is_warm_again(self):
        books = warm_roster()
        reserved = actor_of(books.reserve(A, 0, 10))
        assert books.release(A, 1) == []
        assert reserved in books.warm_actors()

    def test_beginning_without_a_reservation_gives_no_actor(self):
        books = warm_roster()
        assert books.begin(A, 0) is None

    def test_beginning_twice_is_beginning_once(self):
        books = warm_roster()
        actor = actor_of(books.reserve(A, 0, 10))
        assert books.begin(A, 0) == books.begin(A, 1) == actor

    def test_releasing_twice_is_releasing_once(self):
        books = warm_roster()
        books.reserve(A, 0, 10)
        books.begin(A, 0)
        assert len(books.release(A, 1)) == 1
        assert books.release(A, 1) == []


class TestFull:
    def test_no_slot_left(self):
        books = warm_roster(warm_target=4)
        for session in (A, B, C, D):
            actor_of(books.reserve(session, 0, 10))
        assert books.reserve(E, 0, 10) == TurnAway(
            session_id=E, why=Why.SLOTS, retry_after_s=LIMITS.full_retry_after_s
        )

    def test_a_released_slot_is_free(self):
        books = warm_roster(warm_target=4)
        for session in (A, B, C, D):
            books.reserve(session, 0, 10)
        books.release(A, 0)
        actor_of(books.reserve(E, 0, 10))

    def test_waiting_sessions_take_slots_too(self):
        books = warm_roster(warm_target=2, max_sessions=3)
        for session in (A, B):
            actor_of(books.reserve(session, 0, 10))
        assert isinstance(books.reserve(C, 0, 10), Wait)
        answer = books.reserve(D, 0, 10)
        assert isinstance(answer, TurnAway)
        assert answer.why is Why.SLOTS

    def test_a_full_queue_names_the_wait_it_would_have_been(self):
        books = roster()
        assert isinstance(books.reserve(A, 0, 10), Wait)
        assert isinstance(books.reserve(B, 0, 10), Wait)
        # Two lanes: the third in line is served by the second round of starts.
        assert books.reserve(C, 0, 100) == TurnAway(
            session_id=C, why=Why.QUEUE, retry_after_s=8.0, estimate_s=8.0
        )

    def test_a_wait_beyond_the_deadline_is_refused_at_once(self):
        books = roster()
        assert books.reserve(A, 0, wait_s=3) == TurnAway(
            session_id=A, why=Why.WAIT, retry_after_s=1.0, estimate_s=4.0
        )
        assert books.snapshot(0).permits == 0

    def test_a_taken_slot_is_worth_waiting_for_if_sessions_are_short(self):
        books = warm_roster(warm_target=1, max_sessions=1)
        books.reserve(A, 0, 10)
        first = books.begin(A, 0)
        books.release(A, 3)
        books.actor_gone(first)
        (start,) = books.tick(3)
        books.actor_warm(start.actor_id, 4)
        books.reserve(B, 4, 10)
        second = books.begin(B, 4)
        start_s = books.snapshot(4).expected_warm_s
        wait = books.reserve(C, 4, 10)
        assert isinstance(wait, Wait)
        assert wait.estimate_s == 3 + start_s
        answer = books.reserve(D, 4, 5)
        assert answer == TurnAway(
            session_id=D,
            why=Why.SLOTS,
            retry_after_s=2 * 3 + start_s - 5,
            estimate_s=2 * 3 + start_s,
        )
        assert books.tick(4) == []
        books.release(B, 5)
        books.actor_gone(second)
        (start,) = books.tick(5)
        assert books.actor_warm(start.actor_id, 6) == [Grant(session_id=C, actor_id=start.actor_id)]

    def test_nobody_is_sent_away_for_an_interviews_length(self):
        books = warm_roster(warm_target=1, max_sessions=1)
        books.reserve(A, 0, 10)
        gone = books.begin(A, 0)
        books.release(A, 1800)
        books.actor_gone(gone)
        (start,) = books.tick(1800)
        books.actor_warm(start.actor_id, 1804)
        books.reserve(B, 1804, 10)
        answer = books.reserve(C, 1804, 10)
        seen = books.snapshot(1804)
        assert answer.estimate_s == seen.estimated_wait_s == 1800 + seen.expected_warm_s
        assert answer.retry_after_s == LIMITS.max_retry_after_s

    def test_the_wait_of_who_asks_now(self):
        books = warm_roster()
        assert books.snapshot(0).estimated_wait_s == 0.0
        books.reserve(A, 0, 10)
        books.reserve(B, 0, 10)
        seen = books.snapshot(0)
        assert seen.estimated_wait_s == seen.expected_warm_s > 0
        books.drain(True)
        assert books.snapshot(0).estimated_wait_s is None

    def test_draining_refuses_new_sessions_and_keeps_the_old(self):
        books = warm_roster()
        held = books.reserve(A, 0, 10)
        books.drain(True)
        assert books.reserve(A, 0, 10) == held
        answer = books.reserve(B, 0, 10)
        assert isinstance(answer, TurnAway)
        assert answer.why is Why.DRAINING
        books.drain(False)
        actor_of(books.reserve(B, 0, 10))


class TestWaiting:
    def test_a_session_in_the_queue_gets_the_next_warm_actor(self):
        books = roster()
        wait = books.reserve(A, 0, 10)
        assert wait == Wait(session_id=A, estimate_s=4.0, until=10.0)
        first = books.tick(0)[0]
        assert isinstance(first, StartActor)
        assert books.actor_warm(first.actor_id, 3) == [Grant(session_id=A, actor_id=first.actor_id)]

    def test_first_come_first_served(self):
        books = roster()
        books.reserve(A, 0, 10)
        books.reserve(B, 1, 10)
        one, two = (c.actor_id for c in books.tick(1))
        assert books.actor_warm(two, 3) == [Grant(session_id=A, actor_id=two)]
        assert books.actor_warm(one, 4) == [Grant(session_id=B, actor_id=one)]

    def test_the_deadline_turns_away(self):
        books = roster()
        books.reserve(A, 0, 10)
        assert books.next_due(0) == 10
        assert not any(isinstance(c, TurnAway) for c in books.tick(9.9))
        turned_away = [c for c in books.tick(10) if isinstance(c, TurnAway)]
        assert [(c.session_id, c.why) for c in turned_away] == [(A, Why.WAIT)]
        assert books.snapshot(10).permits == 0

    def test_giving_up_leaves_the_queue(self):
        books = roster()
        books.reserve(A, 0, 10)
        books.reserve(B, 0, 10)
        (answer,) = books.release(A, 1)
        assert isinstance(answer, TurnAway)
        assert answer.why is Why.GIVEN_UP
        start = books.tick(1)[0]
        assert isinstance(start, StartActor)
        assert books.actor_warm(start.actor_id, 2) == [Grant(session_id=B, actor_id=start.actor_id)]

    def test_the_estimate_learns_from_starts(self):
        books = roster()
        start = books.tick(0)[0]
        assert isinstance(start, StartActor)
        books.actor_warm(start.actor_id, 14)
        assert books.snapshot(14).expected_warm_s == 7.0

    def test_the_estimate_counts_what_is_already_starting(self):
        books = roster()
        books.tick(0)
        answer = books.reserve(A, 3, 10)
        assert isinstance(answer, Wait)
        assert answer.estimate_s == 1.0

    def test_a_draining_roster_still_serves_its_queue(self):
        books = roster(warm_target=0)
        books.reserve(A, 0, 10)
        books.drain(True)
        (start,) = books.tick(0)
        assert isinstance(start, StartActor)
        assert books.actor_warm(start.actor_id, 1) == [Grant(session_id=A, actor_id=start.actor_id)]


class TestLeases:
    def test_a_reservation_nobody_begins_is_taken_back(self):
        books = warm_roster()
        actor = actor_of(books.reserve(A, 0, 10))
        assert books.next_due(0) == 30
        books.tick(30)
        assert books.begin(A, 30) is None
        assert books.state_of(actor) in (ActorState.WARM, ActorState.DYING)
        assert books.snapshot(30).leases_expired_total == 1

    def test_a_begun_session_has_no_lease(self):
        books = warm_roster()
        actor = actor_of(books.reserve(A, 0, 10))
        books.begin(A, 1)
        assert books.next_due(1) is None
        books.tick(10_000)
        assert books.state_of(actor) is ActorState.LIVE


class TestFailures:
    def test_a_failed_start_is_tried_again_after_a_pause_that_doubles(self):
        books = roster(warm_target=1, max_starting=1)
        now, pauses = 0.0, []
        for _ in range(4):
            (start,) = books.tick(now)
            assert isinstance(start, StartActor)
            assert books.start_failed(start.actor_id, now) == [KillActor(actor_id=start.actor_id)]
            books.actor_gone(start.actor_id)
            assert books.tick(now) == []
            due = books.next_due(now)
            assert due is not None
            pauses.append(due - now)
            now = due
        assert pauses == [1, 2, 4, 8]

    def test_a_success_ends_the_pause(self):
        books = roster(warm_target=1, max_starting=1)
        (start,) = books.tick(0)
        assert isinstance(start, StartActor)
        books.start_failed(start.actor_id, 0)
        books.actor_gone(start.actor_id)
        (start,) = books.tick(1)
        assert isinstance(start, StartActor)
        books.actor_warm(start.actor_id, 2)
        books.reserve(A, 2, 10)
        assert [type(c) for c in books.tick(2)] == [StartActor]

    def test_a_lost_warm_actor_is_replaced(self):
        books = warm_roster()
        gone = books.warm_actors()[0]
        assert books.actor_lost(gone, 1) == [KillActor(actor_id=gone)]
        books.actor_gone(gone)
        assert [type(c) for c in books.tick(1)] == [StartActor]
        assert books.snapshot(1).lost_total == 1

    def test_a_session_whose_reserved_actor_is_lost_gets_another(self):
        books = warm_roster()
        gone = actor_of(books.reserve(A, 0, 10))
        kill, grant = books.actor_lost(gone, 1)
        assert kill == KillActor(actor_id=gone)
        assert actor_of(grant) != gone

    def test_it_waits_before_all_others_if_none_is_warm(self):
        books = warm_roster(warm_target=1)
        gone = actor_of(books.reserve(A, 0, 10))
        assert isinstance(books.reserve(B, 0, 10), Wait)
        books.actor_lost(gone, 1)
        books.actor_gone(gone)
        start = books.tick(1)[0]
        assert isinstance(start, StartActor)
        assert books.actor_warm(start.actor_id, 2) == [Grant(session_id=A, actor_id=start.actor_id)]

    @pytest.mark.parametrize(("scaled", "killed"), [(True, 0), (False, 3)])
    def test_what_the_roster_before_was_told_to_keep_is_kept_until_it_is_told_again(
        self, scaled, killed
    ):
        books = roster(warm_target=2, scaled=scaled)
        for number in range(5):
            books.adopt(ActorId(f"old-{number}"), None, 0)
        told = [command for n in range(5) for command in books.actor_warm(ActorId(f"old-{n}"), 1)]
        told += books.tick(1)
        assert sum(isinstance(command, KillActor) for command in told) == killed

    def test_it_waits_for_as_long_as_it_says_and_not_only_for_its_lease(self):
        books = warm_roster(warm_target=1, lease_s=5)
        gone = actor_of(books.reserve(A, 0, 60))
        books.actor_lost(gone, 1)
        books.actor_gone(gone)
        assert isinstance(books.reserve(A, 1, 59), Wait)
        assert not [c for c in books.tick(59) if isinstance(c, TurnAway)]
        assert [c.session_id for c in books.tick(60) if isinstance(c, TurnAway)] == [A]

    def test_reassigning_gives_another_actor_and_ends_the_first(self):
        books = warm_roster()
        first = actor_of(books.reserve(A, 0, 10))
        books.begin(A, 0)
        kill, grant = books.reassign(A, 1, 10)
        assert kill == KillActor(actor_id=first)
        assert actor_of(grant) != first
        assert books.snapshot(1).permits == 1
        assert books.begin(A, 1) == actor_of(grant)

    def test_reassigning_waits_at_the_head_of_a_full_queue(self):
        books = warm_roster(warm_target=1)
        first = actor_of(books.reserve(A, 0, 10))
        books.begin(A, 0)
        books.reserve(B, 0, 10)
        books.reserve(C, 0, 10)
        kill, wait = books.reassign(A, 1, 10)
        assert isinstance(kill, KillActor)
        assert isinstance(wait, Wait)
        books.actor_gone(first)
        start = books.tick(1)[0]
        assert isinstance(start, StartActor)
        assert books.actor_warm(start.actor_id, 2) == [Grant(session_id=A, actor_id=start.actor_id)]

    def test_a_restarted_roster_takes_a_reassignment_as_a_new_session(self):
        books = warm_roster()
        (grant,) = books.reassign(A, 0, 10)
        assert actor_of(grant) in {v.actor_id for v in books.snapshot(0).actors}

    def test_losing_an_actor_during_its_session_keeps_the_permit(self):
        books = warm_roster()
        actor = actor_of(books.reserve(A, 0, 10))
        books.begin(A, 0)
        assert books.actor_lost(actor, 1) == [KillActor(actor_id=actor)]
        books.actor_gone(actor)
        assert books.snapshot(1).permits == 1
        assert books.begin(A, 1) is None
        assert books.release(A, 2) == []
        assert books.snapshot(2).permits == 0


class TestAdmission:
    def test_it_takes_a_slot_and_no_actor(self):
        books = warm_roster(max_sessions=1)
        assert books.admit(A, 0, 6) is None
        assert books.admit(A, 0, 6) is None
        refused = books.admit(B, 0, 6)
        assert isinstance(refused, TurnAway)
        assert refused.why is Why.SLOTS
        assert books.snapshot(0).warm == 1
        actor_of(books.reserve(A, 1, 10))

    def test_it_never_waits_for_a_slot_however_soon_one_may_come(self):
        books = warm_roster(max_sessions=1)
        books.reserve(A, 0, 10)
        books.begin(A, 0)
        books.release(A, 5)
        books.reserve(B, 5, 10)
        assert isinstance(books.admit(C, 5, 6), TurnAway)

    def test_those_who_wait_for_a_slot_come_first(self):
        books = roster(max_sessions=1)
        assert isinstance(books.reserve(A, 0, 10), Wait)
        assert isinstance(books.admit(B, 0, 6), TurnAway)

    def test_without_a_warm_actor_it_waits_for_one_whatever_the_estimate(self):
        books = roster(expected_warm_s=100.0)
        for session in (A, B, C, D):
            assert books.admit(session, 0, 6) is None
        for session in (A, B, C, D):
            assert isinstance(books.reserve(session, 1, 50), Wait)
        assert books.snapshot(1).waiting == 4
        served = []
        for now in (2, 3):
            for start in books.tick(now):
                served += books.actor_warm(start.actor_id, now)
        assert [grant.session_id for grant in served] == [A, B, C, D]

    def test_a_slot_that_nobody_asks_an_actor_for_is_free_again(self):
        books = warm_roster(max_sessions=1)
        books.admit(A, 0, 6)
        assert books.next_due(0) == 6
        books.tick(6)
        assert books.snapshot(6).permits == 0
        assert books.admit(B, 6, 6) is None

    def test_asking_again_puts_that_off(self):
        books = warm_roster(max_sessions=1)
        books.admit(A, 0, 6)
        books.admit(A, 5, 6)
        books.tick(10)
        assert books.snapshot(10).permits == 1

    def test_given_back_the_next_in_the_queue_has_the_slot(self):
        books = warm_roster(max_sessions=1, warm_target=1)
        books.admit(A, 0, 6)
        books._forecast.ended(1.0)
        assert isinstance(books.reserve(B, 0, 10), Wait)
        (grant,) = books.release(A, 1)
        assert (grant.session_id, isinstance(grant, Grant)) == (B, True)

    def test_its_supervisor_may_ask_for_the_actor(self):
        books = warm_roster()
        books.admit(A, 0, 6)
        (grant,) = books.reassign(A, 1, 10)
        assert books.begin(A, 1) == actor_of(grant)

    def test_none_while_draining_but_those_that_have_one_go_on(self):
        books = warm_roster()
        books.admit(A, 0, 6)
        books.drain(True)
        assert books.admit(B, 0, 6).why is Why.DRAINING
        actor_of(books.reserve(A, 1, 10))


class TestAdoption:
    def test_a_live_actor_keeps_its_session(self):
        books = roster()
        books.adopt(ActorId("old-1"), A, 0)
        assert books.begin(A, 0) == "old-1"
        assert books.release(A, 1) == [KillActor(actor_id=ActorId("old-1"))]

    def test_an_idle_actor_is_starting_until_it_says_it_is_warm(self):
        books = roster(warm_target=1)
        books.adopt(ActorId("old-1"), None, 0)
        assert books.tick(0) == []
        books.actor_warm(ActorId("old-1"), 1)
        assert books.warm_actors() == ["old-1"]


class TestEnd:
    def test_nothing_is_left(self):
        books = warm_roster()
        books.reserve(A, 0, 10)
        books.begin(A, 0)
        books.reserve(B, 0, 10)
        assert isinstance(books.reserve(C, 0, 10), Wait)
        commands = books.dismiss_all(1)
        for command in commands:
            if isinstance(command, KillActor):
                books.actor_gone(command.actor_id)
        assert [c.session_id for c in commands if isinstance(c, TurnAway)] == [C]
        after = books.snapshot(1)
        assert (after.actors, after.permits, after.waiting) == ((), 0, 0)
        assert books.tick(100) == []

    def test_a_snapshot_pickles(self):
        books = warm_roster()
        books.reserve(A, 0, 10)
        snapshot = books.snapshot(1.0)
        assert pickle.loads(pickle.dumps(snapshot)) == snapshot


class TestDrainingANode:
    def on_nodes(self, *, warm_target=2, **changes) -> Roster:
        """Warm actors on nodes n1 and n2 in turn."""
        books = roster(warm_target=warm_target, **changes)
        number = 0
        while started := [c for c in books.tick(0) if isinstance(c, StartActor)]:
            for command in started:
                number += 1
                books.actor_warm(command.actor_id, 0, NodeId(f"n{number}"))
        return books

    def where(self, books: Roster, actor: ActorId) -> NodeId | None:
        return next(v.node_id for v in books.snapshot(0).actors if v.actor_id == actor)

    def live(self, books: Roster, session: SessionId = A) -> ActorId:
        actor = actor_of(books.reserve(session, 0, 10))
        books.begin(session, 0)
        return actor

    def test_its_warm_actors_go_and_the_pool_refills_elsewhere(self):
        books = self.on_nodes()
        (gone,) = books.drain_nodes({N1}, 1)
        assert isinstance(gone, KillActor)
        assert self.where(books, gone.actor_id) == N1
        (start,) = books.tick(1)
        assert isinstance(start, StartActor)
        assert start.not_on == (N1,)

    def test_one_that_was_starting_there_goes_when_it_is_warm(self):
        books = roster(warm_target=1)
        (start,) = books.tick(0)
        books.drain_nodes({N1}, 1)
        assert books.actor_warm(start.actor_id, 2, N1) == [KillActor(actor_id=start.actor_id)]

    def test_a_live_session_stays_and_has_a_successor_set_aside(self):
        books = self.on_nodes()
        old = self.live(books)
        books.drain_nodes({N1}, 1)
        assert books.prepare_move(A, 1)
        assert books.state_of(old) is ActorState.LIVE
        assert books.warm_actors() == []
        kill, grant = books.reassign(A, 2, 10)
        assert kill == KillActor(actor_id=old)
        assert self.where(books, actor_of(grant)) == NodeId("n2")
        assert books.begin(A, 2) == actor_of(grant)

    def test_without_one_the_next_that_gets_warm_is_it_before_all_who_wait(self):
        books = self.on_nodes(warm_target=1)
        self.live(books)
        books.drain_nodes({N1}, 1)
        assert not books.prepare_move(A, 1)
        assert isinstance(books.reserve(B, 1, 60), Wait)
        starts = [c for c in books.tick(1) if isinstance(c, StartActor)]
        assert books.actor_warm(starts[0].actor_id, 2, NodeId("n2")) == []
        assert books.prepare_move(A, 2)
        second = books.actor_warm(starts[1].actor_id, 2, NodeId("n2"))
        assert second == [Grant(session_id=B, actor_id=starts[1].actor_id)]

    def test_a_full_fleet_may_start_one_more_to_move_to(self):
        books = self.on_nodes(warm_target=1, max_sessions=1)
        self.live(books)
        books.drain_nodes({N1}, 1)
        assert not books.prepare_move(A, 1)
        assert len(books.tick(1)) == 1

    def test_a_session_that_ends_first_gives_its_successor_back(self):
        books = self.on_nodes()
        self.live(books)
        books.prepare_move(A, 1)
        books.release(A, 2)
        assert len(books.warm_actors()) == 1

    def test_a_lost_successor_is_asked_for_again(self):
        books = self.on_nodes()
        self.live(books)
        books.prepare_move(A, 1)
        successor = next(
            v.actor_id for v in books.snapshot(1).actors if v.state is ActorState.RESERVED
        )
        books.actor_lost(successor, 2)
        assert not books.prepare_move(A, 2)

    def test_used_again_its_sessions_stay_and_successors_are_free(self):
        books = self.on_nodes()
        old = self.live(books)
        books.drain_nodes({N1}, 1)
        books.prepare_move(A, 1)
        books.drain_nodes(set(), 2)
        assert len(books.warm_actors()) == 1
        assert books.state_of(old) is ActorState.LIVE
        assert books.snapshot(2).moving == 0

    def test_an_adopted_actor_is_on_its_node(self):
        books = roster()
        books.adopt(ActorId("old-1"), A, 0)
        books.actor_is_on(ActorId("old-1"), N1)
        assert self.where(books, ActorId("old-1")) == N1

    def test_there_is_nothing_to_move_of_a_session_that_has_no_actor(self):
        assert not roster().prepare_move(A, 0)


class Burst(RuleBasedStateMachine):
    """Sessions, starts, losses and time in any order: no permit or actor is lost or doubled."""

    def __init__(self):
        super().__init__()
        self.limits = replace(LIMITS, max_sessions=5, queue_limit=3, refill_calm_s=2.0)
        self.books = Roster(self.limits, prefix="m")
        self.now = 0.0
        self.number = 0
        self.waiting: list[SessionId] = []
        """In the order of their turns."""
        self.granted: dict[SessionId, ActorId] = {}
        self.begun: dict[SessionId, ActorId] = {}
        self.used: set[ActorId] = set()
        self.had_one: set[SessionId] = set()
        """Sessions whose actor was lost or given up: they go before the others."""
        self.admitted: set[SessionId] = set()
        """They have a slot, and have not asked for an actor yet."""
        self.promised: set[SessionId] = set()
        """They had been admitted: they go before those without a slot, in turn."""
        self.starting: list[ActorId] = []
        self.killed: set[ActorId] = set()

    def execute(self, commands):
        for command in commands:
            match command:
                case StartActor(actor_id=actor):
                    assert actor not in self.used | self.killed
                    self.starting.append(actor)
                case KillActor(actor_id=actor):
                    assert actor not in self.killed
                    self.killed.add(actor)
                    self.books.actor_gone(actor)
                    self.forget(actor)
                case Grant(session_id=session, actor_id=actor):
                    assert actor not in self.used | self.killed
                    assert actor not in self.granted.values()
                    # Whoever waits is served in turn; who does not wait found nobody waiting.
                    at_once = session in self.promised and session not in self.waiting
                    assert at_once or self.waiting[:1] in ([], [session])
                    self.waiting = [s for s in self.waiting if s != session]
                    self.granted[session] = actor
                case Wait(session_id=session):
                    self.waiting.insert(self.place_of(session), session)
                case TurnAway(session_id=session):
                    self.waiting = [s for s in self.waiting if s != session]

    def place_of(self, session):
        if session in self.had_one:
            return 0
        if session in self.promised:
            return len({*self.had_one, *self.promised} & set(self.waiting))
        return len(self.waiting)

    def forget(self, actor):
        self.starting = [a for a in self.starting if a != actor]
        self.granted = {s: a for s, a in self.granted.items() if a != actor}

    @rule(wait_s=st.floats(0, 20))
    def arrive(self, wait_s):
        self.number += 1
        self.execute([self.books.reserve(SessionId(f"s{self.number}"), self.now, wait_s)])

    @rule(within_s=st.floats(0.1, 20))
    def admit(self, within_s):
        self.number += 1
        session = SessionId(f"s{self.number}")
        if self.books.admit(session, self.now, within_s) is None:
            self.admitted.add(session)

    @precondition(lambda self: self.admitted)
    @rule(data=st.data(), wait_s=st.floats(0, 20))
    def ask_for_the_actor(self, data, wait_s):
        session = data.draw(st.sampled_from(sorted(self.admitted)))
        self.admitted.remove(session)
        self.promised.add(session)
        self.execute([self.books.reserve(session, self.now, wait_s)])

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def begin(self, data):
        session = data.draw(st.sampled_from(sorted(self.granted)))
        actor = self.books.begin(session, self.now)
        assert actor == self.granted.pop(session)
        self.begun[session] = actor
        self.used.add(actor)

    @precondition(lambda self: self.begun)
    @rule(data=st.data(), wait_s=st.floats(0, 20))
    def retry(self, data, wait_s):
        session = data.draw(st.sampled_from(sorted(self.begun)))
        actor = self.begun.pop(session)
        self.had_one.add(session)
        successor = self.successors().get(session)
        # It was set aside for this session: whoever waits is not passed over.
        waiting, self.waiting = self.waiting, [] if successor else self.waiting
        self.execute(self.books.reassign(session, self.now, wait_s))
        assert actor in self.killed
        if successor:
            assert self.granted[session] == successor
            self.waiting = waiting

    def successors(self):
        views = self.books.snapshot(self.now).actors
        reserved = [v for v in views if v.state is ActorState.RESERVED]
        return {v.session_id: v.actor_id for v in reserved if v.session_id not in self.granted}

    @precondition(lambda self: self.begun)
    @rule(data=st.data())
    def prepare_move(self, data):
        session = data.draw(st.sampled_from(sorted(self.begun)))
        ready = self.books.prepare_move(session, self.now)
        assert ready == (session in self.successors())

    @rule(nodes=st.frozensets(st.sampled_from([N1, NodeId("n2")])))
    def drain(self, nodes):
        self.execute(self.books.drain_nodes(nodes, self.now))

    @precondition(lambda self: self.begun or self.waiting or self.granted or self.admitted)
    @rule(data=st.data())
    def leave(self, data):
        everyone = sorted({*self.begun, *self.waiting, *self.granted, *self.admitted})
        session = data.draw(st.sampled_from(everyone))
        self.admitted.discard(session)
        self.granted.pop(session, None)
        actor = self.begun.pop(session, None)
        self.execute(self.books.release(session, self.now))
        assert actor is None or actor in self.killed

    @precondition(lambda self: self.starting)
    @rule(data=st.data(), works=st.booleans(), node=st.sampled_from([N1, NodeId("n2")]))
    def finish_start(self, data, works, node):
        actor = data.draw(st.sampled_from(self.starting))
        self.starting.remove(actor)
        if works:
            self.execute(self.books.actor_warm(actor, self.now, node))
        else:
            self.execute(self.books.start_failed(actor, self.now))

    @rule(data=st.data())
    def lose_an_actor(self, data):
        actors = sorted(v.actor_id for v in self.books.snapshot(self.now).actors)
        if actors:
            actor = data.draw(st.sampled_from(actors))
            robbed = [s for s, a in self.granted.items() if a == actor]
            commands = self.books.actor_lost(actor, self.now)
            if robbed and not any(isinstance(c, Grant) for c in commands):
                self.had_one |= set(robbed)
                self.waiting = robbed + self.waiting
            elif robbed:
                self.waiting, rest = robbed, self.waiting
                self.execute(commands)
                self.waiting, commands = rest, []
            self.execute(commands)

    @rule(step_s=st.floats(0.1, 15))
    def time_passes(self, step_s):
        self.now += step_s
        commands = self.books.tick(self.now)
        held = {v.session_id for v in self.books.snapshot(self.now).actors}
        self.granted = {s: a for s, a in self.granted.items() if s in held}
        self.execute(commands)
        self.admitted &= {permit.session_id for permit in self.books._permits}
        due = self.books.next_due(self.now)
        assert due is None or due > self.now

    @invariant()
    def permits_fit_and_add_up(self):
        seen = self.books.snapshot(self.now)
        assert seen.permits - seen.waiting <= self.limits.max_sessions
        assert seen.permits == len({*self.waiting, *self.granted, *self.begun, *self.admitted})
        assert seen.waiting <= self.limits.queue_limit + len(self.had_one | self.promised)
        assert len(seen.actors) - seen.warm <= self.limits.max_sessions + seen.moving
        assert seen.starting <= self.limits.max_starting
        assert seen.waiting == len(self.waiting) <= seen.permits
        assert seen.reserved == len(self.granted) + len(self.successors())
        assert self.successors().keys() <= self.begun.keys()

    @invariant()
    def nothing_is_warm_on_a_node_that_is_draining(self):
        seen = self.books.snapshot(self.now)
        on = {v.node_id for v in seen.actors if v.state is ActorState.WARM}
        assert not on & set(seen.draining_nodes)

    @invariant()
    def nobody_waits_beside_a_warm_actor_and_a_free_slot(self):
        seen = self.books.snapshot(self.now)
        free = self.limits.max_sessions - (seen.permits - seen.waiting)
        free -= len((self.had_one | self.promised) & set(self.waiting))
        assert not (seen.waiting and seen.warm and free > 0)

    @invariant()
    def whoever_waits_has_a_deadline_ahead(self):
        due = self.books.next_due(self.now)
        assert not self.waiting or due is not None

    @invariant()
    def no_warm_actor_was_ever_used(self):
        assert not self.used & set(self.books.warm_actors())


TestBurst = Burst.TestCase
TestBurst.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
