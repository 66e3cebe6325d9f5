"""Dashboard and alerts speak of metrics that there are, in words that Prometheus reads, and each
alert has its page."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from agent_actor import span_names
from fleet.budget.costs import BudgetTotals
from fleet.metrics import Metrics
from serve.metrics import FleetGauges, IngressMetrics
from serve.ports import Crew

ROOT = Path(__file__).parents[2]
MONITORING = ROOT / "k8s" / "monitoring"
SELECTOR = re.compile(r"\b(?:fleet|ingress)_\w+")
"""No label and no value looks like that."""
CREW = Crew(warm=1, reserved=0, live=0, starting=0, slots=1, free=1, queue=0)
TOTALS = BudgetTotals(
    limit_micro_usd=None,
    spent_micro_usd=0,
    estimate_micro_usd=0,
    committed_micro_usd=0,
    sessions=0,
    open_sessions=0,
    epoch=1,
)


def rules() -> list[dict[str, Any]]:
    manifest = yaml.safe_load((MONITORING / "alerts.yaml").read_text("utf-8"))
    return [rule for group in manifest["spec"]["groups"] for rule in group["rules"]]


def panels() -> list[dict[str, Any]]:
    dashboard = json.loads((MONITORING / "dashboard.json").read_text("utf-8"))
    return [panel for panel in dashboard["panels"] if panel["type"] != "row"]


def expressions() -> Iterator[str]:
    for rule in rules():
        yield rule["expr"]
    for panel in panels():
        for target in panel["targets"]:
            yield target["expr"].replace("$__rate_interval", "5m")


def told() -> dict[str, str]:
    """Every metric that a scrape can show, with its kind."""
    kinds: dict[str, str] = {}
    gauges = FleetGauges(crew=CREW, sessions={}, totals=TOTALS)
    counted = (*Metrics().registry.collect(), *IngressMetrics().registry.collect())
    for family in (*counted, *gauges.collect()):
        ending = "_total" if family.type == "counter" else ""
        kinds[family.name + ending] = family.type
    return kinds


def exported() -> set[str]:
    """The same, by the names of their series."""
    endings = ("_bucket", "_sum", "_count")
    histograms = {n + e for n, kind in told().items() if kind == "histogram" for e in endings}
    return histograms | {name for name, kind in told().items() if kind != "histogram"}


@pytest.mark.parametrize("expression", sorted(set(expressions())))
def test_prometheus_reads_it(expression: str) -> None:
    assert promql_parser.parse(expression) is not None


@pytest.mark.parametrize("broken", ["sum(rate(x[5m])", "histogram_quantile(0.9, x", "x{a=}"])
def test_what_prometheus_does_not_read_would_be_found(broken: str) -> None:
    with pytest.raises(ValueError, match="."):
        promql_parser.parse(broken)


def test_every_metric_that_is_looked_at_is_exported() -> None:
    used = {name for expression in expressions() for name in SELECTOR.findall(expression)}
    assert used - exported() == set()


def test_what_an_operator_is_to_watch_is_on_the_dashboard() -> None:
    shown = {n for p in panels() for t in p["targets"] for n in SELECTOR.findall(t["expr"])}
    assert {
        "ingress_request_seconds_bucket",
        "fleet_actors",
        "fleet_cold_starts_total",
        "fleet_sessions",
        "fleet_first_audio_seconds_bucket",
        "fleet_sessions_ended_total",
        "fleet_overspend_usd_total",
        "fleet_unpriced_responses_total",
        "fleet_turn_silence_seconds_bucket",
        "fleet_reaped_total",
        "fleet_metadata_wait_seconds_bucket",
    } <= shown


def test_every_alert_has_its_page() -> None:
    headings = re.findall(r"^#{2,4} (.+)$", (ROOT / "docs/operations.md").read_text("utf-8"), re.M)
    anchors = {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}
    for rule in rules():
        page, _, anchor = rule["annotations"]["runbook"].partition("#")
        assert page == "docs/operations.md"
        assert anchor == rule["alert"].lower()
        assert anchor in anchors
        assert rule["labels"]["severity"] in {"critical", "warning", "info"}


def test_no_page_is_left_of_an_alert_that_is_gone() -> None:
    text = (ROOT / "docs/operations.md").read_text("utf-8")
    described = set(re.findall(r"^#### (Fleet\w+)$", text, re.M))
    assert described == {rule["alert"] for rule in rules()}


def test_panels_do_not_cover_each_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


def test_telemetry_is_described_as_it_is() -> None:
    text = (ROOT / "docs/telemetry.md").read_text("utf-8")
    rows = set(re.findall(r"^\| `([^`]+)` \|", text, re.M))
    settings = {row for row in rows if row.isupper()}
    assert rows - settings == {*span_names.SPANS, *span_names.ATTRIBUTES, *told()}
