"""What a load run is, and how it is judged: no fleet, no Locust."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from typing import Any
from xml.etree import ElementTree

import pytest

from fleet.bench.report import Bar, BenchResult, Judgement, Machine, Measured
from fleet.bench.scenario import forms
from fleet.bench.scenario.chart import Chart, Series, svg
from fleet.bench.scenario.evidence import Evidence, combine
from fleet.bench.scenario.forms import Tier, locust_arguments
from fleet.bench.scenario.judge import Found, Remains, bars_of
from fleet.bench.scenario.page import html
from fleet.bench.scenario.samples import (
    Sample,
    Stair,
    Window,
    as_json,
    duties,
    group_of,
    grouped,
    longest_s,
    window,
)
from fleet.bench.scenario.sizing import Line, ceilings, fit, sizes

LIMIT = 200_000


def record(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "session_id": f"s-{number}",
        "participant_identity": f"p-{number}",
        "provider": "openai_realtime",
        "provider_sessions": [f"sess-{number}"],
        "state": "gone",
        "end_reason": "completed",
        "error": None,
        "attempt": 1,
        "timings_ms": {},
        "created_at": "2026-11-28T10:00:00.000Z",
        "joined_at": "2026-11-28T10:00:00.500Z",
        "ended_at": "2026-11-28T10:01:03.000Z",
        "limit_micro_usd": LIMIT,
        **changes,
    }


def outcome(number: int = 1, **changes: Any) -> dict[str, Any]:
    return {
        "number": number,
        "session_id": f"s-{number}",
        "fate": "completes",
        "meant": "completed",
        "end_reason": "completed",
        "problem": None,
        "dispatch_s": 0.4,
        "asked_epoch_s": 10.0,
        "turned_away": 0,
        **changes,
    }


def invoice(number: int = 1, pico: int = 100_000_000_000, *, told: bool = True) -> dict[str, Any]:
    return {
        "session_id": f"sess-{number}",
        "total_pico_usd": pico,
        "responses": [{"usage_sent": told}],
    }


def evidence_of(
    records: list[dict[str, Any]] | None = None,
    *,
    ledger: Mapping[str, int] | None = None,
    invoices: list[dict[str, Any]] | None = None,
    outcomes: list[dict[str, Any]] | None = None,
) -> Evidence:
    chosen = [invoice()] if invoices is None else invoices
    return combine(
        [record()] if records is None else records,
        {"s-1": 100_000} if ledger is None else ledger,
        {each["session_id"]: each for each in chosen},
        [outcome()] if outcomes is None else outcomes,
    )


def sample(at_s: float, live: int = 0, **changes: Any) -> Sample:
    given: dict[str, Any] = {
        "at_s": at_s,
        "live": live,
        "sessions": {"live": live},
        "warm": 4,
        "starting": 0,
        "queue": 0,
        "spent_micro_usd": 0,
        "cpu_s": {},
        "busy": 0.5,
        "processes": 10,
    }
    return Sample(**{**given, **changes})


NOTHING_LEFT = Remains(processes=10, memory_mib=1000.0, kept_mib=300.0, rooms=0, keys={})


def found(**changes: Any) -> Found:
    given: dict[str, Any] = {
        "samples": [sample(0, 5), sample(600, 5)],
        "stairs": (),
        "evidence": evidence_of(),
        "uplink_duty": 0.1,
        "before": NOTHING_LEFT,
        "after": NOTHING_LEFT,
        "locust_failures": {},
        "measures_ms": {},
    }
    return Found(**{**given, **changes})


def bar(name: str, of: Found, tier: Tier = Tier.LOAD) -> Bar:
    form = {Tier.LOAD: forms.load, Tier.MEDIA: forms.media, Tier.CHURN: forms.churn}[tier](5)
    return next(each for each in bars_of(form, of) if each.name.startswith(name))


def missed(name: str, of: Found, tier: Tier = Tier.LOAD) -> bool:
    return bar(name, of, tier).judgement is Judgement.MISSED


def test_participants_who_talk_more_than_was_said_make_for_another_figure():
    # 3 s of 4 that are sent with each turn are words.
    assert not missed("participant speaking", found(uplink_duty=0.13))
    assert missed("participant speaking", found(uplink_duty=0.14))


class TestForms:
    def test_more_users_than_sessions_that_are_to_be_live(self):
        form = forms.load(200)
        assert form.stairs == (10, 25, 50, 100, 232)
        assert int(form.settings["max_sessions"]) > form.users

    @pytest.mark.parametrize("form", [forms.load(200), forms.media(10), forms.churn(2000)])
    def test_every_run_ends_within_the_hour(self, form: forms.Form):
        assert form.run_s + form.drain_s < 3500

    @pytest.mark.parametrize("number", range(5))
    def test_each_stair_has_time_for_what_is_measured_on_it(self, number: int):
        form = forms.load(200)
        before = form.stairs[number - 1] if number else 0
        there_s = (form.stairs[number] - before) / form.spawn_rate + forms.SETTLE_S
        stays_s = form.stair_s if number < 4 else form.run_s - form.stair_s * 4
        assert there_s + form.windows_s <= stays_s

    def test_locust_is_told_when_to_stop(self):
        words = locust_arguments(
            forms.load(20), api_url="http://127.0.0.1:1", study="s", seed=7, files={}
        )
        assert words[words.index("--run-time") + 1].endswith("s")
        assert words[-1] == "Backend"


class TestSamples:
    @pytest.mark.parametrize(
        ("name", "group"),
        [
            ("ray::SessionActor", "session actors"),
            ("session-actor-launcher", "session actors"),
            ("session-actor fork server", "session actors"),
            ("redis-server", "Redis"),
            ("raylet", "Ray itself"),
            ("loadtest.simulators", "simulators"),
            ("ended children of raylet", "Ray itself"),
            ("ray::session-actor-5beb73-1:SessionActor", "session actors"),
            ("something", "other"),
        ],
    )
    def test_every_process_has_one_group(self, name: str, group: str):
        assert group_of(name) == group

    def test_groups_add_up(self):
        assert grouped({"raylet": 1.0, "gcs_server": 2.0, "x": 4.0}) == {
            "Ray itself": 3.0,
            "other": 4.0,
        }

    def test_a_dip_ends_a_stretch(self):
        lives = [5, 5, 4, 5, 5, 5]
        samples = [sample(10.0 * n, live) for n, live in enumerate(lives)]
        assert longest_s(samples, lambda s: s.live >= 5, most_apart_s=15.0) == 20.0

    def test_what_nobody_looked_at_ends_one_too(self):
        samples = [sample(at_s, 5) for at_s in (0.0, 10.0, 300.0, 310.0, 320.0)]
        assert longest_s(samples, lambda s: s.live >= 5, most_apart_s=15.0) == 20.0

    def test_a_dispatch_costs_what_is_spent_beyond_the_calm(self):
        def of(cpu_s: float, dispatches: int) -> Window:
            return Window(
                live=10,
                duration_s=30,
                cpu_s={"raylet": cpu_s},
                dispatches=dispatches,
                busy=0.5,
            )

        stair = Stair(live=10, calm=(of(1.0, 2), of(1.2, 2)), probed=(of(2.0, 12), of(2.2, 12)))
        assert stair.a_dispatch_s(["Ray itself"]) == pytest.approx(0.1)
        assert stair.a_session_share(["Ray itself"]) == pytest.approx(2.2 / 600)

    def test_a_process_that_ended_does_not_make_time_run_back(self):
        seen = window(sample(0, cpu_s={"x": 5.0}), sample(30, cpu_s={"x": 1.0}), 0, [3, 5])
        assert seen.cpu_s == {"x": 0.0}
        assert seen.live == 4


def calm_stair(live: int, cpu_s: dict[str, float]) -> Stair:
    seen = Window(live=live, duration_s=10, cpu_s=cpu_s, dispatches=0, busy=0.5)
    return Stair(live=live, calm=(seen,), probed=())


STAIRS = (
    calm_stair(10, {"ray::BudgetActor": 0.2, "ray::SessionActor": 1.0, "redis-server": 0.1}),
    calm_stair(110, {"ray::BudgetActor": 1.2, "ray::SessionActor": 11.0, "redis-server": 0.1}),
)


class TestSizing:
    def test_a_line_through_the_stairs(self):
        assert fit([(10, 1.0), (20, 2.0), (30, 3.0)]) == Line(
            fixed=pytest.approx(0), a_session=pytest.approx(0.1)
        )
        assert fit([(10, 1.0), (10, 3.0)]) == Line(fixed=2.0, a_session=0.0)

    def test_cores_and_memory_grow_with_sessions(self):
        memory = {"ray::SessionActor": 1024.0, "loadtest.simulators": 4096.0}
        samples = [sample(0, 0, memory_mib={}), sample(9, 100, memory_mib=memory)]
        first, *_, last = sizes(STAIRS, samples)
        assert (first.sessions, first.memory_gib) == (200, pytest.approx(1))
        assert first.cores == pytest.approx(0.21 + 2.0 + 0.01)
        assert last.cores == pytest.approx(10.01 + 100 + 0.01)

    def test_the_part_that_is_full_first_comes_first(self):
        first, second = ceilings(STAIRS)
        assert first.part == "ray::BudgetActor"
        assert first.sessions == pytest.approx(990)
        assert second.sessions is None


class TestBars:
    def test_all_hold(self):
        judged = bars_of(forms.load(5), found())
        held = {each.name for each in judged if each.judgement is Judgement.HELD}
        assert "sessions lost" in held
        assert "most overspent, by the invoice" in held

    def test_fewer_at_once_are_seen(self):
        assert missed(
            "5 sessions live", found(samples=[sample(0, 5), sample(9, 4), sample(700, 5)])
        )

    def test_a_session_without_an_end_is_lost(self):
        assert missed("sessions lost", found(evidence=evidence_of([record(state="live")])))

    def test_two_sessions_of_one_participant_are_doubled(self):
        records = [record(1), record(2, participant_identity="p-1")]
        assert missed("sessions doubled", found(evidence=evidence_of(records)))

    @pytest.mark.parametrize(
        ("joined_at", "ended_at", "doubled"),
        [
            (None, "2026-11-28T10:00:30.000Z", False),
            ("2026-11-28T09:58:00.000Z", "2026-11-28T10:00:00.000Z", False),
            ("2026-11-28T09:58:00.000Z", "2026-11-28T10:00:01.000Z", True),
        ],
    )
    def test_one_that_failed_before_is_not_unless_both_were_there(
        self, joined_at: str | None, ended_at: str, doubled: bool
    ):
        failed = {
            "joined_at": joined_at,
            "ended_at": ended_at,
            "error": {"code": "dispatch_timeout"},
        }
        records = [record(1), record(2, participant_identity="p-1", **failed)]
        assert missed("sessions doubled", found(evidence=evidence_of(records))) is doubled

    def test_a_provider_session_that_was_resumed_is_billed_once(self):
        resumed = record(provider_sessions=["sess-1", "sess-1"])
        assert not missed("sessions whose ledger differs", found(evidence=evidence_of([resumed])))

    def test_one_that_was_refused_counts(self):
        refused = outcome(session_id=None, end_reason=None, problem="no session: fleet_full")
        judged = bar("sessions that could not", found(evidence=evidence_of(outcomes=[refused])))
        assert judged.judgement is Judgement.MISSED
        assert "fleet_full" in judged.detail

    def test_another_end_than_meant(self):
        evidence = evidence_of([record(end_reason="actor_lost")])
        assert missed("sessions that ended otherwise", found(evidence=evidence))

    def test_one_cut_off_by_the_end_of_the_run_is_not_judged(self):
        evidence = evidence_of(
            [record(end_reason="operator")], outcomes=[outcome(end_reason="cut_off")]
        )
        assert not missed("sessions that ended otherwise", found(evidence=evidence))

    @pytest.mark.parametrize(("ended", "late"), [("10:01:04.900", False), ("10:01:06.000", True)])
    def test_a_no_show_ends_at_its_limit(self, ended: str, late: bool):
        no_show = record(end_reason="no_show", ended_at=f"2026-11-28T{ended}Z")
        evidence = evidence_of([no_show], outcomes=[outcome(fate="no_show", meant="no_show")])
        assert missed("no-shows", found(evidence=evidence)) is late

    def test_a_budget_bound_one_must_end_for_money(self):
        evidence = evidence_of(outcomes=[outcome(fate="budget_bound", meant="budget_exceeded")])
        assert missed("budget-bound", found(evidence=evidence))

    def test_overspending_is_found_on_the_invoice(self):
        evidence = evidence_of(invoices=[invoice(pico=(LIMIT + 3) * 1_000_000)])
        assert bar("most overspent", found(evidence=evidence)).figure == 3

    @pytest.mark.parametrize(
        ("pico", "ledger", "is_below", "differs"),
        [
            (99_999_000_001, 100_000, False, False),
            (100_000_000_001, 100_000, True, True),
            (50_000_000_000, 100_000, False, True),
        ],
    )
    def test_the_ledger_is_the_invoice_rounded_up(
        self, pico: int, ledger: int, is_below: bool, differs: bool
    ):
        evidence = evidence_of(ledger={"s-1": ledger}, invoices=[invoice(pico=pico)])
        assert missed("sessions whose ledger is below", found(evidence=evidence)) is is_below
        assert missed("sessions whose ledger differs", found(evidence=evidence)) is differs

    def test_an_upper_bound_may_be_more_than_the_invoice(self):
        evidence = evidence_of(ledger={"s-1": 150_000}, invoices=[invoice(told=False)])
        assert not missed("sessions whose ledger", found(evidence=evidence))

    def test_a_bill_that_nobody_knows_of(self):
        evidence = evidence_of(invoices=[invoice(1), invoice(9)])
        assert bar("billed for sessions", found(evidence=evidence)).figure == 100_000

    def test_memory_is_the_fleets_own(self):
        memory = {"ray::SessionActor": 8 * 1024.0, "redis-server": 9 * 1024.0}
        judged = bar("memory of", found(samples=[sample(0, 5, memory_mib=memory)]))
        assert judged.figure == 8

    @pytest.mark.parametrize(
        ("name", "changes"),
        [
            ("processes more", {"processes": 11}),
            ("rooms left", {"rooms": 1}),
            ("Redis keys", {"keys": {"live": 1, "budget": 9}}),
            ("memory of the fleet more", {"memory_mib": 1200.0}),
        ],
    )
    def test_what_is_left_behind(self, name: str, changes: dict[str, Any]):
        assert not missed(name, found(), Tier.CHURN)
        assert missed(name, found(after=replace(NOTHING_LEFT, **changes)), Tier.CHURN)


class TestPage:
    def test_it_needs_nothing_else(self):
        page = html(result_of(found()))
        assert page.count("<svg") >= 9
        assert "http://" not in page.replace("http://www.w3.org/2000/svg", "")
        assert "<script" not in page

    def test_what_it_shows_is_escaped(self):
        assert "<b>" not in html(result_of(found(), about="<b>"))

    def test_a_chart_is_well_formed(self):
        series = [Series(name="a & b", points=[(0, 1), (5, 3)]), Series(name="", points=[])]
        ElementTree.fromstring(svg(Chart(title="<t>", x_name="x", y_name="y", series=series)))

    def test_an_empty_chart_says_so(self):
        assert "nothing was measured" in svg(Chart(title="", x_name="", y_name="", series=[]))


def result_of(of: Found, about: str = "") -> BenchResult:
    form = forms.load(5)
    session = {**record(), **outcome()}
    data = {
        "about": about,
        "began_epoch_s": 0.0,
        "samples": as_json([sample(0, 5), sample(30, 6, memory_mib={"raylet": 3.0})]),
        "sessions": [session],
        "stairs": [{"live": 5, "a_session": {"control": 0.01}}],
        "sizes": [asdict(size) for size in sizes(STAIRS, [])],
        "ceilings": [asdict(ceiling) for ceiling in ceilings(STAIRS)],
    }
    return BenchResult(
        name="load",
        measured=Measured(bars=bars_of(form, of), data=data),
        smoke=False,
        machine=Machine(cores=2, memory_gib=24, kernel="", cpu="", python=""),
        date="2026-11-28T10:00:00",
        load_before=0.1,
        duration_s=1,
    )


def test_a_microphone_is_judged_by_those_that_were_there_and_stayed_connected():
    minute = {"openai": 3_840_000.0, "gemini": 2_560_000.0}
    first = {
        ("openai", "a"): 1_000,
        ("gemini", "b"): 900_000,
        ("openai", "c"): 0,
        ("gemini", "d"): 5,
    }
    second = {
        ("openai", "a"): 385_000,
        ("gemini", "b"): 700,  # another connection of the same session
        ("openai", "c"): 0,  # to which nobody has come
    }
    assert duties(first, second, minute) == [pytest.approx(0.1)]
