"""From ended spans to an OTLP collector, in a thread of its own: what knows OpenTelemetry's SDK.

The SDK's batches drop the oldest span of a full queue without counting it. So a gate stands before
them that lets in no more than they hold, and counts what it turns away.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import metadata

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.trace import Tracer

SERVICE = "interview-fleet"

OnLost = Callable[[int], None]


def open_queue(component: str, on_lost: OnLost | None = None) -> tuple[Tracer, SpanQueue]:
    """What makes spans, and what sends them. Sampling, batches, endpoint and headers go by the
    standard's variables. Raises ValueError for those that cannot be read."""
    queue = SpanQueue(OTLPSpanExporter(), on_lost)
    return tracer_into(queue, resource_for(component)), queue


def tracer_into(queue: SpanProcessor, resource: Resource | None = None) -> Tracer:
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(queue)
    return provider.get_tracer(SERVICE)


def resource_for(component: str) -> Resource:
    """Who sends. OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES go before what is said here."""
    said = {"service.name": component, "service.namespace": SERVICE}
    # Where the code is on the path and not installed, nobody knows its version.
    with suppress(metadata.PackageNotFoundError):
        said["service.version"] = metadata.version(SERVICE)
    ours = Resource(said)
    return Resource.create(ours.merge(OTELResourceDetector().detect()).attributes)


class SpanQueue(SpanProcessor):
    """``on_end`` returns at once. ``on_lost`` is told of spans that found no place, by whoever
    ended them, and of those that no collector took, by the sending thread."""

    def __init__(self, exporter: SpanExporter, on_lost: OnLost | None = None) -> None:
        self._capacity = _number("OTEL_BSP_MAX_QUEUE_SIZE", 2048)
        batch = min(_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 512), self._capacity)
        self._lock = threading.Lock()
        self._on_lost = on_lost
        self._waiting = 0
        self._lost = 0
        self._batches = BatchSpanProcessor(
            _Told(exporter, self._leave, self._lose),
            max_queue_size=self._capacity,
            max_export_batch_size=batch,
        )

    @property
    def lost(self) -> int:
        return self._lost

    def on_end(self, span: ReadableSpan) -> None:
        if not (span.context and span.context.trace_flags.sampled):
            return
        if self._enter():
            self._batches.on_end(span)
        else:
            self._lose(1)

    def shutdown(self) -> None:
        self._batches.shutdown()  # type: ignore[no-untyped-call]

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        return self._batches.force_flush(timeout_millis)

    def _enter(self) -> bool:
        with self._lock:
            if self._waiting >= self._capacity:
                return False
            self._waiting += 1
            return True

    def _leave(self, count: int) -> None:
        with self._lock:
            self._waiting -= count

    def _lose(self, count: int) -> None:
        with self._lock:
            self._lost += count
        if self._on_lost is not None:
            self._on_lost(count)


class _Told(SpanExporter):
    """An exporter that tells what is taken out of the queue, and what of it is lost."""

    def __init__(
        self,
        exporter: SpanExporter,
        taken: Callable[[int], None],
        lost: Callable[[int], None],
    ) -> None:
        self._exporter = exporter
        self._taken = taken
        self._lost = lost

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self._taken(len(spans))
        result = SpanExportResult.FAILURE
        try:
            result = self._exporter.export(spans)
        finally:
            if result is not SpanExportResult.SUCCESS:
                self._lost(len(spans))
        return result

    def shutdown(self) -> None:
        self._exporter.shutdown()


def _number(variable: str, default: int) -> int:
    said = os.environ.get(variable, "")
    return int(said) if said.isdigit() and int(said) > 0 else default
