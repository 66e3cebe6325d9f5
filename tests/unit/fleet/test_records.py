from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from agent_actor.contract import EndReason, SessionState
from agent_actor.messages import PhaseTiming
from fleet.records import (
    LIFE,
    RANK,
    SessionRecord,
    Step,
    changes_to_fields,
    from_fields,
    may_move,
    to_fields,
)

STATES = st.sampled_from(LIFE)
ATTEMPTS = st.integers(min_value=1, max_value=4)
STEPS = st.builds(Step, state=STATES, attempt=ATTEMPTS)

FULL = SessionRecord(
    session_id="s-1",
    study_id="pilot",
    participant_identity="p-7",
    room="s-1",
    provider="gemini_live",
    model="gemini-live",
    limit_micro_usd=10_000_000,
    created_at=1_795_000_000.123456,
    idempotency_key='a "quoted" key, ümläut',
    state=SessionState.GONE,
    attempt=2,
    actor_id="a-1",
    node_id="n-1",
    joined_at=1_795_000_001.5,
    ended_at=1_795_000_600.25,
    end_reason=EndReason.COMPLETED,
    error_code="provider_error",
    error="dropped",
    spent_micro_usd=1_234_567,
    timings_s={"room": 0.012345678901, "join": 0.3},
    provider_sessions=("x", "y"),
    unmapped=("vad_config.threshold",),
    phases=(PhaseTiming(phase_id="a", entered_s=0.5, left_s=None, cause="started"),),
    erased_at=None,
)


def at(state: SessionState, attempt: int = 1) -> Step:
    return Step(state=state, attempt=attempt)


def test_the_life_of_a_session_knows_every_state() -> None:
    assert set(LIFE) == set(SessionState)
    assert [RANK[state] for state in LIFE] == list(range(len(LIFE)))


@given(here=STEPS, there=STEPS)
def test_gone_is_final(here: Step, there: Step) -> None:
    assert not may_move(at(SessionState.GONE, here.attempt), there)


@given(here=STEPS, there=STEPS)
def test_no_step_goes_back_within_an_attempt(here: Step, there: Step) -> None:
    if here.attempt == there.attempt and may_move(here, there):
        assert RANK[there.state] >= RANK[here.state]


@given(here=STEPS, there=STEPS)
def test_a_replaced_actor_changes_nothing(here: Step, there: Step) -> None:
    if there.attempt < here.attempt:
        assert not may_move(here, there)


@given(here=STEPS)
def test_a_living_session_can_always_end(here: Step) -> None:
    gone = at(SessionState.GONE, here.attempt)
    assert may_move(here, gone) is (here.state is not SessionState.GONE)


@pytest.mark.parametrize(
    ("here", "there", "allowed"),
    [
        (at(SessionState.QUEUED), at(SessionState.ASSIGNED), True),
        (at(SessionState.QUEUED), at(SessionState.LIVE), True),
        (at(SessionState.JOINED), at(SessionState.JOINED), True),
        (at(SessionState.JOINED), at(SessionState.ASSIGNED), False),
        (at(SessionState.JOINED), at(SessionState.ASSIGNED, 2), True),
        (at(SessionState.LIVE), at(SessionState.ASSIGNED, 2), True),
        (at(SessionState.LIVE), at(SessionState.QUEUED, 2), False),
        (at(SessionState.ENDING), at(SessionState.ASSIGNED, 2), True),
        (at(SessionState.GONE), at(SessionState.ASSIGNED, 2), False),
        (at(SessionState.ENDING), at(SessionState.GONE, 2), True),
        (at(SessionState.LIVE, 2), at(SessionState.ENDING, 1), False),
    ],
)
def test_steps(here: Step, there: Step, allowed: bool) -> None:
    assert may_move(here, there) is allowed


def test_a_record_comes_back_as_it_was() -> None:
    assert from_fields(to_fields(FULL)) == FULL


def test_each_timing_is_a_field_of_its_own() -> None:
    fields = to_fields(FULL)

    assert fields["timing:room"] == "0.012345678901"
    assert "timings_s" not in fields


def test_unknown_fields_of_a_newer_writer_are_ignored() -> None:
    assert from_fields({**to_fields(FULL), "mood": '"sunny"', "_nonce": "x"}) == FULL


def test_changes_hold_only_what_was_given() -> None:
    fields = changes_to_fields({"spent_micro_usd": 5, "timings_s": {"join": 0.25}, "error": None})

    assert fields == {"spent_micro_usd": "5", "timing:join": "0.25", "error": "null"}
    assert json.loads(changes_to_fields({"end_reason": EndReason.NO_SHOW})["end_reason"]) == (
        "no_show"
    )


@pytest.mark.parametrize(
    "changes", [{"study_id": "other"}, {"spent_micro_usd": "much"}, {"end_reason": "bored"}]
)
def test_wrong_changes_are_refused(changes: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        changes_to_fields(changes)  # type: ignore[arg-type]
