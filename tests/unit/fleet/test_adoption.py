"""What a session that an earlier supervisor began has written of itself."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from agent_actor.contract import EndReason
from agent_actor.journal import EventKind, JournalEvent, LiveState
from fleet import adoption
from fleet.journal import JournalEntry
from fleet.records import SessionRecord
from tests.unit.fleet.control_fakes import FakeJournal, usage

RECORD = SessionRecord(
    session_id="s-a",
    study_id="study-7",
    participant_identity="p-1",
    room="interview-s-a",
    provider="openai_realtime",
    limit_micro_usd=1,
    created_at=0.0,
    attempt=2,
)


def entry(at: float, kind: EventKind, attempt: int = 1, **data: Any) -> JournalEntry:
    event = JournalEvent(kind=kind, at=at, attempt=attempt, data=data)
    return JournalEntry(id=f"{at}-0", event=event)


def entered(at: float, phase_id: str, elapsed_s: float, attempt: int = 1) -> JournalEntry:
    return entry(
        at,
        EventKind.PHASE,
        attempt,
        change="entered",
        phase_id=phase_id,
        cause="advanced",
        elapsed_s=elapsed_s,
    )


STORY = [
    entry(1.0, EventKind.PROVIDER, change="connected", provider_session="one"),
    entered(2.0, "warmup", 0.0),
    entry(20.0, EventKind.PROVIDER, change="reconnected", provider_session="one"),
    entry(30.0, EventKind.PROVIDER, 2, change="connected", provider_session="two"),
    entry(31.0, EventKind.PHASE, 2, change="nudged", phase_id="warmup"),
    entered(60.0, "core", 58.0, attempt=2),
    entry(90.0, EventKind.STATE, 2, state="gone", reason="completed"),
]


def test_all_of_it_by_all_its_actors() -> None:
    result = adoption.told(RECORD, STORY)
    assert result is not None
    assert (result.end_reason, result.attempt) == (EndReason.COMPLETED, 2)
    assert [(p.phase_id, p.entered_s, p.left_s) for p in result.phases] == [
        ("warmup", 0.0, 58.0),
        ("core", 58.0, None),
    ]
    assert result.provider_sessions == ("one", "two")
    assert result.duration_s == 60.0


def test_nothing_before_it_has_said_that_it_is_gone() -> None:
    assert adoption.told(RECORD, STORY[:-1]) is None
    assert adoption.told(RECORD, []) is None


def test_the_last_word_of_an_earlier_attempt_is_not_its() -> None:
    gone = entry(20.0, EventKind.STATE, 1, state="gone", reason="no_show")
    assert adoption.told(RECORD, [gone, *STORY[:-1]]) is None


def test_its_usage_only_where_nobody_took_it() -> None:
    told = adoption.told(RECORD, STORY)
    assert told is not None
    assert told.usage is None
    report = usage("s-a", 2)
    # As JSON brings it back.
    written = json.loads(json.dumps(report.to_dict()))
    gone = entry(91.0, EventKind.STATE, 2, state="gone", reason="completed", report=written)
    told = adoption.told(RECORD, [*STORY[:-1], gone])
    assert told is not None
    assert told.usage == report
    odd = entry(91.0, EventKind.STATE, 2, state="gone", reason="completed", report={"seq": 1})
    assert adoption.unheard(odd.event) is None


def test_who_came_first_is_still_the_one_by_the_contracts_name() -> None:
    """Else a successor waits for somebody called so, while the one whom it left sits there."""
    assert adoption.request_of(RECORD).first_comer_as is None
    theirs = replace(RECORD, participant_identity="participant", first_comer=True)
    assert adoption.request_of(theirs).first_comer_as == "participant"


@pytest.mark.parametrize(("attempt", "its"), [(0, True), (1, False), (2, True)])
async def test_only_its_own_hand_over_counts(attempt: int, its: bool) -> None:
    """The live state is its predecessor's until it publishes its own."""
    journal = FakeJournal()
    journal.states["s-a"] = LiveState(state="live", handed_over=True, attempt=attempt)
    assert await adoption.handed_over(RECORD, journal) is its
