from hypothesis import given
from hypothesis import strategies as st
from livekit.protocol import agent as proto

from fleet.bridge import protocol, wire
from fleet.bridge.protocol import (
    Answer,
    Assigned,
    JobOffer,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Ping,
    Pong,
    Register,
    Registered,
    Resumed,
    Stage,
    Terminated,
    Timing,
    Unreadable,
)

OFFER = Offered(job=JobOffer(job_id="J", dispatch_id="D", room="r", room_sid="S"))
MESSAGES = st.sampled_from(
    [
        Registered(worker_id="W"),
        OFFER,
        Assigned(job_id="J"),
        Terminated(job_id="J"),
        Pong(),
        Unreadable(why="?"),
    ]
)


def open_link(now=0.0):
    link, _ = protocol.opened("interviewer", "1", now, Timing())
    return protocol.received(link, Registered(worker_id="W"), now)[0]


class TestLink:
    def test_it_registers_first(self):
        link, said = protocol.opened("interviewer", "1", 0.0, Timing())
        assert said == (Register(agent_name="interviewer", version="1"),)
        assert protocol.tick(link, 4.9)[0].stage is Stage.REGISTERING
        assert protocol.tick(link, 5.0)[0].stage is Stage.LOST

    def test_noise_does_not_put_off_the_registration(self):
        link, _ = protocol.opened("interviewer", "1", 0.0, Timing())
        link, _ = protocol.received(link, Pong(), 4.0)
        assert protocol.tick(link, 5.0)[0].stage is Stage.LOST

    def test_jobs_before_the_registration_are_a_breach(self):
        link, _ = protocol.opened("interviewer", "1", 0.0, Timing())
        link, event = protocol.received(link, OFFER, 1.0)
        assert (link.stage, event) == (Stage.LOST, None)

    def test_pings_and_is_lost_in_silence(self):
        link = open_link()
        link, said = protocol.tick(link, 10.0)
        assert said == (Ping(at=10.0),)
        link, _ = protocol.tick(link, 20.0)
        assert protocol.tick(link, 25.0)[0].stage is Stage.LOST
        heard, _ = protocol.received(link, Pong(), 21.0)
        assert protocol.tick(heard, 25.0)[0].stage is Stage.OPEN

    @given(st.lists(st.tuples(MESSAGES, st.floats(0, 30)), max_size=30))
    def test_whatever_comes_it_is_registered_once_and_never_comes_back(self, script):
        link, _ = protocol.opened("interviewer", "1", 0.0, Timing())
        now, told, lost = 0.0, [], False
        for message, later in script:
            now += later
            link, _ = protocol.tick(link, now)
            link, event = protocol.received(link, message, now)
            assert not (lost and (event or link.stage is not Stage.LOST))
            lost = link.stage is Stage.LOST
            told += [event] if event else []
            assert protocol.next_deadline(link) >= now or lost or link.stage is Stage.OPEN
        assert sum(isinstance(e, Registered) for e in told) <= 1
        assert not told or isinstance(told[0], Registered)


class TestLoad:
    @given(st.integers(0, 300), st.integers(0, 200), st.booleans())
    def test_with_room_it_is_below_what_livekit_takes_for_full(self, taken, slots, draining):
        load = protocol.load_of(taken=taken, slots=slots, draining=draining, jobs=1)
        assert 0 <= load.load < 0.7
        assert load.full is (draining or taken >= slots)


class TestPause:
    @given(st.integers(0, 10_000), st.floats(0, 1))
    def test_bounded(self, failures, roll):
        assert 0.25 <= protocol.pause_s(failures, roll) <= 15


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
        assert said(Answer(job_id="J", available=False, settled=True)).availability.terminate
        full = said(Load(full=True, load=0.6, jobs=2)).update_worker
        assert (full.status, full.job_count) == (proto.WorkerStatus.WS_FULL, 2)
        failed = said(JobUpdate(job_id="J", status=JobStatus.FAILED, error="why")).update_job
        assert (failed.status, failed.error) == (proto.JobStatus.JS_FAILED, "why")
        assert list(said(Resumed(job_ids=("J",))).migrate_job.job_ids) == ["J"]
        assert said(Ping(at=1.5)).ping.timestamp == 1500
