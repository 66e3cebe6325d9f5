"""A real Chromium before a real fleet: one of each for all tests here, in the session's loop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from fleet.local.stack import LocalFleet
from tests.browser.stage import Backend, a_browser, a_fleet, speech_file


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def fleet() -> AsyncIterator[LocalFleet]:
    async with a_fleet() as fleet:
        yield fleet


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def backend(fleet: LocalFleet) -> AsyncIterator[Backend]:
    async with Backend.of(fleet) as backend:
        yield backend


@pytest.fixture(scope="session")
def speech(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return speech_file(tmp_path_factory.mktemp("voice") / "speech.wav")


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(speech: Path) -> AsyncIterator[Browser]:
    async with a_browser(speech) as browser:
        yield browser


@pytest_asyncio.fixture(loop_scope="session")
async def stranger(fleet: LocalFleet) -> AsyncIterator[httpx.AsyncClient]:
    """Somebody without any key."""
    async with httpx.AsyncClient(base_url=fleet.api_url) as http:
        yield http
