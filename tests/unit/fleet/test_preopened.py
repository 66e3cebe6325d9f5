from agent_actor.contract import ActorId, EndReason
from agent_actor.messages import Pulse
from fleet.metrics import Metrics
from fleet.preopened import PulseTally, count_result, counted, wasted
from tests.unit.fleet.control_fakes import result_of

A = ActorId("a")


def test_each_fate_is_counted_once_however_often_it_is_heard():
    metrics = Metrics()
    tally = PulseTally(metrics)
    for _ in range(3):
        tally.pulse(A, Pulse(age_s=1, ahead_open=True, ahead={"opened": 2, "aged": 1}))
    assert tally.open == 1
    assert counted(metrics) == {"opened": 2, "aged": 1}


def test_an_actor_ended_with_an_open_one_has_wasted_it():
    metrics = Metrics()
    tally = PulseTally(metrics)
    tally.pulse(A, Pulse(age_s=1, ahead_open=True, ahead={"opened": 1}))
    tally.gone(A)
    assert counted(metrics) == {"opened": 1, "unused": 1}
    assert (tally.open, wasted(counted(metrics))) == (0, 1)


def test_what_a_session_got_is_told_by_its_result():
    metrics = Metrics()
    tally = PulseTally(metrics)
    tally.pulse(A, Pulse(age_s=1, ahead_open=True, ahead={"opened": 1}))
    tally.begun(A)
    tally.gone(A)
    used = {"opened": 1, "used": 1}
    count_result(metrics, result_of("s-1", preopened=used))
    assert wasted(counted(metrics)) == 0
    count_result(metrics, result_of("s-2", preopened=used, end_reason=EndReason.NO_SHOW))
    assert counted(metrics) == {"opened": 1, "used": 2, "no_show": 1}
    assert wasted(counted(metrics)) == 1
    count_result(metrics, result_of("s-3", preopened={"opened": 1, "misfit": 1}))
    assert wasted(counted(metrics)) == 2
