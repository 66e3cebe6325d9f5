from __future__ import annotations

import json
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from agent_actor.journal import (
    EventKind,
    JournalEvent,
    LiveState,
    event_from_fields,
    event_to_fields,
    live_from_fields,
    live_to_fields,
)

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


@given(
    kind=st.sampled_from(EventKind),
    at=st.floats(min_value=0, max_value=4e9),
    attempt=st.integers(min_value=1, max_value=9),
    data=st.dictionaries(st.text(), JSON, max_size=4),
)
def test_an_event_comes_back_as_it_was(
    kind: EventKind, at: float, attempt: int, data: dict[str, object]
) -> None:
    event = JournalEvent(kind=kind, at=at, attempt=attempt, data=data)

    assert event_from_fields(event_to_fields(event)) == event


def test_what_json_does_not_know_is_written_as_text() -> None:
    event = JournalEvent(kind=EventKind.NOTE, at=1.0, data={"path": Path("a/b")})

    assert json.loads(event_to_fields(event)["data"]) == {"path": "a/b"}


def test_a_kind_of_a_newer_writer_becomes_a_note() -> None:
    event = event_from_fields({"kind": "mood", "at": "1.5", "attempt": "2", "data": '{"a": 1}'})

    assert event == JournalEvent(
        kind=EventKind.NOTE, at=1.5, attempt=2, data={"a": 1, "kind": "mood"}
    )


def test_the_live_state_comes_back_as_it_was() -> None:
    live = LiveState(
        state="live",
        phase_id="intro",
        phase_index=0,
        phase_count=3,
        participant_present=True,
        speaking="interviewer",
        tokens_in=10,
        spent_micro_usd=1_000,
        updated_at=1.25,
    )

    assert live_from_fields({**live_to_fields(live), "_attempt": "1", "mood": '"sunny"'}) == live


def test_a_session_that_said_nothing_has_no_live_state() -> None:
    assert live_from_fields({}) is None
    assert live_from_fields({"_n:1": "4"}) is None
