"""The connection against a real WebSocket server, which says what LiveKit's would."""

import asyncio
from collections.abc import Iterable
from contextlib import asynccontextmanager

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.test_utils import TestServer
from livekit.protocol import agent as proto

from fleet.bridge.connection import AgentConnection, Endpoint, Timing
from fleet.bridge.protocol import (
    Answer,
    Assigned,
    JobStatus,
    JobUpdate,
    Load,
    Offered,
    Registered,
    Terminated,
)

ENOUGH_S = 5.0
PATIENT = Timing()
HASTY = Timing(register_s=0.1, ping_s=0.05)


def registered():
    return proto.ServerMessage(register=proto.RegisterWorkerResponse(worker_id="AW_1"))


def offer(job_id="J"):
    message = proto.ServerMessage()
    message.availability.job.id = job_id
    message.availability.job.room.name = "r"
    return message


def assignment(job_id="J"):
    message = proto.ServerMessage()
    message.assignment.job.id = job_id
    return message


class LiveKit:
    """Each connection is a socket for the test to speak on; what is heard is in the order of it."""

    def __init__(self):
        self.sockets = asyncio.Queue()
        self.heard = asyncio.Queue()
        self.tokens = []
        self.refusals = 0
        self.pongs = True
        self.server = TestServer(web.Application())
        self.server.app.router.add_get("/agent", self.connected)

    async def connected(self, request):
        self.tokens.append(request.headers["Authorization"])
        if self.refusals:
            self.refusals -= 1
            raise web.HTTPServiceUnavailable
        socket = web.WebSocketResponse(autoping=self.pongs)
        await socket.prepare(request)
        self.sockets.put_nowait(socket)
        async for frame in socket:
            if frame.type is not WSMsgType.BINARY:
                continue
            said = proto.WorkerMessage()
            said.ParseFromString(frame.data)
            self.heard.put_nowait(said)
        return socket

    async def hear(self, what):
        """The next message, which must be of that kind."""
        said = await asyncio.wait_for(self.heard.get(), ENOUGH_S)
        assert said.WhichOneof("message") == what, said
        return getattr(said, what)

    async def registration(self):
        """Accepts the next worker; its socket."""
        socket = await asyncio.wait_for(self.sockets.get(), ENOUGH_S)
        await self.hear("register")
        await say(socket, registered())
        return socket


async def say(socket, *messages):
    for message in messages:
        await socket.send_bytes(message.SerializeToString())


class Worker:
    def __init__(self, url, timing):
        self.events = asyncio.Queue()
        self.losses = 0
        self.pauses = []
        tokens: Iterable[str] = iter(f"token-{n}" for n in range(100))
        self.connection = AgentConnection(
            Endpoint(url=url, agent_name="interviewer", version="1", token=lambda: next(tokens)),
            on_event=self.events.put_nowait,
            on_lost=self.lost,
            timing=timing,
            sleep=self.pause,
            roll=lambda: 0.0,
        )

    def lost(self):
        self.losses += 1

    async def pause(self, seconds):
        self.pauses.append(seconds)
        await asyncio.sleep(0)

    async def next(self):
        return await asyncio.wait_for(self.events.get(), ENOUGH_S)


@asynccontextmanager
async def working(livekit, timing=PATIENT):
    async with livekit.server:
        worker = Worker(str(livekit.server.make_url("/")), timing)
        running = asyncio.create_task(worker.connection.run())
        try:
            yield worker
        finally:
            running.cancel()
            with pytest.raises(asyncio.CancelledError):
                await running


async def test_it_registers_under_its_name_with_a_token_of_its_own():
    livekit = LiveKit()
    async with working(livekit) as worker:
        socket = await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        said = await livekit.hear("register")
        assert (said.agent_name, said.type) == ("interviewer", proto.JobType.JT_ROOM)
        assert not worker.connection.registered
        await say(socket, registered())
        assert isinstance(await worker.next(), Registered)
        assert worker.connection.registered
    assert livekit.tokens == ["Bearer token-0"]


async def test_jobs_come_and_answers_go_in_order():
    livekit = LiveKit()
    async with working(livekit) as worker:
        socket = await livekit.registration()
        termination = proto.ServerMessage(termination=proto.JobTermination(job_id="J"))
        await say(socket, offer("J"), offer("K"), assignment("J"), termination)
        await worker.next()
        offers = [await worker.next(), await worker.next()]
        assert [o.job.job_id for o in offers if isinstance(o, Offered)] == ["J", "K"]
        assert await worker.next() == Assigned(job_id="J")
        assert await worker.next() == Terminated(job_id="J")
        assert worker.connection.send(Answer(job_id="J", available=True, identity="i"))
        assert worker.connection.send(Answer(job_id="K", available=False))
        assert (await livekit.hear("availability")).participant_identity == "i"
        assert not (await livekit.hear("availability")).available


async def test_noise_is_passed_over():
    livekit = LiveKit()
    async with working(livekit) as worker:
        socket = await livekit.registration()
        await socket.send_bytes(b"\xff\xfe not a message")
        await socket.send_str("nor this")
        await say(socket, proto.ServerMessage(), offer())
        await worker.next()
        assert isinstance(await worker.next(), Offered)


async def test_closed_by_the_server_it_comes_back():
    livekit = LiveKit()
    async with working(livekit) as worker:
        socket = await livekit.registration()
        await worker.next()
        await socket.close(code=WSCloseCode.GOING_AWAY)
        await livekit.registration()
        assert isinstance(await worker.next(), Registered)
        assert (worker.losses, worker.connection.registrations) == (1, 2)
        assert worker.pauses == [0.5]
    assert livekit.tokens == ["Bearer token-0", "Bearer token-1"]


async def test_what_could_not_be_said_is_not_said_later():
    livekit = LiveKit()
    async with working(livekit) as worker:
        first = await livekit.registration()
        await worker.next()
        await first.close()
        second = await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        await livekit.hear("register")
        assert not worker.connection.send(Answer(job_id="J", available=True))
        assert not worker.connection.send(JobUpdate(job_id="K", status=JobStatus.SUCCESS))
        await say(second, registered())
        await worker.next()
        assert worker.connection.send(Load(full=False, load=0.1, jobs=1))
        assert (await livekit.hear("update_worker")).job_count == 1


async def test_refused_it_waits_longer_each_time():
    livekit = LiveKit()
    livekit.refusals = 3
    async with working(livekit) as worker:
        await livekit.registration()
        assert isinstance(await worker.next(), Registered)
        assert worker.pauses == [0.5, 1.0, 2.0]
        assert worker.losses == 0


async def test_a_server_that_does_not_register_it_is_given_up():
    livekit = LiveKit()
    async with working(livekit, HASTY) as worker:
        await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        assert worker.events.empty()


async def test_a_server_that_speaks_of_jobs_first_is_given_up():
    livekit = LiveKit()
    async with working(livekit) as worker:
        socket = await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        await say(socket, offer())
        await livekit.hear("register")
        await livekit.registration()
        assert isinstance(await worker.next(), Registered)
        assert worker.events.empty()


async def test_a_server_that_falls_silent_is_given_up():
    """Its socket stays open, as one does whose machine is gone."""
    livekit = LiveKit()
    livekit.pongs = False
    async with working(livekit, HASTY) as worker:
        await livekit.registration()
        await asyncio.wait_for(livekit.sockets.get(), ENOUGH_S)
        assert worker.losses == 1


async def test_ended_it_closes_its_socket():
    livekit = LiveKit()
    async with working(livekit):
        socket = await livekit.registration()
    assert socket.closed
