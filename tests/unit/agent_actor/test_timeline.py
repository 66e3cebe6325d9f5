from __future__ import annotations

from typing import Any

from agent_actor import span_names as names
from agent_actor.journal import EventKind
from agent_actor.timeline import UNFINISHED, Stretch, Timeline

Entry = tuple[float, EventKind, dict[str, Any]]


def state(at: float, state: str) -> Entry:
    return at, EventKind.STATE, {"state": state}


def phase(at: float, change: str, **data: Any) -> Entry:
    return at, EventKind.PHASE, {"change": change, **data}


def provider(at: float, change: str, **data: Any) -> Entry:
    return at, EventKind.PROVIDER, {"change": change, **data}


def entered(at: float, phase_id: str, index: int = 0, cause: str = "started") -> Entry:
    name = {"name": "Warm-up", "elapsed_s": 0.0}
    return phase(at, "entered", phase_id=phase_id, index=index, cause=cause, **name)


BEGINNING = (
    state(10.5, "joined"),
    (10.75, EventKind.METADATA, {"wait_s": 0.25, "problems": []}),
    provider(11.25, "connected", provider_session="sess-1"),
    state(11.25, "configured"),
)


def feed(timeline: Timeline, *entries: Entry) -> list[Stretch]:
    return [s for at, kind, data in entries for s in timeline.feed(kind, data, at)]


def spans(stretches: list[Stretch]) -> list[tuple[str, float, float]]:
    return [(s.name, s.began_at, s.ended_at) for s in stretches]


def test_an_interview_from_beginning_to_end() -> None:
    timeline = Timeline(10.0)
    over = feed(
        timeline,
        *BEGINNING,
        state(12.0, "live"),
        entered(12.0, "warmup"),
        (13.0, EventKind.AUDIO, {"first_audio_s": 3.0}),
        entered(60.0, "core", 1, "advanced"),
        phase(90.0, "closing", cause="ended"),
        state(90.0, "ending"),
        phase(90.5, "goodbye"),
        phase(95.0, "goodbye_over"),
        (95.0, EventKind.AUDIO, {"spurts": 3}),
        state(96.0, "gone"),
    )
    over += timeline.close(96.0, reason="completed", error=None)
    assert spans(over) == [
        (names.JOIN_ROOM, 10.0, 10.5),
        (names.WAIT_FOR_METADATA, 10.5, 10.75),
        (names.CONNECT_PROVIDER, 10.75, 11.25),
        (names.FIRST_AUDIO, 12.0, 13.0),
        (names.PHASE, 12.0, 60.0),
        (names.PHASE, 60.0, 90.0),
        (names.GOODBYE, 90.5, 95.0),
        (names.LEAVE, 90.0, 96.0),
    ]
    core, leave = over[5], over[7]
    assert core.attributes == {
        names.PHASE_ID: "core",
        names.PHASE_INDEX: 1,
        names.CAUSE: "advanced",
    }
    assert leave.attributes == {names.END_REASON: "completed"}
    assert not any(s.error for s in over)


def test_a_successor_reads_where_it_stands_and_goes_on_with_the_phase() -> None:
    timeline = Timeline(10.0)
    over = feed(
        timeline,
        (
            10.1,
            EventKind.RECOVERY,
            {"from_attempt": 1, "resumption": "carry_on", "gap_s": 0.9, "phase_id": "core"},
        ),
        state(10.4, "joined"),
        provider(10.6, "connected", provider_session="sess-2"),
        state(10.7, "live"),
        (11.0, EventKind.AUDIO, {"first_audio_s": 1.0}),
        (11.0, EventKind.RECOVERY, {"silence_s": 1.9}),
    )
    over += timeline.close(20.0, reason=None, error=None)
    assert spans(over) == [
        (names.READ_CHECKPOINT, 10.0, 10.1),
        (names.JOIN_ROOM, 10.0, 10.4),
        (names.CONNECT_PROVIDER, 10.1, 10.6),
        (names.FIRST_AUDIO, 10.7, 11.0),
        (names.SILENCE, 11.0 - 1.9, 11.0),
        (names.PHASE, 10.1, 20.0),
    ]
    assert over[0].attributes == {names.RESUMPTION: "carry_on", names.GAP_S: 0.9}


def test_a_connection_that_was_changed_and_one_that_was_given_up() -> None:
    timeline = Timeline(10.0)
    feed(timeline, *BEGINNING)
    over = feed(
        timeline,
        provider(20.0, "disconnected", planned=False),
        provider(20.5, "error", code="provider_unavailable"),
        provider(21.0, "disconnected", planned=False),
        provider(22.0, "reconnected", planned=False, cut_short=True, away_s=2.0),
        provider(30.0, "disconnected", planned=False),
        provider(50.0, "given_up", code="provider_unavailable"),
    )
    assert spans(over) == [
        (names.RECONNECT_PROVIDER, 20.0, 22.0),
        (names.RECONNECT_PROVIDER, 30.0, 50.0),
    ]
    assert over[0].attributes == {names.PLANNED: False, names.CUT_SHORT: True}
    assert [s.error for s in over] == [None, "provider_unavailable"]


def test_what_did_not_come_to_its_end_says_why() -> None:
    timeline = Timeline(10.0)
    feed(timeline, state(10.5, "joined"))
    (waited,) = timeline.close(15.5, reason="metadata_timeout", error="metadata_timeout")
    assert (waited.name, waited.error) == (names.WAIT_FOR_METADATA, "metadata_timeout")
    (joining,) = Timeline(10.0).close(11.0, reason="operator", error=None)
    assert (joining.name, joining.error) == (names.JOIN_ROOM, UNFINISHED)


def test_a_connection_that_goes_with_the_session_is_not_waited_for() -> None:
    timeline = Timeline(10.0)
    feed(timeline, *BEGINNING, state(20.0, "ending"), provider(20.1, "disconnected", planned=False))
    over = timeline.close(21.0, reason="no_show", error=None)
    assert spans(over) == [(names.LEAVE, 20.0, 21.0)]


def test_every_name_is_one_that_is_described() -> None:
    timeline = Timeline(10.0)
    over = feed(timeline, *BEGINNING, entered(12.0, "warmup"), state(13.0, "ending"))
    over += timeline.close(14.0, reason="completed", error=None)
    assert {s.name for s in over} <= set(names.SPANS)
    assert {name for s in over for name in s.attributes} <= set(names.ATTRIBUTES)
