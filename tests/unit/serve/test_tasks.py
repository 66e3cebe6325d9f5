from __future__ import annotations

import asyncio

import pytest

from serve.tasks import Tasks


async def test_answers_and_raises_what_the_work_does() -> None:
    tasks = Tasks()

    async def fine() -> int:
        return 3

    async def broken() -> int:
        raise LookupError

    assert await tasks.finish(fine(), name="fine") == 3
    with pytest.raises(LookupError):
        await tasks.finish(broken(), name="broken")


async def test_closing_waits_and_then_cancels() -> None:
    tasks, began, ended = Tasks(), asyncio.Event(), asyncio.Event()

    async def endless() -> None:
        began.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.set()

    caller = asyncio.create_task(tasks.finish(endless(), name="endless"))
    await began.wait()
    await tasks.aclose(timeout_s=0)
    assert ended.is_set()
    with pytest.raises(asyncio.CancelledError):
        await caller


async def test_an_error_nobody_waits_for_any_more_is_no_leak() -> None:
    tasks, began, go_on = Tasks(), asyncio.Event(), asyncio.Event()

    async def broken() -> None:
        began.set()
        await go_on.wait()
        raise LookupError

    caller = asyncio.create_task(tasks.finish(broken(), name="broken"))
    await began.wait()
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    go_on.set()
    await tasks.aclose()
