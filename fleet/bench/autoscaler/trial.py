"""Days by seed, every rule through each of them, and what came of it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from random import Random

from autoscaler.scaling import ScalingTuning
from fleet.simulation.scaling.days import DAY_S, Shape, Visit, before, visits
from fleet.simulation.scaling.nodes import RUN_IN_S, Hardware, Outcome, Rule, Simulation
from fleet.simulation.scaling.oracle import Oracle, floor_node_hours
from fleet.simulation.scaling.rules import (
    CpuTarget,
    FixedPool,
    Ours,
    ReservePerCall,
    busiest_minute,
)

HISTORY_DAYS = 7
TURNED_AWAY_S = 15.0
"""A session that would wait for longer is sent away and comes again (docs/operations.md)."""
OURS, FIXED, RESERVE, CPU = "this fleet", "fixed pool", "calls per second × 30", "CPU at 50 %"
RULES = (OURS, FIXED, RESERVE, CPU)


@dataclass(frozen=True, kw_only=True)
class Scene:
    """One judged day with the days before it. ``visits``: of the run-in and of the day."""

    shape: Shape
    seed: int
    history: tuple[tuple[Visit, ...], ...]
    visits: tuple[Visit, ...]
    oracle_hours: float
    floor_hours: float


@dataclass(frozen=True, kw_only=True)
class Variant:
    """One rule at one setting. ``judged``: the setting by which it is known."""

    rule: str
    setting: str
    make: Callable[[Scene], Rule]
    judged: bool = False


@dataclass(frozen=True, kw_only=True)
class Score:
    """A variant on all days of one shape."""

    rule: str
    setting: str
    judged: bool
    sessions: int
    cold: int
    turned_away: int
    """Of the cold, those that would have waited for more than ``TURNED_AWAY_S``."""
    wait_p50_s: float
    wait_p99_s: float
    node_hours: float
    to_oracle: float
    """Node-hours, the oracle's being 1."""
    worst_cold_share: float
    """Of the days, as ``worst_to_oracle``."""
    worst_to_oracle: float

    @property
    def cold_share(self) -> float:
        return self.cold / self.sessions

    def no_worse(self, other: Score) -> bool:
        return self.cold_share <= other.cold_share and self.to_oracle <= other.to_oracle

    def better(self, other: Score) -> bool:
        """In both."""
        return self.cold_share < other.cold_share and self.to_oracle < other.to_oracle


def scene(shape: Shape, seed: int, hardware: Hardware) -> Scene:
    rng = Random(f"{shape.value} {seed}")
    history = tuple(tuple(before(shape, rng)) for _ in range(HISTORY_DAYS))
    run_in = (replace(v, at=v.at - DAY_S) for v in history[-1] if v.at >= DAY_S - RUN_IN_S)
    day = (*run_in, *visits(shape, rng))
    return Scene(
        shape=shape,
        seed=seed,
        history=history,
        visits=day,
        oracle_hours=Oracle(day, hardware, Random(seed)).node_hours(),
        floor_hours=floor_node_hours(day, hardware.node_slots),
    )


def variants(*, frontier: bool) -> Iterator[Variant]:
    """All rules as they are known, the fixed pool in many sizes; with ``frontier`` the others at
    further settings too."""
    standard = ScalingTuning().caution
    for caution in sorted({0.0, 1.0, standard, 4.0}):
        if frontier or caution == standard:
            yield _ours(caution, judged=caution == standard)
    for nodes in (4, 6, 8, 9, 10, 11, 12, 14, 16, 18):
        yield _fixed(nodes)
    for seconds in (10.0, 30.0, 60.0, 120.0, 240.0):
        if frontier or seconds == 30.0:
            yield _reserve(seconds)
    for target in (0.4, 0.5, 0.6):
        if frontier or target == 0.5:
            yield _cpu(target)


def run(variant: Variant, where: Scene, hardware: Hardware) -> Outcome:
    # The same node starts for every rule, as far as they start as many.
    return Simulation(variant.make(where), where.visits, hardware, Random(where.seed)).run()


def score(variant: Variant, found: Mapping[Scene, Outcome]) -> Score:
    waits = sorted(wait for each in found.values() for wait in each.waits_s)
    hours = sum(each.node_hours for each in found.values())
    return Score(
        rule=variant.rule,
        setting=variant.setting,
        judged=variant.judged,
        sessions=len(waits),
        cold=sum(each.cold for each in found.values()),
        turned_away=sum(each.waited_over(TURNED_AWAY_S) for each in found.values()),
        wait_p50_s=_percentile(waits, 0.5),
        wait_p99_s=_percentile(waits, 0.99),
        node_hours=hours,
        to_oracle=hours / sum(each.oracle_hours for each in found),
        worst_cold_share=max(each.cold / len(each.waits_s) for each in found.values()),
        worst_to_oracle=max(o.node_hours / at.oracle_hours for at, o in found.items()),
    )


def judged_scores(scores: Sequence[Score], most_cold_share: float) -> dict[str, Score]:
    """Each rule as it is known; of the fixed pools the smallest that keeps cold starts within
    ``most_cold_share``, which nobody could have known before, or the largest."""
    known = {each.rule: each for each in scores if each.judged}
    pools = sorted((s for s in scores if s.rule == FIXED), key=lambda s: s.node_hours)
    enough = (s for s in pools if s.cold_share <= most_cold_share)
    return {**known, FIXED: next(enough, pools[-1])}


def _ours(caution: float, *, judged: bool) -> Variant:
    return Variant(
        rule=OURS,
        setting=f"caution {caution:g}",
        make=lambda at: Ours(ScalingTuning(caution=caution), at.history),
        judged=judged,
    )


def _fixed(nodes: int) -> Variant:
    return Variant(rule=FIXED, setting=f"{nodes} nodes", make=lambda at: FixedPool(nodes=nodes))


def _reserve(seconds: float) -> Variant:
    return Variant(
        rule=RESERVE,
        setting=f"× {seconds:g}",
        make=lambda at: ReservePerCall(peak_a_second=busiest_minute(at.history), seconds=seconds),
        judged=seconds == 30.0,
    )


def _cpu(target: float) -> Variant:
    return Variant(
        rule=CPU,
        setting=f"{target:.0%}",
        make=lambda at: CpuTarget(target=target),
        judged=target == 0.5,
    )


def _percentile(ordered: Sequence[float], share: float) -> float:
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else 0.0
