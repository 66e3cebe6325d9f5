"""``python -m fleet.bench.pages``: what the web pages weigh, and how soon they can be used.

Loaded anew each time, with nothing cached, by the system's Chromium from a fleet on this machine:
once as it is, once as a phone has it on a slow network (what Lighthouse calls mobile).
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import dataclass
from statistics import median

import httpx
from playwright.async_api import Browser, Page, Route, async_playwright

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_most
from fleet.demo.plan import interview_for_you
from fleet.local.chromium import find_chromium
from fleet.local.stack import LocalFleet, StackOptions, local_fleet

LOADS, SMOKE_LOADS = 9, 3
WITHIN_MS = 20_000
SLOW_PHONE = {
    "offline": False,
    "latency": 150,
    "downloadThroughput": 1.6e6 / 8,
    "uploadThroughput": 0.75e6 / 8,
}
SLOW_PHONE_CPU = 4
FIRST_KB, LATER_KB = 40.0, 200.0
USABLE_MS, SLOW_USABLE_MS = 500.0, 2_500.0

_WATCH = """(() => {
    const look = () => {
        if (window.usableAtMs === undefined && document.querySelector("SELECTOR"))
            requestAnimationFrame(() => { window.usableAtMs ??= performance.now(); });
    };
    new MutationObserver(look).observe(document, { childList: true, subtree: true });
})()"""


_USABLE_AT = """(withinMs) => new Promise((resolve, reject) => {
    const look = () => {
        if (window.usableAtMs !== undefined) resolve(window.usableAtMs);
        else if (performance.now() > withinMs) reject(new Error("not usable"));
        else setTimeout(look, 5);
    };
    look();
})"""
# Not by Playwright's waiting for a function: that needs eval, which the page forbids.


@dataclass(frozen=True, kw_only=True)
class Weight:
    """Of a page, as it came over the wire, compressed."""

    page_bytes: int
    """Until it can be used."""
    later_bytes: int


@dataclass(frozen=True, kw_only=True)
class PageUnderTest:
    name: str
    url: str
    usable: str
    """The first thing there is to press or to fill in."""
    later: str | None = None
    """Which requests it can be used without, as a pattern of Playwright's."""


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    loads = SMOKE_LOADS if options.smoke else LOADS
    stack = StackOptions(settings={"warm_actors": "1"})
    async with local_fleet(stack, progress.tell) as fleet, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium())
        try:
            bars: list[Bar] = []
            for page in await _pages(fleet):
                weight = await _weighed(browser, page)
                fast = [await _usable_ms(browser, page) for _ in range(loads)]
                slow = [await _usable_ms(browser, page, slow=True) for _ in range(loads)]
                bars += _bars(page.name, weight, fast, slow)
            return Measured(bars=tuple(bars))
        finally:
            await browser.close()


async def _pages(fleet: LocalFleet) -> list[PageUnderTest]:
    async with httpx.AsyncClient(base_url=fleet.api_url, timeout=60) as backend:
        answer = await backend.post("/v1/sessions", json=dict(interview_for_you()))
        answer.raise_for_status()
        link = answer.json()["join_url"]
    return [
        PageUnderTest(
            name="participant's",
            url=link,
            usable="[data-screen=welcome] button",
            later="**/assets/interview-*",
        ),
        PageUnderTest(
            name="researcher's", url=f"{fleet.api_url}/", usable="main button, main input"
        ),
    ]


async def _usable_ms(browser: Browser, page: PageUnderTest, *, slow: bool = False) -> float:
    """From asking for it to its first button being drawn, in a context whose cache is empty."""
    context = await browser.new_context()
    try:
        tab = await context.new_page()
        if slow:
            devtools = await context.new_cdp_session(tab)
            await devtools.send(
                "Network.emulateNetworkConditions", {"offline": False, **SLOW_PHONE}
            )
            await devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOW_PHONE_CPU})
        return await _opened(tab, page)
    finally:
        await context.close()


async def _opened(tab: Page, page: PageUnderTest) -> float:
    await tab.add_init_script(_WATCH.replace("SELECTOR", page.usable))
    await tab.goto(page.url, timeout=WITHIN_MS)
    return float(await tab.evaluate(_USABLE_AT, WITHIN_MS))


async def _weighed(browser: Browser, page: PageUnderTest) -> Weight:
    """What it can be used without is held back until it can be: on this machine that would be there
    as soon as the rest, and here it shows that the page does not wait for it."""
    context = await browser.new_context()
    try:
        tab, usable = await context.new_page(), asyncio.Event()

        async def hold(route: Route) -> None:
            await usable.wait()
            await route.continue_()

        if page.later is not None:
            await tab.route(page.later, hold)
        await _opened(tab, page)
        first = await _fetched(tab)
        usable.set()
        if page.later is not None:  # without: a stream keeps the network busy for good
            await tab.wait_for_load_state("networkidle", timeout=WITHIN_MS)
        return Weight(page_bytes=first, later_bytes=await _fetched(tab) - first)
    finally:
        await context.close()


async def _fetched(tab: Page) -> int:
    sizes: list[int] = await tab.evaluate(
        """() => ["navigation", "resource"]
        .flatMap((kind) => performance.getEntriesByType(kind))
        .map((entry) => entry.encodedBodySize)"""
    )
    return sum(sizes)


def _bars(name: str, weight: Weight, fast: list[float], slow: list[float]) -> list[Bar]:
    first_kb, later_kb = weight.page_bytes / 1000, weight.later_bytes / 1000
    loads = f"median of {len(fast)}, nothing cached"
    return [
        at_most(f"{name} page: until it can be used", first_kb, FIRST_KB, "kB", "compressed"),
        at_most(f"{name} page: after that", later_kb, LATER_KB, "kB", "compressed"),
        at_most(f"{name} page: usable after", median(fast), USABLE_MS, "ms", loads),
        at_most(
            f"{name} page: usable after, on a slow phone",
            median(slow),
            SLOW_USABLE_MS,
            "ms",
            f"{loads}; 1.6 Mbit/s, 150 ms a request, a quarter of the CPU",
        ),
    ]


if __name__ == "__main__":
    sys.exit(
        bench_main("pages", measure, about="What the web pages weigh, and how soon they work.")
    )
