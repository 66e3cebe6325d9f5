"""Sessions as the budget actor hears them: cumulative, numbered reports.

Each report of a reporter says more than its last: an estimate that grows while a response is
under way, and every fourth time that response's bill, on top of everything before.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from agent_actor.contract import SessionId
from agent_actor.messages import PICO_PER_MICRO, TokenCounts, UsageReport, to_micro_usd

PROVIDERS = ("openai_realtime", "gemini_live")
MODELS = {
    "openai_realtime": "gpt-realtime",
    "gemini_live": "gemini-2.5-flash-native-audio-preview-12-2025",
}
REPORTS_A_RESPONSE = 4
RESPONSE_PICO = (40 * PICO_PER_MICRO, 900 * PICO_PER_MICRO)
"""Small, so that no session reaches its limit however long it is measured."""


@dataclass(frozen=True, kw_only=True)
class Account:
    """``study``: many sessions each, as a fleet has it."""

    session_id: SessionId
    study_id: str
    provider: str


def accounts(count: int, studies: int = 20) -> list[Account]:
    return [
        Account(
            session_id=SessionId(f"session-{number:06d}"),
            study_id=f"study-{number % studies:02d}",
            provider=PROVIDERS[number % len(PROVIDERS)],
        )
        for number in range(count)
    ]


class Reporter:
    """One session. ``acknowledged`` is what its budget is known to have written."""

    def __init__(self, account: Account, rng: Random) -> None:
        self.session_id = account.session_id
        self._provider = account.provider
        self._rng = rng
        self._seq = 0
        self._spent_pico = 0
        self._next_pico = rng.randint(*RESPONSE_PICO)
        self._output = 0
        self._acknowledged_pico = 0
        self._acknowledged_seq = 0

    def report(self, now: float) -> UsageReport:
        self._seq += 1
        part = self._seq % REPORTS_A_RESPONSE
        if part == 0:
            self._spent_pico += self._next_pico
            self._output += self._next_pico // (20 * PICO_PER_MICRO)
            self._next_pico = self._rng.randint(*RESPONSE_PICO)
        responses = self._seq // REPORTS_A_RESPONSE
        return UsageReport(
            session_id=self.session_id,
            attempt=1,
            seq=self._seq,
            at=now,
            provider=self._provider,
            model=MODELS[self._provider],
            tokens=TokenCounts(
                input_text=180 * responses,
                input_audio=95 * responses,
                cached_text=128 * responses,
                output_text=12 * responses,
                output_audio=self._output,
            ),
            spent_pico_usd=self._spent_pico,
            estimate_pico_usd=self._next_pico * part // REPORTS_A_RESPONSE,
            at_risk_pico_usd=3 * self._next_pico,
            goodbye_pico_usd=2_000 * PICO_PER_MICRO,
            responses=responses,
        )

    def acknowledge(self, report: UsageReport) -> None:
        """Reports of a session may be answered in any order; the newest holds."""
        if report.seq > self._acknowledged_seq:
            self._acknowledged_seq = report.seq
            self._acknowledged_pico = report.spent_pico_usd

    @property
    def acknowledged_micro_usd(self) -> int:
        return to_micro_usd(self._acknowledged_pico)


def reporters(of: Sequence[Account], seed: int) -> list[Reporter]:
    rng = Random(seed)
    return [Reporter(account, rng) for account in of]
