"""``python -m tests.browser.smoothness [--smoke]``: the fleet page over 500 sessions that change.

Records by the registry and live states by journal writers in a real Redis, behind a real ingress on
Ray Serve; one Chromium looks at the page and works with it, then others read the feed beside it.
"""

from __future__ import annotations

import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psutil
from playwright.async_api import Browser, Page, expect

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.percentiles import percentile
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_most, exactly, only_shown
from tests.browser.fleet_stage import KEY, PEOPLE, Stage, fleet_stage
from tests.browser.populace import Populace
from tests.browser.researcher import researcher
from tests.browser.stage import a_browser, speech_file

SESSIONS = 500
CHANGES_PER_S = 250.0
WINDOW_S, SMOKE_WINDOW_S = 30.0, 8.0
MORE_VIEWERS = 10
SETTLE_S = 5.0
LONG_TASK_MS = 50

_WATCH = """() => {
    const seen = window.seen = { frames: [], tasks: [] };
    let last = performance.now();
    const frame = (now) => {
        seen.frames.push(now - last);
        last = now;
        requestAnimationFrame(frame);
    };
    requestAnimationFrame(frame);
    new PerformanceObserver((list) => {
        for (const task of list.getEntries()) seen.tasks.push(task.duration);
    }).observe({ type: "longtask" });
}"""


@dataclass(frozen=True, kw_only=True)
class Window:
    """What was seen of the page, and what it cost, while it was left alone or worked with."""

    frames_ms: list[float]
    tasks_ms: list[float]
    """Longer than 50 ms, on the page's main thread."""
    busy: float
    """Share of the time in which the main thread had something to do."""
    ingress_cpu: float
    """Of a core: the replica that reads and tells."""
    proxy_cpu: float


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    seconds = SMOKE_WINDOW_S if options.smoke else WINDOW_S
    made: list[Populace] = []

    async def before(redis_url: str) -> None:
        made.append(Populace(redis_url, PEOPLE, seed=options.seed))
        await made[0].settle(SESSIONS)

    progress.tell("a fleet, and 500 sessions in its registry")
    async with fleet_stage(before) as stage, made[0] as populace, going_on(populace):
        with tempfile.TemporaryDirectory() as folder:
            async with a_browser(speech_file(Path(folder) / "speech.wav")) as browser:
                return await _measure(stage, browser, seconds, progress)


async def _measure(stage: Stage, browser: Browser, seconds: float, progress: Progress) -> Measured:
    async with researcher(browser) as someone:
        page = someone.page
        await someone.open(stage.url)
        await someone.sign_in(KEY)
        await expect(page.get_by_text(f"{SESSIONS} of {SESSIONS} sessions")).to_be_visible()
        await asyncio.sleep(SETTLE_S)
        progress.tell("looking on")
        looked_on = await window(page, seconds)
        progress.tell("scrolling, sorting, filtering")
        working = asyncio.create_task(work_with(page))
        worked = await window(page, seconds)
        working.cancel()
        await asyncio.gather(working, return_exceptions=True)
        progress.tell(f"{MORE_VIEWERS} more viewers")
        async with viewers(stage, MORE_VIEWERS) as read:
            crowded = await window(page, seconds)
        rows = await page.locator("tbody tr:not(.spacer)").count()
        complaints = len(someone.complaints)
    windows = {"looked on": looked_on, "worked with": worked, "crowded": crowded}
    bars = [
        *_bars(windows),
        only_shown("bytes a second for a viewer", sum(read) / len(read) / seconds, "B/s"),
        only_shown("rows in the document", rows, ""),
        exactly("complaints of the browser", complaints, 0, ""),
    ]
    return Measured(bars=tuple(bars), data={name: vars(w) for name, w in windows.items()})


def _bars(windows: dict[str, Window]) -> list[Bar]:
    bars = []
    for name, seen in windows.items():
        bars += [
            at_most(f"{name}: frame, 95 %", percentile(seen.frames_ms, 0.95), 34, "ms"),
            only_shown(f"{name}: frame, 99 %", percentile(seen.frames_ms, 0.99), "ms"),
            only_shown(f"{name}: tasks over 50 ms", len(seen.tasks_ms), ""),
            at_most(f"{name}: longest task", max(seen.tasks_ms, default=0.0), 200, "ms"),
            only_shown(f"{name}: page busy", seen.busy * 100, "%"),
            only_shown(f"{name}: ingress", seen.ingress_cpu * 100, "% of a core"),
            only_shown(f"{name}: Serve's proxy", seen.proxy_cpu * 100, "% of a core"),
        ]
    return bars


@asynccontextmanager
async def going_on(populace: Populace) -> AsyncIterator[None]:
    over = asyncio.Event()
    task = asyncio.create_task(populace.go_on(over, changes_per_s=CHANGES_PER_S))
    try:
        yield
    finally:
        over.set()
        await task


async def window(page: Page, seconds: float) -> Window:
    devtools = await page.context.new_cdp_session(page)
    await devtools.send("Performance.enable")
    replica, proxy = process("ray::ServeReplica"), process("ray::ProxyActor")

    async def busy_s() -> float:
        told = (await devtools.send("Performance.getMetrics"))["metrics"]
        return float(next(m["value"] for m in told if m["name"] == "TaskDuration"))

    await page.evaluate(_WATCH)
    loop = asyncio.get_running_loop()
    began, busy, cpu = loop.time(), await busy_s(), (cpu_s(replica), cpu_s(proxy))
    await asyncio.sleep(seconds)
    took_s = loop.time() - began
    busy = await busy_s() - busy
    spent = (cpu_s(replica) - cpu[0], cpu_s(proxy) - cpu[1])
    seen: dict[str, Any] = await page.evaluate("window.seen")
    return Window(
        frames_ms=seen["frames"][1:],
        tasks_ms=seen["tasks"],
        busy=busy / took_s,
        ingress_cpu=spent[0] / took_s,
        proxy_cpu=spent[1] / took_s,
    )


async def work_with(page: Page) -> None:
    """As somebody who looks for something: by the table's scroll bar, heads and filter."""
    grid = page.locator(".grid").first
    search = page.get_by_role("searchbox", name="Filter")
    for head in ("Spent of limit", "Age", "State", "Phase") * 100:
        for top in range(0, 20_000, 400):  # pixels, 8,000 a second: a hard flick
            await grid.evaluate("(grid, top) => { grid.scrollTop = top }", top)
            await asyncio.sleep(0.05)
        await page.get_by_role("button", name=head).click()
        for text in ("p", "p-0", "p-02", ""):
            await search.fill(text)
            await asyncio.sleep(0.1)


@asynccontextmanager
async def viewers(stage: Stage, count: int) -> AsyncIterator[list[int]]:
    """Others who read the feed; how many bytes each has read."""
    read = [0] * count
    headers = {"Authorization": f"Bearer {KEY}"}

    async def view(n: int) -> None:
        url = f"{stage.url}/v1/fleet/stream"
        async with http.stream("GET", url) as answer:
            async for part in answer.aiter_raw():
                read[n] += len(part)

    async with httpx.AsyncClient(headers=headers, timeout=60) as http:
        tasks = [asyncio.create_task(view(n)) for n in range(count)]
        await asyncio.sleep(SETTLE_S)
        read[:] = [0] * count
        try:
            yield read
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


def process(name: str) -> psutil.Process:
    """Among our own: another fleet may run on the machine."""
    for found in psutil.Process().children(recursive=True):
        if any(part.startswith(name) for part in found.cmdline()):
            return found
    raise LookupError(name)


def cpu_s(of: psutil.Process) -> float:
    times = of.cpu_times()
    return float(times.user + times.system)


if __name__ == "__main__":
    about = "The fleet page over 500 sessions that change."
    sys.exit(bench_main("fleet-page", measure, about=about))
