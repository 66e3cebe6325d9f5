from __future__ import annotations

from typing import Any

from opentelemetry.exporter.otlp.proto.common.metrics_encoder import encode_metrics
from opentelemetry.sdk.metrics.export import Gauge, Histogram, MetricsData, Sum
from opentelemetry.sdk.resources import Resource
from prometheus_client import CollectorRegistry, Info

from fleet.metrics import SPECS, Metrics
from fleet.otlp_metrics import as_otlp


def told(registry: CollectorRegistry) -> MetricsData:
    resource = Resource({"service.name": "supervisor"})
    return as_otlp(registry.collect(), resource=resource, scope="t", began_ns=1, now_ns=2)


def by_name(registry: CollectorRegistry) -> dict[str, Any]:
    (resource_metrics,) = told(registry).resource_metrics
    (scope_metrics,) = resource_metrics.scope_metrics
    return {metric.name: metric for metric in scope_metrics.metrics}


def test_a_counter_is_a_sum_without_its_ending() -> None:
    metrics = Metrics()
    metrics.counter("fleet_dispatch_retries_total", cause="metadata_timeout").inc(3)
    metric = by_name(metrics.registry)["fleet_dispatch_retries"]
    assert isinstance(metric.data, Sum)
    assert metric.data.is_monotonic
    (point,) = metric.data.data_points
    assert (point.attributes, point.value) == ({"cause": "metadata_timeout"}, 3)
    assert (point.start_time_unix_nano, point.time_unix_nano) == (1, 2)


def test_a_gauge_stays_one() -> None:
    metrics = Metrics()
    metrics.gauge("fleet_nodes", which="up").set(4)
    metric = by_name(metrics.registry)["fleet_nodes"]
    assert isinstance(metric.data, Gauge)
    assert [p.value for p in metric.data.data_points] == [4]


def test_a_histograms_buckets_are_counted_each_for_itself() -> None:
    metrics = Metrics()
    for seconds in (0.01, 0.09, 0.09, 60.0):
        metrics.histogram("fleet_metadata_wait_seconds").observe(seconds)
    metric = by_name(metrics.registry)["fleet_metadata_wait_seconds"]
    assert isinstance(metric.data, Histogram)
    assert metric.unit == "s"
    (point,) = metric.data.data_points
    assert point.explicit_bounds == [0.01, 0.05, 0.08, 0.15, 0.32, 0.48, 1.0, 2.0, 5.0]
    assert point.bucket_counts == [1, 0, 0, 2, 0, 0, 0, 0, 0, 1]
    assert (point.count, round(point.sum, 2)) == (4, 60.19)


def test_money_says_its_unit() -> None:
    metrics = Metrics()
    metrics.account_closed(spent_micro_usd=1_500_000, limit_micro_usd=1_000_000)
    metric = by_name(metrics.registry)["fleet_overspend_usd"]
    assert metric.unit == "{USD}"
    assert [p.value for p in metric.data.data_points] == [0.5]


def test_everything_that_is_scraped_is_sent_and_can_be_encoded() -> None:
    metrics = Metrics()
    metrics.histogram("fleet_first_audio_seconds", provider="gemini_live").observe(1)
    encoded = encode_metrics(told(metrics.registry))
    (resource_metrics,) = encoded.resource_metrics
    sent = {metric.name for metric in resource_metrics.scope_metrics[0].metrics}
    assert sent == {spec.name.removesuffix("_total") for spec in SPECS}
    text = str(encoded)
    assert "supervisor" in text
    assert "min" not in {line.split(":")[0].strip() for line in text.splitlines()}


def test_kinds_that_it_does_not_know_are_left_out() -> None:
    registry = CollectorRegistry()
    Info("fleet_build", "What runs.", registry=registry).info({"version": "1"})
    assert by_name(registry) == {}
