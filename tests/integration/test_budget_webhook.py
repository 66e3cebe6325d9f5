"""The budget's webhook: a real receiver, a real ledger, and the actor that is killed in between."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
import json
import os
import signal
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from aiohttp import web
from pydantic import SecretStr

from agent_actor.contract import SessionId
from agent_actor.redis_client import open_redis
from fleet.budget.book import Book, BookConfig
from fleet.budget.client import get_or_create_budget_actor
from fleet.budget.ledger import Ledger
from fleet.budget.sums import Limits
from fleet.budget.webhook import Courier, WebhookConfig
from fleet.local.ray_cluster import RayCluster
from fleet.settings import load_settings
from tests.integration.test_budget_actor import NS, S1, S2, opened, report

SECRET = "whsec_" + base64.b64encode(b"a key of more than enough bytes").decode()
FRACTIONS = (500_000, 1_000_000)
WITHIN_S = 30.0


@dataclass
class Receiver:
    """Answers with ``answers`` in turn, then 204. Checks each signature as a receiver should."""

    answers: list[int] = field(default_factory=list)
    taken: list[dict[str, Any]] = field(default_factory=list)
    refused: list[dict[str, Any]] = field(default_factory=list)
    hang: asyncio.Event | None = None
    url: str = ""
    news: asyncio.Event = field(default_factory=asyncio.Event)

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        id_, at = request.headers["webhook-id"], request.headers["webhook-timestamp"]
        assert abs(time.time() - int(at)) < 60
        key = base64.b64decode(SECRET.removeprefix("whsec_"))
        signed = hmac.new(key, f"{id_}.{at}.".encode() + body, hashlib.sha256).digest()
        assert request.headers["webhook-signature"] == f"v1,{base64.b64encode(signed).decode()}"
        event = json.loads(body)
        assert event["id"] == id_
        if self.hang is not None:
            await self.hang.wait()
        status = self.answers.pop(0) if self.answers else 204
        (self.taken if status < 300 else self.refused).append(event)
        self.news.set()
        return web.Response(status=status, headers={"Location": f"{self.url}/elsewhere"})

    async def until(self, *, taken: int = 0, refused: int = 0) -> None:
        async with asyncio.timeout(WITHIN_S):
            while len(self.taken) < taken or len(self.refused) < refused:
                self.news.clear()
                await self.news.wait()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook", receiver.take)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    host, port = runner.addresses[0][:2]
    receiver.url = f"http://{host}:{port}/hook"
    yield receiver
    await runner.cleanup()


class Desk:
    """A book whose notices a courier delivers, as in the actor."""

    def __init__(self, redis_url: str, hook: str, **changes: Any) -> None:
        config = WebhookConfig(url=hook, secret=SecretStr(SECRET), first_retry_s=0.05, **changes)
        self.ledger = Ledger(open_redis(redis_url), NS)
        courier = Courier(config, self.ledger)
        limits = Limits(fleet=100_000_000, every_study=100_000_000)
        self.book = Book(
            self.ledger,
            BookConfig(limits=limits, fractions_ppm=FRACTIONS),
            now=time.time,
            on_notices=courier.hand,
        )
        self.delivering = asyncio.create_task(courier.run())

    async def aclose(self) -> None:
        self.delivering.cancel()
        await asyncio.gather(self.delivering, return_exceptions=True)
        await self.book.aclose()

    async def emptied(self) -> None:
        async with asyncio.timeout(WITHIN_S):
            while await self.ledger.outbox(10):
                await asyncio.sleep(0.02)


@pytest.fixture
async def desk(redis_server: str, receiver: Receiver) -> AsyncIterator[Desk]:
    desk = Desk(redis_server, receiver.url)
    await desk.book.start()
    yield desk
    await desk.aclose()


def told(events: list[dict[str, Any]]) -> list[tuple[str, str | None, float]]:
    data = [e["data"] for e in events]
    return [(d["scope"]["kind"], d["scope"]["id"], d["fraction"]) for d in data]


async def test_it_is_tried_until_it_is_taken(desk: Desk, receiver: Receiver) -> None:
    receiver.answers = [500, 302, 404, 429]
    await opened(desk.book, limit=1_000_000)
    await desk.book.report(report(spent=600_000))
    await receiver.until(taken=1)
    assert told(receiver.taken) == [("session", S1, 0.5)]
    # The same event each time, and no redirect was followed: nothing else listens.
    assert receiver.refused == receiver.taken * 4
    data = receiver.taken[0]["data"]
    assert (data["limit_micro_usd"], data["spent_micro_usd"]) == (1_000_000, 600_000)
    await desk.emptied()
    await desk.book.report(report(seq=2, spent=650_000))
    await desk.book.set_study_limit("st", 700_000)
    await receiver.until(taken=2)
    assert told(receiver.taken[1:]) == [("study", "st", 0.5)]


async def test_a_receiver_that_hangs_keeps_nobody_waiting(desk: Desk, receiver: Receiver) -> None:
    receiver.hang = asyncio.Event()
    await opened(desk.book, limit=1_000_000)
    started = time.monotonic()
    for seq in range(1, 101):
        await desk.book.report(report(seq=seq, spent=10_000 * seq))
    assert time.monotonic() - started < 5.0  # less than one of its timeouts
    assert len(await desk.ledger.outbox(10)) == 2
    receiver.hang.set()
    await receiver.until(taken=2)
    assert sorted(told(receiver.taken)) == [("session", S1, 0.5), ("session", S1, 1.0)]


async def test_what_memory_does_not_hold_comes_from_the_outbox(
    redis_server: str, receiver: Receiver
) -> None:
    desk = Desk(redis_server, receiver.url, most_waiting=2, workers=1)
    await desk.book.start()
    for number in range(9):
        await opened(desk.book, SessionId(f"s{number}"), limit=1_000)
    await desk.book.report_batch([report(f"s{n}", spent=600) for n in range(9)])
    await receiver.until(taken=9)
    await desk.emptied()
    assert len({e["id"] for e in receiver.taken}) == 9
    await desk.aclose()


async def test_after_its_time_it_is_given_up(redis_server: str, receiver: Receiver) -> None:
    receiver.answers = [500] * 1000
    desk = Desk(redis_server, receiver.url, give_up_s=0.3)
    await desk.book.start()
    await opened(desk.book, limit=1_000_000)
    await desk.book.report(report(spent=600_000))
    await receiver.until(refused=2)
    await desk.emptied()
    await desk.aclose()
    assert receiver.taken == []


async def test_two_at_work_end_when_one_has_delivered(
    redis_server: str, desk: Desk, receiver: Receiver
) -> None:
    """The one before an upgrade still holds a notice: it looks before it sends again."""
    receiver.answers = [500]
    await opened(desk.book, limit=1_000_000)
    await desk.book.report(report(spent=600_000))
    await receiver.until(refused=1)
    younger = Desk(redis_server, receiver.url)
    await younger.book.start()
    await receiver.until(taken=1)
    await desk.emptied()
    await younger.aclose()
    assert {e["id"] for e in receiver.taken} == {receiver.refused[0]["id"]}


async def test_killed_between_crossing_and_delivery(
    ray_cluster: RayCluster, redis_server: str, receiver: Receiver
) -> None:
    import ray

    receiver.hang = asyncio.Event()
    budget: Any = get_or_create_budget_actor(
        load_settings(
            redis_url=redis_server,
            redis_namespace=NS,
            ray_namespace="webhook-test",
            budget_webhook_url=receiver.url,
            budget_webhook_secret=SecretStr(SECRET),
            budget_webhook_fractions=(0.5,),
            livekit_api_key="unused",
            livekit_api_secret="unused-secret-of-enough-length",
        )
    )
    try:
        for session in (S1, S2):
            await budget.open.remote(session, "st", "gemini_live", 1_000_000)
        await budget.report_batch.remote([report(S1, spent=600_000), report(S2, spent=1)])
        os.kill(await budget.__ray_call__.remote(lambda _: os.getpid()), signal.SIGKILL)
        receiver.answers = [503] * 4  # whatever was on its way from the dead one
        receiver.hang.set()
        await budget.totals.remote()
        await receiver.until(taken=1)
        assert told(receiver.taken) == [("session", S1, 0.5)]
        await budget.report.remote(report(S2, seq=2, spent=600_000))
        await receiver.until(taken=2)
        assert told(receiver.taken[1:]) == [("session", S2, 0.5)]
        assert {e["id"] for e in receiver.refused} <= {receiver.taken[0]["id"]}
    finally:
        ray.kill(budget, no_restart=True)
