"""One interview as roster and budget see it: how long it lasts, and the bills it runs up. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from agent_actor.contract import SessionId
from agent_actor.messages import PICO_PER_MICRO, Allowance, TokenCounts, UsageReport, Verdict

PROVIDERS = ("openai_realtime", "gemini_live")
MODELS = {
    "openai_realtime": "gpt-realtime",
    "gemini_live": "gemini-2.5-flash-native-audio-preview-12-2025",
}
MEAN_S = 900.0
BUDGET_BOUND = 0.10
LIMIT_MICRO_USD = 10_000_000
SMALL_LIMIT_MICRO_USD = (200_000, 300_000)
RESPONSE_MICRO_USD = (4_000, 25_000)
WORST_MICRO_USD = 40_000
"""What one more response can cost at most; every draw lies below."""
GOODBYE_MICRO_USD = 12_000


@dataclass(frozen=True, kw_only=True)
class Drawn:
    """What a session will do, whatever it is allowed."""

    session_id: SessionId
    study_id: str
    provider: str
    limit_micro_usd: int
    duration_s: float
    seed: int


def draw(number: int, seed: int, *, studies: int) -> Drawn:
    rng = Random(f"{seed}/{number}")
    bound = rng.random() < BUDGET_BOUND
    return Drawn(
        session_id=SessionId(f"s-{number:07d}"),
        study_id=f"study-{number % studies:04d}",
        provider=PROVIDERS[number % len(PROVIDERS)],
        limit_micro_usd=rng.randint(*SMALL_LIMIT_MICRO_USD) if bound else LIMIT_MICRO_USD,
        duration_s=rng.expovariate(1 / MEAN_S),
        seed=rng.getrandbits(31),
    )


class Spender:
    """A session that begins no response that its allowance does not cover at its worst."""

    def __init__(self, drawn: Drawn, allowance: Allowance) -> None:
        self._drawn = drawn
        self._allowance = allowance
        self._rng = Random(drawn.seed)
        self._seq = 0
        self.spent_micro_usd = 0

    @property
    def over(self) -> bool:
        """It has no money for another response."""
        allowed = self._allowance.up_to_micro_usd - self.spent_micro_usd
        return self._allowance.verdict is Verdict.END or allowed < WORST_MICRO_USD

    def hear(self, allowance: Allowance) -> None:
        self._allowance = allowance

    def respond(self) -> None:
        if not self.over:
            self.spent_micro_usd += self._rng.randint(*RESPONSE_MICRO_USD)

    def say_goodbye(self) -> None:
        """Out of what is kept for it."""
        left = self._allowance.up_to_micro_usd + self._allowance.goodbye_micro_usd
        if left - self.spent_micro_usd >= GOODBYE_MICRO_USD:
            self.spent_micro_usd += GOODBYE_MICRO_USD

    def report(self, now_s: float, *, final: bool = False) -> UsageReport:
        self._seq += 1
        return UsageReport(
            session_id=self._drawn.session_id,
            attempt=1,
            seq=self._seq,
            at=now_s,
            provider=self._drawn.provider,
            model=MODELS[self._drawn.provider],
            tokens=TokenCounts(input_audio=50 * self._seq, output_audio=60 * self._seq),
            spent_pico_usd=self.spent_micro_usd * PICO_PER_MICRO,
            goodbye_pico_usd=GOODBYE_MICRO_USD * PICO_PER_MICRO,
            response_pico_usd=WORST_MICRO_USD * PICO_PER_MICRO,
            minute_pico_usd=2 * WORST_MICRO_USD * PICO_PER_MICRO,
            responses=self._seq,
            final=final,
        )
