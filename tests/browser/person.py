"""A participant before the page: looks, listens, clicks; and keeps all that went over the wire."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from playwright.async_api import (
    Browser,
    BrowserContext,
    CDPSession,
    ConsoleMessage,
    Error,
    Page,
    Response,
    WebSocket,
    expect,
)

from fleet.local.web import node_modules

AUDIBLE = 0.01
"""Root mean square of the samples (-40 dBFS): speech, and not noise of coding."""

_LISTEN = """async ([floor, withinMs]) => {
    const element = document.querySelector("audio");
    if (!element) return 0;
    const context = new AudioContext();
    const analyser = new AnalyserNode(context);
    context.createMediaStreamSource(element.srcObject).connect(analyser);
    const samples = new Float32Array(analyser.fftSize);
    const end = performance.now() + withinMs;
    let loudest = 0;
    while (performance.now() < end && loudest < floor) {
        await new Promise((resolve) => setTimeout(resolve, 40));
        analyser.getFloatTimeDomainData(samples);
        loudest = Math.max(loudest, Math.hypot(...samples) / Math.sqrt(samples.length));
    }
    await context.close();
    return loudest;
}"""


@dataclass
class Person:
    context: BrowserContext
    page: Page
    wire: list[str] = field(default_factory=list)
    """Every address, header and body, and every frame of a web socket; bytes as latin-1."""
    complaints: list[str] = field(default_factory=list)
    """The browser's own: errors, and what the page's policy forbade."""
    _devtools: CDPSession | None = None

    async def open(self, link: str) -> None:
        await self.page.goto(link)

    async def sees(self, text: str, *, within_s: float = 15) -> None:
        await expect(self.page.get_by_text(text, exact=True).first).to_be_visible(
            timeout=within_s * 1000
        )

    async def is_at(self, screen: str, *, within_s: float = 30) -> None:
        card = self.page.locator(f'#card[data-screen="{screen}"]')
        await expect(card).to_be_visible(timeout=within_s * 1000)

    async def clicks(self, name: str) -> None:
        await self.page.get_by_role("button", name=name, exact=True).click()

    async def hears(self, *, within_s: float = 20) -> float:
        """How loud the interviewer gets, measured on the sound that the page plays."""
        await self.page.wait_for_selector("audio", state="attached", timeout=within_s * 1000)
        loudest = await self.page.evaluate(_LISTEN, [AUDIBLE, within_s * 1000])
        assert loudest >= AUDIBLE, f"at most {loudest:.4f} in {within_s:g} s"
        return float(loudest)

    async def network(self, *, up: bool) -> None:
        """Everything is lost while it is down: requests, web sockets, and the packets of WebRTC."""
        if self._devtools is None:  # what one session has set is in force until that one changes it
            self._devtools = await self.context.new_cdp_session(self.page)
            await self._devtools.send("Network.enable")
        conditions = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        await self._devtools.send(
            "Network.emulateNetworkConditions",
            {"offline": not up, "packetLoss": 0 if up else 100, **conditions},
        )

    async def barriers(self) -> list[str]:
        """What axe finds wrong with the page as it is now."""
        await self.page.evaluate(_axe())
        found: dict[str, Any] = await self.page.evaluate("() => axe.run()")
        return [
            f"{rule['id']} ({rule['impact']}): {node['html'][:120]}"
            for rule in found["violations"]
            for node in rule["nodes"]
        ]


@asynccontextmanager
async def person(
    browser: Browser,
    *,
    microphone: bool = True,
    language: str = "en-GB",
    width: int = 900,
    height: int = 720,
    dark: bool = False,
) -> AsyncIterator[Person]:
    """``microphone``: given when the page asks for it; else it is refused."""
    context = await browser.new_context(
        locale=language,
        viewport={"width": width, "height": height},
        color_scheme="dark" if dark else "light",
        permissions=["microphone"] if microphone else [],
    )
    page = await context.new_page()
    someone = Person(context, page)
    _listen_in(someone)
    try:
        yield someone
    except Exception as error:
        error.add_note(await _last_seen(someone))
        raise
    finally:
        await context.close()


async def _last_seen(someone: Person) -> str:
    with suppress(Error):
        screen = await someone.page.get_attribute("#card", "data-screen", timeout=1000)
        text = await someone.page.inner_text("body", timeout=1000)
        return f"screen {screen}: {text!r}; complaints: {someone.complaints}"
    return f"complaints: {someone.complaints}"


def _listen_in(someone: Person) -> None:
    async def answered(response: Response) -> None:
        with suppress(Error):  # closed meanwhile, or never had a body
            someone.wire += await _seen(response)

    def connected(socket: WebSocket) -> None:
        someone.wire.append(socket.url)
        for name in ("framesent", "framereceived"):
            socket.on(name, lambda frame: someone.wire.append(_text(frame)))

    def complained(message: ConsoleMessage) -> None:
        if message.type == "error":
            someone.complaints.append(message.text)

    someone.page.on("response", answered)
    someone.page.on("websocket", connected)
    someone.page.on("console", complained)
    someone.page.on("pageerror", lambda error: someone.complaints.append(str(error)))


async def _seen(response: Response) -> list[str]:
    request = response.request
    return [
        request.url,
        str(await request.all_headers()),
        request.post_data or "",
        str(await response.all_headers()),
        (await response.body()).decode("latin-1"),
    ]


def _text(frame: str | bytes) -> str:
    return frame.decode("latin-1") if isinstance(frame, bytes) else frame


@cache
def _axe() -> str:
    return (node_modules() / "axe-core" / "axe.min.js").read_text(encoding="utf-8")
