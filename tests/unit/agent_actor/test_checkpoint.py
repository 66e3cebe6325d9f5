from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.checkpoint import Checkpoint, Resumption, from_fields, resumption
from agent_actor.contract import EndReason
from agent_actor.dialogue import Dialogue, Said
from agent_actor.lifecycle import LifeAges, Stage
from agent_actor.phases import Begin, PhaseLimit, PhaseState, Tick, next_deadline_s, step

PLAN = [PhaseLimit(id="one", duration_s=100), PhaseLimit(id="two", duration_s=50)]
CORE, _ = step(PLAN, PhaseState(), Begin(), 0.0)
KEPT = Checkpoint(
    attempt=1,
    at=1_000.0,
    life=LifeAges(stage=Stage.LIVE, joined_s=42.0, since_s=40.0, met=True),
    interview_s=40.0,
    phases=CORE,
    speaking="interviewer",
    last_speaker="interviewer",
    answer_due=True,
    cut_off="And how often do you ",
    first_comer="sip-1",
)


def fields(checkpoint: Checkpoint, said: str = "[]") -> dict[str, str]:
    return {"state": checkpoint.state_text(), "said": said}


@given(
    stage=st.sampled_from(Stage),
    reason=st.none() | st.sampled_from(EndReason),
    interview_s=st.none() | st.floats(0, 1e5),
    cut_off=st.text(),
    texts=st.lists(st.text(min_size=1), max_size=5),
    fallen_over=st.booleans(),
)
def test_a_checkpoint_survives_being_written_down(
    stage: Stage, reason: Any, interview_s: Any, cut_off: str, texts: list[str], fallen_over: bool
) -> None:
    dialogue = Dialogue(Said(speaker="participant", text=t, interrupted=True) for t in texts)
    life = replace(KEPT.life, stage=stage, reason=reason)
    kept = replace(
        KEPT,
        life=life,
        interview_s=interview_s,
        cut_off=cut_off,
        said=dialogue.said,
        fallen_over=fallen_over,
    )
    assert from_fields(fields(kept, dialogue.said_text())) == kept


@pytest.mark.parametrize(
    "found",
    [
        {},
        {"said": "[]"},
        {"state": "not json"},
        {"state": "{}"},
        {"state": json.dumps({**json.loads(KEPT.state_text()), "v": 2})},
        {**fields(KEPT), "said": '[{"text": "by nobody"}]'},
    ],
)
def test_what_cannot_be_read_is_none(found: dict[str, str]) -> None:
    assert from_fields(found) is None


def test_without_what_was_said_the_rest_is_good() -> None:
    assert from_fields({"state": KEPT.state_text()}) == KEPT


def test_time_goes_on_while_nobody_is_there() -> None:
    aged = KEPT.aged(1_070.0)
    assert (aged.interview_s, aged.life.joined_s, aged.life.since_s) == (110.0, 112.0, 110.0)
    assert aged.aged(1_070.0) == aged
    # The phase's time ran out meanwhile: the successor's first tick moves it on.
    assert (next_deadline_s(PLAN, aged.phases) or 0) < 110.0
    state, _ = step(PLAN, aged.phases, Tick(), 110.0)
    assert state.visits[-1].phase_id == "two"


def test_a_clock_that_is_behind_turns_nothing_back() -> None:
    assert KEPT.aged(900.0) == KEPT


@pytest.mark.parametrize(
    ("speaking", "last", "due", "first"),
    [
        ("interviewer", "interviewer", True, Resumption.CARRY_ON),
        ("interviewer", "participant", False, Resumption.CARRY_ON),
        (None, "participant", True, Resumption.CARRY_ON),
        ("participant", "participant", True, Resumption.ASK_AGAIN),
        (None, "participant", False, Resumption.ASK_AGAIN),
        (None, None, False, Resumption.ASK_AGAIN),
        (None, "interviewer", False, Resumption.LISTEN),
    ],
)
def test_who_had_the_word_decides_what_comes_first(
    speaking: str | None, last: str | None, due: bool, first: Resumption
) -> None:
    kept = replace(KEPT, speaking=speaking, last_speaker=last, answer_due=due)
    assert resumption(kept) is first
