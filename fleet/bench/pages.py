"""``python -m fleet.bench.pages``: what the web pages weigh, and how soon they can be used.

Loaded anew each time, with nothing cached, by the system's Chromium from a fleet on this machine:
once as it is, once as a phone has it on a slow network (what Lighthouse calls mobile).
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from statistics import median
from typing import Any

import httpx
from playwright.async_api import Browser, async_playwright

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
FIRST_KB, LIBRARY_KB = 40.0, 200.0
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
class Load:
    """One page, loaded once. ``usable_ms``: from asking for it to its first button being drawn.
    Bytes as they came over the wire, compressed."""

    usable_ms: float
    page_bytes: int
    library_bytes: int
    """Of what is fetched after the page can be used."""


@dataclass(frozen=True, kw_only=True)
class PageUnderTest:
    name: str
    url: str
    usable: str
    """The first thing there is to press or to fill in."""


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    loads = SMOKE_LOADS if options.smoke else LOADS
    stack = StackOptions(settings={"warm_actors": "1"})
    async with local_fleet(stack, progress.tell) as fleet, async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=find_chromium())
        try:
            bars: list[Bar] = []
            for page in await _pages(fleet):
                fast = [await _load(browser, page) for _ in range(loads)]
                slow = [await _load(browser, page, slow=True) for _ in range(loads)]
                bars += _bars(page.name, fast, slow)
            return Measured(bars=tuple(bars))
        finally:
            await browser.close()


async def _pages(fleet: LocalFleet) -> list[PageUnderTest]:
    async with httpx.AsyncClient(base_url=fleet.api_url, timeout=60) as backend:
        answer = await backend.post("/v1/sessions", json=dict(interview_for_you()))
        answer.raise_for_status()
        link = answer.json()["join_url"]
    return [
        PageUnderTest(name="participant's", url=link, usable="[data-screen=welcome] button"),
        PageUnderTest(
            name="researcher's", url=f"{fleet.api_url}/", usable="main button, main input"
        ),
    ]


async def _load(browser: Browser, page: PageUnderTest, *, slow: bool = False) -> Load:
    """In a context of its own, whose cache is empty."""
    context = await browser.new_context()
    try:
        tab = await context.new_page()
        if slow:
            devtools = await context.new_cdp_session(tab)
            await devtools.send(
                "Network.emulateNetworkConditions", {"offline": False, **SLOW_PHONE}
            )
            await devtools.send("Emulation.setCPUThrottlingRate", {"rate": SLOW_PHONE_CPU})
        await tab.add_init_script(_WATCH.replace("SELECTOR", page.usable))
        await tab.goto(page.url, timeout=WITHIN_MS)
        usable_ms = float(await tab.evaluate(_USABLE_AT, WITHIN_MS))
        await tab.wait_for_load_state("networkidle", timeout=WITHIN_MS)
        entries: list[dict[str, Any]] = await tab.evaluate(
            """() => ["navigation", "resource"]
            .flatMap((kind) => performance.getEntriesByType(kind))
            .map((entry) => ({ began: entry.startTime, bytes: entry.encodedBodySize }))"""
        )
        early = [entry for entry in entries if entry["began"] < usable_ms]
        late = [entry for entry in entries if entry["began"] >= usable_ms]
        return Load(usable_ms=usable_ms, page_bytes=_sum(early), library_bytes=_sum(late))
    finally:
        await context.close()


def _sum(entries: Iterable[dict[str, Any]]) -> int:
    return sum(int(entry["bytes"]) for entry in entries)


def _bars(name: str, fast: list[Load], slow: list[Load]) -> list[Bar]:
    first_kb = max(load.page_bytes for load in fast) / 1000
    library_kb = max(load.library_bytes for load in fast) / 1000
    usable_ms = median(load.usable_ms for load in fast)
    slow_ms = median(load.usable_ms for load in slow)
    loads = f"median of {len(fast)}, nothing cached"
    return [
        at_most(f"{name} page: until it can be used", first_kb, FIRST_KB, "kB", "compressed"),
        at_most(f"{name} page: after that", library_kb, LIBRARY_KB, "kB", "compressed"),
        at_most(f"{name} page: usable after", usable_ms, USABLE_MS, "ms", loads),
        at_most(
            f"{name} page: usable after, on a slow phone",
            slow_ms,
            SLOW_USABLE_MS,
            "ms",
            f"{loads}; 1.6 Mbit/s, 150 ms a request, a quarter of the CPU",
        ),
    ]


if __name__ == "__main__":
    sys.exit(
        bench_main("pages", measure, about="What the web pages weigh, and how soon they work.")
    )
