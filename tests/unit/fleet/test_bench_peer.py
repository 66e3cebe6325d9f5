"""The comparison's figures: lost ones left out, ratios within a repetition, medians, a picture."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import asdict, replace
from xml.etree import ElementTree

import psutil
import pytest

from agent_actor.contract import parse_tolerant
from fleet.bench.peer import contract, processes
from fleet.bench.peer.comparison import _correctness_only
from fleet.bench.peer.found import (
    EAGER,
    FLEET,
    PEER,
    Dispatch,
    Found,
    LiveCpu,
    Memory,
    Round,
    Scenario,
    Standing,
)
from fleet.bench.peer.judging import (
    bars,
    cpu_a_dispatch_s,
    lost,
    parts_a_dispatch_s,
    slope,
    table,
    times,
)
from fleet.bench.peer.plot import svg
from fleet.bench.report import Bar, Judgement
from serve.requests import parse_create


def dispatch(
    arm: str,
    in_room_s: float,
    *,
    lost: str | None = None,
    repetition: int = 0,
    scenario: Scenario = Scenario.SEQUENTIAL,
) -> Dispatch:
    return Dispatch(
        arm=arm,
        scenario=scenario,
        repetition=repetition,
        in_room_s=in_room_s,
        audio_s=None if lost else 2 * in_room_s,
        lost=lost,
        steps_ms={},
    )


def a_round(arm: str, cpu_s: float, *, served: int = 2, repetition: int = 0) -> Round:
    return Round(
        arm=arm,
        scenario=Scenario.SEQUENTIAL,
        repetition=repetition,
        served=served,
        parts_s={"ray::SessionActor": cpu_s},
        wall_s=10.0,
        settled=True,
    )


def standing(arm: str, cores: float) -> Standing:
    return Standing(
        arm=arm,
        repetition=0,
        parts_cores={"raylet": cores},
        warm_pss_mib=40,
        pss_mib=400,
        processes={},
    )


def live_cpu(arm: str, own: float, whole: float) -> LiveCpu:
    return LiveCpu(
        arm=arm, repetition=0, microphone="muted", live=5, own_cores=own, arm_cores=whole
    )


def memory(arm: str, live: int, pss_mib: float) -> Memory:
    return Memory(arm=arm, repetition=0, live=live, warm=10, pss_mib=pss_mib)


FOUND = Found(
    dispatches=(
        dispatch("fleet", 0.2),
        dispatch("fleet", 0.4),
        dispatch("peer", 1.0),
        dispatch("peer", 19.0, lost="no audio"),
    ),
    rounds=(a_round("fleet", 3.0), a_round("peer", 2.0, served=1)),
    standing=(standing("fleet", 0.1), standing("peer", 0.05)),
    memory=(
        memory("fleet", 5, 600.0),
        memory("fleet", 15, 900.0),
        memory("peer", 5, 500.0),
        memory("peer", 15, 1000.0),
    ),
    cpu=(live_cpu("fleet", 0.03, 0.35), live_cpu("peer", 0.06, 0.30)),
)


def bar(name: str, found: Found = FOUND) -> Bar:
    [one] = [each for each in bars(found) if each.name == name]
    return one


def test_a_slope_is_per_one_more() -> None:
    assert slope([(5, 600.0), (15, 900.0)]) == pytest.approx(30.0)
    assert slope([(5, 1.0), (10, 2.5), (15, 3.0)]) == pytest.approx(0.2)
    assert slope([(5, 600.0), (5, 610.0)]) is None
    assert slope([]) is None


def test_lost_dispatches_are_counted_apart_and_left_out_of_the_times() -> None:
    assert lost(FOUND, Scenario.SEQUENTIAL, "peer") == (1, 2)
    assert times(FOUND, Scenario.SEQUENTIAL, "peer", 0, "in_room_s") == [1.0]
    ours = bar("sequential: the fleet's dispatches lost")
    assert (ours.figure, ours.judgement, ours.detail) == (0, Judgement.HELD, "of 2; peer 1 of 2")


def test_a_dispatch_whose_participant_could_not_join_says_nothing() -> None:
    absent = replace(dispatch(FLEET, 1.0, lost="no audio"), absent="no answer from the server")
    found = Found(dispatches=(dispatch(FLEET, 1.0), absent, dispatch(PEER, 1.0)))
    assert lost(found, Scenario.SEQUENTIAL, FLEET) == (0, 1)
    bar = next(bar for bar in bars(found) if "lost" in bar.name)
    assert bar.judgement is Judgement.HELD
    assert "1 without a participant" in bar.detail


def test_a_lost_dispatch_of_ours_misses_the_bar() -> None:
    found = Found(dispatches=(dispatch("fleet", 1.0, lost="no agent"), dispatch("peer", 1.0)))
    missed = [each.name for each in bars(found) if each.judgement is Judgement.MISSED]
    assert "sequential: the fleet's dispatches lost" in missed


def test_ratios_are_the_fleets_by_the_peers() -> None:
    in_room = bar("sequential: request → agent in room, p95")
    assert (in_room.figure, in_room.judgement) == (pytest.approx(0.4), Judgement.HELD)
    assert bar("PSS added by a live session").figure == pytest.approx(30 / 50)
    assert bar("CPU of a live session, microphone muted").figure == pytest.approx(0.5)
    # Each less what it uses standing still: (0.35 - 0.10) by (0.30 - 0.05).
    whole = bar("the same for the whole arm, microphone muted")
    assert whole.figure == pytest.approx(1.0)


def test_a_burst_is_compared_with_the_worker_that_takes_all_of_it() -> None:
    found = Found(
        dispatches=(
            dispatch(FLEET, 1.0, scenario=Scenario.BURST),
            dispatch(PEER, 0.5, scenario=Scenario.BURST),
            dispatch(PEER, 0.5, lost="no agent", scenario=Scenario.BURST),
            dispatch(EAGER, 4.0, scenario=Scenario.BURST),
        )
    )
    assert bar("burst: request → agent in room, p95", found).figure == pytest.approx(0.25)
    told = bar("burst: the fleet's dispatches lost", found).detail
    assert told == "of 1; peer 1 of 2; peer without its load limit 0 of 1"


def test_the_median_of_the_repetitions_counts_and_their_range_is_told() -> None:
    pairs = ((0.2, 1.0), (0.9, 1.0), (0.6, 2.0))
    found = Found(
        dispatches=tuple(
            dispatch(arm, value, repetition=n)
            for n, pair in enumerate(pairs)
            for arm, value in zip(("fleet", "peer"), pair, strict=True)
        )
    )
    in_room = bar("sequential: request → agent in room, p95", found)
    assert in_room.figure == pytest.approx(0.3)
    assert "ratios 0.20–0.90" in in_room.detail


def test_cpu_a_dispatch_is_for_those_served_and_without_the_standing_cost() -> None:
    assert cpu_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "fleet", 0) == pytest.approx(1.0)
    assert cpu_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "fleet", 0, gross=True) == pytest.approx(
        1.5
    )
    assert cpu_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "peer", 0) == pytest.approx(1.5)
    assert cpu_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "peer", 1) is None


def test_cpu_a_dispatch_by_part_adds_up_to_the_whole() -> None:
    parts = parts_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "fleet")
    assert list(parts) == ["ray::SessionActor", "raylet"]
    assert sum(parts.values()) == pytest.approx(
        cpu_a_dispatch_s(FOUND, Scenario.SEQUENTIAL, "fleet", 0) or 0.0
    )


def test_what_one_arm_never_did_misses_its_bar() -> None:
    found = Found(dispatches=(dispatch("fleet", 0.1), dispatch("peer", 9.0, lost="no agent")))
    in_room = bar("sequential: request → agent in room, p95", found)
    assert (in_room.figure, in_room.judgement) == (None, Judgement.MISSED)
    assert "peer nothing" in in_room.detail


def test_the_short_form_judges_lost_dispatches_only() -> None:
    judged = [
        each.name
        for each in _correctness_only(bars(FOUND))
        if each.judgement is not Judgement.NOT_JUDGED
    ]
    assert judged == ["sequential: the fleet's dispatches lost"]


def test_the_table_has_every_repetition_of_both() -> None:
    rows = {row["figure"]: row for row in table(FOUND)}
    row = rows["sequential: request → agent in room, max"]
    assert (row["fleet"], row["peer"]["median"]) == ({"median": 0.4, "each": [0.4]}, 1.0)
    assert {"standing still: CPU", "PSS of a warm one"} <= set(rows)


def test_the_picture_has_a_dot_for_each_time_and_counts_the_lost() -> None:
    drawn = svg([asdict(each) for each in FOUND.dispatches], "2 cores & more")
    root = ElementTree.fromstring(drawn)
    dots = [each for each in root.iter() if each.tag.endswith("circle")]
    assert len(dots) == 6
    assert "peer, 1 lost" in drawn
    assert "2 cores &amp; more" in drawn


def test_both_arms_hold_the_same_interview() -> None:
    """What the peer's rooms are given is what the fleet makes of the request itself."""
    asked = parse_create(contract.request(), idempotency_key=None, respond_async=False)
    told = parse_tolerant(contract.metadata(lambda config: config))
    assert told == asked.config


def test_cpu_of_children_that_ended_is_not_lost() -> None:
    pids = processes.trees([os.getpid()])
    before_s = processes.cpu_s(pids)
    code = "import time\nwhile time.process_time() < 0.5: pass"
    subprocess.run([sys.executable, "-I", "-S", "-c", code], check=True)
    assert processes.cpu_s(processes.trees([os.getpid()])) - before_s >= 0.4
    assert processes.pss_mib([os.getpid()]) > 1
    assert processes.cpu_s([2**22 + 1]) == processes.pss_mib([2**22 + 1]) == 0


def test_a_number_that_another_process_has_by_now_is_no_sign_of_life():
    began = psutil.Process().create_time()
    assert processes.is_alive(os.getpid(), began + 5)
    # It was seen before whoever has the number now began: that one is another.
    assert not processes.is_alive(os.getpid(), began - 5)
    assert not processes.is_alive(2**22 + 1, began)
