"""A session's money loop: meter what the wire says, report it, and heed the allowance.

The session spends within the last allowance it was given and begins nothing that this would not
cover at its worst (``purse``). When the next answer can no longer be paid for, or the allowance
expires without a renewal (the budget actor, its ledger or the head node being down), it ends
itself. Fail closed, never open.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import structlog

from agent_actor.answers import Answer, Answers
from agent_actor.conductor import Record
from agent_actor.cost_feed import Cost
from agent_actor.journal import EventKind
from agent_actor.messages import (
    Allowance,
    Assignment,
    TokenCounts,
    UsageReport,
    Verdict,
    to_micro_usd,
)
from agent_actor.metering import Meter
from agent_actor.permits import Permit
from agent_actor.providers.base import RawEvent
from agent_actor.providers.factory import Wire
from agent_actor.purse import Purse
from agent_actor.wire_events import ConnectionLost, TurnTaking, UserTurn, WireEvent

log = structlog.get_logger(__name__)

AskBudget = Callable[[UsageReport], Awaitable[Allowance | None]]
"""Deliver a report, bring back an allowance; None: there is no budget actor. Raises when it
cannot be reached."""

ASK_TIMEOUT_S = 2.0
"""An answer that takes longer is as good as none: the next report asks again."""
SETTLE_DEADLINE_S = 5.0
RETRY_S = 0.5
QUIET_INTERVALS = 5
"""Of reporting, between two reports while nothing is spent."""
HUSH_TIMEOUT_S = 0.5
CUT_OFF_TIMEOUT_S = 1.5
_ORDER = (Verdict.GO_ON, Verdict.WRAP_UP, Verdict.END)


class Spending:
    """``server_event``, ``client_event``, ``connected``, ``connection_lost``, ``permit`` and
    ``may_hear`` are the wire's taps: they return at once. ``run`` reports until cancelled;
    ``settle`` then delivers the final figures.

    ``on_verdict`` is called once for each step up: WRAP_UP, then END. ``on_turn``: the
    participant has said something that the server will not answer by itself, and that there is
    money to answer. ``take_turns`` tells the provider whether its server may answer by itself,
    ``listen`` that it may hear again. ``on_answer``: a response is over.
    """

    def __init__(
        self,
        *,
        assignment: Assignment,
        meter: Meter,
        capped: bool,
        new_wire: Callable[[int], Wire],
        report_interval_s: float,
        ask_budget: AskBudget,
        record: Record,
        on_verdict: Callable[[Verdict], None],
        on_turn: Callable[[], None],
        take_turns: Callable[[bool], None],
        listen: Callable[[], None],
        on_answer: Callable[[Answer], None] = lambda answer: None,
        now: Callable[[], float] = time.time,
        retry_s: float = RETRY_S,
    ) -> None:
        """``capped``: see ``Purse``."""
        self._session_id = assignment.session_id
        self._attempt = assignment.attempt
        self._meter = meter
        self._purse = Purse(meter, assignment.allowance, capped=capped)
        self._new_wire = new_wire
        self._connections = 0
        self._wire = new_wire(0)
        self._interval_s = report_interval_s
        self._ask_budget = ask_budget
        self._record = record
        self._on_verdict = on_verdict
        self._on_turn = on_turn
        self._take_turns = take_turns
        self._listen = listen
        self._on_answer = on_answer
        self._answers = Answers()
        self._deaf = False
        self._now = now
        self._retry_s = retry_s
        self._told = Verdict.GO_ON
        self._unanswered = False
        self._report_now = asyncio.Event()
        self._settled = asyncio.Event()
        self._online = False
        self._hushed = asyncio.Event()
        """Something was heard of who takes the turns, or nothing will be any more."""
        self.refused = asyncio.Event()
        """Set once the goodbye could not be paid for."""
        self.last_report: UsageReport | None = None
        self._was_heard = False
        """The final report was delivered."""

    # --- the wire's taps

    def server_event(self, raw: RawEvent) -> None:
        for event in self._wire.read(raw):
            self._feed(event)
            match event:
                case TurnTaking(by_server=by_server):
                    self._purse.confirmed(server_begins=by_server)
                    self._hushed.set()
                case UserTurn() if self._purse.must_answer and not self._purse.closing:
                    self._unanswered = True
                    self._report_now.set()
        if not self._meter.responding:
            self._settled.set()
        self._judge()
        self._answer()
        if self._deaf and self._purse.ease():
            self._listen()

    def client_event(self, event: WireEvent) -> None:
        if self._meter.feed(event):
            self._report_now.set()

    def permit(self) -> Permit | None:
        """Bounds for a response that is about to be asked for; None: do not ask."""
        self._decide_turns(asking=True)
        permit = self._purse.permit()
        if permit is None:
            self._went_short()
        return permit

    def may_hear(self, more_ms: float) -> bool:
        """Whether so much more of the participant may be sent to the provider."""
        heard = self._purse.may_hear(more_ms)
        self._deaf = not heard
        if not heard and not self._purse.closing and not self._meter.settling:
            self._report_now.set()
        return heard

    def connected(self) -> None:
        """A connection is up; its events are read apart from an earlier one's."""
        self._online = True
        self._connections += 1
        self._wire = self._new_wire(self._connections)

    def connection_lost(self) -> None:
        """What was under way, or asked for, is charged at its upper bound."""
        self._online = False
        self._hushed.set()
        self._feed(ConnectionLost())
        self._settled.set()

    @property
    def responding(self) -> bool:
        """A response is under way, or asked for."""
        return self._meter.responding

    # --- the goodbye

    def close(self) -> None:
        """Only the goodbye is paid for from now on."""
        self._purse.closing = True
        self._unanswered = False
        self._decide_turns()

    async def goodbye_fits(self) -> bool:
        """Whether a goodbye can be paid for. What was cut off for it is waited for, as it is at
        risk until the provider has billed it; at most ``CUT_OFF_TIMEOUT_S``.
        """
        self.close()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(CUT_OFF_TIMEOUT_S):
                while self._meter.responding:
                    self._settled.clear()
                    await self._settled.wait()
        return self._purse.goodbye_fits

    async def hush(self) -> None:
        """Before the connection is closed: the server begins no more responses. Events come in
        order, so with its word we have heard of all that it had begun; without one in
        ``HUSH_TIMEOUT_S`` it is taken to have begun one.
        """
        self._purse.closing = True
        # Not a change of who takes the turns, which the journal would tell: there are no more.
        if self._purse.take_turns() is False:
            self._take_turns(False)
        try:
            async with asyncio.timeout(HUSH_TIMEOUT_S):
                while self._online and self._purse.unconfirmed:
                    self._hushed.clear()
                    await self._hushed.wait()
        except TimeoutError:
            self._meter.feed(UserTurn())

    # --- the budget's side

    def restrain(self, allowance: Allowance) -> None:
        """Take a new allowance out of turn. An older one that arrives late is not taken: it could
        undo a limit that has been lowered since. Nor is one that revokes: it is meant for whom the
        budget heard of last, who may be our predecessor."""
        if not allowance.revoked and _age(allowance) >= _age(self._purse.allowance):
            self._hold(allowance)

    def _answered(self, allowance: Allowance) -> None:
        """What our own report was answered. That we hold nothing any more is true from the moment
        it was said, whatever lease we have."""
        if allowance.revoked and allowance.epoch >= self._purse.allowance.epoch:
            self._hold(allowance)
        else:
            self.restrain(allowance)

    def _hold(self, allowance: Allowance) -> None:
        self._purse.allowance = allowance
        self._judge()
        if self._purse.short:
            self._answer()
        if self._deaf and self._purse.ease():
            self._listen()

    async def run(self) -> None:
        """Report at once when money has moved or is short; see ``_until_worth_a_report``."""
        while True:
            self._report_now.clear()
            was_short = self._purse.short
            heard = await self._report(final=False)
            self._judge()
            if was_short:
                self._still_short()
            await self._until_worth_a_report(QUIET_INTERVALS if heard else 1)

    async def _until_worth_a_report(self, intervals: int) -> None:
        """At once when it is asked for; else after an interval, or some if nothing has moved: most
        of an interview nobody spends anything, and the lease is far longer."""
        told = self._figured()
        for _ in range(intervals):
            try:
                async with asyncio.timeout(self._interval_s):
                    await self._report_now.wait()
                return
            except TimeoutError:
                self._judge()
                if self._purse.short or self._figured() != told or self._leases_end_soon():
                    return

    def _figured(self) -> tuple[int, ...]:
        """What a report would say of money."""
        meter = self._meter
        return (meter.spent_pico, meter.estimate_pico, meter.at_risk_pico, meter.goodbye_pico)

    def _leases_end_soon(self) -> bool:
        left_s = self._purse.allowance.expires_at - self._now()
        return left_s < 2 * QUIET_INTERVALS * self._interval_s

    async def settle(self) -> UsageReport:
        """The final report: what is still open is charged at its upper bound. It is tried until
        it is delivered or ``SETTLE_DEADLINE_S`` is over; the session's result carries it too.
        """
        self._tell(self._answers.close(self._now()))
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(SETTLE_DEADLINE_S):
                while True:
                    if await self._report(final=True):
                        self._was_heard = True
                        break
                    await asyncio.sleep(self._retry_s)
        report = self.last_report
        assert report is not None
        return report

    @property
    def unheard(self) -> UsageReport | None:
        """The final report, if it could not be delivered."""
        last = self.last_report
        return last if last is not None and last.final and not self._was_heard else None

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
            limit_micro_usd=self._purse.allowance.limit_micro_usd,
            allowance_micro_usd=self._purse.allowance.up_to_micro_usd,
            verdict=self._told,
            tokens=meter.tokens,
            responses=meter.responses,
            unpriced_responses=meter.unpriced_responses,
        )

    @property
    def silences_s(self) -> tuple[float, ...]:
        """Before each answer to a turn of the participant's, see ``Answer``."""
        return tuple(self._answers.silences_s)

    # --- inside

    def _feed(self, event: WireEvent) -> None:
        meter = self._meter
        spent, tokens = meter.spent_pico, meter.tokens
        if meter.feed(event):
            self._report_now.set()
        billed = TokenCounts() if meter.tokens is tokens else meter.tokens - tokens
        self._tell(
            self._answers.feed(
                event, self._now(), tokens=billed, spent_pico_usd=meter.spent_pico - spent
            )
        )

    def _tell(self, over: Sequence[Answer]) -> None:
        for answer in over:
            self._on_answer(answer)

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
            self._answered(allowance)
        return True

    def _judge(self) -> None:
        self._step_up(self._verdict())
        self._decide_turns()

    def _step_up(self, verdict: Verdict) -> None:
        if _ORDER.index(verdict) <= _ORDER.index(self._told):
            return
        self._told = verdict
        self._note_budget(verdict=verdict.value)
        self._report_now.set()
        self._on_verdict(verdict)

    def _verdict(self) -> Verdict:
        allowance = self._purse.allowance
        spent = self._spent_micro_usd() + to_micro_usd(self._meter.estimate_pico)
        up_to = allowance.up_to_micro_usd
        if self._purse.closing:
            up_to += allowance.goodbye_micro_usd
        if spent >= up_to or self._now() >= allowance.expires_at:
            return Verdict.END
        return allowance.verdict

    def _decide_turns(self, *, asking: bool = False) -> None:
        by_server = self._purse.take_turns(asking=asking)
        if by_server is None:
            return
        self._note_budget(turns="server" if by_server else "permit")
        self._take_turns(by_server)
        # More may be allowed by now.
        self._report_now.set()

    def _answer(self) -> None:
        if self._unanswered and self._purse.ease():
            self._unanswered = False
            self._on_turn()

    def _went_short(self) -> None:
        if self._purse.closing:
            self.refused.set()
            return
        # Whatever it was for, the interviewer takes the word by itself when there is money again.
        self._unanswered = True
        self._report_now.set()

    def _still_short(self) -> None:
        """The budget was asked, or could not be: there is no more. What is under way is waited
        for, as it mostly costs less than was set aside for it.
        """
        if self._purse.closing or self._meter.settling or self._purse.ease():
            self._answer()
            return
        self._step_up(Verdict.END)

    def _spent_micro_usd(self) -> int:
        before = self._purse.allowance.spent_before_micro_usd
        return before + to_micro_usd(self._meter.spent_pico)

    def _note_budget(self, **data: str) -> None:
        self._record(
            EventKind.BUDGET,
            **data,
            spent_micro_usd=self._spent_micro_usd(),
            up_to_micro_usd=self._purse.allowance.up_to_micro_usd,
        )

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
