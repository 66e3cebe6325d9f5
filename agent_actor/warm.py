"""Everything a session actor's process does once and lazily, done before it is needed.

What no fork may come after is here, the rest is in ``prepare``.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any

import aiohttp
import structlog
from livekit import rtc
from livekit.agents.utils import http_context

from agent_actor.contract import Provider
from agent_actor.errors import AgentError
from agent_actor.prepare import prepare
from agent_actor.providers import openai
from agent_actor.providers.places import Place
from agent_actor.providers.preopened import Preopened
from agent_actor.rates import load_rates
from agent_actor.settings import AgentSettings, PreopenProvider

log = structlog.get_logger(__name__)


async def warm_process(settings: AgentSettings) -> None:
    """Safe to call more than once. Nothing is connected and nothing is billed."""
    prepare()
    _start_webrtc()


class WarmParts:
    """What a warm actor holds for its one session. Use: ``open``, then ``aclose``, which may come
    without it. All in one event loop.

    ``context`` is where the session has to run: the framework finds its HTTP session there.
    """

    def __init__(self, settings: AgentSettings) -> None:
        self.context = contextvars.copy_context()
        self.preopened: Preopened | None = None
        """The connection opened while it was warm."""
        self._own: Preopened | None = None
        """The one opened for the session that it has been given."""
        self._settings = settings
        self._place = Place(settings.preopen_max)
        self._http: asyncio.Future[aiohttp.ClientSession] | None = None
        self._over = asyncio.Event()
        self._holding: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Idempotent. What cannot be had is left to the session."""
        http = await self._open_http()
        if self._settings.preopen_provider is PreopenProvider.OPENAI_REALTIME:
            url = None if self.preopened else self._address(self._settings.preopen_model)
            if url is not None:
                self.preopened = self._opening(url, http, self._place.take)

    async def expect(self, provider: str | None, model: str | None) -> None:
        """A session that is to talk to this model begins: its connection is opened beside the
        room's. Only where a connection can be opened before its settings are known."""
        if provider != Provider.OPENAI_REALTIME or model is None or self._own is not None:
            return
        url, ahead = self._address(model), self.preopened
        if url is not None and not (ahead and ahead.open and ahead.url == url):
            self._own = self._opening(url, await self._open_http(), lambda: True)

    async def opened(self, url: str) -> Any | None:
        """For ``WireTaps``: a connection that is open or being opened, if it is the right one."""
        self._place.release()
        for ahead in (self.preopened, self._own):
            if ahead is not None and (socket := await ahead.take(url)) is not None:
                return socket
        return None

    async def aclose(self) -> None:
        for ahead in (self.preopened, self._own):
            if ahead is not None:
                await ahead.aclose()
        self._place.release()
        self._over.set()
        if self._holding is not None:
            await asyncio.gather(self._holding, return_exceptions=True)

    async def _open_http(self) -> aiohttp.ClientSession:
        if self._http is None:
            self._http = asyncio.get_running_loop().create_future()
            self._holding = asyncio.create_task(self._hold_http(self._http), context=self.context)
        return await asyncio.shield(self._http)

    async def _hold_http(self, http: asyncio.Future[aiohttp.ClientSession]) -> None:
        async with http_context.open() as session:
            http.set_result(session)
            await self._over.wait()

    def _address(self, model: str | None) -> str | None:
        settings = self._settings
        aliases, unpriced = settings.model_aliases, settings.unpriced_models
        try:
            rates = load_rates(settings.rates_path, aliases, unpriced)
            today = datetime.now(UTC).date()
            return openai.url_of(
                settings, rates.rate_for(Provider.OPENAI_REALTIME, model, today).model
            )
        except AgentError as error:
            log.warning("no connection is opened ahead", code=error.code)
            return None

    def _opening(
        self, url: str, http: aiohttp.ClientSession, may_open: Callable[[], bool]
    ) -> Preopened:
        opening = Preopened(
            url,
            partial(openai.open_ahead, settings=self._settings, http=http),
            max_age_s=self._settings.preopen_max_age_s,
            may_open=may_open,
        )
        opening.start()
        return opening


def _start_webrtc() -> None:
    # Constructing a source starts the native library, its threads and its audio device module.
    source = rtc.AudioSource(24_000, 1, queue_size_ms=0)
    rtc.Room()
    del source
