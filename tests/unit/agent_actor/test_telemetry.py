from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.trace import StatusCode

from agent_actor import span_names
from agent_actor.errors import ProviderRefused
from agent_actor.telemetry import NO_TRACER, Tracer, is_on, open_tracer, trace_id_of
from tests.unit.spans import CALLERS_SPAN, CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said

KEY = "sk-abcdefgh12345678"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


@pytest.mark.parametrize(
    ("environment", "on"),
    [
        ({}, False),
        (ENDPOINT, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318/v1/metrics"}, False),
        ({"FLEET_TELEMETRY": "on"}, True),
        ({**ENDPOINT, "FLEET_TELEMETRY": "off"}, False),
        ({**ENDPOINT, "OTEL_SDK_DISABLED": "true"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "none"}, False),
        ({**ENDPOINT, "OTEL_TRACES_EXPORTER": "otlp"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, True),
        ({**ENDPOINT, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, False),
    ],
)
def test_it_is_off_unless_it_is_switched_on(environment: dict[str, str], on: bool) -> None:
    assert is_on("TRACES", environment) is on


def test_off_nothing_is_carried_and_no_thread_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    monkeypatch.delenv("FLEET_TELEMETRY", raising=False)
    before = threading.active_count()
    tracer = open_tracer("session-actor")
    span = tracer.start("dispatch", parent=CALLERS_TRACEPARENT)
    with span.step("room"):
        pass
    span.end()
    assert tracer is NO_TRACER
    assert span.traceparent is None
    assert threading.active_count() == before


def test_a_variable_that_cannot_be_read_is_no_interviews_trouble(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("FLEET_TELEMETRY", "on")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "-1")
    assert open_tracer("session-actor") is NO_TRACER


def test_the_callers_trace_goes_on() -> None:
    spans = Spans()
    span = spans.tracer.start("dispatch", parent=CALLERS_TRACEPARENT)
    with span.step("room"):
        pass
    span.end()
    assert spans.traces() == {CALLERS_TRACE}
    assert spans.edges() == {("room", "dispatch"), ("dispatch", None)}
    parent = spans.named("dispatch").parent
    assert parent is not None
    assert f"{parent.span_id:016x}" == CALLERS_SPAN
    assert trace_id_of(span.traceparent) == CALLERS_TRACE


@pytest.mark.parametrize(
    "bad",
    ["", "nonsense", f"00-{'0' * 32}-{CALLERS_SPAN}-01", "ff" + CALLERS_TRACEPARENT[2:]],
)
def test_a_traceparent_that_is_none_begins_a_trace_of_its_own(bad: str) -> None:
    spans = Spans()
    spans.tracer.start("dispatch", parent=bad).end()
    assert spans.named("dispatch").parent is None
    assert spans.traces() != {CALLERS_TRACE}


def test_what_the_caller_does_not_sample_is_not_sent_and_still_carried() -> None:
    spans = Spans()
    span = spans.tracer.start("dispatch", parent=CALLERS_TRACEPARENT[:-1] + "0")
    span.end()
    assert spans.over == []
    assert span.traceparent is not None
    assert span.traceparent.endswith("-00")
    assert trace_id_of(span.traceparent) == CALLERS_TRACE


def test_the_frameworks_spans_are_not_ours() -> None:
    """Theirs hold instructions and transcripts: no global provider is set, none is followed."""
    spans = Spans()
    with trace.get_tracer("livekit-agents").start_as_current_span("llm_node"):
        spans.tracer.start("dispatch").end()
    assert spans.names == ["dispatch"]
    assert spans.named("dispatch").parent is None


def test_only_known_attributes_get_out_and_no_key_in_them() -> None:
    spans = Spans()
    attributes: dict[str, Any] = {
        span_names.SESSION_ID: "s-1",
        "instructions": "Ask about parks.",
        "text": "I like parks.",
        span_names.CAUSE: f"refused {KEY}",
        span_names.GEN_AI_FINISH_REASONS: (f"token={KEY}",),
        span_names.PHASE_ID: "x" * 1000,
    }
    span = spans.tracer.start("attempt", attributes=attributes)
    span.note(attributes)
    span.end()
    told = said(spans.named("attempt"))
    assert set(told) <= set(span_names.ATTRIBUTES)
    assert KEY not in str(told)
    assert len(told[span_names.PHASE_ID]) == 200


def test_a_failure_is_told_by_its_code_and_not_by_its_words() -> None:
    spans = Spans()
    span = spans.tracer.start("dispatch")
    with pytest.raises(ProviderRefused), span.guard(), span.step("join"):
        raise ProviderRefused(f"refused: 'I like parks', key {KEY}")
    span.end()
    for name in ("join", "dispatch"):
        failed = spans.named(name)
        assert said(failed) == {span_names.ERROR_TYPE: ProviderRefused.code}
        assert failed.status.status_code is StatusCode.ERROR
        assert not failed.status.description
        assert not failed.events


def test_a_span_that_is_over_has_its_own_times() -> None:
    spans = Spans()
    spans.tracer.write(
        "phase", parent=CALLERS_TRACEPARENT, began_at=10.0, ended_at=12.5, attributes={}
    )
    span = spans.named("phase")
    assert (span.start_time, span.end_time) == (10_000_000_000, 12_500_000_000)


async def test_who_waits_for_a_collector_that_hangs_goes_on_in_time() -> None:
    class Hanging:
        lost = 0

        def __init__(self) -> None:
            self.released = threading.Event()
            self.over = threading.Event()

        def force_flush(self) -> None:
            self.released.wait(10)
            self.over.set()

        def shutdown(self) -> None:
            self.force_flush()

    sender = Hanging()
    tracer = Tracer(None, sender)
    async with asyncio.timeout(5):
        await tracer.flush(0.01)
        await tracer.aclose(0.01)
    assert not sender.over.is_set()
    sender.released.set()
    assert sender.over.wait(5)
