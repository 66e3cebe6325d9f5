"""The budget benchmark's pure parts: what is run, and how it is judged."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from agent_actor.contract import EndReason, Provider, SessionId, parse_tolerant
from agent_actor.messages import SessionResult, TokenCounts, UsageReport, Verdict
from fleet.bench.budget import judge
from fleet.bench.budget.field import Ended
from fleet.bench.budget.outage import Disturbed, Outage
from fleet.bench.budget.spec import LIMITED, Outcome, SessionSpec, limited, mixed, steady
from fleet.bench.report import Bar, Judgement
from fleet.budget.costs import SessionCost

LIMIT = 1_000_000
PICO = 10**6


def spec(**changes: Any) -> SessionSpec:
    one = limited(1, seed=1)[0]
    return replace(one, limit_micro_usd=LIMIT, **changes)


def ended(
    *,
    invoice: int = 950_000,
    told: int | None = None,
    priced: int | None = None,
    ledger: int | None = None,
    reason: EndReason = EndReason.BUDGET_EXCEEDED,
    at_s: dict[str, float] | None = None,
    kind: str = "steady",
    usage_at: tuple[float, ...] = (),
) -> Ended:
    """All in micro-dollars. ``told``: what of the invoice came with a usage."""
    told = invoice if told is None else told
    priced = told if priced is None else priced
    ledger = invoice if ledger is None else ledger
    line = {"status": "completed", "usage": {"input_audio": 10, "input_text": 5}}
    lines = [
        {**line, "pico_usd": told * PICO, "usage_sent": True},
        {**line, "pico_usd": (invoice - told) * PICO, "usage_sent": False},
    ]
    usage = UsageReport(
        session_id=SessionId("s"),
        attempt=1,
        seq=9,
        at=0.0,
        provider="openai_realtime",
        model="m",
        tokens=TokenCounts(),
        spent_pico_usd=ledger * PICO,
        unpriced_pico_usd=(ledger - priced) * PICO,
        final=True,
    )
    one = spec(kind=kind)
    return Ended(
        spec=one,
        result=SessionResult(
            session_id=SessionId("s"), attempt=1, end_reason=reason, usage=usage, duration_s=1.0
        ),
        outcome=Outcome(
            tag=one.tag, end_reason=reason.value, error=None, at_s=at_s or {}, usage_at=usage_at
        ),
        cost=SessionCost(
            session_id="s",
            study_id="bench",
            provider="openai_realtime",
            model="m",
            limit_micro_usd=LIMIT,
            spent_micro_usd=ledger,
            estimate_micro_usd=0,
            tokens=TokenCounts(),
            responses=2,
            unpriced_responses=0,
            allowance_micro_usd=LIMIT,
            verdict=Verdict.END,
            minutes=(),
            closed=True,
        ),
        invoices=({"responses": lines, "transcriptions": [], "total_pico_usd": invoice * PICO},),
    )


def missed(bars: Any) -> list[str]:
    return [bar.name for bar in bars if bar.judgement is Judgement.MISSED]


def named(bars: list[Bar], part: str) -> Bar:
    (bar,) = [bar for bar in bars if part in bar.name]
    return bar


@pytest.mark.parametrize("specs", [mixed(40, 3), limited(16, 3), steady(10, 3, seconds=60)])
def test_every_session_has_a_usable_contract_and_a_tag_of_its_own(specs: list[SessionSpec]) -> None:
    assert len({s.tag for s in specs}) == len(specs)
    for one in specs:
        config = parse_tolerant(one.metadata)
        assert one.tag in config.instructions
        assert config.budget_limit_micro_usd == one.limit_micro_usd
        assert config.rehearsal is not None


def test_the_same_seed_draws_the_same_sessions() -> None:
    assert mixed(20, 5) == mixed(20, 5) != mixed(20, 6)


def test_all_kinds_of_limits_are_met_obeyed_and_not() -> None:
    specs = limited(16, 3)
    assert {s.kind for s in specs} == {kind for kind, *_ in LIMITED}
    for kind in {s.kind for s in specs}:
        assert {s.script["disobey"] for s in specs if s.kind == kind} == {True, False}
    assert {s.provider for s in specs} == set(Provider)


def test_a_ledger_that_agrees_holds() -> None:
    exact = ended()
    bounded = ended(invoice=950_000, told=900_000, ledger=980_000)
    assert missed(judge.of_mixed([exact, bounded])) == []


@pytest.mark.parametrize(
    ("session", "bar"),
    [
        (ended(priced=949_999), "priced usage is not the invoice's"),
        (ended(priced=950_001, ledger=950_001), "priced usage is not the invoice's"),
        (ended(invoice=950_000, told=900_000, ledger=940_000), "below the invoice"),
        (replace(ended(), cost=replace(ended().cost, spent_micro_usd=1)), "not their last report"),
    ],
)
def test_one_that_does_not_falls_short(session: Ended, bar: str) -> None:
    assert any(bar in name for name in missed(judge.of_mixed([ended(), session])))


def test_overspending_is_judged_on_the_invoice_alone() -> None:
    over = ended(invoice=LIMIT + 1, ledger=10)
    assert any("overspent" in name for name in missed(judge.of_limited([over])))
    assert not any("overspent" in n for n in missed(judge.of_limited([ended(invoice=LIMIT)])))


def test_what_is_left_is_judged_by_its_median() -> None:
    sessions = [ended(invoice=n) for n in (950_000, 920_000, 300_000)]
    bars = list(judge.of_limited(sessions))
    assert named(bars, "left unused").figure == pytest.approx(8.0)
    assert named(bars, "left unused").judgement is Judgement.HELD


def test_a_session_that_ended_otherwise_is_told() -> None:
    stray = ended(reason=EndReason.SESSION_TIMEOUT)
    assert "sessions that did not end for money" in missed(judge.of_limited([ended(), stray]))


def test_the_goodbye_does_not_count_as_delay() -> None:
    told = {"end": 10.0, "goodbye": 10.1, "goodbye_over": 13.1, "closed": 13.4}
    assert judge.beyond_goodbye_s(ended(at_s=told)) == pytest.approx(0.4)
    silent = {"end": 10.0, "closed": 12.0}
    assert judge.beyond_goodbye_s(ended(at_s=silent)) == pytest.approx(2.0)
    assert judge.beyond_goodbye_s(ended(at_s={"closed": 1.0})) is None


def test_a_session_that_an_outage_ended_is_disturbed() -> None:
    outages = (Outage(name="gone", began=10.0, over=20.0),)
    left = ended(reason=EndReason.PARTICIPANT_LEFT, usage_at=(5.0, 15.0))
    calm = Disturbed(sessions=[left], outages=outages)
    assert missed(judge.of_disturbed(calm)) == []
    hit = Disturbed(sessions=[left, ended(usage_at=(1.0,))], outages=outages)
    assert "outages: sessions below their allowance disturbed" in missed(judge.of_disturbed(hit))
