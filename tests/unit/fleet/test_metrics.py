from __future__ import annotations

from dataclasses import replace

import pytest
from prometheus_client import Counter, Gauge, Histogram

from agent_actor.contract import EndReason, SessionId
from agent_actor.messages import SessionResult, TokenCounts, UsageReport
from fleet.metrics import SPECS, Metrics, described

USAGE = UsageReport(
    session_id=SessionId("s-1"),
    attempt=1,
    seq=9,
    at=0.0,
    provider="openai_realtime",
    model="m",
    tokens=TokenCounts(),
    spent_pico_usd=0,
    unpriced_responses=2,
)


def result(
    usage: UsageReport | None,
    *,
    metadata_wait_s: float | None = None,
    first_audio_s: float | None = None,
) -> SessionResult:
    return SessionResult(
        session_id=SessionId("s-1"),
        attempt=1,
        end_reason=EndReason.COMPLETED,
        usage=usage,
        duration_s=700.0,
        metadata_wait_s=metadata_wait_s,
        first_audio_s=first_audio_s,
    )


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, labels)


def test_a_session_that_ended_is_measured() -> None:
    metrics = Metrics()

    metrics.session_ended(result(USAGE, metadata_wait_s=0.08, first_audio_s=0.9), "openai_realtime")
    metrics.session_ended(result(None), "openai_realtime")

    labels = {"provider": "openai_realtime"}
    assert value(metrics, "fleet_sessions_ended_total", reason="completed", **labels) == 2
    assert value(metrics, "fleet_session_seconds_sum", **labels) == 1400
    assert value(metrics, "fleet_unpriced_responses_total", **labels) == 2
    assert value(metrics, "fleet_metadata_wait_seconds_count") == 1
    assert value(metrics, "fleet_first_audio_seconds_sum", **labels) == 0.9


def test_two_processes_worth_of_metrics_do_not_mix() -> None:
    one, other = Metrics(), Metrics()

    one.livekit_call("create_room", "ok", 0.01)

    labels = {"call": "create_room", "outcome": "ok"}
    assert value(one, "fleet_livekit_call_seconds_count", **labels) == 1
    assert value(other, "fleet_livekit_call_seconds_count", **labels) is None


def test_names_are_looked_up_by_kind() -> None:
    metrics = Metrics()

    with pytest.raises(KeyError):
        metrics.counter("fleet_join_seconds", provider="gemini_live")
    with pytest.raises(KeyError):
        metrics.histogram("fleet_unknown_seconds")
    with pytest.raises(ValueError, match="label"):
        metrics.histogram("fleet_join_seconds", study="pilot")


def test_every_metric_is_exposed_and_described() -> None:
    exposed = Metrics().exposition().decode()

    for spec in SPECS:
        family = spec.name if spec.kind is not Counter else spec.name.removesuffix("_total")
        assert f"# HELP {family}" in exposed
        assert f"| `{spec.name}` |" in described()


def test_names_carry_their_unit() -> None:
    ends = {Counter: "_total", Histogram: "_seconds", Gauge: ""}
    for spec in SPECS:
        assert spec.name.endswith(ends[spec.kind])


def test_what_a_result_tells_of_silences_bounds_and_spans_is_counted() -> None:
    metrics = Metrics()
    usage = replace(USAGE, unpriced_pico_usd=2_500_000_000_000)

    ended = replace(result(usage), silences_s=(0.4, 2.5), spans_lost=3)
    metrics.session_ended(ended, "gemini_live")

    labels = {"provider": "gemini_live"}
    assert value(metrics, "fleet_turn_silence_seconds_count", **labels) == 2
    assert value(metrics, "fleet_turn_silence_seconds_sum", **labels) == 2.9
    assert value(metrics, "fleet_unpriced_usd_total", **labels) == 2.5
    assert value(metrics, "fleet_spans_lost_total") == 3


def test_only_what_is_beyond_a_limit_is_overspent() -> None:
    metrics = Metrics()

    metrics.account_closed(spent_micro_usd=1_000_000, limit_micro_usd=1_000_000)
    assert value(metrics, "fleet_overspent_sessions_total") == 0
    metrics.account_closed(spent_micro_usd=1_000_001, limit_micro_usd=1_000_000)

    assert value(metrics, "fleet_overspent_sessions_total") == 1
    assert value(metrics, "fleet_overspend_usd_total") == 0.000001


def test_counts_that_alerts_look_at_begin_at_zero() -> None:
    metrics = Metrics()

    assert value(metrics, "fleet_turned_away_total", why="slots") == 0
    assert value(metrics, "fleet_session_actor_kills_total", cause="join_timeout") == 0
    assert value(metrics, "fleet_recoveries_total", cause="node_lost") == 0
    assert value(metrics, "fleet_reaped_total", kind="orphan_room") == 0
