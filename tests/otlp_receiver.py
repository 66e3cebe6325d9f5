"""A collector of traces and metrics on loopback: real OTLP over HTTP, kept for tests to look at."""

from __future__ import annotations

import gzip
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest


@dataclass(frozen=True, kw_only=True)
class Sent:
    """A span as it came; ids are hexadecimal, times nanoseconds."""

    service: str
    name: str
    trace_id: str
    span_id: str
    parent_id: str
    began_ns: int
    ended_ns: int
    attributes: dict[str, Any]


@dataclass
class OtlpReceiver:
    """Use as a context manager. ``bodies``: everything, as it came over the wire."""

    spans: list[Sent] = field(default_factory=list)
    metrics: dict[str, set[str]] = field(default_factory=dict)
    """Service → names."""
    bodies: list[bytes] = field(default_factory=list)
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def __enter__(self) -> Self:
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers.get("Content-Encoding") == "gzip":
                    body = gzip.decompress(body)
                receiver._take(self.path, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="otlp")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """With which a process sends here, at once rather than in batches."""
        return {
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}",
            "OTEL_BSP_SCHEDULE_DELAY": "100",
            "OTEL_METRIC_EXPORT_INTERVAL": "500",
        }

    def until(self, true: Callable[[], object], within_s: float) -> None:
        """Returns when it is; raises TimeoutError."""
        deadline = time.monotonic() + within_s
        with self._changed:
            while not true():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    raise TimeoutError([span.name for span in self.spans])
                self._changed.wait(left_s)

    def named(self, name: str) -> list[Sent]:
        return [span for span in self.spans if span.name == name]

    def edges(self, of: Callable[[Sent], bool] = lambda span: True) -> set[tuple[str, str | None]]:
        """Each span's name with its parent's; None where that did not come."""
        by_id = {span.span_id: span.name for span in self.spans}
        return {(span.name, by_id.get(span.parent_id)) for span in self.spans if of(span)}

    def _take(self, path: str, body: bytes) -> None:
        with self._changed:
            self.bodies.append(body)
            if path == "/v1/traces":
                self.spans += _spans(ExportTraceServiceRequest.FromString(body))
            else:
                self._take_metrics(ExportMetricsServiceRequest.FromString(body))
            self._changed.notify_all()

    def _take_metrics(self, request: ExportMetricsServiceRequest) -> None:
        for told in request.resource_metrics:
            names = {metric.name for scope in told.scope_metrics for metric in scope.metrics}
            service = _attributes(told.resource.attributes)["service.name"]
            self.metrics.setdefault(service, set()).update(names)


def _spans(request: ExportTraceServiceRequest) -> list[Sent]:
    return [
        Sent(
            service=_attributes(told.resource.attributes)["service.name"],
            name=span.name,
            trace_id=span.trace_id.hex(),
            span_id=span.span_id.hex(),
            parent_id=span.parent_span_id.hex(),
            began_ns=span.start_time_unix_nano,
            ended_ns=span.end_time_unix_nano,
            attributes=_attributes(span.attributes),
        )
        for told in request.resource_spans
        for scope in told.scope_spans
        for span in scope.spans
    ]


def _attributes(pairs: Any) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return tuple(_value(each) for each in value.array_value.values)
    return getattr(value, kind)
