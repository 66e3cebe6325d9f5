from __future__ import annotations

import pytest
from opentelemetry.trace import StatusCode

from agent_actor import span_names as names
from agent_actor.contract import ActorId, EndReason, SessionId, StudyId
from fleet.attempts import AttemptEnd, Next
from fleet.errors import FleetFull
from fleet.parts import StartRequest
from fleet.run_trace import RunTrace
from tests.unit.spans import CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said

REQUEST = StartRequest(
    session_id=SessionId("s-1"),
    study_id=StudyId("study-7"),
    provider="openai_realtime",
    room="interview-s-1",
    allowance=None,
    limit_micro_usd=10,
    session_timeout_s=60,
    traceparent=CALLERS_TRACEPARENT,
)
LOST = AttemptEnd(
    end_reason=EndReason.ACTOR_LOST, joined=True, error_code="actor_lost", error="node died"
)


def test_an_attempt_and_its_recovery_are_parts_of_one_trace() -> None:
    spans = Spans()
    trace = RunTrace(spans.tracer, REQUEST)
    trace.begin()
    trace.assigned(ActorId("a-1"), 1)
    first = trace.traceparent
    trace.joined()
    trace.begin_another(Next.RECOVER, LOST)
    trace.assigned(ActorId("a-2"), 2)
    second = trace.traceparent
    trace.joined()
    with trace.ending(AttemptEnd(end_reason=EndReason.COMPLETED, joined=True), 2) as span:
        span.note({names.SPENT_MICRO_USD: 42})
    assert spans.traces() == {CALLERS_TRACE}
    assert first != second
    assert spans.names == [names.ATTEMPT, names.RECOVER, names.END]
    assert said(spans.named(names.RECOVER)) == {
        names.SESSION_ID: "s-1",
        names.STUDY_ID: "study-7",
        names.CAUSE: "node_lost",
        names.ACTOR_ID: "a-2",
        names.ATTEMPT_NUMBER: 2,
    }
    ended = said(spans.named(names.END))
    assert (ended[names.END_REASON], ended[names.SPENT_MICRO_USD]) == ("completed", 42)


@pytest.mark.parametrize(("step", "name"), [(Next.RETRY, names.ATTEMPT), (Next.MOVE, names.MOVE)])
def test_another_attempt_is_called_for_what_it_is(step: Next, name: str) -> None:
    spans = Spans()
    trace = RunTrace(spans.tracer, REQUEST)
    trace.begin_another(step, LOST)
    trace.joined()
    assert spans.names == [name]


def test_an_attempt_that_found_no_actor_and_one_that_did_not_join() -> None:
    spans = Spans()
    trace = RunTrace(spans.tracer, REQUEST)
    trace.begin()
    trace.failed("join_timeout")
    trace.begin_another(Next.RETRY, LOST)
    with pytest.raises(FleetFull), trace.guard():
        raise FleetFull(retry_after_s=1.0)
    assert [said(s)[names.ERROR_TYPE] for s in spans.over] == ["join_timeout", "fleet_full"]
    assert {s.status.status_code for s in spans.over} == {StatusCode.ERROR}


def test_what_ends_after_it_joined_is_not_the_attempts_failure() -> None:
    spans = Spans()
    trace = RunTrace(spans.tracer, REQUEST)
    trace.begin()
    trace.joined()
    trace.failed("actor_lost")
    assert names.ERROR_TYPE not in said(spans.named(names.ATTEMPT))
