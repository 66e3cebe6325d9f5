from agent_actor.contract import SessionId
from fleet.draining import WHOLE_FLEET, Drain, End, Held, Move, asked, due
from fleet.roster_model import NodeId

N1, N2 = NodeId("n1"), NodeId("n2")
A, B, C = (SessionId(s) for s in "abc")
DRAIN = Drain(since=100.0, deadline=160.0)


def held(session_id, node_id, *, stopping=False):
    return Held(session_id=session_id, node_id=node_id, stopping=stopping)


SESSIONS = [held(A, N1), held(B, N2), held(C, None)]


def test_until_the_deadline_nothing_is_asked_of_anybody():
    assert due({N1: DRAIN, WHOLE_FLEET: DRAIN}, SESSIONS, 159.9) == []


def test_at_the_deadline_a_nodes_sessions_move_and_no_others():
    assert due({N1: DRAIN}, SESSIONS, 160.0) == [Move(session_id=A)]


def test_at_the_whole_fleets_deadline_all_end_also_those_that_would_move():
    drains = {N1: DRAIN, WHOLE_FLEET: DRAIN}
    assert due(drains, SESSIONS, 160.0) == [End(session_id=s) for s in (A, B, C)]


def test_a_session_that_is_ending_is_left_alone():
    drains = {N1: DRAIN, WHOLE_FLEET: DRAIN}
    assert due(drains, [held(A, N1, stopping=True)], 200.0) == []


def test_asking_again_sets_another_deadline():
    first = asked(None, now=100.0, deadline_s=60.0)
    assert first == DRAIN
    assert asked(first, now=110.0, deadline_s=5.0) == Drain(since=100.0, deadline=115.0)
