"""What is drawn for the fuzz fault, and how its data messages are judged."""

from types import SimpleNamespace

import pytest

from agent_actor.contract import EndReason, Provider
from fleet.bench.chaos import bad_interviews, data_messages
from fleet.bench.chaos.data_messages import CLIENTS_DONE, OPENED, SERVER_DONE, Meddled
from fleet.bench.chaos.evidence import Course
from fleet.bench.chaos.fault import Trials
from fleet.bench.progress import Progress
from fleet.bench.report import Judgement

COURSE = {
    "session_id": "s-1",
    "provider": Provider.OPENAI_REALTIME,
    "end_reason": EndReason.COMPLETED,
    "attempts": 1,
    "phases": ["core"],
    "wanted": ["core"],
    "disturbances": [],
    "waits_s": [1.0],
    "unanswered": 0,
    "money": None,
}


def trials(count):
    return Trials(count=count, seed=7, smoke=False, progress=Progress())


def meddled(*, course=(), **changes):
    values = {
        "from_clients": 60,
        "leaked": 0,
        "from_server": 30,
        "reached": 15,
        "outlasted": True,
        "kept": False,
        "course": Course(**{**COURSE, **dict(course)}),
        **changes,
    }
    return Meddled(**values)


def missed(*found):
    return [b.name for b in data_messages.bars(found) if b.judgement is Judgement.MISSED]


def packet(topic, participant=None):
    return SimpleNamespace(topic=topic, participant=participant)


@pytest.fixture(autouse=True)
def few(monkeypatch):
    """Drawing takes its time."""
    for name, count in (("BATCHES", 2), ("BATCH", 3), ("STREAMS_EACH", 4)):
        monkeypatch.setattr(bad_interviews, name, count)


def test_each_provider_has_its_interviews_and_each_of_these_its_batches_of_bad_events():
    drawn = bad_interviews.talks(trials(10))
    assert drawn == bad_interviews.talks(trials(10)), "fixed by the seed"
    assert [talk.provider for talk in drawn] == [p for p in bad_interviews.EVENTS for _ in range(2)]
    assert {talk.messages for talk in drawn} == {6}


def test_the_meter_is_fed_bad_events_and_nothing_is_wrong_with_that():
    events, wrong = bad_interviews.metered(trials(1))
    assert events >= 2 * bad_interviews.STREAMS_EACH
    assert wrong == []


def test_what_the_meter_must_not_do_is_told(monkeypatch):
    class Wire:
        def read(self, message):
            raise KeyError("usage")

    monkeypatch.setattr(bad_interviews, "new_wire", lambda provider, number: Wire())
    _, wrong = bad_interviews.metered(trials(1))
    assert len(wrong) == 2 * bad_interviews.STREAMS_EACH
    assert "KeyError" in wrong[0]


def test_data_messages_are_fixed_by_the_seed_and_small_enough_to_pass():
    drawn = data_messages.messages(20, 7)
    assert drawn == data_messages.messages(20, 7)
    assert len(drawn) == 20
    assert max(len(message.payload) for message in drawn) <= data_messages.MOST_BYTES


def test_before_the_server_begins_whatever_comes_is_a_client_s():
    came = [packet(OPENED), packet("cost"), packet(OPENED), packet(CLIENTS_DONE), packet("cost")]
    came += [packet(CLIENTS_DONE), packet("x", participant="p-2"), packet(SERVER_DONE)]
    assert data_messages.told_apart(came) == (2, 1)


def test_all_well():
    assert missed(meddled()) == []


def test_a_message_that_a_token_does_not_allow_and_that_comes_is_missed():
    assert missed(meddled(leaked=1)) == ["of these that reached anybody"]


def test_an_interview_that_takes_one_for_an_order_is_missed():
    changed = "interviews that a data message changed"
    assert missed(meddled(kept=True)) == [changed]
    assert missed(meddled(course={"attempts": 2})) == [changed]
    assert missed(meddled(course={"end_reason": EndReason.OPERATOR})) == [changed]
    assert missed(meddled(outlasted=False)) == ["interviews over before the last message"]
