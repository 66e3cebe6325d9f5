"""An interview as a backend asks for it: the body of `POST /v1/sessions`. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from loadtest.scenario.fates import OPENAI, Fate, Plan, Span

PHASES = ("warmup", "core", "closing")
TIMEOUT_SLACK_S = 120.0
TALKATIVE_THINKS_S: Span = (5.0, 10.0)
"""Of the budget-bound: they get to their limit by talking."""
LIMIT_USD: dict[bool, Span] = {True: (0.20, 0.30), False: (0.10, 0.15)}
"""Of the budget-bound with OpenAI (True) and Gemini; a few dozen turns."""
LONGEST_PATIENCE_S = 600.0
TEXT = (
    "You interview people about how they use the parks of their city. "
    "Ask one open question at a time and listen."
)


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How long all interviews of a run are, and how they are spoken."""

    interview_s: float = 600.0
    no_show_s: float = 60.0
    reconnect_grace_s: float = 10.0
    silence_ms: int = 500
    speech_s: Span = (2.0, 4.0)
    thinks_s: Span = (25.0, 40.0)
    """With answers of 2 to 4 s a participant speaks for less than a tenth of the time."""
    budget_usd: float = 10.0
    """Of those that are not to meet their limit."""
    always_on: bool = False
    """The microphone is open between the words too."""


def identity_of(plan: Plan) -> str:
    return f"p-{plan.number:06d}"


def key_of(study: str, plan: Plan) -> str:
    """The idempotency key: whoever asks again with it gets the same session."""
    return f"{study}/{identity_of(plan)}/1"


def body_of(plan: Plan, pace: Pace, study: str, *, rehearsed: bool) -> dict[str, Any]:
    """`rehearsed`: the participant is the fleet's own, for a fleet that is set to rehearse."""
    body: dict[str, Any] = {
        "provider": plan.provider,
        "instructions": f"[{study}/{identity_of(plan)}] {TEXT}",
        "vad_config": {"silence_duration_ms": pace.silence_ms},
        "phases": [
            {"id": name, "name": name, "duration_seconds": pace.interview_s / len(PHASES)}
            for name in PHASES
        ],
        "budget_limit_usd": _limit_usd(plan, pace),
        "session_timeout_seconds": pace.interview_s + TIMEOUT_SLACK_S,
        "no_show_seconds": pace.no_show_s,
        "reconnect_grace_seconds": pace.reconnect_grace_s,
        "study_id": study,
        "participant": {"identity": identity_of(plan)},
    }
    return {**body, "rehearsal": rehearsal_of(plan, pace)} if rehearsed else body


def rehearsal_of(plan: Plan, pace: Pace) -> dict[str, Any]:
    """The contract's test-only part: the script of a participant that is none."""
    leaves = plan.fate is Fate.LEAVES_EARLY
    return {
        "seed": plan.seed,
        "arrives_after_s": None if plan.fate is Fate.NO_SHOW else 0.5,
        "leaves_after_s": pace.interview_s * plan.cut_at if leaves else None,
        "speech_s": list(pace.speech_s),
        "thinks_s": list(thinks_s(plan, pace)),
        "patience_s": LONGEST_PATIENCE_S,
        **({"always_on": True} if pace.always_on else {}),
    }


def script_of(plan: Plan, pace: Pace) -> dict[str, Any]:
    """The same for a real participant, see `loadtest/participants/script.py`."""
    script: dict[str, Any] = {
        "name": plan.fate.value,
        "answer_s": list(pace.speech_s),
        "think_s": list(thinks_s(plan, pace)),
        "noise_dbfs": -60.0,
    }
    if plan.fate is Fate.LEAVES_EARLY:
        script["departures"] = [{"at_s": pace.interview_s * plan.cut_at}]
    return script


def thinks_s(plan: Plan, pace: Pace) -> Span:
    if plan.fate is not Fate.BUDGET_BOUND:
        return pace.thinks_s
    low, high = TALKATIVE_THINKS_S
    return min(low, pace.thinks_s[0]), min(high, pace.thinks_s[1])


def _limit_usd(plan: Plan, pace: Pace) -> float:
    if plan.fate is not Fate.BUDGET_BOUND:
        return pace.budget_usd
    low, high = LIMIT_USD[plan.provider == OPENAI]
    return round(low + (high - low) * plan.budget_at, 3)
