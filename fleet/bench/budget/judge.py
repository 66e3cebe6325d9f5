"""What the sessions came to, against the bars. Pure."""

from __future__ import annotations

import statistics
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from agent_actor.contract import EndReason, Provider
from agent_actor.messages import PICO_PER_MICRO, to_micro_usd
from fleet.bench.budget.field import Ended
from fleet.bench.budget.outage import Disturbed
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, at_least, at_most, exactly, only_shown

MOST_LEFT_PERCENT = 10.0
MOST_BEYOND_S = 1.0


def of_mixed(sessions: Sequence[Ended]) -> Iterator[Bar]:
    """Our ledger and the invoices."""
    n = len(sessions)
    wrong = [s for s in sessions if s.priced_pico != s.told_pico]
    detail = f"{n} sessions, {_said(sessions)}; worst {_worst(wrong)} µ$"
    yield exactly("sessions whose priced usage is not the invoice's", len(wrong), 0, "", detail)
    below = [s for s in sessions if s.cost.spent_micro_usd * PICO_PER_MICRO < s.billed_pico]
    yield exactly("sessions whose ledger is below the invoice", len(below), 0, "")
    odd = [s for s in sessions if not _ledger_is_report(s)]
    yield exactly("sessions whose ledger is not their last report", len(odd), 0, "")
    unpriced = sum(s.cost.unpriced_responses for s in sessions)
    hidden = sum(not line["usage_sent"] for s in sessions for line in _lines(s))
    yield only_shown(
        "responses charged an upper bound", unpriced, "", f"{hidden} were billed untold"
    )
    troubled = [s for s in sessions if s.spec.trouble]
    counts = (
        f"{sum(s.outcome.reports_lost for s in troubled)} lost, "
        f"{sum(s.outcome.reports_twice for s in troubled)} twice, "
        f"{sum(s.outcome.reports_late for s in troubled)} late"
    )
    yield only_shown("sessions with troubled reports", len(troubled), "", counts)


def of_limited(sessions: Sequence[Ended]) -> Iterator[Bar]:
    """Overspend, what is left, and how soon it ends."""
    ended = [s for s in sessions if s.result.end_reason is EndReason.BUDGET_EXCEEDED]
    yield exactly("sessions that did not end for money", len(sessions) - len(ended), 0, "")
    for provider in Provider:
        own = [s for s in sessions if s.spec.provider is provider]
        over = [s.billed_pico - s.spec.limit_micro_usd * PICO_PER_MICRO for s in own]
        most = max([*over, 0])
        yield exactly(
            f"most overspent on the invoice, {provider.value}",
            to_micro_usd(most),
            0,
            "µ$",
            f"{sum(o > 0 for o in over)} of {len(own)} sessions over",
        )
    yield from _left(ended)
    beyond = [b for s in ended if (b := beyond_goodbye_s(s)) is not None]
    p99 = percentile(beyond, 0.99) if beyond else None
    detail = f"p50 {statistics.median(beyond):.2f} s, max {max(beyond):.2f} s" if beyond else ""
    yield at_most(
        "END to provider closed, beyond the goodbye, p99", p99, MOST_BEYOND_S, "s", detail
    )


def _left(ended: Sequence[Ended]) -> Iterator[Bar]:
    shares = [left_percent(s) for s in ended]
    name = "limit left unused at an end for money, median"
    if not shares:
        yield at_most(name, None, MOST_LEFT_PERCENT, "%")
        return
    yield at_most(
        name,
        statistics.median(shares),
        MOST_LEFT_PERCENT,
        "%",
        f"p90 {percentile(shares, 0.9):.1f} %, most {max(shares):.1f} %",
    )
    for kind in dict.fromkeys(s.spec.kind for s in ended):
        of_kind = [left_percent(s) for s in ended if s.spec.kind == kind]
        contexts = [_longest_context(s) for s in ended if s.spec.kind == kind]
        yield only_shown(
            f"  of it, {kind}",
            statistics.median(of_kind),
            "%",
            f"{len(of_kind)} sessions, largest input {round(statistics.median(contexts)):,} tokens",
        )


def of_disturbed(found: Disturbed) -> Iterator[Bar]:
    """Outages in the midst of sessions."""
    sessions = found.sessions
    over = [s for s in sessions if s.billed_pico > s.spec.limit_micro_usd * PICO_PER_MICRO]
    yield exactly("outages: sessions over their limit", len(over), 0, "", f"of {len(sessions)}")
    lost = [s for s in sessions if s.priced_pico != s.told_pico or not _ledger_is_report(s)]
    yield exactly("outages: sessions with a cent lost or doubled", len(lost), 0, "")
    far = [s for s in sessions if s.spec.kind == "steady"]
    stopped = [s for s in far if s.result.end_reason is not EndReason.PARTICIPANT_LEFT]
    reasons = ", ".join(sorted({s.result.end_reason.value for s in stopped}))
    yield exactly("outages: sessions below their allowance disturbed", len(stopped), 0, "", reasons)
    for outage in found.outages:
        billed = [[at for at in s.outcome.usage_at if outage.within(at)] for s in far]
        # One that nobody's money moved in has tried nothing.
        name = f"  {outage.name}: sessions billed in it"
        detail = f"of {len(far)}, in {outage.over - outage.began:.1f} s"
        yield at_least(name, sum(map(bool, billed)), 1, "", detail)


def beyond_goodbye_s(session: Ended) -> float | None:
    """From the verdict to the provider's connection closed, less what the goodbye took."""
    at_s = session.outcome.at_s
    if "end" not in at_s or "closed" not in at_s:
        return None
    goodbye_s = at_s.get("goodbye_over", 0.0) - at_s["goodbye"] if "goodbye" in at_s else 0.0
    return at_s["closed"] - at_s["end"] - max(goodbye_s, 0.0)


def left_percent(session: Ended) -> float:
    limit_pico = session.spec.limit_micro_usd * PICO_PER_MICRO
    return 100 * (1 - session.billed_pico / limit_pico)


def data_of(sessions: Sequence[Ended]) -> list[Mapping[str, Any]]:
    return [
        {
            "tag": s.spec.tag,
            "kind": s.spec.kind,
            "provider": s.spec.provider.value,
            "limit_micro_usd": s.spec.limit_micro_usd,
            "ledger_micro_usd": s.cost.spent_micro_usd,
            "invoice_pico_usd": s.billed_pico,
            "told_pico_usd": s.told_pico,
            "priced_pico_usd": s.priced_pico,
            "unpriced_responses": s.cost.unpriced_responses,
            "responses": s.cost.responses,
            "end_reason": s.result.end_reason.value,
            "error": s.result.error,
            "left_percent": round(left_percent(s), 2),
            "beyond_goodbye_s": beyond_goodbye_s(s),
            "at_s": s.outcome.at_s,
            "faults": s.spec.faults,
            "trouble": s.spec.trouble,
            "stopped": s.spec.stop_after_s is not None,
        }
        for s in sessions
    ]


def _ledger_is_report(session: Ended) -> bool:
    usage = session.result.usage
    return session.cost.spent_micro_usd == (to_micro_usd(usage.spent_pico_usd) if usage else 0)


def _lines(session: Ended) -> list[Mapping[str, Any]]:
    return [line for invoice in session.invoices for line in invoice["responses"]]


def _longest_context(session: Ended) -> int:
    sizes = [line["usage"]["input_audio"] + line["usage"]["input_text"] for line in _lines(session)]
    return max(sizes, default=0)


def _worst(wrong: Sequence[Ended]) -> int:
    return max((to_micro_usd(abs(s.priced_pico - s.told_pico)) for s in wrong), default=0)


def _said(sessions: Sequence[Ended]) -> str:
    cut = sum(s.spec.stop_after_s is not None for s in sessions)
    dropped = sum("drop_mid_response" in s.spec.faults for s in sessions)
    untold = sum("no_usage" in s.spec.faults for s in sessions)
    lines = [line for s in sessions for line in _lines(s)]
    cancelled = sum(line["status"] in ("cancelled", "interrupted") for line in lines)
    return (
        f"{len(lines)} responses ({cancelled} cancelled), {cut} stopped at once, "
        f"{dropped} dropped, {untold} with a usage missing"
    )
