from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import agent as proto

from fleet.bridge import protocol, wire
from fleet.bridge.protocol import (
    Answer,
    JobOffer,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Register,
    Resumed,
    Unreadable,
)


class TestLoad:
    @given(st.integers(0, 300), st.integers(0, 200), st.booleans())
    def test_with_room_it_is_below_what_livekit_takes_for_full(self, taken, slots, draining):
        load = protocol.load_of(taken=taken, slots=slots, draining=draining, jobs=1)
        assert 0 <= load.load < 0.7
        assert load.full is (draining or taken >= slots)


class TestPause:
    @given(st.integers(0, 10_000), st.floats(0, 1))
    def test_bounded(self, failures, roll):
        assert 0.25 <= protocol.pause_s(failures, roll) <= 3


class TestWire:
    @given(st.binary(max_size=200))
    def test_garbage_is_never_an_error(self, data):
        wire.decode(data)

    def test_an_offer(self):
        message = proto.ServerMessage()
        job = message.availability.job
        job.id, job.dispatch_id, job.metadata = "J", "D", "{}"
        job.room.name, job.room.sid, job.room.metadata = "r", "S", "theirs"
        job.participant.identity = "p-7"
        assert wire.decode(message.SerializeToString()) == Offered(
            job=JobOffer(
                job_id="J",
                dispatch_id="D",
                room="r",
                room_sid="S",
                room_metadata="theirs",
                metadata="{}",
                participant_identity="p-7",
            )
        )

    def test_messages_without_a_job_are_of_no_use(self):
        empty = proto.ServerMessage(termination=proto.JobTermination())
        assert isinstance(wire.decode(empty.SerializeToString()), Unreadable)
        assert isinstance(wire.decode(b""), Unreadable)

    def test_what_a_worker_says(self):
        def said(message):
            read = proto.WorkerMessage()
            read.ParseFromString(wire.encode(message))
            return read

        assert said(Register(agent_name="a", version="1")).register.allowed_permissions.agent
        answer = said(Answer(job_id="J", available=True, identity="i")).availability
        assert (answer.available, answer.participant_identity) == (True, "i")
        assert not said(Answer(job_id="J", available=False)).availability.available
        full = said(Load(full=True, load=0.6, jobs=2)).update_worker
        assert (full.status, full.job_count) == (proto.WorkerStatus.WS_FULL, 2)
        failed = said(JobUpdate(job_id="J", status=JobStatus.FAILED, error="why")).update_job
        assert (failed.status, failed.error) == (proto.JobStatus.JS_FAILED, "why")
        assert list(said(Resumed(job_ids=("J",))).migrate_job.job_ids) == ["J"]
