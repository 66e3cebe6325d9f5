"""Sessions to the fullest nodes, warm actors away from those that may go."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from autoscaler.packing import Layout, NodeLoad, lay_out, place, to_give, to_thin

NOBODY: frozenset[str] = frozenset()


def node(name: str, busy: int = 0, idle: int = 0, slots: int = 4) -> NodeLoad:
    return NodeLoad(node_id=name, slots=slots, busy=busy, idle=idle)


A, B, C = node("a", busy=3), node("b", busy=1, idle=2), node("c", idle=1)


def test_the_fullest_nodes_are_kept_and_the_rest_left():
    assert lay_out([C, B, A], 2) == Layout(keep=("a", "b"), leave=frozenset("c"))


def test_a_node_with_a_session_is_kept_however_few_are_wanted():
    assert lay_out([A, B, C], 0).keep == ("a", "b")


def test_a_new_actor_goes_to_the_fullest_node_that_has_room():
    assert place([C, B, A], NOBODY) is A
    assert place([C, B, node("a", busy=4)], NOBODY) is B
    assert place([node("a", busy=4)], NOBODY) is None


def test_a_node_to_be_left_is_used_only_if_there_is_no_other():
    assert place([C, node("d", busy=4)], frozenset("c")) is C
    assert place([node("c", idle=3), node("d")], frozenset("c")).node_id == "d"


def test_a_session_gets_the_actor_on_the_fullest_node():
    assert to_give([C, B]) is B
    assert to_give([]) is None


def test_a_surplus_actor_is_ended_where_it_keeps_a_node_from_going():
    assert to_thin([A, B, C], NOBODY) is C
    assert to_thin([A, B, C], frozenset("b")) is B
    assert to_thin([], NOBODY) is None


nodes = st.lists(
    st.builds(
        NodeLoad,
        node_id=st.uuids().map(str),
        slots=st.integers(1, 8),
        busy=st.integers(0, 8),
        idle=st.integers(0, 8),
    ),
    unique_by=lambda each: each.node_id,
    max_size=12,
)


@given(nodes, st.integers(0, 15))
def test_every_node_is_kept_or_left_and_none_with_a_session_is_left(there, wanted):
    layout = lay_out(there, wanted)
    assert sorted([*layout.keep, *layout.leave]) == sorted(each.node_id for each in there)
    assert not any(each.busy for each in there if each.node_id in layout.leave)
    assert len(layout.keep) >= min(wanted, len(there))
    assert lay_out(reversed(there), wanted) == layout


@given(nodes)
def test_an_actor_is_never_put_where_there_is_no_slot(there):
    chosen = place(there, NOBODY)
    assert (chosen is None) == (not any(each.free for each in there))
    assert chosen is None or chosen.free > 0
