from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from agent_actor.answers import Answer
from agent_actor.billing import ResponseUsage
from agent_actor.contract import SessionId
from agent_actor.journal import EventKind
from agent_actor.messages import Allowance, Assignment, UsageReport, Verdict
from agent_actor.metering import Meter
from agent_actor.rates import load_rates
from agent_actor.spending import (
    ASK_TIMEOUT_S,
    CUT_OFF_TIMEOUT_S,
    HUSH_TIMEOUT_S,
    SETTLE_DEADLINE_S,
    Spending,
)
from agent_actor.wire_events import (
    ResponseCreated,
    ResponseDone,
    TurnTaking,
    UserTurn,
    WireEvent,
)
from tests.unit.agent_actor.virtual_time import clock, run, settle

RATE = load_rates().rate_for("openai_realtime", None, date(2026, 11, 23))
SESSION = SessionId("s-1")
EXPIRES_AT = 100.0
INTERVAL_S = 1.0
GRANTED = Allowance(
    session_id=SESSION,
    up_to_micro_usd=1_000_000,
    limit_micro_usd=2_000_000,
    expires_at=EXPIRES_AT,
)


class Parsed:
    """A wire whose raw events are the meter's already. Remembers which connection it reads."""

    def __init__(self, connection: int) -> None:
        self.connection = connection

    def read(self, raw: Any, /) -> tuple[WireEvent, ...]:
        return (raw,)


class Budget:
    """Answers each report with ``answer``; raises it where it is an error."""

    def __init__(self) -> None:
        self.reports: list[UsageReport] = []
        self.answer: Allowance | Exception | None = None
        self.hangs = False
        self.fails = 0

    async def ask(self, report: UsageReport) -> Allowance | None:
        self.reports.append(report)
        if self.hangs:
            await asyncio.Event().wait()
        if self.fails:
            self.fails -= 1
            raise ConnectionError("away")
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer


class Purse:
    def __init__(self, allowance: Allowance = GRANTED, *, capped: bool = True) -> None:
        self.budget = Budget()
        self.verdicts: list[tuple[Verdict, float]] = []
        self.turns: list[float] = []
        self.by_server: list[bool] = []
        self.listens: list[float] = []
        self.journal: list[tuple[EventKind, dict[str, Any]]] = []
        self.wires: list[Parsed] = []
        self.answers: list[Answer] = []
        self.spending = Spending(
            assignment=Assignment(
                session_id=SESSION,
                attempt=2,
                livekit_url="ws://x",
                room="r",
                token="t",
                agent_identity="agent",
                allowance=allowance,
                assigned_at=0,
            ),
            meter=Meter(rate=RATE),
            capped=capped,
            new_wire=self._wire,
            report_interval_s=INTERVAL_S,
            ask_budget=self.budget.ask,
            record=lambda kind, **data: self.journal.append((kind, data)),
            on_verdict=lambda verdict: self.verdicts.append((verdict, clock())),
            on_turn=lambda: self.turns.append(clock()),
            take_turns=self.by_server.append,
            listen=lambda: self.listens.append(clock()),
            on_answer=self.answers.append,
            now=clock,
            retry_s=0,
        )

    def _wire(self, connection: int) -> Parsed:
        self.wires.append(Parsed(connection))
        return self.wires[-1]

    def spend(self, name: str, output_tokens: int) -> None:
        usage = ResponseUsage(output_tokens=output_tokens, output_audio=output_tokens)
        self.spending.server_event(ResponseCreated(id=name))
        self.spending.server_event(ResponseDone(id=name, status="completed", usage=usage))

    def usages(self) -> list[dict[str, Any]]:
        return [data for kind, data in self.journal if kind is EventKind.USAGE]


def micro(output_tokens: int) -> int:
    return -(-output_tokens * RATE.audio_out // 1_000_000)


async def over(seconds: float, *, of: Purse) -> None:
    """Let the purse's loop run for that long."""
    task = asyncio.create_task(of.spending.run())
    await asyncio.wait([task], timeout=seconds)
    task.cancel()
    await asyncio.wait([task])


def test_reports_go_out_at_once_when_money_moves_and_seldom_while_it_does_not() -> None:
    async def test() -> None:
        purse = Purse()
        task = asyncio.create_task(purse.spending.run())
        await asyncio.wait([task], timeout=12.5)
        assert [report.at for report in purse.budget.reports] == [0, 5, 10]
        purse.spend("a", 10)
        await settle()
        assert purse.budget.reports[-1].at == 12.5
        assert purse.budget.reports[-1].spent_pico_usd == 10 * RATE.audio_out
        seqs = [report.seq for report in purse.budget.reports]
        assert seqs == sorted(set(seqs))
        assert {r.attempt for r in purse.budget.reports} == {2}
        task.cancel()
        await asyncio.wait([task])

    run(test)


def test_a_report_that_was_not_delivered_and_a_lease_that_ends_soon_do_not_wait() -> None:
    async def test() -> None:
        purse = Purse(replace(GRANTED, expires_at=14.0))
        task = asyncio.create_task(purse.spending.run())
        await asyncio.wait([task], timeout=7.5)
        assert [report.at for report in purse.budget.reports] == [0, 5, 6, 7]
        task.cancel()
        await asyncio.wait([task])
        away = Purse()
        away.budget.fails = 10
        task = asyncio.create_task(away.spending.run())
        await asyncio.wait([task], timeout=2.5)
        assert len(away.budget.reports) == 3
        task.cancel()
        await asyncio.wait([task])

    run(test)


def test_each_verdict_is_told_once_and_never_taken_back() -> None:
    async def test() -> None:
        purse = Purse()
        purse.budget.answer = replace(GRANTED, verdict=Verdict.WRAP_UP)
        await over(3.5, of=purse)
        purse.budget.answer = replace(GRANTED, verdict=Verdict.GO_ON)
        await over(2, of=purse)
        purse.budget.answer = replace(GRANTED, verdict=Verdict.END)
        await over(3, of=purse)
        assert [verdict for verdict, _ in purse.verdicts] == [Verdict.WRAP_UP, Verdict.END]
        told = [d["verdict"] for kind, d in purse.journal if "verdict" in d]
        assert told == ["wrap_up", "end"]

    run(test)


def test_end_needs_no_wrap_up_before_it() -> None:
    async def test() -> None:
        purse = Purse()
        tokens = GRANTED.up_to_micro_usd * 1_000_000 // RATE.audio_out
        purse.spend("a", tokens - 1)
        assert purse.verdicts == []
        purse.spend("b", 1)
        assert purse.verdicts == [(Verdict.END, 0)]

    run(test)


def test_what_earlier_attempts_spent_counts() -> None:
    async def test() -> None:
        purse = Purse(replace(GRANTED, spent_before_micro_usd=GRANTED.up_to_micro_usd - 10))
        purse.spend("a", 1)
        assert micro(1) >= 10
        assert purse.verdicts == [(Verdict.END, 0)]
        assert purse.spending.figures()["spent_micro_usd"] == (
            GRANTED.up_to_micro_usd - 10 + micro(1)
        )

    run(test)


@pytest.mark.parametrize("trouble", ["away", "hangs", "none"])
def test_allowance_that_is_not_renewed_ends_the_session_when_it_expires(trouble: str) -> None:
    async def test() -> None:
        purse = Purse()
        purse.budget.hangs = trouble == "hangs"
        purse.budget.answer = ConnectionError("away") if trouble == "away" else None
        await over(EXPIRES_AT + 10, of=purse)
        ((verdict, at),) = purse.verdicts
        assert verdict is Verdict.END
        assert EXPIRES_AT <= at <= EXPIRES_AT + INTERVAL_S + ASK_TIMEOUT_S

    run(test)


def test_renewals_keep_it_alive() -> None:
    async def test() -> None:
        purse = Purse()
        task = asyncio.create_task(purse.spending.run())
        for second in range(0, 300, 50):
            purse.budget.answer = replace(GRANTED, expires_at=EXPIRES_AT + second)
            await asyncio.wait([task], timeout=50)
        assert purse.verdicts == []
        task.cancel()
        await asyncio.wait([task])

    run(test)


def test_older_allowance_that_arrives_late_is_not_taken() -> None:
    async def test() -> None:
        purse = Purse()
        lowered = replace(GRANTED, up_to_micro_usd=micro(10), expires_at=EXPIRES_AT + 10, epoch=3)
        purse.spending.restrain(lowered)
        purse.spending.restrain(replace(GRANTED, epoch=2, expires_at=EXPIRES_AT + 50))
        purse.spending.restrain(replace(GRANTED, epoch=3, expires_at=EXPIRES_AT))
        purse.spend("a", 10)
        assert purse.verdicts == [(Verdict.END, 0)]

    run(test)


def test_whoever_is_told_that_it_holds_nothing_any_more_ends_whatever_lease_it_has() -> None:
    async def test() -> None:
        purse = Purse()
        revoked = replace(GRANTED, verdict=Verdict.END, expires_at=0.0, revoked=True)
        # Out of turn it may be meant for the one before us, whom alone the budget has heard of.
        purse.spending.restrain(revoked)
        assert purse.verdicts == []
        purse.budget.answer = revoked
        task = asyncio.create_task(purse.spending.run())
        await asyncio.wait([task], timeout=50)
        assert [verdict for verdict, _ in purse.verdicts] == [Verdict.END]
        task.cancel()
        await asyncio.wait([task])

    run(test)


def test_raised_limit_is_taken_before_it_is_reached() -> None:
    async def test() -> None:
        purse = Purse(replace(GRANTED, up_to_micro_usd=micro(10)))
        purse.spend("a", 9)
        purse.spending.restrain(GRANTED)
        purse.spend("b", 9)
        assert purse.verdicts == []

    run(test)


def test_response_under_way_counts_before_its_bill() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.server_event(ResponseCreated(id="a"))
        assert not purse.usages()
        purse.spending.connection_lost()
        purse.spending.connection_lost()
        report = await purse.spending.settle()
        assert report.unpriced_responses == 1
        assert report.spent_pico_usd >= RATE.max_output_tokens * RATE.audio_out

    run(test)


def test_each_connection_has_a_reader_of_its_own() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.connected()
        purse.spending.connected()
        assert [wire.connection for wire in purse.wires] == [0, 1, 2]

    run(test)


def test_final_report_is_tried_until_it_is_delivered() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spend("a", 10)
        purse.budget.fails = 3
        report = await purse.spending.settle()
        assert len(purse.budget.reports) == 4
        assert report == purse.budget.reports[-1]
        assert report.final
        assert purse.spending.unheard is None
        assert report.spent_pico_usd == 10 * RATE.audio_out
        assert len(purse.usages()) == 1

    run(test)


def test_final_report_that_cannot_be_delivered_is_still_returned() -> None:
    async def test() -> None:
        purse = Purse()
        purse.budget.hangs = True
        report = await purse.spending.settle()
        assert report.final
        assert clock() == SETTLE_DEADLINE_S
        assert purse.spending.unheard == report

    run(test)


# --- who begins responses, and what happens when one cannot be paid for


def granted(micro_usd: int, *, expires_at: float = EXPIRES_AT) -> Allowance:
    return replace(GRANTED, up_to_micro_usd=micro_usd, expires_at=expires_at)


PLENTY = granted(10_000_000)
NEAR = granted(100_000)
"""Less than two worst cases, more than a turn."""
NOTHING = granted(100)


def told(purse: Purse) -> None:
    """The server has heard that it must not answer by itself."""
    purse.spending.server_event(TurnTaking(by_server=False))


def test_the_server_is_told_to_ask_as_soon_as_money_is_near_its_end() -> None:
    async def test() -> None:
        purse = Purse(PLENTY)
        purse.spend("a", 10)
        assert purse.by_server == []
        purse.spending.restrain(NEAR)
        assert purse.by_server == [False]
        purse.spending.restrain(granted(PLENTY.up_to_micro_usd, expires_at=EXPIRES_AT + 1))
        assert purse.by_server == [False, True]
        changes = [d["turns"] for kind, d in purse.journal if d.get("turns")]
        assert changes == ["permit", "server"]

    run(test)


def test_a_turn_that_the_server_answers_is_not_ours() -> None:
    async def test() -> None:
        purse = Purse(PLENTY)
        purse.spending.server_event(UserTurn())
        assert purse.turns == []

    run(test)


def test_a_turn_that_can_be_paid_for_is_answered_at_once() -> None:
    async def test() -> None:
        purse = Purse(NEAR)
        told(purse)
        purse.spending.server_event(UserTurn())
        assert purse.turns == [0]
        assert purse.spending.permit() is not None

    run(test)


def test_a_turn_that_cannot_waits_for_the_budget_and_is_answered_when_there_is_more() -> None:
    async def test() -> None:
        purse = Purse(NOTHING)
        told(purse)
        purse.spending.server_event(UserTurn())
        purse.budget.answer = granted(1_000_000, expires_at=EXPIRES_AT + 1)
        await over(0.5, of=purse)
        assert purse.turns == [0]
        assert purse.verdicts == []

    run(test)


@pytest.mark.parametrize("trouble", ["says no", "away", "hangs"])
def test_a_turn_for_which_there_is_no_more_ends_the_session(trouble: str) -> None:
    async def test() -> None:
        purse = Purse(NOTHING)
        purse.budget.answer = NOTHING if trouble == "says no" else None
        purse.budget.fails = 10**6 if trouble == "away" else 0
        purse.budget.hangs = trouble == "hangs"
        told(purse)
        purse.spending.server_event(UserTurn())
        await over(10, of=purse)
        ((verdict, at),) = purse.verdicts
        assert verdict is Verdict.END
        assert at <= (2 * ASK_TIMEOUT_S if trouble == "hangs" else 0)
        assert purse.turns == []

    run(test)


def test_what_is_still_being_billed_is_waited_for_before_it_ends() -> None:
    async def test() -> None:
        purse = Purse(NEAR)
        purse.budget.answer = NEAR
        told(purse)
        purse.spending.server_event(ResponseCreated(id="a"))
        purse.spending.server_event(UserTurn())
        await over(3, of=purse)
        assert (purse.turns, purse.verdicts) == ([], [])
        usage = ResponseUsage(output_tokens=10, output_audio=10)
        purse.spending.server_event(ResponseDone(id="a", status="completed", usage=usage))
        assert purse.turns == [3]

    run(test)


def test_a_response_without_a_permit_is_made_up_for_when_there_is_money() -> None:
    async def test() -> None:
        purse = Purse(NOTHING)
        told(purse)
        assert purse.spending.permit() is None
        purse.spending.restrain(granted(1_000_000, expires_at=EXPIRES_AT + 1))
        assert purse.turns == [0]

    run(test)


def test_closing_answers_nobody_and_tells_when_the_goodbye_is_refused() -> None:
    async def test() -> None:
        purse = Purse(NOTHING)
        told(purse)
        purse.spending.close()
        purse.spending.server_event(UserTurn())
        assert purse.turns == []
        assert not await purse.spending.goodbye_fits()
        assert not purse.spending.refused.is_set()
        assert purse.spending.permit() is None
        assert purse.spending.refused.is_set()

    run(test)


def test_the_goodbye_waits_for_what_it_cut_off_to_be_billed() -> None:
    async def test() -> None:
        purse = Purse(NEAR)
        purse.spending.server_event(ResponseCreated(id="a"))
        waiting = asyncio.create_task(purse.spending.goodbye_fits())
        await settle()
        assert not waiting.done()
        usage = ResponseUsage(output_tokens=10, output_audio=10)
        purse.spending.server_event(ResponseDone(id="a", status="cancelled", usage=usage))
        assert await waiting
        assert clock() == 0

    run(test)


def test_the_goodbye_does_not_wait_for_ever() -> None:
    async def test() -> None:
        purse = Purse(NEAR)
        purse.spending.server_event(ResponseCreated(id="a"))
        assert not await purse.spending.goodbye_fits()
        assert clock() == CUT_OFF_TIMEOUT_S

    run(test)


def test_audio_that_is_kept_back_is_sent_when_there_is_money_again() -> None:
    async def test() -> None:
        purse = Purse(NOTHING, capped=False)
        assert not purse.spending.may_hear(50)
        purse.budget.answer = granted(10_000_000, expires_at=EXPIRES_AT + 1)
        await over(0.5, of=purse)
        assert purse.listens == [0]
        assert purse.verdicts == []

    run(test)


def test_audio_that_can_never_be_paid_for_ends_the_session() -> None:
    async def test() -> None:
        purse = Purse(NOTHING, capped=False)
        purse.budget.answer = NOTHING
        assert not purse.spending.may_hear(50)
        await over(0.5, of=purse)
        assert purse.verdicts == [(Verdict.END, 0)]

    run(test)


def test_audio_is_kept_back_in_silence_while_a_response_is_being_billed() -> None:
    async def test() -> None:
        purse = Purse(granted(300_000), capped=False)
        purse.budget.answer = granted(300_000)
        purse.spending.server_event(ResponseCreated(id="a"))
        assert not purse.spending.may_hear(50)
        await over(2, of=purse)
        assert purse.verdicts == []
        usage = ResponseUsage(output_tokens=10, output_audio=10)
        purse.spending.server_event(ResponseDone(id="a", status="completed", usage=usage))
        assert purse.listens == [2]

    run(test)


async def hushing(purse: Purse) -> asyncio.Task[None]:
    task = asyncio.create_task(purse.spending.hush())
    await settle()
    return task


def test_before_the_end_the_server_is_heard_out() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.connected()
        task = await hushing(purse)
        assert purse.by_server == [False]
        assert not task.done()
        # It had begun one before it heard of it.
        purse.spending.server_event(ResponseCreated(id="a"))
        await settle()
        assert not task.done()
        purse.spending.server_event(TurnTaking(by_server=False))
        await task
        assert clock() == 0
        final = await purse.spending.settle()
        assert (final.responses, final.unpriced_responses) == (1, 1)

    run(test)


def test_a_server_that_does_not_answer_is_taken_to_have_begun_a_response() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.connected()
        await purse.spending.hush()
        assert clock() == HUSH_TIMEOUT_S
        final = await purse.spending.settle()
        assert (final.responses, final.unpriced_responses) == (1, 1)

    run(test)


@pytest.mark.parametrize("why", ["not capped", "never connected", "lost meanwhile", "permits"])
def test_where_there_is_nothing_to_hear_nobody_waits_for_it(why: str) -> None:
    async def test() -> None:
        purse = Purse(capped=why != "not capped")
        if why != "never connected":
            purse.spending.connected()
        if why == "permits":
            purse.spending.close()
            purse.spending.server_event(TurnTaking(by_server=False))
        task = await hushing(purse)
        if why == "lost meanwhile":
            purse.spending.connection_lost()
        await task
        assert clock() == 0
        assert (await purse.spending.settle()).responses == 0

    run(test)


def test_each_answer_is_told_with_its_own_bill() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.server_event(UserTurn())
        purse.spend("a", 10)
        purse.spending.server_event(ResponseCreated(id="b"))
        purse.spending.connection_lost()
        a, b = purse.answers
        assert (a.id, a.spent_pico_usd, a.tokens.output_audio) == ("a", 10 * RATE.audio_out, 10)
        assert (b.id, b.status, b.priced) == ("b", "lost", False)

    run(test)


def test_an_answer_that_is_cut_off_by_the_end_is_told_too() -> None:
    async def test() -> None:
        purse = Purse()
        purse.spending.server_event(ResponseCreated(id="a"))
        await purse.spending.settle()
        assert [answer.status for answer in purse.answers] == ["lost"]

    run(test)
