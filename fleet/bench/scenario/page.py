"""A run as one HTML page that needs nothing else: its bars and its plots. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from html import escape
from itertools import pairwise
from typing import Any

from fleet.bench.percentiles import percentile
from fleet.bench.report import BenchResult, with_unit
from fleet.bench.scenario.chart import Chart, Point, Series, svg
from fleet.bench.views import circumstances

BUCKET_S = 30.0
LIVE_BUCKET = 10
STYLE = """
body{font:14px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:60rem;padding:0 1rem;color:#222}
table{border-collapse:collapse;width:100%}td,th{border-bottom:1px solid #ddd;padding:.3rem .5rem;
text-align:left;vertical-align:top}.held{color:#2e7d32}.missed{color:#c62828;font-weight:bold}
svg{width:100%;margin:1rem 0}small{color:#666}
"""


def html(result: BenchResult) -> str:
    """``result``: its ``data`` as ``run`` makes it."""
    data = result.measured.data
    title = f"make {result.name}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f"<p><small>{escape(circumstances(result))}</small></p>",
        f"<p>{escape(data['about'])}</p>",
        _bars(result),
        *_sizing(data),
        *(svg(chart) for chart in charts(data)),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def _bars(result: BenchResult) -> str:
    rows = [
        f"<tr><td>{escape(bar.name)}</td><td>{escape(with_unit(bar.figure, bar.unit))}</td>"
        f"<td>{escape(bar.bar)}</td>"
        f'<td class="{bar.judgement.value.replace(" ", "-")}">{bar.judgement.value}</td>'
        f"<td>{escape(bar.detail)}</td></tr>"
        for bar in result.measured.bars
    ]
    head = "<tr><th>what</th><th>figure</th><th>bar</th><th></th><th>detail</th></tr>"
    return f"<table>{head}{''.join(rows)}</table>"


def _sizing(data: Mapping[str, Any]) -> Iterator[str]:
    """What more sessions would take, and which part is full first."""
    if not data["ceilings"]:
        return
    rows = [
        (f"{size['sessions']:,}", f"{size['cores']:.1f}", f"{size['memory_gib']:.1f}")
        for size in data["sizes"]
    ]
    yield "<h2>Sizing, by straight lines through these stairs</h2>"
    yield _table(("sessions", "cores used", "memory, GiB"), rows)
    parts = [
        (
            ceiling["part"],
            f"{100 * ceiling['line']['fixed']:.2f}",
            f"{100 * ceiling['line']['a_session']:.3f}",
            "-" if ceiling["sessions"] is None else f"{ceiling['sessions']:,.0f}",
        )
        for ceiling in data["ceilings"]
    ]
    heads = ("of which there is one", "% of a core, fixed", "a session", "full at sessions")
    yield _table(heads, parts)


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def row(cells: Sequence[str], tag: str) -> str:
        return "<tr>" + "".join(f"<{tag}>{escape(cell)}</{tag}>" for cell in cells) + "</tr>"

    return f"<table>{row(heads, 'th')}{''.join(row(each, 'td') for each in rows)}</table>"


def charts(data: Mapping[str, Any]) -> Iterator[Chart]:
    samples: Sequence[Mapping[str, Any]] = data["samples"]
    sessions: Sequence[Mapping[str, Any]] = data["sessions"]
    began: float = data["began_epoch_s"]
    yield _over_time(
        "Sessions",
        "sessions",
        [
            Series(name=state, points=[(s["at_s"], s["sessions"].get(state, 0)) for s in samples])
            for state in ("live", "joined", "configured", "ending")
        ],
    )
    yield _over_time(
        "Warm pool",
        "actors",
        [
            Series(name=name, points=[(s["at_s"], s[name]) for s in samples])
            for name in ("warm", "starting", "queue")
        ],
    )
    yield _over_time("Dispatch, request to answer", "seconds", _dispatch_over_time(sessions, began))
    yield Chart(
        title="Dispatch by the number of live sessions",
        x_name="sessions live",
        y_name="seconds",
        series=_dispatch_by_live(sessions, samples, began),
    )
    yield _over_time("Cost rate", "dollars a minute", [Series(name="", points=_rate(samples))])
    yield _over_time(
        "Machine",
        "share of all cores",
        [Series(name="", points=[(s["at_s"], s["busy"]) for s in samples])],
    )
    yield _over_time("CPU by part", "cores", _cpu(samples))
    looked = [s for s in samples if s["memory_mib"]]
    yield _over_time("Memory by part", "GiB", _parts(looked, "memory_mib", 1 / 1024))
    yield Chart(
        title="What a live session costs the control plane, nothing being dispatched",
        x_name="sessions live",
        y_name="% of a core",
        series=[
            Series(
                name=group,
                points=[
                    (s["live"], 100 * s["a_session"][group])
                    for s in data["stairs"]
                    if s["a_session"].get(group) is not None
                ],
            )
            for group in ("control", "ingress", "Redis", "Ray itself")
        ],
    )
    yield _ends_chart(sessions, began)


def _over_time(title: str, unit: str, series: Sequence[Series]) -> Chart:
    return Chart(title=title, x_name="seconds since the start", y_name=unit, series=series)


def _dispatch_over_time(sessions: Sequence[Mapping[str, Any]], began: float) -> list[Series]:
    buckets: dict[int, list[float]] = {}
    for each in sessions:
        if each["dispatch_s"] is not None:
            bucket = int((each["asked_epoch_s"] - began) // BUCKET_S)
            buckets.setdefault(bucket, []).append(each["dispatch_s"])
    return [
        Series(
            name=f"p{100 * share:.0f}",
            points=[
                ((bucket + 0.5) * BUCKET_S, percentile(values, share) or 0.0)
                for bucket, values in sorted(buckets.items())
            ],
        )
        for share in (0.5, 0.95)
    ]


def _dispatch_by_live(
    sessions: Sequence[Mapping[str, Any]], samples: Sequence[Mapping[str, Any]], began: float
) -> list[Series]:
    points: list[Point] = [
        (_live_at(samples, each["asked_epoch_s"] - began), each["dispatch_s"])
        for each in sessions
        if each["dispatch_s"] is not None
    ]
    by_live: dict[int, list[float]] = {}
    for live, took in points:
        by_live.setdefault(int(live // LIVE_BUCKET), []).append(took)
    medians = [
        ((bucket + 0.5) * LIVE_BUCKET, percentile(took, 0.5) or 0.0)
        for bucket, took in sorted(by_live.items())
    ]
    return [
        Series(name="each", points=points, dots=True),
        Series(name="median", points=medians),
    ]


def _live_at(samples: Sequence[Mapping[str, Any]], at_s: float) -> float:
    return next((s["live"] for s in reversed(samples) if s["at_s"] <= at_s), 0)


def _rate(samples: Sequence[Mapping[str, Any]]) -> list[Point]:
    return [
        (b["at_s"], (b["spent_micro_usd"] - a["spent_micro_usd"]) / 1e6 * 60 / gone_s)
        for a, b in pairwise(samples)
        if (gone_s := b["at_s"] - a["at_s"]) > 0
    ]


def _cpu(samples: Sequence[Mapping[str, Any]]) -> list[Series]:
    groups = {name for sample in samples for name in sample["cpu_s"]}
    return [
        Series(
            name=name,
            points=[
                (b["at_s"], max(0.0, b["cpu_s"].get(name, 0) - a["cpu_s"].get(name, 0)) / gone_s)
                for a, b in pairwise(samples)
                if (gone_s := b["at_s"] - a["at_s"]) > 0
            ],
        )
        for name in sorted(groups)
    ]


def _parts(samples: Sequence[Mapping[str, Any]], of: str, factor: float) -> list[Series]:
    groups = {name for sample in samples for name in sample[of]}
    return [
        Series(name=name, points=[(s["at_s"], factor * s[of].get(name, 0.0)) for s in samples])
        for name in sorted(groups)
    ]


def _ends_chart(sessions: Sequence[Mapping[str, Any]], began: float) -> Chart:
    """How many have ended so far, by reason."""
    ended = sorted(
        (datetime.fromisoformat(each["ended_at"]).timestamp() - began, each["end_reason"])
        for each in sessions
        if each["ended_at"]
    )
    counts: Counter[str] = Counter()
    lines: dict[str, list[Point]] = {}
    for at_s, reason in ended:
        counts[reason] += 1
        lines.setdefault(reason, []).append((at_s, counts[reason]))
    series = [Series(name=reason, points=points) for reason, points in sorted(lines.items())]
    return _over_time("Ends by reason", "sessions so far", series)
