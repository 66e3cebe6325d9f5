from __future__ import annotations

import pytest
from prometheus_client import Counter, Gauge

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
    for spec in SPECS:
        if spec.kind is Gauge:  # so far they count things
            assert not spec.name.endswith(("_total", "_seconds"))
        else:
            assert spec.name.endswith("_total" if spec.kind is Counter else "_seconds")
