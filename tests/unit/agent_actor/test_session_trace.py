from __future__ import annotations

from dataclasses import replace

from opentelemetry.trace import SpanKind, StatusCode

from agent_actor import span_names as names
from agent_actor.answers import Answer
from agent_actor.contract import Provider, SessionId
from agent_actor.journal import EventKind
from agent_actor.messages import Allowance, Assignment, TokenCounts
from agent_actor.session_trace import SessionTrace
from tests.unit.spans import CALLERS_SPAN, CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said

SESSION = SessionId("s-1")
ASSIGNMENT = Assignment(
    session_id=SESSION,
    attempt=2,
    livekit_url="ws://x",
    room="r",
    token="t0ken-that-nobody-may-see",
    agent_identity="agent",
    allowance=Allowance(session_id=SESSION, up_to_micro_usd=1, limit_micro_usd=1, expires_at=100.0),
    assigned_at=0.0,
    traceparent=CALLERS_TRACEPARENT,
    metadata='{"instructions": "Ask about their secret garden."}',
)
ANSWER = Answer(
    id="resp-1",
    began_at=20.0,
    ended_at=22.0,
    status="cancelled",
    tokens=TokenCounts(input_text=100, input_audio=50, cached_text=80, output_audio=40),
    spent_pico_usd=2_000_001,
    priced=True,
    first_audio_s=0.43219,
    silence_s=0.61,
)


def traced(spans: Spans) -> SessionTrace:
    return SessionTrace(spans.tracer, ASSIGNMENT, now=iter(range(10, 100)).__next__)


def test_a_response_is_told_by_the_semantic_conventions() -> None:
    spans = Spans()
    trace = traced(spans)
    entered = {"change": "entered", "phase_id": "core", "index": 1, "cause": "advanced"}
    trace.saw(EventKind.PHASE, entered)
    trace.answered(ANSWER, Provider.OPENAI_REALTIME, "gpt-realtime")
    span = spans.named("chat gpt-realtime")
    assert span.kind is SpanKind.CLIENT
    assert span.status.status_code is StatusCode.UNSET
    assert said(span) == {
        names.SESSION_ID: "s-1",
        names.ATTEMPT_NUMBER: 2,
        names.PHASE_ID: "core",
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-realtime",
        "gen_ai.output.type": "speech",
        "gen_ai.conversation.id": "s-1",
        "gen_ai.response.id": "resp-1",
        "gen_ai.response.finish_reasons": ("cancelled",),
        "gen_ai.response.time_to_first_chunk": 0.4322,
        "gen_ai.usage.input_tokens": 150,
        "gen_ai.usage.cache_read.input_tokens": 80,
        "gen_ai.usage.output_tokens": 40,
        names.COST_MICRO_USD: 3,
        names.PRICED: True,
        names.RESPONSE_CANCELLED: True,
        names.TURN_SILENCE_S: 0.61,
    }


def test_a_response_that_failed_and_said_nothing() -> None:
    spans = Spans()
    lost = replace(ANSWER, status="lost", first_audio_s=None, silence_s=None, priced=False)
    traced(spans).answered(lost, Provider.GEMINI_LIVE, "gemini-live")
    span = spans.named("generate_content gemini-live")
    assert span.status.status_code is StatusCode.ERROR
    told = said(span)
    assert told[names.ERROR_TYPE] == "lost"
    assert told["gen_ai.provider.name"] == "gcp.gemini"
    assert names.TURN_SILENCE_S not in told


def test_all_of_it_is_a_part_of_the_attempt() -> None:
    spans = Spans()
    trace = traced(spans)
    trace.saw(EventKind.STATE, {"state": "joined"})
    trace.answered(ANSWER, Provider.OPENAI_REALTIME, "m")
    trace.close(reason="completed", error=None)
    assert spans.traces() == {CALLERS_TRACE}
    assert {s.parent and f"{s.parent.span_id:016x}" for s in spans.over} == {CALLERS_SPAN}
    assert {said(s)[names.SESSION_ID] for s in spans.over} == {"s-1"}


def test_nobodys_words_get_out() -> None:
    spans = Spans()
    trace = traced(spans)
    words = "I hide it behind the shed."
    trace.saw(EventKind.TURN, {"speaker": "participant", "text": words, "interrupted": False})
    trace.saw(EventKind.NOTE, {"text": words})
    trace.saw(EventKind.METADATA, {"wait_s": 0.1, "problems": [words]})
    trace.saw(EventKind.PARTICIPANT, {"change": "joined", "identity": "jane.doe"})
    entered = {"change": "entered", "phase_id": "core", "index": 0, "cause": "started"}
    trace.saw(EventKind.PHASE, {**entered, "name": words})
    trace.saw(EventKind.TOOL, {"name": "end_interview", "outcome": words})
    trace.close(reason="completed", error=None)
    told = " ".join(span.to_json() for span in spans.over)
    for secret in (words, "jane.doe", "secret garden", ASSIGNMENT.token):
        assert secret not in told
