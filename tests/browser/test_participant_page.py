"""Interviews as a participant has them: a real browser, a real room, a simulator that speaks."""

from __future__ import annotations

import asyncio
import re

import httpx
import pytest
from playwright.async_api import Browser, Route, WebSocketRoute, expect

from fleet.livekit_client import LiveKitClient
from fleet.local.stack import LocalFleet
from tests.browser.person import person
from tests.browser.stage import KEY, PROTOCOL, Backend

# Without the fleet's start, which the first one waits for.
pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    pytest.mark.timeout(120, func_only=True),
]

LANGUAGES = {
    "en-GB": "This link does not work",
    "de-AT": "Dieser Link funktioniert nicht",
    "fr-CA": "Ce lien ne fonctionne pas",
    "es-MX": "Este enlace no funciona",
    "ja-JP": "このリンクは使用できません",
    "ko-KR": "이 링크는 사용할 수 없습니다",
    "nl-NL": "This link does not work",
}
CLOSED = "The study has closed this interview early. Your answers so far have been received."
ROOM = re.compile(r"/rtc\b")
"""LiveKit's own address, for the web socket and for what is asked when that fails."""
PHONE = {"width": 320, "height": 640}
"""Also what 1280 pixels are at a zoom of 400 %."""


async def test_a_person_is_interviewed(
    fleet: LocalFleet, backend: Backend, browser: Browser
) -> None:
    session = await backend.create()
    async with person(browser) as someone:
        await someone.open(session["join_url"])
        await someone.sees("Ready for your interview?")
        await someone.sees("It takes 10 minutes at most.")
        assert await someone.barriers() == []
        await someone.clicks("Start the interview")
        await someone.is_at("live")
        await someone.hears()
        await someone.sees("The interviewer is speaking")
        assert await someone.barriers() == []
        await someone.clicks("Captions")
        said = someone.page.locator(".captions p:not(.soft)")
        await expect(said.first).not_to_be_empty(timeout=15_000)
        await someone.sees("You are speaking", within_s=15)

        await someone.is_at("over", within_s=60)
        await someone.sees("Thank you for taking part")
        await someone.sees("The interview is complete. Your answers have been received.")
        assert await someone.barriers() == []
        assert someone.complaints == []

        record = await backend.gone(session, within_s=10)
        assert record["end_reason"] == "completed"
        assert [phase["phase_id"] for phase in record["phases"]] == ["warmup", "core"]
        assert await backend.speakers(session) == {"participant", "interviewer"}
        _assert_nothing_secret([*someone.wire, await someone.page.content()], fleet, session)


def _assert_nothing_secret(seen: list[str], fleet: LocalFleet, session: dict[str, object]) -> None:
    token = str(session["participant_token"])
    everything = "\n".join(seen)
    assert token in everything, "the wire was not listened to"
    secrets = {
        "API key": KEY,
        "LiveKit's secret": fleet.livekit.api_secret,
        "protocol": PROTOCOL,
        "instructions": "You are a friendly interviewer",
        "phases": "prompt_suffix",
        "budget": "budget_limit",
        "limit": "3.2107",
        "spending": "micro_usd",
        "provider's key": "OPENAI_API_KEY",
        "provider": "openai",
    }
    assert [name for name, text in secrets.items() if text in everything] == []
    # The token opens the room: it stands in the link's fragment and in no address of ours.
    asked = [text for text in seen if text.startswith(fleet.api_url)]
    assert asked
    assert not [address for address in asked if token in address.partition("#")[0]]


async def test_a_lost_network_comes_back_and_leaving_is_no_accident(
    backend: Backend, browser: Browser
) -> None:
    session = await backend.create(turns_per_phase=50, reconnect_grace_seconds=60)
    async with person(browser) as someone:
        page = someone.page
        await someone.open(session["join_url"])
        await someone.clicks("Start the interview")
        await someone.is_at("live")
        await someone.hears()

        await someone.network(up=False)
        lost = "The connection was interrupted. We are reconnecting you…"
        await someone.sees(lost, within_s=30)
        await someone.network(up=True)
        await someone.sees("You are connected again.", within_s=30)
        await someone.hears(within_s=20)

        # By keyboard alone.
        await page.get_by_role("button", name="Leave", exact=True).focus()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("dialog", name="Leave the interview?")).to_be_visible()
        assert await someone.barriers() == []
        await expect(page.get_by_role("button", name="Stay")).to_be_focused()
        await page.keyboard.press("Escape")
        await expect(page.get_by_role("dialog")).to_be_hidden()
        await someone.is_at("live")
        await page.keyboard.press("Enter")
        await page.keyboard.press("Tab")
        await page.keyboard.press("Enter")
        await someone.sees("You have left the interview")
        await expect(page.get_by_role("heading")).to_be_focused()

        await someone.clicks("Go back to the interview")
        await someone.clicks("Start the interview")
        await someone.is_at("live")
        await someone.hears(within_s=20)
        await backend.end(session)
        await someone.is_at("over", within_s=30)
        await someone.sees(
            "The study has closed this interview early. Your answers so far have been received."
        )


async def test_a_room_that_cannot_be_reached_is_said_and_not_hammered_at(
    backend: Backend, browser: Browser
) -> None:
    """As behind a firewall, or while LiveKit is away: the ingress answers all the time."""
    session = await backend.create(turns_per_phase=50)
    async with person(browser) as someone:
        shut, asked = asyncio.Event(), list[str]()
        shut.set()

        async def knock(socket: WebSocketRoute) -> None:
            if shut.is_set():
                await socket.close()
            else:
                socket.connect_to_server()

        async def ask(route: Route) -> None:
            await (route.abort() if shut.is_set() else route.continue_())

        await someone.page.route_web_socket(ROOM, knock)
        await someone.page.route(ROOM, ask)
        someone.page.on("request", lambda request: asked.append(request.url))
        await someone.open(session["join_url"])
        await someone.clicks("Start the interview")
        await someone.is_at("unreachable")
        states = [url for url in asked if url.endswith("/state")]
        assert len(states) <= 2, states
        shut.clear()
        await someone.clicks("Try again")
        await someone.is_at("live")
        await someone.hears()
        await backend.end(session)
        await someone.is_at("over", within_s=30)


async def test_a_refused_microphone_can_be_allowed(backend: Backend, browser: Browser) -> None:
    session = await backend.create(turns_per_phase=50)
    async with person(browser, microphone=False) as someone:
        await someone.open(session["join_url"])
        await someone.clicks("Start the interview")
        await someone.sees("Your microphone is blocked")
        assert await someone.barriers() == []
        # Nobody was let into the room, so the interview has not begun.
        assert await backend.speakers(session) == set()
        await someone.context.grant_permissions(["microphone"])
        await someone.clicks("Try again")
        await someone.is_at("live")
        await someone.hears()
        await backend.end(session)
        await someone.is_at("over", within_s=30)


async def test_one_window_at_a_time(backend: Backend, browser: Browser) -> None:
    session = await backend.create(turns_per_phase=50, language="ko")
    # The session's language counts for more than the browser's.
    async with person(browser, language="de-DE") as first, person(browser) as second:
        for someone in (first, second):
            await someone.open(session["join_url"])
            await someone.clicks("인터뷰 시작")
            await someone.is_at("live")
        await first.is_at("elsewhere")
        assert await first.barriers() == []
        await first.clicks("여기에서 계속하기")
        await first.is_at("live")
        await second.is_at("elsewhere")
        await backend.end(session)
        await first.is_at("over", within_s=30)
        assert await first.page.get_attribute("html", "lang") == "ko"


async def test_links_that_lead_nowhere(
    fleet: LocalFleet, backend: Backend, browser: Browser
) -> None:
    session, other = await backend.create(), await backend.create()
    page, _, token = session["join_url"].partition("#")
    rooms = LiveKitClient.from_settings(fleet.settings)
    expired = rooms.participant_token(
        room=session["room"], identity=session["participant_identity"], ttl_s=-3600
    )
    bad, over = "This link does not work", "This link has expired"
    links = {
        page: bad,
        f"{page}#{token[:-4]}": bad,
        f"{page}#{other['participant_token']}": bad,
        f"{page}#%20€": bad,
        f"{fleet.api_url}/join/no-such-session#{token}": bad,
        f"{page}#{expired}": over,
    }
    async with person(browser) as someone:
        for link, words in links.items():
            await someone.open("about:blank")
            await someone.open(link)
            await someone.sees(words)
        assert await someone.barriers() == []
        for each in (session, other):
            await backend.end(each)
            await backend.gone(each, within_s=20)
        # Whoever looks in after the end is told how it ended, even with a token of long ago.
        for old in (token, expired):
            await someone.open("about:blank")
            await someone.open(f"{page}#{old}")
            await someone.is_at("over")
            await someone.sees("Thank you for taking part")


@pytest.mark.parametrize(("language", "words"), LANGUAGES.items())
async def test_every_language_on_a_small_phone_in_the_dark(
    fleet: LocalFleet, browser: Browser, language: str, words: str
) -> None:
    async with person(browser, language=language, dark=True, **PHONE) as someone:
        await someone.open(f"{fleet.api_url}/join/s-none#nothing")
        await someone.sees(words)
        assert await someone.barriers() == []
        assert await someone.page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]


async def test_the_pages_are_guarded(fleet: LocalFleet, stranger: httpx.AsyncClient) -> None:
    """As they come from a real proxy and replica, whatever is between."""
    for path in ("/", "/join/s-1"):
        answer = await stranger.get(path)
        assert answer.status_code == 200
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        for asset in answer.text.split('"'):
            if "assets/" in asset:
                found = await stranger.get(f"/assets/{asset.rpartition('/')[2]}")
                assert "immutable" in found.headers["Cache-Control"]
    assert (await stranger.get("/v1/fleet")).status_code == 401
