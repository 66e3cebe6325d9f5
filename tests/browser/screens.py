"""``python -m tests.browser.screens``: the pictures in docs/screens, of every state, taken anew.

From real interviews. People look at them; nothing compares them.
"""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from playwright.async_api import Browser

from fleet.local.stack import LocalFleet
from tests.browser.person import Person, person
from tests.browser.stage import Backend, a_browser, a_fleet, speech_file

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
PHONE = {"width": 390, "height": 780}
# What a browser's own prompt does: nothing, until somebody answers it.
_UNANSWERED = "navigator.mediaDevices.getUserMedia = () => new Promise(() => {})"


async def main() -> None:
    SCREENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        speech = speech_file(Path(folder) / "speech.wav")
        async with a_fleet() as fleet, Backend.of(fleet) as backend, a_browser(speech) as browser:
            await _interview(backend, browser)
            await _interview_on_a_phone(backend, browser)
            await _microphone(backend, browser)
            await _links(fleet, browser)


async def _take(someone: Person, name: str) -> None:
    await someone.page.screenshot(path=SCREENS / f"participant-{name}.png")


async def _interview(backend: Backend, browser: Browser) -> None:
    session = await backend.create(turns_per_phase=50)
    async with person(browser) as someone:
        await someone.open(session["join_url"])
        await someone.is_at("welcome")
        await _take(someone, "welcome")
        await someone.clicks("Start the interview")
        await someone.is_at("live")
        await someone.hears()
        await someone.sees("The interviewer is speaking")
        await _take(someone, "speaking")
        await someone.sees("You are speaking", within_s=15)
        await _take(someone, "hearing")
        await someone.clicks("Leave")
        await _take(someone, "leave")
        await someone.clicks("Stay")
        await someone.network(up=False)
        await someone.page.wait_for_selector(".notice:not(:empty)", timeout=30_000)
        await _take(someone, "reconnecting")
        await someone.is_at("dropped", within_s=100)
        await _take(someone, "dropped")
        await someone.network(up=True)
        await someone.is_at("live", within_s=30)
        await someone.hears()
        await backend.end(session)
        await someone.is_at("over", within_s=30)
        await _take(someone, "closed-early")


async def _interview_on_a_phone(backend: Backend, browser: Browser) -> None:
    session = await backend.create(language="ja")
    async with person(browser, dark=True, **PHONE) as someone:
        await someone.open(session["join_url"])
        await someone.is_at("welcome")
        await _take(someone, "welcome-phone")
        await someone.clicks("インタビューを始める")
        await someone.is_at("live")
        await someone.clicks("字幕")
        await someone.page.wait_for_selector(".captions p:not(.soft):not(:empty)", timeout=15_000)
        await _take(someone, "captions-phone")
        await someone.is_at("over", within_s=60)
        await _take(someone, "thanks-phone")


async def _microphone(backend: Backend, browser: Browser) -> None:
    session = await backend.create(language="de")
    async with person(browser, microphone=False) as someone:
        await someone.open(session["join_url"])
        await someone.clicks("Interview beginnen")
        await someone.is_at("microphone")
        await _take(someone, "blocked")
    async with person(browser) as someone:
        await someone.page.add_init_script(_UNANSWERED)
        await someone.open(session["join_url"])
        await someone.clicks("Interview beginnen")
        await someone.is_at("asking")
        await _take(someone, "asking")
    async with person(browser) as first, person(browser) as second:
        for someone in (first, second):
            await someone.open(session["join_url"])
            await someone.clicks("Interview beginnen")
            await someone.is_at("live")
        await first.is_at("elsewhere")
        await _take(first, "elsewhere")
        await second.clicks("Verlassen")
        await second.page.get_by_role("dialog").get_by_role("button", name="Verlassen").click()
        await second.is_at("left")
        await _take(second, "left")


async def _links(fleet: LocalFleet, browser: Browser) -> None:
    async with person(browser, language="fr-FR") as someone:
        await someone.open(f"{fleet.api_url}/join/s-none#nothing")
        await someone.is_at("badLink")
        await _take(someone, "bad-link")


if __name__ == "__main__":
    asyncio.run(main())
