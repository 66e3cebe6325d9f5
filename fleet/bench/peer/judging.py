"""Figures and bars out of what was found. Pure.

A ratio is the fleet's figure by the peer's, taken within each repetition; of the repetitions the
median counts, and their range is told.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from fleet.bench.peer.found import AGAINST, ARMS, FLEET, PEER, Found, Scenario
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, at_most, exactly, only_shown

PERCENTILES = (0.5, 0.95, 1.0)
LIVE_BARS = {"muted": 0.6, "open": 0.75, "talking": 0.8}
IN_ROOM_BAR = 0.5
AUDIO_BAR = 0.6
CPU_BAR = 0.75
MEMORY_BAR = 0.9
_JUDGED = (Scenario.SEQUENTIAL, Scenario.BURST)

Figure = Callable[[str, int], float | None]
"""Of an arm in a repetition."""


def slope(points: Sequence[tuple[float, float]]) -> float | None:
    """By least squares; None where all lie at the same place."""
    if len({x for x, _ in points}) < 2:
        return None
    return statistics.linear_regression(*zip(*points, strict=True)).slope


def bars(found: Found) -> list[Bar]:
    return [*_lost(found), *_times(found), *_cpu_a_dispatch(found), *_memory(found), *_live(found)]


def table(found: Found) -> list[dict[str, Any]]:
    """Every figure of both arms: the median of the repetitions, and each."""
    rows = []
    for name, unit, figure in _figures(found):
        row: dict[str, Any] = {"figure": name, "unit": unit}
        for arm in ARMS:
            each = [figure(arm, n) for n in repetitions(found)]
            if all(value is None for value in each):
                continue
            row[arm] = {"median": _median(each), "each": each}
        rows.append(row)
    return rows


def repetitions(found: Found) -> list[int]:
    return sorted({each.repetition for each in found.dispatches})


def times(found: Found, scenario: Scenario, arm: str, repetition: int, of: str) -> list[float]:
    """``of``: a field of Dispatch. Lost dispatches are left out."""
    mine = (
        getattr(each, of)
        for each in found.dispatches
        if (each.scenario, each.arm, each.repetition) == (scenario, arm, repetition)
        and each.lost is None
    )
    return [each for each in mine if each is not None]


def lost(found: Found, scenario: Scenario, arm: str) -> tuple[int, int]:
    """How many were lost, of how many."""
    all_of = [d for d in found.dispatches if (d.scenario, d.arm) == (scenario, arm)]
    return sum(each.lost is not None for each in all_of), len(all_of)


def cpu_a_dispatch_s(
    found: Found, scenario: Scenario, arm: str, repetition: int, *, gross: bool = False
) -> float | None:
    """For each one served; without what the arm would have used standing still, unless gross."""
    rounds = [
        each
        for each in found.rounds
        if (each.scenario, each.arm, each.repetition) == (scenario, arm, repetition)
    ]
    served = sum(each.served for each in rounds)
    if not served:
        return None
    idle_cores = 0.0 if gross else (_standing(found, "cpu_cores")(arm, repetition) or 0.0)
    return sum(each.cpu_s - idle_cores * each.wall_s for each in rounds) / served


def parts_a_dispatch_s(found: Found, scenario: Scenario, arm: str) -> dict[str, float]:
    """``cpu_a_dispatch_s`` over all repetitions, by what the arm's processes are; most first."""
    rounds = [each for each in found.rounds if (each.scenario, each.arm) == (scenario, arm)]
    served = sum(each.served for each in rounds)
    if not served:
        return {}
    net: dict[str, float] = {}
    for each in rounds:
        still = next(
            (
                s.parts_cores
                for s in found.standing
                if (s.arm, s.repetition) == (arm, each.repetition)
            ),
            {},
        )
        for name in each.parts_s.keys() | still.keys():
            used_s = each.parts_s.get(name, 0.0) - still.get(name, 0.0) * each.wall_s
            net[name] = net.get(name, 0.0) + used_s / served
    return dict(sorted(net.items(), key=lambda part: -part[1]))


# -- bars ------------------------------------------------------------------------------------------


def _lost(found: Found) -> Iterator[Bar]:
    for scenario in _scenarios(found):
        ours, of = lost(found, scenario, FLEET)
        others = [(arm, *lost(found, scenario, arm)) for arm in ARMS[1:]]
        told = [f"{arm} {count} of {asked}" for arm, count, asked in others if asked]
        detail = "; ".join([f"of {of}", *told])
        yield exactly(f"{scenario}: the fleet's dispatches lost", ours, 0, "", detail)


def _times(found: Found) -> Iterator[Bar]:
    for scenario in _scenarios(found):
        for name, of, most in (
            ("request → agent in room", "in_room_s", IN_ROOM_BAR),
            ("request → first audible sample", "audio_s", AUDIO_BAR),
        ):
            figure = _time(found, scenario, of, 0.95)
            yield _ratio(
                found,
                f"{scenario}: {name}, p95",
                figure,
                most if scenario in _JUDGED else None,
                "s",
                AGAINST[scenario],
            )


def _cpu_a_dispatch(found: Found) -> Iterator[Bar]:
    for scenario in _scenarios(found):
        figure = _dispatch_cpu(found, scenario)
        most = CPU_BAR if scenario in _JUDGED else None
        name = f"{scenario}: CPU a dispatch, refill included"
        yield _ratio(found, name, figure, most, "CPU-s", AGAINST[scenario])


def _memory(found: Found) -> Iterator[Bar]:
    if found.standing:
        yield _ratio(found, "PSS of a warm one", _standing(found, "warm_pss_mib"), None, "MiB")
    if found.memory:
        yield _ratio(found, "PSS added by a live session", _added(found), MEMORY_BAR, "MiB")


def _live(found: Found) -> Iterator[Bar]:
    microphones = dict.fromkeys(each.microphone for each in found.cpu)
    for microphone in microphones:
        name = f"CPU of a live session, microphone {microphone}"
        yield _ratio(found, name, _own(found, microphone), LIVE_BARS[microphone], "% of a core")
    for microphone in microphones:
        name = f"the same for the whole arm, microphone {microphone}"
        yield _ratio(found, name, _whole(found, microphone), None, "% of a core")


def _ratio(
    found: Found, name: str, figure: Figure, most: float | None, unit: str, against: str = PEER
) -> Bar:
    rounds = repetitions(found)
    ratios = [_by(figure(FLEET, n), figure(against, n)) for n in rounds]
    ours, theirs = (_median([figure(arm, n) for n in rounds]) for arm in (FLEET, against))
    known = [each for each in ratios if each is not None]
    spread = f"; ratios {min(known):.2f}–{max(known):.2f}" if len(known) > 1 else ""
    detail = f"fleet {_shown(ours)}, {against} {_shown(theirs)} {unit}{spread}"
    middle = _median(ratios)
    if most is None:
        return only_shown(name, middle, "×", detail)
    return at_most(name, middle, most, "×", detail)


# -- figures ---------------------------------------------------------------------------------------


def _figures(found: Found) -> Iterator[tuple[str, str, Figure]]:
    for scenario in _scenarios(found):
        for name, of in (
            ("request → agent in room", "in_room_s"),
            ("request → agent listed by the server", "listed_s"),
            ("request → first audible sample", "audio_s"),
        ):
            for share in PERCENTILES:
                label = "max" if share == 1 else f"p{share * 100:g}"
                yield f"{scenario}: {name}, {label}", "s", _time(found, scenario, of, share)
        yield f"{scenario}: CPU a dispatch", "CPU-s", _dispatch_cpu(found, scenario)
        gross = _dispatch_cpu(found, scenario, gross=True)
        yield f"{scenario}: CPU a dispatch, standing cost included", "CPU-s", gross
    yield "standing still: CPU", "cores", _standing(found, "cpu_cores")
    yield "standing still: PSS of everything", "MiB", _standing(found, "pss_mib")
    yield "PSS of a warm one", "MiB", _standing(found, "warm_pss_mib")
    yield "PSS added by a live session", "MiB", _added(found)
    for microphone in dict.fromkeys(each.microphone for each in found.cpu):
        name = f"CPU of a live session, microphone {microphone}"
        yield name, "% of a core", _own(found, microphone)
        yield f"{name}, whole arm", "% of a core", _whole(found, microphone)


def _scenarios(found: Found) -> list[Scenario]:
    there = {each.scenario for each in found.dispatches}
    return [scenario for scenario in Scenario if scenario in there]


def _time(found: Found, scenario: Scenario, of: str, share: float) -> Figure:
    return lambda arm, n: percentile(times(found, scenario, arm, n, of), share)


def _dispatch_cpu(found: Found, scenario: Scenario, *, gross: bool = False) -> Figure:
    return lambda arm, n: cpu_a_dispatch_s(found, scenario, arm, n, gross=gross)


def _standing(found: Found, of: str) -> Figure:
    def figure(arm: str, repetition: int) -> float | None:
        mine = [s for s in found.standing if (s.arm, s.repetition) == (arm, repetition)]
        return getattr(mine[0], of) if mine else None

    return figure


def _added(found: Found) -> Figure:
    def figure(arm: str, repetition: int) -> float | None:
        mine = [m for m in found.memory if (m.arm, m.repetition) == (arm, repetition)]
        return slope([(each.live, each.pss_mib) for each in mine])

    return figure


def _own(found: Found, microphone: str) -> Figure:
    def figure(arm: str, repetition: int) -> float | None:
        mine = [
            each
            for each in found.cpu
            if (each.arm, each.repetition, each.microphone) == (arm, repetition, microphone)
        ]
        return 100 * mine[0].own_cores if mine and mine[0].live else None

    return figure


def _whole(found: Found, microphone: str) -> Figure:
    def figure(arm: str, repetition: int) -> float | None:
        idle_cores = _standing(found, "cpu_cores")(arm, repetition) or 0.0
        mine = [
            each
            for each in found.cpu
            if (each.arm, each.repetition, each.microphone) == (arm, repetition, microphone)
        ]
        if not mine or not mine[0].live:
            return None
        return 100 * (mine[0].arm_cores - idle_cores) / mine[0].live

    return figure


def _by(ours: float | None, theirs: float | None) -> float | None:
    return ours / theirs if ours is not None and theirs else None


def _median(values: Sequence[float | None]) -> float | None:
    known = [each for each in values if each is not None]
    return statistics.median(known) if known else None


def _shown(value: float | None) -> str:
    return "nothing" if value is None else f"{value:.3g}"
