from __future__ import annotations

import asyncio

from agent_actor.errors import AgentError
from agent_actor.own_tasks import OwnTasks


async def test_a_crash_is_told_and_the_others_go_on():
    crashes: list[AgentError] = []
    told, gone_on = asyncio.Event(), asyncio.Event()

    def on_crash(error: AgentError) -> None:
        crashes.append(error)
        told.set()

    async def breaks() -> None:
        raise ValueError("no such phase")

    async def goes_on() -> None:
        await told.wait()
        gone_on.set()

    tasks = OwnTasks(on_crash)
    tasks.add(goes_on())
    tasks.add(breaks())
    async with asyncio.timeout(5):
        await gone_on.wait()
    assert [str(error) for error in crashes] == ["ValueError: no such phase"]
    await tasks.end()


async def test_its_end_ends_them_and_is_no_crash():
    crashes: list[AgentError] = []
    ended = []

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    tasks = OwnTasks(crashes.append)
    tasks.add(lasts())
    await asyncio.sleep(0)
    await tasks.end()
    await tasks.end()
    assert (ended, crashes) == ([True], [])
