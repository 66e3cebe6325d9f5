"""Rooms, tokens and webhooks against a real LiveKit server.

What a token forbids is dropped silently, the sender is told OK: so each test looks at what
reached the others. Nothing marks the end of a silence, so a second of audio that was sent
afterwards, and heard, does.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from aiohttp import web
from livekit import rtc
from pydantic import SecretStr

from fleet.errors import LiveKitRefused, LiveKitUnavailable, RoomNotFound, WebhookRejected
from fleet.livekit_client import LiveKitClient, ParticipantInfo, RoomInfo
from fleet.local.livekit import LiveKitAccess, LiveKitServer
from fleet.local.processes import free_ports
from fleet.local.run_dir import RunDir
from fleet.registry import new_session_id

SOON_S = 20.0
RATE = 48_000
MIC = rtc.TrackSource.SOURCE_MICROPHONE
TRIES = 20


def client_of(access: LiveKitAccess, **options: Any) -> LiveKitClient:
    return LiveKitClient(
        url=access.url,
        api_key=access.api_key,
        api_secret=SecretStr(access.api_secret),
        **options,
    )


@pytest.fixture
async def client(livekit_server: LiveKitAccess) -> AsyncIterator[LiveKitClient]:
    client = client_of(livekit_server)
    yield client
    await client.aclose()


@pytest.fixture
async def room(client: LiveKitClient) -> AsyncIterator[str]:
    name = new_session_id()
    await client.create_room(name, metadata="{}")
    yield name
    await client.delete_room(name)


async def eventually(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON_S):
        while not is_so():
            await asyncio.sleep(0.02)


@dataclass
class Person:
    """Someone in the room, and everything that reached them."""

    room: rtc.Room = field(default_factory=rtc.Room)
    data: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    tracks: list[tuple[str, int]] = field(default_factory=list)
    changes: list[str] = field(default_factory=list)
    heard_s: float = 0.0
    tasks: set[asyncio.Task[Any]] = field(default_factory=set)

    def attend(self) -> None:
        on = self.room.on
        on("data_received", lambda packet: self.data.append(packet.data))
        on("track_published", lambda pub, who: self.tracks.append((who.identity, pub.source)))
        on("participant_metadata_changed", lambda *_: self.changes.append("metadata"))
        on("participant_attributes_changed", lambda *_: self.changes.append("attributes"))
        on("participant_name_changed", lambda *_: self.changes.append("name"))
        on("track_subscribed", self._listen)
        self.room.register_text_stream_handler("chat", self._read)

    def start(self, work: Any) -> None:
        task = asyncio.ensure_future(work)
        self.tasks.add(task)

    def _read(self, reader: rtc.TextStreamReader, _: str) -> None:
        async def read() -> None:
            self.texts.append(await reader.read_all())

        self.start(read())

    def _listen(self, track: rtc.Track, *_: Any) -> None:
        async def listen() -> None:
            stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1)
            try:
                async for event in stream:
                    if np.abs(np.frombuffer(event.frame.data, dtype=np.int16)).max() > 1000:
                        self.heard_s += event.frame.duration
            finally:
                await stream.aclose()

        if track.kind == rtc.TrackKind.KIND_AUDIO:
            self.start(listen())

    async def speak(self) -> None:
        """Publish a microphone and hum into it until the end of the test."""
        source = rtc.AudioSource(RATE, 1)
        track = rtc.LocalAudioTrack.create_audio_track("mic", source)
        options = rtc.TrackPublishOptions(source=MIC)
        await self.room.local_participant.publish_track(track, options)
        self.start(self._hum(source))

    async def _hum(self, source: rtc.AudioSource) -> None:
        phase = np.arange(RATE // 100) / RATE
        tone = (np.sin(2 * np.pi * 300 * phase) * 12_000).astype(np.int16).tobytes()
        while True:
            await source.capture_frame(rtc.AudioFrame(tone, RATE, 1, RATE // 100))

    async def leave(self) -> None:
        for task in self.tasks:
            task.cancel()
        await asyncio.gather(*self.tasks, return_exceptions=True)
        await self.room.disconnect()


Join = Callable[[str], Any]


@pytest.fixture
async def join(livekit_server: LiveKitAccess) -> AsyncIterator[Join]:
    """Joins with a token; everybody leaves at the end."""
    present: list[Person] = []

    async def enter(token: str) -> Person:
        person = Person()
        person.attend()
        present.append(person)
        await person.room.connect(livekit_server.url, token)
        return person

    yield enter
    await asyncio.gather(*(person.leave() for person in present))


async def channels_open(prompter: Person, *people: Person) -> None:
    """Return once data really reaches ``people``: joining alone does not open their channels, and
    what is sent before is lost. Makes "nothing was received" mean something.
    """
    async with asyncio.timeout(SOON_S):
        while not all(person.data for person in people):
            await prompter.room.local_participant.publish_data(b"prompt", reliable=True)
            await asyncio.sleep(0.05)
    # In order on one channel: after the last, none of the earlier ones is still to come.
    await prompter.room.local_participant.publish_data(b"last prompt", reliable=True)
    await eventually(lambda: all(person.data[-1] == b"last prompt" for person in people))
    for person in people:
        person.data.clear()


# -- rooms -----------------------------------------------------------------------------------------


async def test_a_room_is_made_once_and_keeps_its_metadata(client: LiveKitClient) -> None:
    name = new_session_id()

    first = await client.create_room(name, metadata="first")
    again = await client.create_room(name, metadata="second")

    assert again == first
    assert (first.name, first.metadata, first.participants) == (name, "first", 0)
    assert await client.list_rooms([name]) == (first,)
    assert first in await client.list_rooms()
    changed = await client.update_metadata(name, "third")
    assert changed.metadata == "third"
    assert await client.delete_room(name)
    assert not await client.delete_room(name)
    assert await client.list_rooms([name]) == ()


async def test_what_is_not_there_is_said(client: LiveKitClient, room: str) -> None:
    with pytest.raises(RoomNotFound):
        await client.update_metadata("no-such-room", "{}")
    assert await client.list_participants("no-such-room") == ()
    assert not await client.remove_participant(room, "nobody")


async def test_metadata_beyond_the_servers_limit_is_refused(client: LiveKitClient) -> None:
    with pytest.raises(LiveKitRefused) as caught:
        await client.create_room(new_session_id(), metadata="x" * 600_000)
    assert not caught.value.retryable


async def test_an_empty_room_goes_away_by_itself(run: RunDir) -> None:
    async with LiveKitServer(run) as server:
        client = client_of(server.access)
        await client.create_room("r", empty_timeout_s=1)
        async with asyncio.timeout(SOON_S):
            while await client.list_rooms(["r"]):
                await asyncio.sleep(0.2)
        await client.aclose()


# -- tokens ----------------------------------------------------------------------------------------


async def test_a_participants_microphone_is_heard_by_agent_and_observer(
    client: LiveKitClient, room: str, join: Join
) -> None:
    agent = await join(client.agent_token(room=room, identity="agent", ttl_s=60))
    observer = await join(client.observer_token(room=room, identity="observer", ttl_s=60))
    participant = await join(client.participant_token(room=room, identity="p-7", ttl_s=60))

    await participant.speak()

    await eventually(lambda: agent.heard_s > 0.5 and observer.heard_s > 0.5)
    assert agent.tracks == [("p-7", MIC)]


async def test_a_participant_can_do_nothing_else(
    client: LiveKitClient, room: str, join: Join
) -> None:
    agent = await join(client.agent_token(room=room, identity="agent", ttl_s=60))
    participant = await join(client.participant_token(room=room, identity="p-7", ttl_s=60))
    prompter = await join(client.agent_token(room=room, identity="prompter", ttl_s=60))
    await channels_open(prompter, agent)
    me = participant.room.local_participant

    for source, track in (
        (
            rtc.TrackSource.SOURCE_CAMERA,
            rtc.LocalVideoTrack.create_video_track("camera", rtc.VideoSource(64, 64)),
        ),
        (
            rtc.TrackSource.SOURCE_SCREENSHARE_AUDIO,
            rtc.LocalAudioTrack.create_audio_track("screen", rtc.AudioSource(RATE, 1)),
        ),
        (
            rtc.TrackSource.SOURCE_UNKNOWN,
            rtc.LocalAudioTrack.create_audio_track("other", rtc.AudioSource(RATE, 1)),
        ),
    ):
        # The server does not answer these: the SDK would wait 10 s for each.
        options = rtc.TrackPublishOptions(source=source)
        participant.start(me.publish_track(track, options))
    for n in range(TRIES):
        await me.publish_data(f"data {n}", reliable=bool(n % 2))
    await me.send_text("some text", topic="chat")
    await me.set_metadata("mine")
    await me.set_attributes({"mood": "sunny"})
    await me.set_name("another")
    await participant.speak()

    await eventually(lambda: agent.heard_s > 1.0)
    assert (agent.data, agent.texts, agent.changes) == ([], [], [])
    assert agent.tracks == [("p-7", MIC)]
    [seen] = [p for p in await client.list_participants(room) if p.identity == "p-7"]
    assert seen.published_tracks == 1
    as_seen = agent.room.remote_participants["p-7"]
    assert (as_seen.name, as_seen.metadata, dict(as_seen.attributes)) == ("", "", {})


async def test_an_agent_speaks_sends_data_and_tells_its_state(
    client: LiveKitClient, room: str, join: Join
) -> None:
    participant = await join(client.participant_token(room=room, identity="p-7", ttl_s=60))
    agent = await join(client.agent_token(room=room, identity="agent", ttl_s=60))
    await channels_open(agent, participant)
    me = agent.room.local_participant

    await agent.speak()
    await me.publish_data(b"hello", reliable=True)
    await me.send_text("a caption", topic="chat")
    await me.set_attributes({"lk.agent.state": "speaking"})

    await eventually(lambda: participant.heard_s > 0.5)
    await eventually(lambda: participant.data == [b"hello"])
    await eventually(lambda: participant.texts == ["a caption"])
    as_seen = participant.room.remote_participants["agent"]
    # Its state, not the event of the change: the server may tell of both joining and state at once.
    await eventually(lambda: as_seen.attributes.get("lk.agent.state") == "speaking")
    assert as_seen.kind == rtc.ParticipantKind.PARTICIPANT_KIND_AGENT


async def test_an_observer_is_not_seen_and_not_heard(
    client: LiveKitClient, room: str, join: Join
) -> None:
    agent = await join(client.agent_token(room=room, identity="agent", ttl_s=60))
    participant = await join(client.participant_token(room=room, identity="p-7", ttl_s=60))
    observer = await join(client.observer_token(room=room, identity="observer", ttl_s=60))
    prompter = await join(client.agent_token(room=room, identity="prompter", ttl_s=60))
    await channels_open(prompter, agent, participant)
    me = observer.room.local_participant

    track = rtc.LocalAudioTrack.create_audio_track("mic", rtc.AudioSource(RATE, 1))
    observer.start(me.publish_track(track, rtc.TrackPublishOptions(source=MIC)))
    for n in range(TRIES):
        await me.publish_data(f"data {n}", reliable=bool(n % 2))
    await me.set_metadata("mine")
    await participant.speak()
    await agent.speak()

    await eventually(lambda: min(agent.heard_s, participant.heard_s, observer.heard_s) > 1.0)
    for person, other in ((agent, "p-7"), (participant, "agent")):
        # The server tells of one who publishes nothing, the prompter, up to seconds later.
        assert set(person.room.remote_participants) - {"prompter"} == {other}
        assert (person.data, person.changes) == ([], [])
        assert [identity for identity, _ in person.tracks] == [other]
    hidden = {p.identity: p.is_hidden for p in await client.list_participants(room)}
    assert hidden == {"agent": False, "p-7": False, "prompter": False, "observer": True}


async def test_participants_are_listed_and_removed(
    client: LiveKitClient, room: str, join: Join
) -> None:
    await join(client.agent_token(room=room, identity="agent", ttl_s=60))
    participant = await join(client.participant_token(room=room, identity="p-7", ttl_s=60))
    gone = asyncio.Event()
    participant.room.on("disconnected", lambda *_: gone.set())

    listed = {p.identity: p.is_agent for p in await client.list_participants(room)}
    assert listed == {"agent": True, "p-7": False}

    assert await client.remove_participant(room, "p-7")
    await asyncio.wait_for(gone.wait(), SOON_S)
    left: list[ParticipantInfo] = []
    async with asyncio.timeout(SOON_S):
        while [p.identity for p in left] != ["agent"]:
            left = list(await client.list_participants(room))


async def test_an_expired_token_lets_nobody_in(
    client: LiveKitClient, room: str, join: Join
) -> None:
    with pytest.raises(rtc.ConnectError):
        await join(client.participant_token(room=room, identity="p-7", ttl_s=-3600))
    assert await client.list_participants(room) == ()


# -- failures --------------------------------------------------------------------------------------


async def test_another_secret_is_refused(livekit_server: LiveKitAccess) -> None:
    client = LiveKitClient(
        url=livekit_server.url,
        api_key=livekit_server.api_key,
        api_secret=SecretStr("another-secret-of-thirty-two-bytes!!"),
    )
    try:
        with pytest.raises(LiveKitRefused, match="401"):
            await client.ping()
    finally:
        await client.aclose()


async def test_no_server_is_said_at_once_and_observed() -> None:
    [port] = free_ports(1)
    calls: list[tuple[str, str]] = []
    client = LiveKitClient(
        url=f"ws://127.0.0.1:{port}",
        api_key="k",
        api_secret=SecretStr("a-secret-of-at-least-thirty-two-bytes"),
        observe=lambda call, outcome, _: calls.append((call, outcome)),
    )
    began = time.perf_counter()
    try:
        for call in (
            client.create_room("r"),
            client.delete_room("r"),
            client.list_rooms(),
            client.update_metadata("r", "{}"),
            client.list_participants("r"),
            client.remove_participant("r", "p"),
        ):
            with pytest.raises(LiveKitUnavailable) as caught:
                await call
            assert caught.value.retryable
    finally:
        await client.aclose()
    assert time.perf_counter() - began < 5
    assert len(calls) == 6
    assert {outcome for _, outcome in calls} == {"livekit_unavailable"}


async def test_a_server_that_hangs_is_given_up_on(run: RunDir) -> None:
    async with LiveKitServer(run) as server:
        client = client_of(server.access, timeout_s=0.3)
        await client.ping()
        assert server._child is not None
        server._child.signal(signal.SIGSTOP)
        try:
            began = time.perf_counter()
            with pytest.raises(LiveKitUnavailable):
                await asyncio.wait_for(client.create_room("r"), SOON_S)
            assert time.perf_counter() - began < 2
        finally:
            server._child.signal(signal.SIGCONT)
            await client.aclose()


# -- webhooks --------------------------------------------------------------------------------------


@dataclass
class Inbox:
    """A real HTTP listener for what the server sends: (body, Authorization header)."""

    url: str
    deliveries: list[tuple[bytes, str | None]] = field(default_factory=list)

    async def take(self, request: web.Request) -> web.Response:
        self.deliveries.append((await request.read(), request.headers.get("Authorization")))
        return web.Response()


@contextlib.asynccontextmanager
async def an_inbox() -> AsyncIterator[Inbox]:
    [port] = free_ports(1)
    inbox = Inbox(url=f"http://127.0.0.1:{port}/hook")
    app = web.Application()
    app.router.add_post("/hook", inbox.take)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    try:
        yield inbox
    finally:
        await runner.cleanup()


async def test_webhooks_of_the_server_are_verified(run: RunDir) -> None:
    async with an_inbox() as inbox, LiveKitServer(run, webhook_urls=[inbox.url]) as server:
        client = client_of(server.access)
        stranger = LiveKitClient(
            url=server.access.url,
            api_key=server.access.api_key,
            api_secret=SecretStr("another-secret-of-thirty-two-bytes!!"),
        )
        made: RoomInfo = await client.create_room("s-1")
        agent = Person()
        token = client.agent_token(room="s-1", identity="agent", ttl_s=60)
        await agent.room.connect(server.access.url, token)
        await agent.leave()
        await client.delete_room("s-1")

        def events() -> dict[str, Any]:
            verified = [client.verify_webhook(*delivery) for delivery in inbox.deliveries]
            return {event.event: event for event in verified}

        await eventually(lambda: "room_finished" in events())
        seen = events()
        assert {"room_started", "participant_joined", "room_finished"} <= set(seen)
        assert seen["room_started"].room == made.name
        joined = seen["participant_joined"]
        assert (joined.participant_identity, joined.participant_is_agent) == ("agent", True)
        assert len({event.event_id for event in seen.values()}) == len(seen)

        for body, header in inbox.deliveries:
            with pytest.raises(WebhookRejected):
                client.verify_webhook(body.replace(b"s-1", b"s-2"), header)
            with pytest.raises(WebhookRejected):
                client.verify_webhook(body, None)
            with pytest.raises(WebhookRejected):
                stranger.verify_webhook(body, header)
        await client.aclose()
