"""The measures of a conversation told to the narrator step by step."""

from __future__ import annotations

import json

import pytest

from loadtest.participants.listening import AudioReport, SpurtBegan, SpurtEnded
from loadtest.participants.moves import (
    AgentEnded,
    AgentStarted,
    SpokenOver,
    TurnBegan,
    TurnEnded,
    TurnKind,
)
from loadtest.participants.narrator import Narrator
from loadtest.participants.report import (
    EventName,
    Outcome,
    ParticipantEvent,
    ParticipantSummary,
    UplinkReport,
)
from loadtest.participants.tally import Overlap, Spurt


class Told(Narrator):
    def __init__(self) -> None:
        self.events: list[ParticipantEvent] = []
        super().__init__(self.events.append)

    def agent(self, began_s: float, ended_s: float) -> None:
        self.heard(SpurtBegan(at_s=began_s))
        self.heard(SpurtEnded(began_s=began_s, ended_s=ended_s))

    def own(self, kind: TurnKind, number: int, began_s: float, ended_s: float) -> None:
        over = self.agent_audible
        self.turn(TurnBegan(kind=kind, number=number, over_agent=over), began_s)
        self.turn(TurnEnded(kind=kind, number=number), ended_s)

    def names(self) -> list[EventName]:
        return [event.name for event in self.events]


@pytest.fixture
def told() -> Told:
    return Told()


def test_response_is_from_own_end_to_first_audible_sample(told: Told) -> None:
    told.agent(1.0, 3.0)
    told.own(TurnKind.ANSWER, 1, 4.0, 6.0)
    told.agent(6.8, 9.0)
    (response,) = told.tally.responses
    assert (response.kind, response.number) == (TurnKind.ANSWER, 1)
    assert response.response_s == pytest.approx(0.8)
    assert told.events[-2].detail["response_s"] == pytest.approx(0.8)
    assert told.tally.first_audio_s == 1.0
    assert told.tally.spurts[0] == Spurt(utterance=1, began_s=1.0, ended_s=3.0)


def test_unasked_speech_of_the_agent_is_no_response(told: Told) -> None:
    told.own(TurnKind.ANSWER, 1, 4.0, 6.0)
    told.agent(7.0, 8.0)
    told.agent(9.0, 10.0)
    assert len(told.tally.responses) == 1


def test_a_new_turn_forgets_the_one_that_got_no_response(told: Told) -> None:
    told.own(TurnKind.ANSWER, 1, 1.0, 2.0)
    told.own(TurnKind.ANSWER, 2, 10.0, 12.0)
    told.agent(13.0, 14.0)
    (response,) = told.tally.responses
    assert (response.number, response.response_s) == (2, 1.0)


def test_turn_that_ends_under_the_agents_speech_has_no_response_time(told: Told) -> None:
    told.heard(SpurtBegan(at_s=1.0))
    told.own(TurnKind.BARGE_IN, 1, 2.0, 3.0)
    told.heard(SpurtEnded(began_s=1.0, ended_s=4.0))
    told.agent(5.0, 6.0)
    assert told.tally.responses == []


def test_interruption_is_timed_from_the_barge_in_to_the_last_audible_sample(told: Told) -> None:
    told.heard(SpurtBegan(at_s=1.0))
    told.turn(TurnBegan(kind=TurnKind.BARGE_IN, number=1, over_agent=True), 2.0)
    told.heard(SpurtEnded(began_s=1.0, ended_s=2.35))
    (cut,) = told.tally.cuts
    assert (cut.number, cut.utterance, cut.began_s) == (1, 1, 2.0)
    assert cut.stopped_after_s == pytest.approx(0.35)
    assert told.names()[-1] is EventName.INTERRUPTED


def test_agent_that_never_stopped_leaves_the_interruption_open(told: Told) -> None:
    told.heard(SpurtBegan(at_s=1.0))
    told.own(TurnKind.BARGE_IN, 1, 2.0, 3.0)
    assert [cut.stopped_after_s for cut in told.tally.cuts] == [None]


def test_interruption_belongs_to_its_utterance_only(told: Told) -> None:
    told.heard(SpurtBegan(at_s=1.0))
    told.turn(TurnBegan(kind=TurnKind.BARGE_IN, number=1, over_agent=True), 2.0)
    told.heard(SpurtEnded(began_s=1.0, ended_s=2.5))
    told.agent(5.0, 9.0)
    assert told.names().count(EventName.INTERRUPTED) == 1
    assert told.tally.cuts[0].stopped_after_s == pytest.approx(0.5)


def test_spoken_over_is_kept_with_its_circumstances(told: Told) -> None:
    told.turn(SpokenOver(answer=2, into_answer_s=3.5, in_pause=True), 12.0)
    assert told.tally.overlaps == [Overlap(answer=2, at_s=12.0, into_answer_s=3.5, in_pause=True)]


def test_overlapping_tracks_are_one_voice(told: Told) -> None:
    assert told.heard(SpurtBegan(at_s=1.0)) == AgentStarted()
    assert told.heard(SpurtBegan(at_s=2.0)) is None
    assert told.heard(SpurtEnded(began_s=1.0, ended_s=3.0)) is None
    assert told.agent_audible
    assert told.heard(SpurtEnded(began_s=2.0, ended_s=4.0)) == AgentEnded()
    assert told.tally.spurts == [Spurt(utterance=1, began_s=1.0, ended_s=4.0)]


def test_second_join_is_a_rejoin(told: Told) -> None:
    told.joined(connect_s=0.2, at_s=1.0)
    told.joined(connect_s=0.3, at_s=9.0)
    assert told.names() == [EventName.JOINED, EventName.REJOINED]
    assert told.tally.connect_s == [0.2, 0.3]


def test_received_is_counted_by_kind_and_topic(told: Told) -> None:
    told.received("data", "control")
    told.received("data", "control")
    told.attributes_changed({"state": "a"})
    told.attributes_changed({"state": "b"})
    assert told.tally.received == {("data", "control"): 2, ("attribute", "state"): 2}
    assert told.tally.attributes == {"state": "b"}


def summary(told: Told, **more: object) -> ParticipantSummary:
    values: dict[str, object] = {
        "script": "cooperative",
        "outcome": Outcome.ROOM_ENDED,
        "disconnect_reason": "room_deleted",
        "t0_epoch_s": None,
        "start_since_t0_s": None,
        "duration_s": 12.345678,
        "tally": told.tally,
        "heard": AudioReport(),
        "sent": UplinkReport(),
    }
    return ParticipantSummary(**{**values, **more})  # type: ignore[arg-type]


def test_times_since_t0_add_what_passed_before_the_start(told: Told) -> None:
    told.joined(connect_s=0.2, at_s=1.0)
    told.agent(2.0, 3.0)
    counted = summary(told, t0_epoch_s=100.0, start_since_t0_s=5.0)
    assert counted.joined_since_t0_s == 6.0
    assert counted.first_audio_since_t0_s == 7.0
    assert summary(told).first_audio_since_t0_s is None


def test_summary_is_plain_json(told: Told) -> None:
    told.agent(1.0, 3.0)
    told.own(TurnKind.ANSWER, 1, 4.0, 6.0)
    told.agent(6.8, 9.0)
    told.received("text", "lk.chat")
    content = json.loads(json.dumps(summary(told).as_json(), allow_nan=False))
    assert content["responses"] == [{"kind": "answer", "number": 1, "response_s": 0.8}]
    assert content["received"] == {"text": {"lk.chat": 1}}
    assert content["duration_s"] == 12.3457
    assert content["spoken_over"] == 0


def test_uplink_reports_add_up() -> None:
    one = UplinkReport(frames=1, speech_s=0.5, skipped_s=0.25)
    assert one + one == UplinkReport(frames=2, speech_s=1.0, skipped_s=0.5)
