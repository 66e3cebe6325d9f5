"""What this ingress measures of itself, and the fleet's gauges, read when scraped.

    ingress_requests_total{method,route,status}      answered requests
    ingress_request_seconds{method,route}            until the answer's first byte
    ingress_dispatch_step_seconds{step}              steps of sessions started here
    ingress_webhooks_total{kind}                     verified LiveKit events; "rejected"
    ingress_event_streams                            open SSE streams
    ingress_spans_lost                               of traces, so far: no collector took them
    fleet_actors{state}                              warm, reserved, live, starting
    fleet_slots                                      most sessions at once
    fleet_queue                                      accepted sessions without an actor
    fleet_estimated_wait_seconds                     until one asked for now has an actor
    fleet_sessions{state}                            as the registry has them
    fleet_spent_usd, fleet_estimate_usd              the fleet's account
    fleet_scrape_failed{part}                        1 where a gauge could not be read

Counters and histograms here are this replica's; gauges are the fleet's whichever replica
answers. After them come the control actors' own metrics, fleet/metrics.py, added up.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TypeAlias

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from agent_actor.contract import SessionState
from fleet.budget.costs import BudgetTotals
from serve.ports import Crew

_Labels: TypeAlias = tuple[tuple[str, str], ...]
_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_KNOWN_WEBHOOKS = frozenset(
    {
        "room_started",
        "room_finished",
        "participant_joined",
        "participant_left",
        "participant_connection_aborted",
        "track_published",
        "track_unpublished",
        "rejected",
    }
)


class IngressMetrics:
    """One per app, in a registry of its own: two apps in a process do not mix."""

    def __init__(self, spans_lost: Callable[[], float] = lambda: 0.0) -> None:
        """``spans_lost``: how many by now, see Tracer."""
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "ingress_requests",
            "Answered requests.",
            ["method", "route", "status"],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "ingress_request_seconds",
            "Until the answer's first byte.",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._steps = Histogram(
            "ingress_dispatch_step_seconds",
            "Steps of sessions started here.",
            ["step"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._webhooks = Counter(
            "ingress_webhooks", "LiveKit events.", ["kind"], registry=self.registry
        )
        self.event_streams = Gauge(
            "ingress_event_streams", "Open event streams.", registry=self.registry
        )
        lost = Gauge(
            "ingress_spans_lost", "Spans that no collector took, so far.", registry=self.registry
        )
        lost.set_function(spans_lost)

    def answered(self, *, method: str, route: str, status: int, seconds: float) -> None:
        self._requests.labels(method=method, route=route, status=str(status)).inc()
        self._seconds.labels(method=method, route=route).observe(seconds)

    def started(self, timings_s: Mapping[str, float]) -> None:
        for step, seconds in timings_s.items():
            self._steps.labels(step=step).observe(seconds)

    def webhook(self, kind: str) -> None:
        # Labels stay bounded whatever a newer server sends.
        self._webhooks.labels(kind=kind if kind in _KNOWN_WEBHOOKS else "other").inc()

    def render(self, *collectors: Collector) -> bytes:
        """The exposition, with what ``collectors`` found for this scrape."""
        scrape = CollectorRegistry()
        for collector in collectors:
            scrape.register(collector)
        return generate_latest(self.registry) + generate_latest(scrape)


class Summed(Collector):
    """Expositions of several processes as one: what they all count is added up. Each of them
    restarts from zero by itself, which Prometheus takes for what it is.
    """

    def __init__(self, texts: Iterable[bytes]) -> None:
        self._families: dict[str, Metric] = {}
        self._sums: dict[str, dict[tuple[str, _Labels], float]] = {}
        for text in texts:
            for family in text_string_to_metric_families(text.decode()):
                self._add(family)

    def collect(self) -> list[Metric]:
        families = []
        for name, family in self._families.items():
            summed = Metric(family.name, family.documentation, family.type)
            for (sample, labels), value in self._sums[name].items():
                summed.add_sample(sample, dict(labels), value)
            families.append(summed)
        return families

    def _add(self, family: Metric) -> None:
        if family.name.endswith("_created"):
            return  # When each process began counting: no sum of these means anything.
        self._families.setdefault(family.name, family)
        sums = self._sums.setdefault(family.name, {})
        for sample in family.samples:
            key = (sample.name, tuple(sample.labels.items()))
            sums[key] = sums.get(key, 0.0) + sample.value


class FleetGauges(Collector):
    """Gauges from one look at the fleet. A part that could not be read is left out and said."""

    def __init__(
        self,
        *,
        crew: Crew | None,
        sessions: Mapping[SessionState, int] | None,
        totals: BudgetTotals | None,
    ) -> None:
        failed = {"roster": crew is None, "registry": sessions is None, "budget": totals is None}
        by_state = {state.value: n for state, n in (sessions or {}).items()}
        self._labelled: dict[str, tuple[str, str, Mapping[str, int]]] = {
            "fleet_actors": ("Session actors by state.", "state", _actors(crew)),
            "fleet_sessions": ("Sessions by state.", "state", by_state),
            "fleet_scrape_failed": ("1 where a part could not be read.", "part", failed),
        }
        self._plain: dict[str, tuple[str, float]] = {}
        if crew is not None:
            self._plain["fleet_slots"] = ("Most sessions at once.", crew.slots)
            self._plain["fleet_queue"] = ("Accepted sessions without an actor.", crew.queue)
            if crew.estimated_wait_s is not None:
                self._plain["fleet_estimated_wait_seconds"] = (
                    "Until a session asked for now has an actor.",
                    crew.estimated_wait_s,
                )
        if totals is not None:
            # Prometheus has only floats; the exact figures are GET /v1/fleet's.
            spent, estimate = totals.spent_micro_usd / 1e6, totals.estimate_micro_usd / 1e6
            self._plain["fleet_spent_usd"] = ("Spent by all sessions.", spent)
            self._plain["fleet_estimate_usd"] = ("Responses under way.", estimate)

    def collect(self) -> list[GaugeMetricFamily]:
        families = []
        for name, (text, label, values) in self._labelled.items():
            family = GaugeMetricFamily(name, text, labels=[label])
            for key, value in values.items():
                family.add_metric([key], float(value))
            families.append(family)
        for name, (text, number) in self._plain.items():
            families.append(GaugeMetricFamily(name, text, value=number))
        return families


def _actors(crew: Crew | None) -> dict[str, int]:
    if crew is None:
        return {}
    return {
        "warm": crew.warm,
        "reserved": crew.reserved,
        "live": crew.live,
        "starting": crew.starting,
    }
