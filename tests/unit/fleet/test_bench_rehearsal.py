"""The rehearsal's timeline and what it is judged by."""

from __future__ import annotations

import pytest

from agent_actor.contract import EndReason, Provider
from fleet.bench.chaos.evidence import Course, Money
from fleet.bench.rehearsal.course import Found, bars
from fleet.bench.rehearsal.timeline import Moment, plural, steps
from fleet.bench.report import Judgement


def moment(at_s: float, step: str) -> Moment:
    return Moment(at_s=at_s, step=step, what="something")


def course(name: str = "s-1", **changes) -> Course:
    fields = {
        "session_id": name,
        "provider": Provider.OPENAI_REALTIME,
        "end_reason": EndReason.COMPLETED,
        "attempts": 1,
        "phases": ["warmup", "core"],
        "wanted": ["warmup", "core"],
        "disturbances": [],
        "waits_s": [0.5],
        "unanswered": 0,
        "money": Money(ledger_micro_usd=5, invoice_pico_usd=5_000_000, untold_pico_usd=0),
        **changes,
    }
    return Course(**fields)


def good(**changes) -> Found:
    fields = {
        "grown_to": 3,
        "struck": 2,
        "carried_on_s": [1.0, 2.5],
        "replaced_to": 3,
        "refused_with": "fleet_draining",
        "drained_s": 41.0,
        "lived_through_lease": 2,
        "shrunk_from": 2,
        "shrunk_to": 1,
        "courses": [course("s-1"), course("s-2")],
        "in_the_ledger": {"sessions": 2, "spent_micro_usd": 10},
        **changes,
    }
    return Found(**fields)


def missed(found: Found) -> list[str]:
    return [bar.name for bar in bars(found) if bar.judgement is Judgement.MISSED]


def test_a_step_lasts_until_the_next_and_the_last_to_its_end():
    moments = [moment(0, "install"), moment(9, "install"), moment(20, "load"), moment(25, "load")]
    assert steps(moments) == {"install": 20.0, "load": 5.0}
    assert steps([]) == {}


def test_a_moment_reads_as_minutes_and_seconds():
    said = str(Moment(at_s=83.4, step="upgrade", what="the first one drains"))
    assert said == " 1:23  upgrade     the first one drains"
    assert [plural(n, "node") for n in (0, 1, 2)] == ["0 nodes", "1 node", "2 nodes"]


def test_one_without_fault_misses_nothing():
    assert missed(good()) == []


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"grown_to": 2}, "nodes under load"),
        ({"carried_on_s": [1.0]}, "interviews of the lost node carried on elsewhere"),
        ({"struck": 0, "carried_on_s": []}, "interviews of the lost node carried on elsewhere"),
        ({"replaced_to": None}, "nodes once another was there"),
        ({"refused_with": ""}, "the drained cluster refuses new sessions"),
        ({"drained_s": None}, "the first cluster emptied by itself"),
        ({"lived_through_lease": 0}, "interviews that outlived a lease beside the second cluster"),
        ({"shrunk_from": 1}, "nodes of the second cluster"),
        ({"shrunk_to": None}, "nodes when all was over"),
        ({"dispatches_refused": ["full"]}, "dispatches that failed for good"),
        ({"in_the_ledger": {"sessions": 1, "spent_micro_usd": 10}}, "sessions in the one ledger"),
        ({"in_the_ledger": {"sessions": 2, "spent_micro_usd": 11}}, "its total beyond theirs"),
        (
            {"courses": [course("s-1"), course("s-2", end_reason=EndReason.ACTOR_LOST)]},
            "interviews that went through all their phases to the end",
        ),
    ],
)
def test_each_fault_misses_its_bar(changes, name: str):
    assert missed(good(**changes)) == [name]
