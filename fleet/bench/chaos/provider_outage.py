"""A provider that goes away and stays away, and interviews whose contract names another one."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent_actor.contract import EndReason, Provider
from agent_actor.journal import EventKind
from agent_actor.messages import to_micro_usd
from fleet.bench.chaos import evidence
from fleet.bench.chaos.fault import Fault, Needs, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, exactly, only_shown

FALLBACK_AFTER_S = 2.0
BEFORE_S = (6.0, 14.0)
OVER_S = 200.0
OTHER = {
    Provider.OPENAI_REALTIME: Provider.GEMINI_LIVE,
    Provider.GEMINI_LIVE: Provider.OPENAI_REALTIME,
}


@dataclass(kw_only=True)
class Ended:
    provider: Provider
    end_reason: str | None
    error: str | None
    attempts: int
    phases: list[str]
    wanted: list[str]
    went_on_with: str | None
    """The provider of the last report."""
    same_phase: bool
    silence_s: float | None
    """From the loss to the other provider's voice."""
    ledger_micro_usd: int
    invoice_micro_usd: int
    """Of both."""


async def run(stage: Stage, trials: Trials) -> Measured:
    """One at a time: an outage strikes every interview with that provider."""
    ended: list[Ended] = []
    with trials.progress.steps("outages of providers", trials.count) as advance:
        for number in range(trials.count):
            provider = list(Provider)[number % 2]
            after_s = trials.dice("provider_outage", number).uniform(*BEFORE_S)
            ended.append(await _interview(stage, provider, after_s))
            advance(1)
    return Measured(
        bars=tuple(bars(ended)),
        seeds=(trials.seed,),
        data={"interviews": [asdict(each) for each in ended]},
    )


async def _interview(stage: Stage, provider: Provider, after_s: float) -> Ended:
    other = OTHER[provider]
    contract: dict[str, Any] = {"fallback": {"provider": other.value}}
    interview = await stage.begin(provider=provider, contract=contract)
    await stage.instruct(other, interview.mark, {"turns_per_phase": 2, "ttfa_ms": [300, 300]})
    await interview.participant.heard(30.0)
    await asyncio.sleep(after_s)
    before = await interview.live()
    try:
        await stage.strike(provider, "", "refuse", count=None)
        lost_at = time.time()
        await stage.at_connection(provider, interview.mark, "drop")
        taken_up = await interview.carried_on(2, 30.0)
        record = await interview.over(OVER_S)
    finally:
        await stage.mend(provider)
    if not record.is_gone:
        await stage.end_all([interview])
    await interview.summary()
    return await _ended(stage, interview, before.phase_id if before else None, taken_up, lost_at)


async def _ended(
    stage: Stage, interview: Interview, phase_id: str | None, taken_up: Any, lost_at: float
) -> Ended:
    record = await interview.record()
    [account] = await stage.ledger.accounts([interview.id])  # type: ignore[list-item]
    spoke = [
        event.at
        for event in await interview.journal(EventKind.AUDIO, 2)
        if "first_audio_s" in event.data
    ]
    billed = [await stage.invoiced_pico(p, interview.mark) for p in Provider]
    return Ended(
        provider=interview.provider,
        end_reason=record.end_reason,
        error=record.error,
        attempts=record.attempt,
        phases=[p.phase_id for p in record.phases],
        wanted=interview.phases,
        went_on_with=account.last.provider if account.last else None,
        same_phase=taken_up is not None and taken_up.data["phase_id"] == phase_id,
        silence_s=evidence.wait_s(interview.told, min(spoke) - 1.0) if spoke else None,
        ledger_micro_usd=account.spent,
        invoice_micro_usd=sum(to_micro_usd(pico) for pico in billed),
    )


def bars(ended: Sequence[Ended]) -> Iterator[Bar]:
    well = [
        e
        for e in ended
        if e.end_reason == EndReason.COMPLETED
        and e.phases == e.wanted
        and e.attempts == 2
        and e.went_on_with == OTHER[e.provider].value
    ]
    share = 100 * len(well) / len(ended)
    yield exactly("went on with the other provider, to the end", share, 100, "%", _n(ended))
    same = 100 * sum(e.same_phase for e in ended) / len(ended)
    yield exactly("in the same phase", same, 100, "%")
    lost = [e for e in ended if e.ledger_micro_usd < e.invoice_micro_usd]
    yield exactly("ledgers below the invoices of both", len(lost), 0, "")
    beyond = sum(e.ledger_micro_usd - e.invoice_micro_usd for e in ended)
    yield only_shown("booked beyond the invoices", beyond, "µ$", "what was cut off, at its bound")
    silences = [e.silence_s for e in ended if e.silence_s is not None]
    detail = f"{FALLBACK_AFTER_S:g} s of it patience"
    if silences:
        detail += f"; p50 {statistics.median(silences):.2f} s, most {max(silences):.2f} s"
    p95 = percentile(silences, 0.95)
    yield only_shown("wait until the other provider's voice, p95", p95, "s", detail)


def _n(ended: Sequence[Ended]) -> str:
    return ", ".join(f"{sum(e.provider is p for e in ended)} {p.value}" for p in Provider)


FAULT = Fault(
    name="provider_outage",
    about="a provider that stays away, and interviews that fall over to the other one",
    trials=6,
    run=run,
    needs=Needs(warm=4, settings={"fallback_after_s": f"{FALLBACK_AFTER_S:g}"}),
)
