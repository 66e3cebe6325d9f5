"""Unit tests are fast and alone: they start no Ray and wait for no clock."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from typing import Any, NoReturn

import pytest

from tests.unit.agent_actor.virtual_time import VirtualLoop

LONGEST_SLEEP_S = 0.05


@pytest.fixture(autouse=True)
def no_sleeping(monkeypatch: pytest.MonkeyPatch) -> None:
    """A test that waits for a clock is slow or flaky: pass `now`, or wait for an event."""
    really_sleep, really_block = asyncio.sleep, time.sleep

    # Short ones pass: the standard library's own waits (`Popen.wait`) are made of them.
    def short_blocking_sleep(seconds: float) -> None:
        if seconds > LONGEST_SLEEP_S:
            pytest.fail(f"time.sleep({seconds}) in a unit test", pytrace=False)
        really_block(seconds)

    async def short_sleep(delay: float, result: Any = None) -> Any:
        # In virtual time nobody waits.
        virtual = isinstance(asyncio.get_running_loop(), VirtualLoop)
        if delay > LONGEST_SLEEP_S and not virtual:
            pytest.fail(f"asyncio.sleep({delay}) in a unit test", pytrace=False)
        return await really_sleep(delay, result)

    monkeypatch.setattr(time, "sleep", short_blocking_sleep)
    monkeypatch.setattr(asyncio, "sleep", short_sleep)


@pytest.fixture(autouse=True)
def no_ray(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Importing Ray is fine, starting it is not. Not imported here: that alone takes a second."""

    def no_init(*_: Any, **__: Any) -> NoReturn:
        pytest.fail("ray.init in a unit test", pytrace=False)

    if (ray := sys.modules.get("ray")) is not None:
        monkeypatch.setattr(ray, "init", no_init)
    yield
    if (ray := sys.modules.get("ray")) is not None:
        assert not ray.is_initialized(), "a unit test started Ray"
