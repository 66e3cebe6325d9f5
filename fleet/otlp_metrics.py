"""Prometheus' metric families as OpenTelemetry's. Pure.

The instruments are prometheus_client's, so a scrape and OTLP tell the same under the same names. An
OTLP name is without ``_total``, which Prometheus puts back when it takes OTLP in; ``_seconds``
stays, and is said as the unit too.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import TypeAlias

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Histogram,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from prometheus_client.core import Metric as Family
from prometheus_client.samples import Sample

_UNITS = {"_seconds": "s", "_usd": "{USD}"}
_CUMULATIVE = AggregationTemporality.CUMULATIVE
_SKIPPED = "_created"

_Labels: TypeAlias = tuple[tuple[str, str], ...]


def as_otlp(
    families: Iterable[Family], *, resource: Resource, scope: str, began_ns: int, now_ns: int
) -> MetricsData:
    """``began_ns``: since when the process counts. Families of other kinds than counters, gauges
    and histograms are left out."""
    metrics = [m for f in families if (m := _metric(f, began_ns, now_ns)) is not None]
    scoped = ScopeMetrics(scope=InstrumentationScope(scope), metrics=metrics, schema_url="")
    told = ResourceMetrics(resource=resource, scope_metrics=[scoped], schema_url="")
    return MetricsData(resource_metrics=[told])


def _metric(family: Family, began_ns: int, now_ns: int) -> Metric | None:
    samples = [s for s in family.samples if not s.name.endswith(_SKIPPED)]
    data: Sum | Gauge | Histogram
    match family.type:
        case "counter":
            points = _numbers(samples, began_ns, now_ns)
            data = Sum(points, _CUMULATIVE, is_monotonic=True)
        case "gauge":
            data = Gauge(_numbers(samples, began_ns, now_ns))
        case "histogram":
            data = Histogram(_histograms(samples, began_ns, now_ns), _CUMULATIVE)
        case _:
            return None
    units = [unit for ending, unit in _UNITS.items() if family.name.endswith(ending)]
    return Metric(
        name=family.name, description=family.documentation, unit="".join(units), data=data
    )


def _numbers(samples: Iterable[Sample], began_ns: int, now_ns: int) -> list[NumberDataPoint]:
    return [NumberDataPoint(dict(s.labels), began_ns, now_ns, float(s.value)) for s in samples]


def _histograms(samples: Iterable[Sample], began_ns: int, now_ns: int) -> list[HistogramDataPoint]:
    buckets: dict[_Labels, list[tuple[float, float]]] = defaultdict(list)
    sums: dict[_Labels, float] = {}
    for sample in samples:
        labels = {name: value for name, value in sample.labels.items() if name != "le"}
        key = tuple(sorted(labels.items()))
        if sample.name.endswith("_bucket"):
            buckets[key].append((float(sample.labels["le"]), sample.value))
        elif sample.name.endswith("_sum"):
            sums[key] = sample.value
    return [
        _histogram(key, sorted(found), sums.get(key, 0.0), began_ns, now_ns)
        for key, found in buckets.items()
    ]


def _histogram(
    labels: _Labels,
    buckets: Sequence[tuple[float, float]],
    total: float,
    began_ns: int,
    now_ns: int,
) -> HistogramDataPoint:
    """``buckets``: upper bounds, the last infinite, each with how many were not above it."""
    counts = [int(count) for _, count in buckets]
    return HistogramDataPoint(
        attributes=dict(labels),
        start_time_unix_nano=began_ns,
        time_unix_nano=now_ns,
        count=counts[-1],
        sum=total,
        bucket_counts=[n - before for n, before in zip(counts, [0, *counts], strict=False)],
        explicit_bounds=[bound for bound, _ in buckets[:-1]],
        # Nobody has kept them; the exporter leaves them out.
        min=None,  # type: ignore[arg-type]
        max=None,  # type: ignore[arg-type]
    )
