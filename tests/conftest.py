"""For every test: the environment of whoever runs them does not reach in."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

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

for name in NOT_FOR_TESTS:
    os.environ.pop(name, None)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(item.path.is_relative_to(folder) for folder in REAL_PARTS):
            item.add_marker("integration")
