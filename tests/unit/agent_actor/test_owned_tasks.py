from __future__ import annotations

import asyncio

from agent_actor.owned_tasks import OwnedTasks


async def test_a_crash_is_told_and_the_others_go_on():
    crashes: list[BaseException] = []
    told, gone_on = asyncio.Event(), asyncio.Event()

    def on_crash(error: BaseException) -> None:
        crashes.append(error)
        told.set()

    async def breaks() -> None:
        raise ValueError("no such phase")

    async def goes_on() -> None:
        await told.wait()
        gone_on.set()

    tasks = OwnedTasks("test", on_failed=on_crash)
    tasks.start(goes_on())
    tasks.start(breaks())
    async with asyncio.timeout(5):
        await gone_on.wait()
    assert [f"{type(error).__name__}: {error}" for error in crashes] == [
        "ValueError: no such phase"
    ]
    await tasks.aclose()


async def test_its_end_ends_them_and_is_no_crash():
    crashes: list[BaseException] = []
    ended = []

    async def lasts() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(True)

    tasks = OwnedTasks("test", on_failed=crashes.append)
    tasks.start(lasts())
    await asyncio.sleep(0)
    await tasks.aclose()
    await tasks.aclose()
    assert (ended, crashes) == ([True], [])
