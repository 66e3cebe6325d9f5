"""Sessions to be run, drawn from a seed. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from random import Random
from typing import Any

from agent_actor.contract import Provider

MAX_RESPONSE_S = 30.0
"""The interviewer's longest turn in these sessions: limits here are a tenth of usual ones."""
PHASE_S = 900
TEXT = "You interview people about the parks of their city. "


@dataclass(frozen=True, kw_only=True)
class SessionSpec:
    """One session. ``tag`` stands in its instructions: the simulator knows it by that.

    ``script`` and ``faults`` are the simulator's, ``stop_after_s`` an operator's stop at once.
    ``trouble``: its reports get lost, come twice, and late.
    """

    tag: str
    kind: str
    provider: Provider
    limit_micro_usd: int
    contract: dict[str, Any]
    script: dict[str, Any]
    faults: tuple[str, ...] = ()
    stop_after_s: float | None = None
    trouble: bool = False
    seed: int = 0

    @property
    def metadata(self) -> str:
        return json.dumps(self.contract)


@dataclass(frozen=True, kw_only=True)
class Talk:
    """How both speak: seconds of the script, ``speed`` of them in one."""

    speed: float
    speech_s: tuple[float, float]
    answers_s: tuple[float, float]
    thinks_s: tuple[float, float] = (0.1, 0.5)
    padding_bytes: int = 0
    suffix_bytes: int = 0
    interrupts: float = 0.0


BRISK = Talk(speed=4, speech_s=(0.8, 1.6), answers_s=(0.6, 1.2))
"""A conversation that stays short."""
TELLING = Talk(speed=25, speech_s=(40.0, 55.0), answers_s=(0.6, 1.2))
"""A participant who tells for most of a minute: a conversation that gets long."""
WORDY = Talk(
    speed=4, speech_s=(0.8, 1.6), answers_s=(0.6, 1.2), padding_bytes=30_000, suffix_bytes=15_000
)
"""A short conversation under long instructions: what makes Gemini's turns cost something."""


def mixed(count: int, seed: int) -> list[SessionSpec]:
    """Sessions far from their limits to which everything happens."""
    rng = Random(seed)
    return [_mixed(rng, number) for number in range(count)]


def _mixed(rng: Random, number: int) -> SessionSpec:
    provider = rng.choice(list(Provider))
    faults = ["no_usage"] if rng.random() < 0.25 else []
    faults += ["drop_mid_response"] if rng.random() < 0.2 else []
    talk = Talk(
        speed=4,
        speech_s=(0.6, 1.4),
        answers_s=(0.6, 1.6),
        interrupts=0.4 if rng.random() < 0.5 else 0.0,
    )
    cut = rng.random() < 0.3
    return _spec(
        rng,
        tag=f"mixed-{number}-{rng.getrandbits(40):010x}",
        kind="mixed",
        provider=provider,
        limit_usd=5.0,
        talk=talk,
        faults=tuple(faults),
        leaves_after_s=None if cut else rng.uniform(3.0, 7.0),
        stop_after_s=rng.uniform(1.5, 6.0) if cut else None,
        trouble=rng.random() < 0.5,
    )


Kind = tuple[str, Provider, Talk, tuple[float, float]]
"""Name, provider, how they talk, dollars of the limit."""
OPENAI_SHORT: Kind = ("openai short", Provider.OPENAI_REALTIME, BRISK, (0.6, 1.0))
OPENAI_LONG: Kind = ("openai long", Provider.OPENAI_REALTIME, TELLING, (1.0, 1.6))
GEMINI_SHORT: Kind = ("gemini short", Provider.GEMINI_LIVE, WORDY, (0.6, 0.8))
GEMINI_LONG: Kind = ("gemini long", Provider.GEMINI_LIVE, TELLING, (0.8, 1.2))
LIMITED = (
    OPENAI_SHORT,
    GEMINI_SHORT,
    OPENAI_LONG,
    GEMINI_LONG,
    *(2 * (OPENAI_SHORT, GEMINI_SHORT)),
)
"""In turn: each long one takes the processor as long as several short ones."""


def limited(count: int, seed: int) -> list[SessionSpec]:
    """Sessions that all run into their limits; half of the interviewers do not heed the word to
    wrap up."""
    rng = Random(seed)
    return [_limited(rng, number) for number in range(count)]


def _limited(rng: Random, number: int) -> SessionSpec:
    kind, provider, talk, limits = LIMITED[number % len(LIMITED)]
    return _spec(
        rng,
        tag=f"limited-{number}-{rng.getrandbits(40):010x}",
        kind=kind,
        provider=provider,
        limit_usd=round(rng.uniform(*limits), 2),
        talk=talk,
        disobey=number // len(LIMITED) % 2 == 1,
    )


def steady(count: int, seed: int, *, seconds: float) -> list[SessionSpec]:
    """Sessions at an easy pace that last ``seconds``; a fifth of them run into their limits on
    the way."""
    rng = Random(seed)
    talk = Talk(speed=2, speech_s=(1.0, 2.0), answers_s=(0.8, 1.6), thinks_s=(3.0, 6.0))
    return [
        _spec(
            rng,
            tag=f"steady-{number}-{rng.getrandbits(40):010x}",
            kind="near" if number % 5 == 4 else "steady",
            provider=list(Provider)[number % 2],
            limit_usd=round(rng.uniform(0.1, 0.25), 2) if number % 5 == 4 else 20.0,
            talk=talk,
            leaves_after_s=seconds,
            disobey=True,
        )
        for number in range(count)
    ]


def _spec(
    rng: Random,
    *,
    tag: str,
    kind: str,
    provider: Provider,
    limit_usd: float,
    talk: Talk,
    faults: tuple[str, ...] = (),
    leaves_after_s: float | None = None,
    stop_after_s: float | None = None,
    trouble: bool = False,
    disobey: bool = False,
) -> SessionSpec:
    seed = rng.getrandbits(31)
    contract = {
        "provider": provider.value,
        "instructions": f"[{tag}]\n{TEXT * max(1, talk.padding_bytes // len(TEXT))}",
        "phases": [
            {
                "id": "core",
                "name": "Core",
                "duration_seconds": PHASE_S,
                "prompt_suffix": TEXT * (talk.suffix_bytes // len(TEXT)),
            }
        ],
        "session_timeout_seconds": PHASE_S,
        "vad_config": {"silence_duration_ms": 400},
        "budget_limit_usd": limit_usd,
        "reconnect_grace_seconds": 0,
        "rehearsal": {
            "seed": seed,
            "speed": talk.speed,
            "arrives_after_s": 0.1,
            "leaves_after_s": leaves_after_s,
            "speech_s": talk.speech_s,
            "thinks_s": talk.thinks_s,
            "interrupts": talk.interrupts,
        },
    }
    return SessionSpec(
        tag=tag,
        kind=kind,
        provider=provider,
        limit_micro_usd=round(limit_usd * 1_000_000),
        contract=contract,
        script={
            "speech_s": list(talk.answers_s),
            "ttfa_ms": [30, 90],
            "turns_per_phase": 10_000,
            "disobey": disobey,
        },
        faults=faults,
        stop_after_s=stop_after_s,
        trouble=trouble,
        seed=seed,
    )


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a session was seen to do. Times are seconds since it began, by one clock."""

    tag: str
    end_reason: str
    error: str | None
    at_s: dict[str, float] = field(default_factory=dict)
    """end (the verdict), goodbye (granted), goodbye_over, closed (the provider's connection)."""
    wrapped_up: bool = False
    usage_at: tuple[float, ...] = ()
    """Epoch seconds at which something was billed."""
    reports_lost: int = 0
    reports_twice: int = 0
    reports_late: int = 0
