from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor import phases
from agent_actor.phases import (
    Advance,
    Begin,
    Cause,
    Close,
    End,
    Enter,
    Nudge,
    PhaseLimit,
    PhaseState,
    Refuse,
    Tick,
    step,
)

PLAN = [
    PhaseLimit(id="warmup", duration_s=100),
    PhaseLimit(id="core", duration_s=200),
    PhaseLimit(id="close", duration_s=50),
]


def run(*events: tuple[phases.Event, float]) -> tuple[PhaseState, list[phases.Command]]:
    state, commands = PhaseState(), []
    for event, now_s in events:
        state, out = step(PLAN, state, event, now_s)
        commands.extend(out)
    return state, commands


def test_begin_enters_the_first_phase() -> None:
    state, commands = run((Begin(), 0))
    assert commands == [Enter(index=0, cause=Cause.STARTED)]
    assert state.visits[0].phase_id == "warmup"


def test_begin_twice_changes_nothing() -> None:
    _, commands = run((Begin(), 0), (Begin(), 5))
    assert len(commands) == 1


def test_advance_before_the_beginning_is_refused() -> None:
    state, commands = run((Advance(), 0))
    assert isinstance(commands[0], Refuse)
    assert state == PhaseState()


def test_model_advances_through_all_phases_and_closes() -> None:
    state, commands = run((Begin(), 0), (Advance(), 10), (Advance(), 20), (Advance(), 30))
    assert commands == [
        Enter(index=0, cause=Cause.STARTED),
        Enter(index=1, cause=Cause.ADVANCED),
        Enter(index=2, cause=Cause.ADVANCED),
        Close(cause=Cause.ADVANCED),
    ]
    assert [(v.entered_s, v.left_s) for v in state.visits] == [(0, 10), (10, 20), (20, 30)]


def test_second_call_for_a_phase_that_is_over_does_not_skip_the_next() -> None:
    state, commands = run(
        (Begin(), 0), (Advance(completed="warmup"), 10), (Advance(completed="warmup"), 10.1)
    )
    assert state.index == 1
    assert isinstance(commands[-1], Refuse)
    assert "'core'" in commands[-1].reason


def test_time_limit_nudges_once_then_forces() -> None:
    state, commands = run((Begin(), 0), (Tick(), 79), (Tick(), 81), (Tick(), 90), (Tick(), 100))
    assert commands == [
        Enter(index=0, cause=Cause.STARTED),
        Nudge(index=0, remaining_s=19),
        Enter(index=1, cause=Cause.FORCED),
    ]
    assert not state.nudged


def test_last_phase_is_forced_to_a_close() -> None:
    _, commands = run((Begin(), 0), (Advance(), 1), (Advance(), 2), (Tick(), 52))
    assert commands[-1] == Close(cause=Cause.FORCED)


def test_model_ends_early() -> None:
    state, commands = run((Begin(), 0), (End(), 7))
    assert commands[-1] == Close(cause=Cause.ENDED)
    assert state.closed
    assert state.visits[-1].left_s == 7


@pytest.mark.parametrize("event", [Advance(), End()])
def test_calls_after_the_close_are_refused(event: phases.Event) -> None:
    _, commands = run((Begin(), 0), (End(), 7), (event, 8))
    assert isinstance(commands[-1], Refuse)


def test_deadline_is_the_nudge_then_the_limit_then_none() -> None:
    state, _ = run((Begin(), 10))
    assert phases.next_deadline_s(PLAN, state) == 90
    state, _ = step(PLAN, state, Tick(), 90)
    assert phases.next_deadline_s(PLAN, state) == 110
    state, _ = step(PLAN, state, End(), 91)
    assert phases.next_deadline_s(PLAN, state) is None
    assert phases.next_deadline_s(PLAN, PhaseState()) is None


EVENTS = st.one_of(
    st.just(Begin()),
    st.just(Tick()),
    st.just(End()),
    st.builds(Advance, completed=st.sampled_from([None, "warmup", "core", "close", "nonsense"])),
)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 120)), max_size=40))
def test_any_history_visits_each_phase_once_in_order(
    history: list[tuple[phases.Event, float]],
) -> None:
    state, now_s, closes = PhaseState(), 0.0, 0
    for event, delta_s in history:
        now_s += delta_s
        state, commands = step(PLAN, state, event, now_s)
        closes += sum(isinstance(c, Close) for c in commands)
    ids = [v.phase_id for v in state.visits]
    assert ids == [p.id for p in PLAN][: len(ids)]
    assert closes == (1 if state.closed else 0)
    open_visits = [v for v in state.visits if v.left_s is None]
    assert len(open_visits) == (0 if state.closed or not ids else 1)


@given(st.lists(st.tuples(EVENTS, st.floats(0, 120)), max_size=20))
def test_checkpoint_survives_json(history: list[tuple[phases.Event, float]]) -> None:
    state, now_s = PhaseState(), 0.0
    for event, delta_s in history:
        now_s += delta_s
        state, _ = step(PLAN, state, event, now_s)
    assert phases.from_json(json.loads(json.dumps(phases.to_json(state)))) == state


def test_what_is_no_checkpoint_is_refused() -> None:
    with pytest.raises((KeyError, TypeError, ValueError)):
        phases.from_json({"index": 0})
