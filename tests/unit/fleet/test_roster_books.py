"""The books behind the roster: whatever happens in whatever order, they count what is there."""

from hypothesis import given
from hypothesis import strategies as st

from agent_actor.contract import ActorId, SessionId
from fleet.roster_actors import Actor, ActorBook
from fleet.roster_model import ActorState, NodeId
from fleet.roster_permits import Permit, PermitBook

N1, N2 = NodeId("n1"), NodeId("n2")
IDS = [ActorId(f"a-{i}") for i in range(4)]
SESSIONS = [SessionId(s) for s in "abcd"]

states = st.sampled_from(list(ActorState))
nodes = st.sampled_from([None, N1, N2])


@given(st.lists(st.tuples(st.sampled_from(IDS), st.sampled_from("amnr"), states, nodes)))
def test_actors_are_counted_as_they_are(steps):
    book = ActorBook()
    for now, (actor_id, step, state, node) in enumerate(steps):
        actor = book.get(actor_id)
        if actor is None:
            book.add(Actor(actor_id=actor_id, state=state, since=now, node_id=node))
        elif step == "m":
            book.move(actor, state, now)
        elif step == "n":
            book.put_on(actor, node)
        elif step == "r":
            book.remove(actor)
        there = list(book)
        for each in ActorState:
            assert book.count(each) == sum(a.state is each for a in there)
            since = [a.since for a in book.of(each)]
            assert since == sorted(since), "whoever has been in a state longest comes first"
            for on in (N1, N2):
                assert book.count_on(on, each) == sum(
                    a.state is each and a.node_id == on for a in there
                )


def test_an_actor_that_stays_in_its_state_keeps_its_time_and_place():
    book = ActorBook()
    for now, actor_id in enumerate(IDS):
        book.add(Actor(actor_id=actor_id, state=ActorState.WARM, since=now))
    first = book.first(ActorState.WARM)
    assert first is not None
    book.move(first, ActorState.WARM, 9)
    assert (book.first(ActorState.WARM), first.since) == (first, 0)


permits = st.tuples(
    st.sampled_from(SESSIONS),
    st.sampled_from(["put", "live", "begin", "pop", "successor"]),
    st.booleans(),
)


@given(st.lists(permits))
def test_permits_are_counted_as_they_are(steps):
    book, begun = PermitBook(), set()
    for session_id, step, yes in steps:
        held = book.get(session_id)
        if step in ("put", "live"):
            permit = Permit(session_id=session_id, until=1.0, holds_slot=yes)
            book.put(permit, pending=step == "put")
            begun = begun | {session_id} if step == "live" else begun - {session_id}
        elif step == "pop":
            assert book.pop(session_id) is held
            begun.discard(session_id)
        elif held is not None and step == "begin":
            book.begin(held, 2.0)
            begun.add(session_id)
        elif held is not None and step == "successor":
            book.set_successor(held, IDS[0] if yes else None)
        there = list(book)
        assert len(book) == len(there)
        assert book.slots_taken == sum(p.holds_slot for p in there)
        assert {p.session_id for p in book.pending} == {p.session_id for p in there} - begun
        assert set(book.with_successor) == {p.session_id for p in there if p.successor_id}


def test_a_session_begins_once():
    book = PermitBook()
    book.put(Permit(session_id=SESSIONS[0], until=1.0))
    held = book[SESSIONS[0]]
    book.begin(held, 2.0)
    book.begin(held, 3.0)
    assert held.began_at == 2.0


def test_cleared_it_is_as_new():
    book = PermitBook()
    for session_id in SESSIONS:
        book.put(Permit(session_id=session_id, until=1.0, holds_slot=True))
    book.clear()
    assert (len(book), book.slots_taken, list(book.pending)) == (0, 0, [])
