"""What the demo measured, and whether every interview ended as it should. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agent_actor.contract import EndReason
from agent_actor.messages import PICO_PER_MICRO
from fleet.demo.plan import DemoInterview


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """One interview, after its end. ``record`` and ``cost`` are the API's answers.

    ``invoice_pico_usd``: what the simulator billed; None with real providers, which send theirs
    by the month.
    """

    interview: DemoInterview
    post_s: float
    """From the request to its answer: by then the agent is in the room."""
    record: Mapping[str, Any]
    cost: Mapping[str, Any]
    events: Sequence[Mapping[str, Any]]
    participant: Mapping[str, Any] | None
    invoice_pico_usd: int | None
    problem: str | None = None
    """What kept it from being observed to its end."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    name: str
    passed: bool
    problems: tuple[str, ...] = field(default_factory=tuple)


def judge(outcome: Outcome) -> Verdict:
    """Every line that is not as it should be, in words."""
    problems = [p for p in (outcome.problem, _ending(outcome), _return(outcome)) if p]
    problems += _phases(outcome)
    problems += _money(outcome)
    return Verdict(name=outcome.interview.name, passed=not problems, problems=tuple(problems))


def as_json(outcomes: Sequence[Outcome], *, simulated: bool, took_s: float) -> dict[str, Any]:
    """The content of out/demo.json."""
    verdicts = [judge(outcome) for outcome in outcomes]
    return {
        "passed": all(verdict.passed for verdict in verdicts),
        "simulated_providers": simulated,
        "took_s": round(took_s, 1),
        "interviews": [
            _entry(outcome, verdict) for outcome, verdict in zip(outcomes, verdicts, strict=True)
        ],
    }


def first_audio_s(outcome: Outcome) -> float | None:
    """From the request to the first audible sample at the participant."""
    value = (outcome.participant or {}).get("first_audio_since_t0_s")
    return float(value) if value is not None else None


def cost_per_minute(outcome: Outcome) -> str:
    """Micro-exact dollars for each minute of the ledger's series, in order."""
    return ", ".join(str(minute["usd"]) for minute in outcome.cost.get("minutes", [])) or "-"


def invoice_micro_usd(outcome: Outcome) -> int | None:
    """Rounded up once, as the ledger rounds."""
    pico = outcome.invoice_pico_usd
    return None if pico is None else -(-pico // PICO_PER_MICRO)


def _entry(outcome: Outcome, verdict: Verdict) -> dict[str, Any]:
    record, cost = outcome.record, outcome.cost
    return {
        "name": outcome.interview.name,
        "provider": outcome.interview.provider.value,
        "session_id": record.get("session_id"),
        "expected_end": outcome.interview.expect.value,
        "end_reason": record.get("end_reason"),
        "error": record.get("error"),
        "passed": verdict.passed,
        "problems": list(verdict.problems),
        "post_to_agent_in_room_s": round(outcome.post_s, 3),
        "post_to_first_audio_s": first_audio_s(outcome),
        "timings_ms": record.get("timings_ms"),
        "phases": record.get("phases"),
        "tokens": cost.get("tokens"),
        "spent_micro_usd": cost.get("spent_micro_usd"),
        "limit_micro_usd": cost.get("limit_micro_usd"),
        "invoice_micro_usd": invoice_micro_usd(outcome),
        "unpriced_responses": cost.get("unpriced_responses"),
        "minutes": cost.get("minutes"),
        "unmapped": record.get("unmapped"),
        "participant": outcome.participant,
    }


def _ending(outcome: Outcome) -> str | None:
    expected, seen = outcome.interview.expect.value, outcome.record.get("end_reason")
    return None if seen == expected else f"ended as {seen}, expected {expected}"


def _return(outcome: Outcome) -> str | None:
    if not outcome.interview.must_return:
        return None
    changes = [e["data"].get("change") for e in outcome.events if e["kind"] == "participant"]
    if "left" in changes and "returned" in changes[changes.index("left") :]:
        return None
    return "the participant was not seen to leave and come back"


def _phases(outcome: Outcome) -> list[str]:
    if outcome.interview.expect is not EndReason.COMPLETED:
        return []
    wanted = [phase["id"] for phase in outcome.interview.request["phases"]]
    seen = [phase["phase_id"] for phase in outcome.record.get("phases", [])]
    return [] if seen == wanted else [f"phases were {seen}, expected {wanted}"]


def _money(outcome: Outcome) -> list[str]:
    billed, spent = invoice_micro_usd(outcome), outcome.cost.get("spent_micro_usd")
    limit = outcome.cost.get("limit_micro_usd")
    problems = []
    if billed is not None and billed != spent:
        problems.append(f"the ledger has {spent} micro-dollars, the invoice {billed}")
    if billed is not None and limit is not None and billed > limit:
        problems.append(f"the invoice is {billed} micro-dollars, the limit {limit}")
    return problems
