"""Sends metric families to an OTLP collector, by OTEL_EXPORTER_OTLP_*. Imports OpenTelemetry's SDK,
so it is imported only where something is sent."""

from __future__ import annotations

import time
from collections.abc import Iterable

from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
from prometheus_client.core import Metric

from agent_actor.span_queue import SERVICE, resource_for
from fleet.otlp_metrics import as_otlp


class OtlpSender:
    def __init__(self, component: str) -> None:
        self._exporter = OTLPMetricExporter()
        self._resource = resource_for(component)
        self._began_ns = time.time_ns()

    def send(self, families: Iterable[Metric], now_ns: int) -> None:
        """Waits for the collector; the exporter logs what it did not take."""
        data = as_otlp(
            families,
            resource=self._resource,
            scope=SERVICE,
            began_ns=self._began_ns,
            now_ns=now_ns,
        )
        self._exporter.export(data)
