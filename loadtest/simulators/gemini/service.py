"""What all connections of a simulator process share."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

from loadtest.simulators.control import World
from loadtest.simulators.gemini.frames import SpeechFrames
from loadtest.simulators.gemini.limits import Limits
from loadtest.simulators.gemini.resumption import HandleStore
from loadtest.simulators.gemini.session import Session
from loadtest.simulators.gemini.setup import SessionSetup

THOUGHTS = (40, 140)
"""Tokens a generation thinks before it speaks, on models or with budgets that make it think."""


@dataclass(frozen=True, kw_only=True)
class Service:
    world: World
    frames: SpeechFrames
    handles: HandleStore[Session]
    limits: Limits
    speed: float
    random: Random

    def thoughts(self, setup: SessionSetup) -> int:
        """gemini-3.8-live always thinks; others do when given a budget (-1 is without bound)."""
        budget = setup.thinking_budget
        if setup.generation != "3.8" and budget == 0:
            return 0
        drawn = self.random.randint(*THOUGHTS)
        return drawn if budget <= 0 else min(drawn, budget)
