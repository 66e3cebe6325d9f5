"""The bars of a run. Pure: everything is in the samples, the stairs and the evidence."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, at_least, at_most, exactly, only_shown
from fleet.bench.scenario.evidence import Evidence, Told
from fleet.bench.scenario.forms import Form, Tier
from fleet.bench.scenario.samples import (
    DISPATCH_GROUPS,
    FLEET_GROUPS,
    Sample,
    Stair,
    grouped,
    longest_s,
)

NO_SHOW_SLACK_S = 5.0
MEMORY_GIB = 12.0
DEARER = 1.2
UNSEEN_S = 40.0
"""Between two looks at the fleet, which come every ten seconds or so."""
DEAREST = "  dearest stair's against the first's"
CUT_OFF = "cut_off"
BUDGET_BOUND, NO_SHOW = "budget_bound", "no_show"
MIB_PER_GIB = 1024
CONTROL = ("control", "ingress")
KEPT = ("budget",)
"""Kinds of Redis keys that are to stay: the ledger."""


@dataclass(frozen=True, kw_only=True)
class Remains:
    """What is there besides sessions, before the load or after it, with the pool full."""

    processes: int
    memory_mib: float
    """Of the fleet's own processes."""
    kept_mib: float
    """Of what keeps things on purpose."""
    rooms: int
    keys: Mapping[str, int]
    """In Redis, by kind: those that do not expire."""


@dataclass(frozen=True, kw_only=True)
class Found:
    samples: Sequence[Sample]
    stairs: Sequence[Stair]
    evidence: Evidence
    uplink_duty: float | None
    """Share of the time in which a session's microphone was sent, by the bytes."""
    before: Remains
    after: Remains
    locust_failures: Mapping[str, int]
    measures_ms: Mapping[str, Sequence[float]]
    """Of real participants, by name."""


def bars_of(form: Form, found: Found) -> tuple[Bar, ...]:
    parts = [_live(form, found), _ends(form, found.evidence), _money(found.evidence)]
    match form.tier:
        case Tier.LOAD:
            parts += [_dispatches(form, found), _memory(found)]
        case Tier.MEDIA:
            parts += [_media(found), _memory(found)]
        case Tier.CHURN:
            parts += [_leaks(found)]
    return tuple(bar for part in parts for bar in part)


def _live(form: Form, found: Found) -> Iterator[Bar]:
    if form.tier is not Tier.CHURN:
        held_s = longest_s(found.samples, lambda s: s.live >= form.live, most_apart_s=UNSEEN_S)
        name = f"{form.live} sessions live at once, without a break"
        most = max((s.live for s in found.samples), default=0)
        yield at_least(name, held_s, form.hold_s, "s", f"most at one moment: {most}")
    if found.uplink_duty is not None:
        sent = 100 * found.uplink_duty
        detail = "speech, silence_duration_ms and 0.5 s; by the bytes the simulators received"
        yield only_shown("microphone sent, of the time", sent, "%", detail)
        if form.talk is not None:
            name, spoke = "participant speaking, of the time", form.spoken * sent
            detail = f"{form.spoken:.0%} of what was sent is speech"
            yield at_most(name, spoke, 100 * form.talk, "%", detail)
    busy = [s.busy for s in found.samples if s.live >= form.live]
    yield only_shown("  machine busy meanwhile, median", _percent(percentile(busy, 0.5)), "%")


def _ends(form: Form, evidence: Evidence) -> Iterator[Bar]:
    if form.sessions:
        whole = sum(1 for _ in _ended(evidence))
        yield at_least("sessions followed to their end", whole, form.sessions, "")
    yield exactly("sessions lost", evidence.lost, 0, "", f"of {len(evidence.sessions)}")
    yield exactly("sessions doubled", evidence.doubled, 0, "")
    refused = [o for o in evidence.outcomes if o["problem"] and not o["session_id"]]
    reasons = ", ".join(f"{n} {r}" for r, n in Counter(o["problem"] for o in refused).items())
    yield exactly("sessions that could not be had", len(refused), 0, "", reasons)
    ended = list(_ended(evidence))
    other = Counter(
        f"{seen['fate']}: {told.record['end_reason']}"
        for told, seen in ended
        if told.record["end_reason"] != seen["meant"]
    )
    detail = ", ".join(f"{count} {what}" for what, count in other.items())
    cut = sum(o["end_reason"] == CUT_OFF for o in evidence.outcomes)
    detail = "; ".join(filter(None, [f"of {len(ended)}, {cut} more cut off at the end", detail]))
    yield exactly("sessions that ended otherwise than meant", sum(other.values()), 0, "", detail)
    bound = [told for told, seen in ended if seen["fate"] == BUDGET_BOUND]
    unended = sum(told.record["end_reason"] != "budget_exceeded" for told in bound)
    yield exactly("budget-bound that did not end for money", unended, 0, "", f"of {len(bound)}")
    late = [
        waited - form.no_show_s
        for told, seen in ended
        if seen["fate"] == NO_SHOW and (waited := _waited_s(told.record)) is not None
    ]
    yield at_most(
        "no-shows: end beyond their limit, most",
        max(late, default=None),
        NO_SHOW_SLACK_S,
        "s",
        f"{len(late)} of them",
    )
    took = [o["dispatch_s"] for o in evidence.outcomes if o["dispatch_s"] is not None]
    p95 = percentile(took, 0.95)
    median = percentile(took, 0.5)
    turned = sum(o["turned_away"] for o in evidence.outcomes)
    detail = f"p50 {median:.3g} s, {turned} times turned away first" if median else ""
    yield only_shown("dispatch, request to answer, p95", p95, "s", detail)


def _money(evidence: Evidence) -> Iterator[Bar]:
    sessions = evidence.sessions
    over = max((told.over_micro_usd for told in sessions), default=0)
    yield exactly("most overspent, by the invoice", over, 0, "µ$")
    below = sum(told.ledger_less_invoice_micro_usd < 0 for told in sessions)
    yield exactly("sessions whose ledger is below the invoice", below, 0, "")
    # One that the end of the run cut off may have been killed in mid-answer: its bound counts.
    cut = {o["session_id"] for o in evidence.outcomes if o["end_reason"] == CUT_OFF}
    priced = [t for t in sessions if not t.unpriced and t.record["session_id"] not in cut]
    differ = [told.ledger_less_invoice_micro_usd for told in priced]
    worst = max((abs(each) for each in differ), default=0)
    yield exactly(
        "sessions whose ledger differs, all usage told",
        sum(each != 0 for each in differ),
        0,
        "",
        f"of {len(priced)}; worst {worst} µ$",
    )
    orphans = evidence.orphan_pico_usd // 1_000_000
    yield exactly("billed for sessions that nobody knows", orphans, 0, "µ$")
    total = sum(told.invoice_pico_usd for told in sessions) / 1e12
    yield only_shown("billed in all", total, "$")


def _dispatches(form: Form, found: Found) -> Iterator[Bar]:
    costs = [(stair, stair.a_dispatch_s(DISPATCH_GROUPS)) for stair in found.stairs]
    known = [(stair, cost) for stair, cost in costs if cost is not None and cost > 0]
    for stair, cost in known:
        busy = max(w.busy for w in stair.probed)
        detail = f"machine {100 * busy:.0f} % busy"
        yield only_shown(
            f"control CPU a dispatch at {stair.live:.0f} live", 1000 * cost, "ms", detail
        )
    # A stair that could not be measured may have been the dearest.
    whole = len(known) == len(form.stairs) > 1
    ratio = max(cost for _, cost in known) / known[0][1] if whole else None
    detail = f"{len(known)} of {len(form.stairs)} stairs measured"
    yield at_most(DEAREST, ratio, DEARER, "×", detail)
    for stair in found.stairs:
        share = stair.a_session_share(CONTROL)
        yield only_shown(
            f"control a live session at {stair.live:.0f} live", _percent(share), "% of a core"
        )


def _memory(found: Found) -> Iterator[Bar]:
    looked = [s for s in found.samples if s.memory_mib]
    most = max(looked, key=lambda s: _fleet_mib(s), default=None)
    detail = ""
    if most is not None:
        parts = sorted(grouped(most.memory_mib).items(), key=lambda part: -part[1])
        detail = f"at {most.live} live: " + ", ".join(f"{n} {v:,.0f} MiB" for n, v in parts)
    gib = _fleet_mib(most) / MIB_PER_GIB if most is not None else None
    yield at_most("memory of the fleet's processes", gib, MEMORY_GIB, "GiB", detail)


def _media(found: Found) -> Iterator[Bar]:
    for name, values in sorted(found.measures_ms.items()):
        p95 = percentile(values, 0.95)
        median = percentile(values, 0.5)
        detail = f"p50 {median:.0f} ms, {len(values)} of them" if median is not None else ""
        yield only_shown(f"{name}, p95", p95, "ms", detail)


def _leaks(found: Found) -> Iterator[Bar]:
    before, after = found.before, found.after
    yield at_most("processes more than before", after.processes - before.processes, 0, "")
    yield exactly("rooms left", after.rooms, 0, "")
    more = {
        kind: count - before.keys.get(kind, 0)
        for kind, count in after.keys.items()
        if kind not in KEPT and count > before.keys.get(kind, 0)
    }
    kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(more.items()))
    yield exactly(
        "Redis keys left that never expire, the ledger's apart", sum(more.values()), 0, "", kinds
    )
    grown = after.memory_mib - before.memory_mib
    yield at_most(
        "memory of the fleet more than before",
        100 * grown / before.memory_mib if before.memory_mib else None,
        10.0,
        "%",
        f"{before.memory_mib:,.0f} → {after.memory_mib:,.0f} MiB",
    )
    # What is kept on purpose, records and journals for days, and a table of Ray's of the dead.
    kept = after.kept_mib - before.kept_mib
    detail = f"{before.kept_mib:,.0f} → {after.kept_mib:,.0f} MiB"
    yield only_shown("  of Redis, LiveKit, simulators and Ray's GCS more", kept, "MiB", detail)


def _ended(evidence: Evidence) -> Iterator[tuple[Told, Mapping[str, Any]]]:
    """Those whose backend followed them to their end."""
    for told in evidence.sessions:
        if told.seen is not None and told.seen["end_reason"] != CUT_OFF:
            yield told, told.seen


def _waited_s(record: Mapping[str, Any]) -> float | None:
    if not record["joined_at"] or not record["ended_at"]:
        return None
    ended, joined = (datetime.fromisoformat(record[at]) for at in ("ended_at", "joined_at"))
    return (ended - joined).total_seconds()


def _fleet_mib(sample: Sample) -> float:
    sums = grouped(sample.memory_mib)
    return sum(sums.get(group, 0.0) for group in FLEET_GROUPS)


def _percent(share: float | None) -> float | None:
    return None if share is None else 100 * share
