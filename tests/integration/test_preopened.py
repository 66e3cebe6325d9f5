"""Connections opened ahead, on the OpenAI simulator: the first of their session, billed alike."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import aiohttp
import pytest
from pydantic import SecretStr

from agent_actor.providers import openai
from agent_actor.providers.places import Place
from agent_actor.providers.preopened import Fate, Preopened
from agent_actor.settings import AgentSettings
from agent_actor.warm import WarmParts
from fleet.local.simulators import Simulator
from tests.integration.rehearsals import rehearsal_contract, rehearse

MODEL = "gpt-realtime-2025-08-28"
BRIEF = {"speech_s": [0.6, 1.2], "ttfa_ms": [20, 60], "turns_per_phase": 10_000}


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession() as session:
        yield session


def settings_of(simulator: Simulator) -> AgentSettings:
    return AgentSettings(openai_api_key=SecretStr("simulator"), openai_base_url=simulator.base_url)


async def opened(
    simulator: Simulator, http: aiohttp.ClientSession, *, max_age_s: float = 60.0
) -> Preopened:
    settings = settings_of(simulator)
    ahead = Preopened(
        openai.url_of(settings, MODEL),
        partial(openai.open_ahead, settings=settings, http=http),
        max_age_s=max_age_s,
    )
    ahead.start()
    await ahead.wait_tried(10)
    assert ahead.open
    return ahead


async def test_a_session_talks_on_it_and_is_billed_once(
    openai_simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    ahead = await opened(openai_simulator, http)
    metadata = rehearsal_contract("openai_realtime", budget_limit_usd=0.4)
    session = await rehearse(openai_simulator, metadata, script=BRIEF, opened=ahead.take)
    assert session.result.error is None
    assert ahead.fates == {Fate.OPENED: 1, Fate.USED: 1}
    # One connection, whose greeting was not lost: its id is the session's.
    assert len(session.invoices) == len(session.result.provider_sessions) == 1
    assert session.cost.spent_micro_usd == -(-session.billed_pico_usd // 1_000_000) > 0


async def test_one_that_is_just_being_opened_is_waited_for(
    openai_simulator: Simulator,
) -> None:
    settings = settings_of(openai_simulator)
    url, other = (openai.url_of(settings, m) for m in (MODEL, "gpt-realtime-mini-2025-12-15"))
    for wanted, fits in ((url, True), (other, False)):
        parts = WarmParts(settings)
        await parts.open()
        assert await parts.opened(url) is None
        await parts.expect("openai_realtime", MODEL)
        socket = await parts.opened(wanted)
        assert (socket is not None) == fits
        if socket is not None:
            await socket.close()
        # Those who connect again open one of their own.
        assert await parts.opened(wanted) is None
        await parts.aclose()
    parts = WarmParts(settings)
    await parts.expect("gemini_live", None)
    await parts.expect("openai_realtime", "no such model")
    assert await parts.opened(url) is None
    await parts.aclose()


async def test_one_that_has_died_is_not_noticed(
    openai_simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    ahead = await opened(openai_simulator, http)
    assert ahead._socket is not None
    # As the peer's end of it looks like from here.
    transport = ahead._socket._response.connection
    assert transport is not None
    assert transport.transport is not None
    transport.transport.abort()
    async with asyncio.timeout(5):
        while ahead.open:
            await asyncio.sleep(0.01)
    metadata = rehearsal_contract("openai_realtime", budget_limit_usd=0.2)
    session = await rehearse(openai_simulator, metadata, script=BRIEF, opened=ahead.take)
    assert session.result.error is None
    assert not [d for _, _, d in session.journal.kept if d.get("change") == "error"]
    assert ahead.fates == {Fate.OPENED: 1, Fate.DIED: 1}
    assert len(session.invoices) == 1


async def test_another_model_gets_one_of_its_own(
    openai_simulator: Simulator, http: aiohttp.ClientSession
) -> None:
    ahead = await opened(openai_simulator, http)
    other = openai.url_of(settings_of(openai_simulator), "gpt-realtime-mini-2025-12-15")
    assert await ahead.take(other) is None
    assert ahead.fates == {Fate.OPENED: 1, Fate.MISFIT: 1}
    assert await ahead.take(ahead.url) is None


async def test_none_grows_old(openai_simulator: Simulator, http: aiohttp.ClientSession) -> None:
    ahead = await opened(openai_simulator, http, max_age_s=0.1)
    async with asyncio.timeout(5):
        while ahead.fates[Fate.OPENED] < 2:
            await asyncio.sleep(0.01)
    assert ahead.fates[Fate.AGED] >= 1
    await ahead.aclose()
    assert not ahead.open


async def test_a_node_has_so_many_places(tmp_path: Path) -> None:
    one, two, three = (Place(2, str(tmp_path)) for _ in range(3))
    assert one.take()
    assert one.take()
    assert two.take()
    assert not three.take()
    one.release()
    assert three.take()
    two.release()
    three.release()
