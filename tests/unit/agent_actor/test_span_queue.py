from __future__ import annotations

import threading
from collections.abc import Sequence

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from agent_actor.span_queue import SpanQueue, resource_for, tracer_into
from agent_actor.telemetry import Tracer

ENOUGH_S = 5.0


class Collector(SpanExporter):
    """Takes nothing until it is ``open``, then everything, or nothing if ``broken``."""

    def __init__(self, *, broken: bool = False) -> None:
        self.open = threading.Event()
        self.asked = threading.Event()
        self.broken = broken
        self.taken: list[str] = []

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.asked.set()
        self.open.wait(ENOUGH_S)
        if self.broken:
            return SpanExportResult.FAILURE
        self.taken += [span.name for span in spans]
        return SpanExportResult.SUCCESS


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "2")
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "1")


def test_a_full_queue_holds_nobody_up_and_what_it_drops_is_counted(small: None) -> None:
    collector, lost = Collector(), []
    queue = SpanQueue(collector, lost.append)
    tracer = Tracer(tracer_into(queue, Resource.get_empty()), queue)
    tracer.start("first").end()
    assert collector.asked.wait(ENOUGH_S)
    for name in ("second", "third", "fourth", "fifth"):
        tracer.start(name).end()
    assert (tracer.lost, lost) == (2, [1, 1])
    collector.open.set()
    queue.force_flush()
    assert collector.taken == ["first", "second", "third"]
    queue.shutdown()


def test_what_no_collector_takes_is_counted(small: None) -> None:
    collector, lost = Collector(broken=True), []
    collector.open.set()
    queue = SpanQueue(collector, lost.append)
    tracer = Tracer(tracer_into(queue, Resource.get_empty()), queue)
    tracer.start("first").end()
    tracer.start("second").end()
    queue.shutdown()
    assert tracer.lost == sum(lost) == 2


def test_who_sends_says_the_environment_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=eu-1,service.namespace=ours")
    told = resource_for("supervisor").attributes
    assert told["service.name"] == "supervisor"
    assert told["service.namespace"] == "ours"
    assert told["k8s.cluster.name"] == "eu-1"
    monkeypatch.setenv("OTEL_SERVICE_NAME", "interviews")
    assert resource_for("supervisor").attributes["service.name"] == "interviews"
