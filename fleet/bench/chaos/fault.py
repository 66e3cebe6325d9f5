"""What a fault is to whoever runs it."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from random import Random
from typing import TYPE_CHECKING

from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Judgement, Measured
from fleet.errors import FleetError
from fleet.local.ray_cluster import RayCluster
from fleet.local.run_dir import RunDir

if TYPE_CHECKING:
    from fleet.bench.chaos.stage import Stage


@dataclass(frozen=True, kw_only=True)
class Needs:
    """What the fleet has to be started with. Faults with equal needs share a stage."""

    warm: int = 6
    """Actors that are kept warm."""
    settings: Mapping[str, str] = field(default_factory=dict)
    """FLEET_* values by field name."""
    cluster: Callable[[RunDir], AbstractContextManager[RayCluster]] | None = None
    """Instead of one Ray node. It is entered with the fleet's environment in place."""


@dataclass(frozen=True, kw_only=True)
class Trials:
    count: int
    seed: int
    smoke: bool
    progress: Progress

    def dice(self, *what: object) -> Random:
        """For one thing that is drawn: ``what`` names it. The same seed gives the same draws,
        however many others are made."""
        return Random("/".join(map(str, (self.seed, *what))))

    def timing(self, bar: Bar) -> Bar:
        """A short run on a shared machine says little about times."""
        if self.smoke and bar.judgement is not Judgement.NOT_JUDGED:
            return bar.not_judged("short form")
        return bar


@contextmanager
def outlived(broken: list[str], what: str = "") -> Iterator[None]:
    """For one trial: an error of the fleet's or of its parts' ends it and goes into ``broken``,
    instead of taking the other trials with it. ``what``: is put before it."""
    try:
        yield
    except* FleetError as group:
        broken.extend(f"{what}{error}" for error in group.exceptions)


Run = Callable[["Stage", Trials], Awaitable[Measured]]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """``about``: one line, for the list of faults. ``trials``: strikes in the long form."""

    name: str
    about: str
    trials: int
    run: Run
    needs: Needs = Needs()
    in_smoke: bool = False
    """It is also in the short form, which has a minute or two for all."""


AT_ONCE = 5 if (os.cpu_count() or 1) <= 2 else 10
"""Interviews that this machine carries while others begin and end."""
