"""For every test: the environment of whoever runs them does not reach in."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from loadtest.participants.process import leave

# A user's own servers and keys: a test would flush the one and spend money with the other.
NOT_FOR_TESTS = (
    "GEMINI_API_KEY",
    "GOOGLE_API_KEY",
    "LIVEKIT_API_KEY",
    "LIVEKIT_API_SECRET",
    "LIVEKIT_URL",
    "OPENAI_API_KEY",
    "RAY_ADDRESS",
    "REDIS_URL",
)
REAL_PARTS = tuple(Path(__file__).parent / name for name in ("browser", "integration"))
STATUS = pytest.StashKey[int]()

for name in NOT_FOR_TESTS:
    os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in REAL_PARTS):
            item.add_marker("integration")


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[STATUS] = exitstatus


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """A run in which LiveKit's threads took part ends by `leave`, or may abort after its last
    test. Workers of a run side by side have told their results by then: how they end is nobody's
    concern."""
    took_part = "livekit.rtc" in sys.modules and not hasattr(config, "workerinput")
    if took_part and STATUS in config.stash:
        leave(int(config.stash[STATUS]))
