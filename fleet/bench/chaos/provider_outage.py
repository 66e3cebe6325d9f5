"""A provider that goes away and stays away, and interviews whose contract names another one."""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from agent_actor.contract import EndReason, Provider
from agent_actor.journal import EventKind, JournalEvent
from agent_actor.messages import to_micro_usd
from fleet.bench.chaos import evidence
from fleet.bench.chaos.fault import AT_ONCE, Fault, Needs, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import INTERVIEWER, Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, exactly, only_shown

FALLBACK_AFTER_S = 2.0
LOST_S = (0.0, 8.0)
"""From the beginning of an outage until an interview loses its connection."""
HEARD_S = CARRIED_ON_S = 30.0
TALKS: dict[str, Any] = {**INTERVIEWER, "turns_per_phase": 3}
OVER_S = 200.0
OTHER = {
    Provider.OPENAI_REALTIME: Provider.GEMINI_LIVE,
    Provider.GEMINI_LIVE: Provider.OPENAI_REALTIME,
}


@dataclass(frozen=True, kw_only=True)
class Hit:
    """Where an interview was when it lost its connection, and how it was taken up."""

    phase_id: str | None
    taken_up: JournalEvent | None


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
    """One outage after the other, each of a few interviews: it strikes all with that provider."""
    ended: list[Ended] = []
    left = trials.count
    with trials.progress.steps("interviews in outages", trials.count) as advance:
        for number in itertools.count():
            dice = trials.dice("provider_outage", number)
            moments = [dice.uniform(*LOST_S) for _ in range(min(left, AT_ONCE))]
            if not moments:
                break
            ended += await _outage(stage, list(Provider)[number % 2], moments)
            left -= len(moments)
            advance(len(moments))
    return Measured(
        bars=tuple(bars(ended, trials)),
        seeds=(trials.seed,),
        data={"interviews": [asdict(each) for each in ended]},
    )


async def _outage(stage: Stage, provider: Provider, moments: Sequence[float]) -> list[Ended]:
    """``moments``: from its beginning until each interview loses its connection."""
    interviews = [await _begin(stage, provider) for _ in moments]
    await asyncio.gather(*(each.participant.heard(HEARD_S) for each in interviews))
    try:
        await stage.strike(provider, "", "refuse", count=None)
        struck = [_strike(stage, each, s) for each, s in zip(interviews, moments, strict=True)]
        hits = await asyncio.gather(*struck)
    finally:
        await stage.mend(provider)
    over = [_end(stage, each, hit) for each, hit in zip(interviews, hits, strict=True)]
    return list(await asyncio.gather(*over))


async def _begin(stage: Stage, provider: Provider) -> Interview:
    other = OTHER[provider]
    interview = await stage.begin(
        provider=provider,
        interviewer=TALKS,
        contract={"fallback": {"provider": other.value}},
    )
    await stage.instruct(other, interview.mark, TALKS)
    return interview


async def _strike(stage: Stage, interview: Interview, after_s: float) -> Hit:
    await asyncio.sleep(after_s)  # the moment that was drawn
    before = await interview.live()
    await stage.at_connection(interview.provider, interview.mark, "drop")
    return Hit(
        phase_id=before.phase_id if before else None,
        taken_up=await interview.carried_on(1, CARRIED_ON_S),
    )


async def _end(stage: Stage, interview: Interview, hit: Hit) -> Ended:
    record = await interview.over(OVER_S)
    if not record.is_gone:
        await stage.end_all([interview])
    await interview.summary()
    return await _ended(stage, interview, hit)


async def _ended(stage: Stage, interview: Interview, hit: Hit) -> Ended:
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
        same_phase=hit.taken_up is not None and hit.taken_up.data["phase_id"] == hit.phase_id,
        silence_s=evidence.wait_s(interview.told, min(spoke) - 1.0) if spoke else None,
        ledger_micro_usd=account.spent,
        invoice_micro_usd=sum(to_micro_usd(pico) for pico in billed),
    )


def bars(ended: Sequence[Ended], trials: Trials) -> Iterator[Bar]:
    yield at_least("interviews in outages", len(ended), trials.count, "", _n(ended))
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
    trials=20,
    run=run,
    needs=Needs(warm=AT_ONCE + 1, settings={"fallback_after_s": f"{FALLBACK_AFTER_S:g}"}),
)
