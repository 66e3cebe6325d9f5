"""Interviews whose provider talks nonsense or whose contract is garbled; and the same nonsense,
by the thousand, for the meter alone."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from agent_actor.contract import Provider
from agent_actor.metering import Meter
from agent_actor.providers.factory import new_wire
from agent_actor.rates import load_rates
from agent_actor.wire_events import ConnectionLost
from fleet.bench import bad_input as bad
from fleet.bench.chaos.fault import Trials
from fleet.bench.chaos.stage import INTERVIEWER, Stage
from fleet.errors import DispatchFailed

STREAMS_EACH = 20
"""Connections for the meter of each provider, for each trial."""
EVERY = 5
"""Trials for each interview whose provider talks nonsense, and each contract that is garbled."""
BATCHES, BATCH = 6, 30
"""Of messages in the midst of an interview's responses: so many, each of so many."""
MOST_CHARACTERS = 20_000
"""Of a message: a batch of them is handed to the simulator in one request."""
TURNS = 3
"""Of each phase: a response for each batch, at the least."""
TALK_S = 120.0
EVENTS = {
    Provider.OPENAI_REALTIME: bad.OPENAI_EVENTS,
    Provider.GEMINI_LIVE: bad.GEMINI_MESSAGES,
}


@dataclass(frozen=True, kw_only=True)
class Ending:
    """``code``: of the error, if it failed. ``attempts`` None: it was never begun."""

    reason: str | None
    code: str | None
    attempts: int | None
    given: object


@dataclass(frozen=True, kw_only=True)
class Talk:
    """In the midst of each of its responses the provider says one of these batches."""

    provider: Provider
    batches: Sequence[Sequence[str]]

    @property
    def messages(self) -> int:
        return sum(map(len, self.batches))

    async def hold(self, stage: Stage) -> Ending:
        interview = await stage.begin(
            provider=self.provider, interviewer={**INTERVIEWER, "turns_per_phase": TURNS}
        )
        for texts in self.batches:
            fields = {"count": 1, "params": {"texts": list(texts)}}
            await stage.strike(self.provider, interview.mark, "malformed_event", **fields)
        record = await interview.over(TALK_S)
        if not record.is_gone:
            await stage.end_all([interview])
            record = await interview.record()
        return Ending(
            reason=record.end_reason,
            code=record.error_code,
            attempts=record.attempt,
            given=self.batches,
        )


@dataclass(frozen=True, kw_only=True)
class Garbled:
    """The room's metadata becomes this as the agent comes."""

    text: str

    async def hold(self, stage: Stage) -> Ending:
        try:
            interview = await stage.begin(participant=None, contract={"no_show_seconds": 5.0})
        except DispatchFailed as error:
            return Ending(reason="not begun", code=error.cause_code, attempts=None, given=self.text)
        # What came too late for it to read must not matter to it any more either.
        with suppress(Exception):
            await stage.rooms.update_metadata(interview.room, self.text)
        record = await interview.over(TALK_S)
        # One that could not read it has a second try, so its attempts say nothing.
        return Ending(
            reason=record.end_reason, code=record.error_code, attempts=None, given=self.text
        )


def talks(trials: Trials) -> list[Talk]:
    count = max(1, trials.count // EVERY)
    return [
        Talk(provider=provider, batches=[texts[n : n + BATCH] for n in range(0, len(texts), BATCH)])
        for provider, good in EVENTS.items()
        for texts in _texts(good, count, trials.seed)
    ]


def _texts(good: Sequence[dict[str, Any]], count: int, number: int) -> list[list[str]]:
    """For each of so many interviews."""
    each = BATCHES * BATCH
    text = bad.messages(good).map(json.dumps).filter(lambda text: len(text) <= MOST_CHARACTERS)
    drawn = bad.drawn(text, count * each, number)
    return [drawn[n : n + each] for n in range(0, len(drawn), each)]


def contracts(trials: Trials) -> list[Garbled]:
    count = max(1, trials.count // EVERY)
    texts = bad.texts(bad.CONTRACT).map(lambda text: text.encode("utf-8", "replace").decode())
    return [Garbled(text=text) for text in bad.drawn(texts, count, trials.seed)]


# The meter alone


def metered(trials: Trials) -> tuple[int, list[str]]:
    """How many events a meter was fed, as the wire's reader takes them, and what was wrong with
    that: a crash, or money that became less. Takes seconds of CPU."""
    events, wrong = 0, []
    for provider, good in EVENTS.items():
        for stream in bad.drawn(bad.streams(good), trials.count * STREAMS_EACH, trials.seed):
            events += len(stream)
            try:
                wrong += [f"{provider.value}: {what}" for what in _fed(provider, stream)]
            except Exception as error:
                wrong.append(f"{provider.value}: {error!r} of {str(stream)[:300]}")
    return events, wrong


def _fed(provider: Provider, stream: Sequence[dict[str, Any]]) -> Iterator[str]:
    rate = load_rates().rate_for(provider.value, None, datetime.now(UTC).date())
    meter, wire, spent = Meter(rate=rate), new_wire(provider, 1), 0
    events = [event for message in stream for event in wire.read(message)]
    for event in (*events, ConnectionLost()):
        meter.feed(event)
        if not spent <= meter.spent_pico or min(meter.estimate_pico, meter.at_risk_pico) < 0:
            yield f"{meter.spent_pico} pico-dollars after {spent}"
        spent = meter.spent_pico
    if meter.responding:
        yield "a response is under way on a connection that is gone"
