"""Metrics by OTLP, beside Prometheus and from the same instruments. Off unless it is switched on.

Each process sends what it counts itself; what is the fleet's and not a process's (``FleetGauges``)
each replica of the ingress sends, so take the highest of them, not their sum. Traces are
``agent_actor.telemetry``'s.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial

import structlog
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

from agent_actor.span_names import HTTP_METHOD, HTTP_REQUEST, HTTP_ROUTE, HTTP_STATUS
from agent_actor.telemetry import NO_TRACER, Span, Tracer, in_thread, is_on, open_tracer

# What the ingress needs of it too.
__all__ = [
    "HTTP_METHOD",
    "HTTP_REQUEST",
    "HTTP_ROUTE",
    "HTTP_STATUS",
    "NO_TRACER",
    "Span",
    "Tracer",
    "keep_sending_metrics",
    "of_registry",
    "open_tracer",
]

INTERVAL_MS = 60_000
"""Unless OTEL_METRIC_EXPORT_INTERVAL says otherwise."""
SEND_DEADLINE_S = 10.0

Look = Callable[[], Awaitable[Iterable[Metric]]]

log = structlog.get_logger(__name__)


async def keep_sending_metrics(component: str, look: Look) -> None:
    """For ever, each interval what ``look`` finds. Returns at
    once where telemetry is off. A collector that does not answer costs that interval's send and
    nothing else: what is counted is cumulative.
    """
    if not is_on("METRICS", os.environ):
        return
    # The SDK and all that sends is not imported for nothing.
    from fleet import otlp_sender

    sender = otlp_sender.OtlpSender(component)
    interval_s = _interval_s(os.environ)
    while True:
        await asyncio.sleep(interval_s)
        try:
            families = list(await look())
        except Exception as error:
            log.warning("metrics were not read", error_type=type(error).__name__)
            continue
        await in_thread(partial(sender.send, families, time.time_ns()), SEND_DEADLINE_S)


def of_registry(registry: CollectorRegistry) -> Look:
    async def look() -> Iterable[Metric]:
        return registry.collect()

    return look


def _interval_s(environment: Mapping[str, str]) -> float:
    said = environment.get("OTEL_METRIC_EXPORT_INTERVAL", "")
    return (int(said) if said.isdigit() and int(said) > 0 else INTERVAL_MS) / 1000
