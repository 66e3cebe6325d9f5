"""The control plane's Prometheus metrics: names, labels, meaning. The ingress measures itself and
shows the fleet's gauges in ``serve.metrics``; the names there are others.

Each process has its own ``Metrics`` and exposes it with ``exposition``. Labels are from closed
sets (providers, reasons, calls), never a session or a study: those would grow for ever. A name
carries its unit; what only grows ends in ``_total``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics import MetricWrapperBase

from agent_actor.contract import EndReason, Provider
from agent_actor.messages import SessionResult
from fleet.attempts import JOIN_TIMEOUT, NODE_LOST, OUT_OF_MEMORY
from fleet.reaping import Kind
from fleet.roster_model import Why

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HANDED_OVER = "handed_over"
MICRO_PER_USD = 1_000_000
PICO_PER_USD = 1_000_000_000_000
_WARM_S = (0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_NODE_S = (10.0, 20.0, 30.0, 45.0, 60.0, 90.0, 120.0, 180.0, 300.0, 600.0)
_SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_JOIN_S = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0)
_METADATA_S = (0.01, 0.05, 0.08, 0.15, 0.32, 0.48, 1.0, 2.0, 5.0)
_SILENCE_S = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 20.0)
_SESSION_S = (10.0, 60.0, 300.0, 600.0, 1200.0, 1800.0, 2700.0, 3600.0)


@dataclass(frozen=True, kw_only=True)
class Spec:
    """One metric as an operator finds it."""

    name: str
    kind: type[MetricWrapperBase]
    labels: tuple[str, ...]
    meaning: str
    buckets_s: tuple[float, ...] = ()
    known: tuple[str, ...] = ()
    """Values of its one label, counted from 0: else an increase to 1 would be none."""


SPECS = (
    Spec(
        name="fleet_nodes",
        kind=Gauge,
        labels=("which",),
        meaning="Nodes for session actors: up, occupied, wanted by the scaler.",
    ),
    Spec(
        name="fleet_reserve_slots",
        kind=Gauge,
        labels=(),
        meaning="Free slots that the scaler wants for those who will come before a node could.",
    ),
    Spec(
        name="fleet_node_start_seconds",
        kind=Histogram,
        labels=(),
        meaning="From the scaler's asking for a node to its being up.",
        buckets_s=_NODE_S,
    ),
    Spec(
        name="fleet_actor_warm_seconds",
        kind=Histogram,
        labels=(),
        meaning="From starting an actor to its being ready for a session.",
        buckets_s=_WARM_S,
    ),
    Spec(
        name="fleet_cold_starts_total",
        kind=Counter,
        labels=(),
        meaning="Sessions that found no warm actor, or no slot, and waited for one.",
    ),
    Spec(
        name="fleet_turned_away_total",
        kind=Counter,
        labels=("why",),
        known=tuple(Why),
        meaning="Sessions that were refused an actor, at once or after their wait.",
    ),
    Spec(
        name="fleet_dispatch_retries_total",
        kind=Counter,
        labels=("cause",),
        meaning="Further attempts on another actor, by the code of the error before.",
    ),
    Spec(
        name="fleet_join_seconds",
        kind=Histogram,
        labels=("provider",),
        meaning="From assignment to the agent in the room.",
        buckets_s=_JOIN_S,
    ),
    Spec(
        name="fleet_metadata_wait_seconds",
        kind=Histogram,
        labels=(),
        meaning="From the agent in the room to usable room metadata.",
        buckets_s=_METADATA_S,
    ),
    Spec(
        name="fleet_first_audio_seconds",
        kind=Histogram,
        labels=("provider",),
        meaning="From assignment to the interviewer's first audio frame.",
        buckets_s=_JOIN_S,
    ),
    Spec(
        name="fleet_turn_silence_seconds",
        kind=Histogram,
        labels=("provider",),
        meaning="From the end of a participant's turn to the first audio of its answer.",
        buckets_s=_SILENCE_S,
    ),
    Spec(
        name="fleet_sessions_ended_total",
        kind=Counter,
        labels=("provider", "reason"),
        meaning="Attempts that ended, by end reason; handed_over: another carries it on.",
    ),
    Spec(
        name="fleet_session_seconds",
        kind=Histogram,
        labels=("provider",),
        meaning="How long they lasted.",
        buckets_s=_SESSION_S,
    ),
    Spec(
        name="fleet_unpriced_responses_total",
        kind=Counter,
        labels=("provider",),
        known=tuple(Provider),
        meaning="Responses charged an upper bound: without usage, or of a model without a rate.",
    ),
    Spec(
        name="fleet_unpriced_usd_total",
        kind=Counter,
        labels=("provider",),
        meaning="The upper bounds charged where no usage came.",
    ),
    Spec(
        name="fleet_overspent_sessions_total",
        kind=Counter,
        labels=(),
        meaning="Sessions that cost more than their limit.",
    ),
    Spec(
        name="fleet_overspend_usd_total",
        kind=Counter,
        labels=(),
        meaning="By how much.",
    ),
    Spec(
        name="fleet_session_actor_kills_total",
        kind=Counter,
        labels=("cause",),
        known=(*EndReason, JOIN_TIMEOUT),
        meaning="Actors killed: by the end reason that they did not obey, or join_timeout.",
    ),
    Spec(
        name="fleet_recoveries_total",
        kind=Counter,
        labels=("cause",),
        known=("actor_lost", OUT_OF_MEMORY, NODE_LOST, "control_plane_unavailable"),
        meaning="Interviews that another actor was sent to carry on, by why theirs was lost.",
    ),
    Spec(
        name="fleet_moves_total",
        kind=Counter,
        labels=(),
        meaning="Interviews that an actor has left, as asked, for another to carry on.",
    ),
    Spec(
        name="fleet_move_rejoin_seconds",
        kind=Histogram,
        labels=(),
        meaning="From an actor having left its interview to its successor in the room.",
        buckets_s=_JOIN_S,
    ),
    Spec(
        name="fleet_recovery_rejoin_seconds",
        kind=Histogram,
        labels=(),
        meaning="From an actor's loss being noticed to its successor in the room.",
        buckets_s=_JOIN_S,
    ),
    Spec(
        name="fleet_recovery_silence_seconds",
        kind=Histogram,
        labels=("provider",),
        meaning="Of interviewers lost in mid-sentence: from the last checkpoint to audio again.",
        buckets_s=_SILENCE_S,
    ),
    Spec(
        name="fleet_overdue_sessions_total",
        kind=Counter,
        labels=(),
        meaning="Sessions stopped from outside: told to end for money long before, or silent.",
    ),
    Spec(
        name="fleet_reaped_total",
        kind=Counter,
        labels=("kind",),
        known=tuple(Kind),
        meaning="What had no partner any more and was ended or taken over, see fleet.reaping.",
    ),
    Spec(
        name="fleet_preopened_total",
        kind=Counter,
        labels=("fate",),
        meaning="Connections to providers that warm actors opened ahead, and what became of them.",
    ),
    Spec(
        name="fleet_bridge_registered",
        kind=Gauge,
        labels=(),
        meaning="Bridges that are registered at LiveKit now.",
    ),
    Spec(
        name="fleet_bridge_registrations_total",
        kind=Counter,
        labels=(),
        meaning="Registrations at LiveKit: a bridge's first, and each after a lost connection.",
    ),
    Spec(
        name="fleet_bridge_offers_total",
        kind=Counter,
        labels=("answer",),
        meaning="Jobs that LiveKit offered: accepted, or declined for the code of an error.",
    ),
    Spec(
        name="fleet_bridge_lost_jobs_total",
        kind=Counter,
        labels=(),
        meaning="Jobs that a lost bridge had been given, found in their rooms and taken up.",
    ),
    Spec(
        name="fleet_bridge_answer_seconds",
        kind=Histogram,
        labels=(),
        meaning="From an offer to its answer.",
        buckets_s=_SHORT_S,
    ),
    Spec(
        name="fleet_bridge_sessions_begun_total",
        kind=Counter,
        labels=(),
        meaning="Jobs that were assigned and have their agent in the room.",
    ),
    Spec(
        name="fleet_bridge_claims_refused_total",
        kind=Counter,
        labels=(),
        meaning="Jobs that were assigned for a room that had its session already.",
    ),
    Spec(
        name="fleet_spans_lost_total",
        kind=Counter,
        labels=(),
        meaning="Spans of traces that no collector took.",
    ),
    Spec(
        name="fleet_livekit_call_seconds",
        kind=Histogram,
        labels=("call", "outcome"),
        meaning="Calls to LiveKit's server API; outcome is ok or the error's code.",
        buckets_s=_SHORT_S,
    ),
)

_M = TypeVar("_M", bound=MetricWrapperBase)


class Metrics:
    """All of ``SPECS`` in one collector registry. Ask for a metric by its name and kind:
    ``metrics.counter("fleet_dispatch_retries_total", cause="metadata_timeout").inc()``.

    An unknown name raises KeyError, wrong labels ValueError: both are mistakes in the caller.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._metrics = {spec.name: self._build(spec) for spec in SPECS}

    def counter(self, name: str, **labels: str) -> Counter:
        return self._get(name, Counter, labels)

    def gauge(self, name: str, **labels: str) -> Gauge:
        return self._get(name, Gauge, labels)

    def histogram(self, name: str, **labels: str) -> Histogram:
        return self._get(name, Histogram, labels)

    def livekit_call(self, call: str, outcome: str, seconds: float) -> None:
        """Fits ``LiveKitClient(observe=…)``."""
        name = "fleet_livekit_call_seconds"
        self.histogram(name, call=call, outcome=outcome).observe(seconds)

    def session_ended(self, result: SessionResult, provider: str) -> None:
        """All that one attempt's result tells."""
        if not result.falls_over:
            reason = HANDED_OVER if result.handed_over else result.end_reason.value
            self.counter("fleet_sessions_ended_total", provider=provider, reason=reason).inc()
        self.histogram("fleet_session_seconds", provider=provider).observe(result.duration_s)
        unpriced = self.counter("fleet_unpriced_responses_total", provider=provider)
        unpriced.inc(result.usage.unpriced_responses if result.usage else 0)
        bounds_pico = result.usage.unpriced_pico_usd if result.usage else 0
        self.counter("fleet_unpriced_usd_total", provider=provider).inc(bounds_pico / PICO_PER_USD)
        self.spans_lost(result.spans_lost)
        for silence_s in result.silences_s:
            silences = self.histogram("fleet_turn_silence_seconds", provider=provider)
            silences.observe(silence_s)
        if result.metadata_wait_s is not None:
            self.histogram("fleet_metadata_wait_seconds").observe(result.metadata_wait_s)
        if result.first_audio_s is not None:
            first_audio = self.histogram("fleet_first_audio_seconds", provider=provider)
            first_audio.observe(result.first_audio_s)
        if result.silence_s is not None:
            silence = self.histogram("fleet_recovery_silence_seconds", provider=provider)
            silence.observe(result.silence_s)

    def account_closed(self, *, spent_micro_usd: int, limit_micro_usd: int) -> None:
        over = spent_micro_usd - limit_micro_usd
        if over > 0:
            self.counter("fleet_overspent_sessions_total").inc()
            self.counter("fleet_overspend_usd_total").inc(over / MICRO_PER_USD)

    def spans_lost(self, count: int) -> None:
        """Fits ``open_tracer(on_lost=…)``."""
        self.counter("fleet_spans_lost_total").inc(count)

    def exposition(self) -> bytes:
        """What ``/metrics`` answers, as CONTENT_TYPE."""
        return generate_latest(self.registry)

    def _build(self, spec: Spec) -> MetricWrapperBase:
        options: dict[str, Any] = {"registry": self.registry}
        if spec.buckets_s:
            options["buckets"] = spec.buckets_s
        metric = spec.kind(spec.name, spec.meaning, spec.labels, **options)
        for value in spec.known:
            metric.labels(value)
        return metric

    def _get(self, name: str, kind: type[_M], labels: Mapping[str, str]) -> _M:
        metric = self._metrics[name]
        if not isinstance(metric, kind):
            raise KeyError(f"{name} is no {kind.__name__}")
        return metric.labels(**labels) if labels else metric


def described() -> str:
    """A Markdown table of all metrics, for the operators' pages."""
    head = "| metric | kind | labels | meaning |\n|---|---|---|---|\n"
    return head + "".join(
        f"| `{s.name}` | {s.kind.__name__.lower()} | {', '.join(s.labels) or '–'} | {s.meaning} |\n"
        for s in SPECS
    )
