"""What holds for the accounts in every order of events: see tests/unit/fleet/budget_model.py."""

from __future__ import annotations

import os

from hypothesis import settings

from tests.unit.fleet.budget_model import Fleet

TestFleet = Fleet.TestCase
TestFleet.settings = settings(
    max_examples=200, stateful_step_count=50, deadline=None, derandomize="CI" in os.environ
)
