from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import httpx
import pytest
from opentelemetry.trace import SpanKind, StatusCode

from agent_actor import span_names as names
from serve.app import create_app
from tests.unit.serve.conftest import client_of
from tests.unit.serve.fakes import FakeFleet
from tests.unit.spans import CALLERS_SPAN, CALLERS_TRACE, CALLERS_TRACEPARENT, Spans, said

BODY = {
    "provider": "gemini_live",
    "instructions": "Ask about their secret garden.",
    "phases": [{"id": "a", "name": "A", "duration_seconds": 60}],
}


@pytest.fixture
def spans() -> Spans:
    return Spans()


@pytest.fixture
async def traced(fleet: FakeFleet, spans: Spans) -> AsyncIterator[httpx.AsyncClient]:
    app = create_app(replace(fleet.ports(), tracer=spans.tracer), keys=["a-key-of-16-signs"])
    headers = {"Authorization": "Bearer a-key-of-16-signs"}
    async with client_of(app, headers=headers) as client:
        yield client


async def test_a_request_for_a_session_is_a_part_of_its_callers_trace(
    traced: httpx.AsyncClient, fleet: FakeFleet, spans: Spans
) -> None:
    headers = {"traceparent": CALLERS_TRACEPARENT, "Idempotency-Key": "visit-1"}
    answer = await traced.post("/v1/sessions", json=BODY, headers=headers)
    (span,) = spans.over
    assert (span.name, span.kind) == ("POST /v1/sessions", SpanKind.SERVER)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == CALLERS_SPAN
    assert said(span) == {
        names.HTTP_METHOD: "POST",
        names.HTTP_ROUTE: "/v1/sessions",
        names.HTTP_STATUS: answer.status_code,
    }
    (asked,) = fleet.starter.requests
    assert asked.traceparent is not None
    assert span.context is not None
    assert asked.traceparent == f"00-{CALLERS_TRACE}-{span.context.span_id:016x}-01"
    told = span.to_json()
    for secret in ("secret garden", "a-key-of-16-signs", "visit-1"):
        assert secret not in told


async def test_a_callers_mistake_is_not_our_failure(
    traced: httpx.AsyncClient, spans: Spans
) -> None:
    await traced.post("/v1/sessions", json={**BODY, "provider": "nobody"})
    (span,) = spans.over
    assert span.status.status_code is StatusCode.UNSET
    assert said(span)[names.HTTP_STATUS] == 422


async def test_other_requests_are_not_traced(traced: httpx.AsyncClient, spans: Spans) -> None:
    await traced.get("/v1/sessions", headers={"traceparent": CALLERS_TRACEPARENT})
    await traced.get("/metrics")
    assert spans.over == []


async def test_without_telemetry_nothing_is_handed_on(
    api: httpx.AsyncClient, fleet: FakeFleet
) -> None:
    await api.post("/v1/sessions", json=BODY, headers={"traceparent": CALLERS_TRACEPARENT})
    (asked,) = fleet.starter.requests
    assert asked.traceparent is None
