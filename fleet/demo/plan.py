"""Which interviews the demo runs, who takes part, and how each has to end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from agent_actor.contract import EndReason, Provider

STUDY = "demo"


@dataclass(frozen=True, kw_only=True)
class DemoInterview:
    """``participant`` is a script for `loadtest.participants`, None for nobody.

    ``marker`` is a phrase of the instructions by which a simulator knows this interview;
    ``turns_per_phase`` is what it is then told.
    """

    name: str
    title: str
    request: Mapping[str, Any]
    participant: Mapping[str, Any] | None
    expect: EndReason
    marker: str
    turns_per_phase: int = 2
    must_return: bool = False
    """The participant has to have left and come back."""

    @property
    def provider(self) -> Provider:
        return Provider(self.request["provider"])


def demo_interviews() -> tuple[DemoInterview, ...]:
    """Two per provider; with short limits, so that all of it is over in about a minute."""
    return (_through_all_phases(), _over_budget(), _no_show(), _away_and_back())


def interview_for_you() -> Mapping[str, Any]:
    """One that waits an hour for somebody to open its link."""
    return _request(
        Provider.OPENAI_REALTIME,
        "what people like about voice interviews",
        "p-you",
        session_timeout_seconds=3600,
        no_show_seconds=3600,
    )


def _through_all_phases() -> DemoInterview:
    marker = "how people use the parks of their city"
    return DemoInterview(
        name="complete",
        title="runs through all phases, interrupted once",
        request=_request(Provider.OPENAI_REALTIME, marker, "p-complete"),
        participant=_script(
            "complete", interruptions=[{"utterance": 2, "after_s": 0.8, "speech_s": 1.2}]
        ),
        expect=EndReason.COMPLETED,
        marker=marker,
    )


def _over_budget() -> DemoInterview:
    marker = "how people choose a bicycle"
    return DemoInterview(
        name="budget",
        title="talks on until the money is gone",
        request=_request(Provider.OPENAI_REALTIME, marker, "p-budget", budget_limit_usd=0.12),
        participant=_script("budget", answer_s=[2.0, 3.5], speaks_up_after_s=6.0),
        expect=EndReason.BUDGET_EXCEEDED,
        marker=marker,
        # It never thinks it is through, so nothing but the money ends it.
        turns_per_phase=1000,
    )


def _no_show() -> DemoInterview:
    marker = "how people cook at home"
    return DemoInterview(
        name="no-show",
        title="the participant never arrives",
        request=_request(Provider.GEMINI_LIVE, marker, "p-no-show", no_show_seconds=15),
        participant=None,
        expect=EndReason.NO_SHOW,
        marker=marker,
    )


def _away_and_back() -> DemoInterview:
    marker = "how people read the news"
    return DemoInterview(
        name="returns",
        title="leaves, and comes back within the grace",
        request=_request(Provider.GEMINI_LIVE, marker, "p-returns"),
        participant=_script("returns", departures=[{"after_answers": 1, "away_s": 5.0}]),
        expect=EndReason.COMPLETED,
        marker=marker,
        must_return=True,
    )


def _request(provider: Provider, topic: str, participant: str, **changes: Any) -> dict[str, Any]:
    return {
        "provider": provider.value,
        "instructions": f"You are a friendly interviewer. You want to learn {topic}.",
        "study_id": STUDY,
        "participant": {"identity": participant},
        "vad_config": {"threshold": 0.5, "silence_duration_ms": 500, "prefix_padding_ms": 300},
        "phases": [
            {
                "id": "warmup",
                "name": "Warm-up",
                "duration_seconds": 40,
                "prompt_suffix": "Put the participant at ease with an easy question.",
            },
            {
                "id": "core",
                "name": "Core questions",
                "duration_seconds": 40,
                "prompt_suffix": "Ask about one concrete occasion and follow up.",
            },
        ],
        "budget_limit_usd": 2.0,
        "session_timeout_seconds": 100,
        "no_show_seconds": 30,
        "reconnect_grace_seconds": 20,
        **changes,
    }


def _script(name: str, **changes: Any) -> dict[str, Any]:
    return {
        "name": name,
        "think_s": [0.4, 0.9],
        "answer_s": [1.5, 2.5],
        "noise_dbfs": -60.0,
        **changes,
    }
