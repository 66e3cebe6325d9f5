"""A researcher before the fleet page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, expect

from tests.browser.person import Person

FAR_OFF_MS = 20_000


@dataclass
class Researcher:
    page: Page
    complaints: list[str] = field(default_factory=list)
    """The browser's own: errors, and what the page's policy forbade."""

    async def open(self, url: str) -> None:
        await self.page.goto(url)

    async def sign_in(self, key: str) -> None:
        await self.page.get_by_label("API key").fill(key)
        await self.clicks("Sign in")

    async def clicks(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def answers(self, button: str, *, text: str | None = None) -> None:
        """In the dialog that is open."""
        dialog = self.page.get_by_role("dialog")
        if text is not None:
            await dialog.get_by_role("textbox").fill(text)
        await dialog.get_by_role("button", name=button).click()
        await expect(dialog).to_have_count(0, timeout=FAR_OFF_MS)

    async def sees(self, text: str) -> None:
        await expect(self.page.get_by_text(text).first).to_be_visible(timeout=FAR_OFF_MS)

    async def is_live(self) -> None:
        status = self.page.locator(".connection")
        await expect(status).to_have_text("Live", timeout=FAR_OFF_MS)

    async def opens_session(self, participant: str) -> None:
        await self.page.get_by_role("link", name=participant, exact=True).first.click()
        await expect(self.page.get_by_role("heading", level=1)).to_have_text(
            participant, timeout=FAR_OFF_MS
        )

    async def barriers(self) -> list[str]:
        """What axe finds wrong with the page as it is now."""
        return await Person(self.page.context, self.page).barriers()

    @property
    def spent(self) -> Locator:
        return self.page.locator(".figure")


@asynccontextmanager
async def researcher(
    browser: Browser, *, width: int = 1440, height: int = 960, dark: bool = False
) -> AsyncIterator[Researcher]:
    context = await browser.new_context(
        locale="en-GB",
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
    )
    page = await context.new_page()
    someone = Researcher(page)

    def complained(message: ConsoleMessage) -> None:
        # A key that is refused is an answer of 401, which the browser complains of too.
        if message.type == "error" and "401" not in message.text:
            someone.complaints.append(message.text)

    page.on("console", complained)
    page.on("pageerror", lambda error: someone.complaints.append(str(error)))
    try:
        yield someone
    finally:
        await context.close()
