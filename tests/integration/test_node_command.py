"""``fleet node`` and ``fleet drain`` as processes, against what stands in for the API."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from fleet.local.processes import ChildProcess, Command, running

ADDRESS = "10.0.0.7"
CHILD = "import signal, sys; signal.signal(signal.SIGTERM, lambda *_: sys.exit(7)); signal.pause()"


class Api:
    """One node, which is empty once a look has shown it with a session."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, str]] = []
        self.refuses = False
        self.sessions = 1
        self.is_draining = asyncio.Event()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_post("/v1/nodes/{node}/drain", self._drain)
        app.router.add_get("/v1/nodes", self._look)
        return app

    async def _drain(self, request: web.Request) -> web.Response:
        self.asked.append((request.match_info["node"], request.query_string))
        self.is_draining.set()
        if self.refuses:
            return web.json_response({"detail": "no such node"}, status=404)
        return web.json_response(self._seen(), status=202)

    async def _look(self, _: web.Request) -> web.Response:
        self.sessions = 0
        return web.json_response(self._seen())

    def _seen(self) -> dict[str, Any]:
        state = "draining" if self.sessions else "drained"
        node = {"node_id": "aaaaaa11", "address": ADDRESS, "host": "worker", "drain": None}
        return {"nodes": [{**node, "state": state, "live": self.sessions}], "live": self.sessions}


@pytest.fixture
async def api() -> AsyncIterator[tuple[Api, str]]:
    stand_in = Api()
    runner = web.AppRunner(stand_in.app())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield stand_in, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


@asynccontextmanager
async def fleet(arguments: list[str], logs: Path) -> AsyncIterator[ChildProcess]:
    command = Command(
        name="fleet",
        program=sys.executable,
        arguments=["-c", "from fleet.cli import main; main()", *arguments],
        env={"PYTHONUNBUFFERED": "1"},
    )
    async with running(command, logs=logs) as child:
        yield child


async def test_on_sigterm_a_node_is_drained_before_its_command_is_told(
    api: tuple[Api, str], tmp_path: Path
) -> None:
    stand_in, url = api
    child = ["--", sys.executable, "-c", f"print('up', flush=True); {CHILD}"]
    arguments = ["node", "--api", url, "--address", ADDRESS, "--deadline", "5", *child]
    async with fleet(arguments, tmp_path) as process:
        await process.first_line(deadline_s=20)
        process.signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 7
    assert stand_in.asked == [(ADDRESS, "deadline_s=5.0")]
    assert stand_in.sessions == 0


async def test_a_drain_that_is_refused_does_not_keep_the_command(
    api: tuple[Api, str], tmp_path: Path
) -> None:
    stand_in, url = api
    stand_in.refuses = True
    child = ["--", sys.executable, "-c", f"print('up', flush=True); {CHILD}"]
    async with fleet(["node", "--api", url, "--address", ADDRESS, *child], tmp_path) as process:
        await process.first_line(deadline_s=20)
        process.signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            assert await process.wait() == 7
    assert "no such node" in (tmp_path / "fleet.log").read_text()


async def test_a_command_that_ends_by_itself_is_the_answer(
    api: tuple[Api, str], tmp_path: Path
) -> None:
    stand_in, url = api
    child = ["--", sys.executable, "-c", "raise SystemExit(3)"]
    async with fleet(["node", "--api", url, *child], tmp_path) as process, asyncio.timeout(20):
        assert await process.wait() == 3
    assert stand_in.asked == []


async def test_a_drain_returns_when_the_node_is_empty(api: tuple[Api, str], tmp_path: Path) -> None:
    stand_in, url = api
    async with fleet(["drain", ADDRESS, "--api", url], tmp_path) as process, asyncio.timeout(20):
        assert await process.wait() == 0
    assert stand_in.asked == [(ADDRESS, "")]
    said = (tmp_path / "fleet.out").read_text().splitlines()
    assert said == [f"{ADDRESS}: 1 live", f"{ADDRESS}: 0 live"]
