"""A researcher at work: a real browser before a real fleet, an interview under way in another."""

from __future__ import annotations

import json

import pytest
from playwright.async_api import Browser, expect

from fleet.local.stack import LocalFleet
from tests.browser.person import person
from tests.browser.researcher import FAR_OFF_MS, researcher
from tests.browser.stage import KEY, Backend

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def test_a_researcher_follows_an_interview_and_ends_it(
    fleet: LocalFleet, backend: Backend, browser: Browser
) -> None:
    name = "p-of-the-fleet-page"
    session = await backend.create(turns_per_phase=50, participant={"identity": name})
    async with person(browser) as someone, researcher(browser) as watcher:
        await watcher.open(fleet.api_url)
        assert await watcher.barriers() == []
        await watcher.sign_in("a-key-of-nobodys")
        await watcher.sees("This key is not valid.")
        await watcher.sign_in(KEY)
        await watcher.is_live()
        await someone.open(session["join_url"])
        await someone.clicks("Start the interview")

        row = watcher.page.get_by_role("row").filter(has_text=name)
        await expect(row).to_contain_text("1 of 2 · warmup", timeout=FAR_OFF_MS)
        await expect(row).to_contain_text("of $3.21")
        assert await watcher.barriers() == []

        await watcher.opens_session(name)
        turns = watcher.page.locator(".turn")
        await expect(turns.filter(has_text="Participant").first).to_be_visible(timeout=FAR_OFF_MS)
        await expect(turns.filter(has_text="Interviewer").first).to_be_visible()
        await watcher.sees("Phase: Warm-up")
        await watcher.sees("Phase 1 of 2")
        before = await watcher.spent.inner_text()
        await expect(watcher.spent).not_to_have_text(before, timeout=FAR_OFF_MS)
        assert await watcher.barriers() == []

        await watcher.clicks("Change limit")
        await watcher.answers("Set limit", text="1.50")
        await expect(watcher.spent).to_contain_text("of $1.50", timeout=FAR_OFF_MS)
        assert (await backend.get(session["links"]["cost"]))["limit_usd"] == "1.500000"

        await watcher.clicks("End session")
        assert await watcher.barriers() == []
        await watcher.answers("End session")
        await watcher.sees("Over: ended by hand")
        assert (await backend.gone(session, within_s=10))["end_reason"] == "operator"
        await someone.is_at("over")

        await watcher.page.get_by_role("link", name="browser", exact=True).click()
        await watcher.sees("Providers side by side")
        await expect(watcher.page.get_by_role("row").filter(has_text=name)).to_be_visible()
        assert await watcher.barriers() == []
        async with watcher.page.expect_download() as download:
            await watcher.clicks("Download costs (CSV)")
        assert (await download.value).suggested_filename == "cost-browser.csv"
        kept = await watcher.page.evaluate("JSON.stringify([{...localStorage}, document.cookie])")
        assert json.loads(kept) == [{}, ""]
        assert watcher.complaints == []
