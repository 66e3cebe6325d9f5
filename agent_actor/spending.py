"""A session's money loop: meter what the wire says, report it, and heed the allowance.

The session never waits for the budget actor. It spends within the last allowance it was given;
when what it has spent reaches that, or the allowance expires without a renewal (the budget
actor, its ledger or the head node being down), it ends itself. Fail closed, never open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

import structlog

from agent_actor.conductor import Record
from agent_actor.cost_feed import Cost
from agent_actor.journal import EventKind
from agent_actor.messages import Allowance, Assignment, UsageReport, Verdict, to_micro_usd
from agent_actor.metering import Meter
from agent_actor.providers.base import RawEvent
from agent_actor.providers.factory import Wire
from agent_actor.wire_events import ConnectionLost, WireEvent

log = structlog.get_logger(__name__)

AskBudget = Callable[[UsageReport], Awaitable[Allowance | None]]
"""Deliver a report, bring back an allowance; None: there is no budget actor. Raises when it
cannot be reached."""

ASK_TIMEOUT_S = 2.0
"""An answer that takes longer is as good as none: the next report asks again."""
SETTLE_DEADLINE_S = 5.0
RETRY_S = 0.5
_ORDER = (Verdict.GO_ON, Verdict.WRAP_UP, Verdict.END)


class Spending:
    """``server_event``, ``client_event``, ``connected`` and ``connection_lost`` are the wire's
    taps: they return at once. ``run`` reports until cancelled; ``settle`` then delivers the final
    figures.

    ``on_verdict`` is called once for each step up: WRAP_UP, then END.
    """

    def __init__(
        self,
        *,
        assignment: Assignment,
        meter: Meter,
        new_wire: Callable[[int], Wire],
        report_interval_s: float,
        ask_budget: AskBudget,
        record: Record,
        on_verdict: Callable[[Verdict], None],
        now: Callable[[], float] = time.time,
        retry_s: float = RETRY_S,
    ) -> None:
        self._session_id = assignment.session_id
        self._attempt = assignment.attempt
        self._allowance = assignment.allowance
        self._meter = meter
        self._new_wire = new_wire
        self._connections = 0
        self._wire = new_wire(0)
        self._interval_s = report_interval_s
        self._ask_budget = ask_budget
        self._record = record
        self._on_verdict = on_verdict
        self._now = now
        self._retry_s = retry_s
        self._told = Verdict.GO_ON
        self._report_now = asyncio.Event()
        self.last_report: UsageReport | None = None

    # --- the wire's taps

    def server_event(self, raw: RawEvent) -> None:
        for event in self._wire.read(raw):
            if self._meter.feed(event):
                self._report_now.set()
        self._judge()

    def client_event(self, event: WireEvent) -> None:
        self._meter.feed(event)

    def connected(self) -> None:
        """A connection is up; its events are read apart from an earlier one's."""
        self._connections += 1
        self._wire = self._new_wire(self._connections)

    def connection_lost(self) -> bool:
        """Whether a response was under way, or asked for, and is lost with it."""
        lost = self._meter.at_risk_pico > 0
        if self._meter.feed(ConnectionLost()):
            self._report_now.set()
        return lost

    # --- the budget's side

    def restrain(self, allowance: Allowance) -> None:
        """Take a new allowance. An older one that arrives late is not taken: it could undo a
        limit that has been lowered since."""
        if _age(allowance) >= _age(self._allowance):
            self._allowance = allowance
            self._judge()

    async def run(self) -> None:
        """Report at once when money has moved, and at least every interval."""
        while True:
            await self._report(final=False)
            self._judge()
            self._report_now.clear()
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._report_now.wait()
            except TimeoutError:
                continue

    async def settle(self) -> UsageReport:
        """The final report: what is still open is charged at its upper bound. It is tried until
        it is delivered or ``SETTLE_DEADLINE_S`` is over; the session's result carries it too.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_DEADLINE_S):
                while True:
                    if await self._report(final=True):
                        break
                    await asyncio.sleep(self._retry_s)
        report = self.last_report
        assert report is not None
        return report

    def figures(self) -> dict[str, Any]:
        """The money fields of a LiveState; all attempts of the session together."""
        meter = self._meter
        return {
            "tokens_in": meter.tokens.input_total,
            "tokens_out": meter.tokens.output_total,
            "spent_micro_usd": self._spent_micro_usd(),
            "estimate_micro_usd": to_micro_usd(meter.estimate_pico),
        }

    def cost(self) -> Cost:
        """For observers."""
        meter = self._meter
        return Cost(
            spent_micro_usd=self._spent_micro_usd(),
            estimate_micro_usd=to_micro_usd(meter.estimate_pico),
            limit_micro_usd=self._allowance.limit_micro_usd,
            allowance_micro_usd=self._allowance.up_to_micro_usd,
            verdict=self._told,
            tokens=meter.tokens,
            responses=meter.responses,
            unpriced_responses=meter.unpriced_responses,
        )

    # --- inside

    async def _report(self, *, final: bool) -> bool:
        report = self._meter.report(
            session_id=self._session_id, attempt=self._attempt, now=self._now(), final=final
        )
        moved = self.last_report is None or _billed(report) != _billed(self.last_report)
        self.last_report = report
        if moved:
            self._record_usage(report)
        try:
            async with asyncio.timeout(ASK_TIMEOUT_S):
                allowance = await self._ask_budget(report)
        except Exception as error:
            # Whatever kept the answer from us, the allowance in hand and its expiry hold.
            log.warning("usage report not delivered", error_type=type(error).__name__)
            return False
        if allowance is not None:
            self.restrain(allowance)
        return True

    def _judge(self) -> None:
        verdict = self._verdict()
        if _ORDER.index(verdict) <= _ORDER.index(self._told):
            return
        self._told = verdict
        self._record(
            EventKind.BUDGET,
            verdict=verdict.value,
            spent_micro_usd=self._spent_micro_usd(),
            up_to_micro_usd=self._allowance.up_to_micro_usd,
        )
        self._report_now.set()
        self._on_verdict(verdict)

    def _verdict(self) -> Verdict:
        spent = self._spent_micro_usd() + to_micro_usd(self._meter.estimate_pico)
        if spent >= self._allowance.up_to_micro_usd or self._now() >= self._allowance.expires_at:
            return Verdict.END
        return self._allowance.verdict

    def _spent_micro_usd(self) -> int:
        return self._allowance.spent_before_micro_usd + to_micro_usd(self._meter.spent_pico)

    def _record_usage(self, report: UsageReport) -> None:
        tokens = report.tokens
        self._record(
            EventKind.USAGE,
            spent_micro_usd=self._spent_micro_usd(),
            tokens_in=tokens.input_total,
            tokens_out=tokens.output_total,
            cached=tokens.cached_text + tokens.cached_audio,
            responses=report.responses,
            unpriced_responses=report.unpriced_responses,
        )


def _age(allowance: Allowance) -> tuple[int, float]:
    return allowance.epoch, allowance.expires_at


def _billed(report: UsageReport) -> tuple[int, int, int]:
    """What makes two reports worth two entries: something was billed in between."""
    return (report.spent_pico_usd, report.responses, report.unpriced_responses)
