"""``python -m tests.browser.fleet_screens``: the pictures docs/screens/fleet-*.png.

Of a real ingress over people who are only written down (tests.browser.populace).
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from playwright.async_api import Browser

from fleet.clients import BUDGET
from fleet.logs import configure_logs
from fleet.ray_calls import RemoteActor
from fleet.settings import load_settings
from tests.browser.fleet_stage import CONTROL, KEY, PEOPLE, Stage, fleet_stage
from tests.browser.populace import STUDIES, Person, Populace, usage_report
from tests.browser.researcher import Researcher, researcher
from tests.browser.stage import a_browser, speech_file

SCREENS = Path(__file__).parents[2] / "docs" / "screens"
LIVE, ENDED = 64, 150
REPORT_EVERY_S = 2.0
SETTLED_MS = 2_500
"""Until the charts are drawn and a rate is known."""


async def main() -> None:
    configure_logs("screens", level="ERROR")
    SCREENS.mkdir(parents=True, exist_ok=True)
    made: list[Populace] = []

    async def before(redis_url: str) -> None:
        populace = Populace(redis_url, PEOPLE)
        made.append(populace)
        past = await populace.settle(LIVE, ended=ENDED)
        await populace.book(CONTROL, past)

    async with fleet_stage(before) as stage, made[0] as populace:
        populace.people.sort(key=lambda one: one.created_at)
        star = populace.people[0]
        await populace.interview(star, said=14)
        over = asyncio.Event()
        going_on = asyncio.gather(
            populace.go_on(over, changes_per_s=LIVE / 2), _report(populace, over)
        )
        with tempfile.TemporaryDirectory() as folder:
            async with a_browser(speech_file(Path(folder) / "speech.wav")) as browser:
                await _pictures(browser, stage, star)
        over.set()
        await going_on


async def _report(populace: Populace, over: asyncio.Event) -> None:
    """To the budget actor, so that money goes on too."""
    budget = RemoteActor(BUDGET, load_settings().ray_namespace)
    while not over.is_set():
        reports = [usage_report(person, time.time()) for person in populace.people]
        await budget.call("report_batch", reports, deadline_s=10)
        with suppress(TimeoutError):
            async with asyncio.timeout(REPORT_EVERY_S):
                await over.wait()


async def _pictures(browser: Browser, stage: Stage, star: Person) -> None:
    for dark in (False, True):
        kind = "dark" if dark else "light"
        async with researcher(browser, dark=dark) as someone:
            await someone.open(stage.url)
            await _take(someone, f"sign-in-{kind}")
            await someone.sign_in(KEY)
            await someone.is_live()
            await _take(someone, f"fleet-{kind}")
            await someone.open(f"{stage.url}/#/sessions/{star.session_id}")
            await someone.sees("Phase:")
            await _take(someone, f"session-{kind}")
            if not dark:
                await someone.clicks("Change limit")
                await _take(someone, "limit")
                await someone.answers("Cancel")
                await someone.clicks("End session")
                await _take(someone, "end")
                await someone.answers("Cancel")
            await someone.open(f"{stage.url}/#/studies/{STUDIES[0]}")
            await someone.sees("Cost per minute")
            await _take(someone, f"study-{kind}")
            assert someone.complaints == [], someone.complaints
    async with researcher(browser, width=420, height=900) as someone:
        await someone.open(stage.url)
        await someone.sign_in(KEY)
        await someone.is_live()
        await _take(someone, "fleet-narrow")


async def _take(someone: Researcher, name: str) -> None:
    await someone.page.wait_for_timeout(SETTLED_MS)
    await someone.page.screenshot(path=SCREENS / f"fleet-{name}.png")


if __name__ == "__main__":
    asyncio.run(main())
