"""Synthetic participants against a real LiveKit server and a tiny agent made of livekit.rtc."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from livekit import api, rtc

from fleet.local.livekit import LiveKitAccess
from loadtest.participants.errors import ServerUnreachable, TokenRejected
from loadtest.participants.listening import HeardEvent, Hearing, Listener, SpurtBegan
from loadtest.participants.participant import ParticipantOptions, run_participant
from loadtest.participants.report import (
    EventName,
    Outcome,
    ParticipantEvent,
    ParticipantSummary,
    UplinkReport,
)
from loadtest.participants.script import Departure, Interruption, Pause, Script
from loadtest.participants.uplink import UplinkMode
from loadtest.participants.voice import Voices
from loadtest.simulators.speech import synthesize

pytestmark = pytest.mark.alone

REPO = Path(__file__).parents[2]
AGENT_RATE = 24_000
QUICK = Script(name="quick", think_s=(0.1, 0.1), answer_s=(0.8, 0.8), turn_gap_s=0.3)


# -- where it happens ------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class Place:
    """A room of a test's own on the shared server."""

    access: LiveKitAccess
    room: str

    @property
    def url(self) -> str:
        return self.access.url

    def token(self, identity: str = "p", *, agent: bool = False) -> str:
        key, secret = self.access.api_key, self.access.api_secret
        token = api.AccessToken(key, secret).with_identity(identity)
        grants = api.VideoGrants(room_join=True, room=self.room)
        if agent:
            token = token.with_kind("agent")
            grants.can_update_own_metadata = True
        return token.with_grants(grants).to_jwt()

    async def end(self) -> None:
        http = self.url.replace("ws:", "http:")
        async with api.LiveKitAPI(http, self.access.api_key, self.access.api_secret) as livekit:
            await livekit.room.delete_room(api.DeleteRoomRequest(room=self.room))


@pytest.fixture
def place(livekit_server: LiveKitAccess) -> Place:
    return Place(access=livekit_server, room=f"participants-{uuid.uuid4().hex[:12]}")


# -- a tiny agent ----------------------------------------------------------------------------------


@dataclass(kw_only=True)
class TinyAgent:
    """Greets whoever comes, replies after `patience_s` of quiet, falls silent when spoken to."""

    greeting_s: float = 0.6
    reply_s: float = 0.5
    patience_s: float = 0.3
    heard: list[HeardEvent] = field(default_factory=list)
    room: rtc.Room = field(default_factory=rtc.Room)
    replied: asyncio.Event = field(default_factory=asyncio.Event)
    alone: asyncio.Event = field(default_factory=asyncio.Event)
    _source: rtc.AudioSource | None = None
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _speaking: asyncio.Task[None] | None = None

    async def join(self, place: Place) -> None:
        self._source = rtc.AudioSource(AGENT_RATE, 1, queue_size_ms=50)
        self.room.on("participant_connected", lambda _: self.speak(self.greeting_s))
        self.room.on("participant_disconnected", lambda _: self.alone.set())
        self.room.on("track_subscribed", lambda track, *_: self._own(self._listen(track)))
        await self.room.connect(place.url, place.token("agent", agent=True))
        track = rtc.LocalAudioTrack.create_audio_track("voice", self._source)
        await self.room.local_participant.publish_track(track)

    async def leave(self) -> None:
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.room.disconnect()

    def speak(self, speech_s: float) -> None:
        self.hush()
        self._speaking = self._own(self._say(speech_s))

    def hush(self) -> None:
        if self._speaking is not None:
            self._speaking.cancel()
            assert self._source is not None
            self._source.clear_queue()

    def _own(self, work: Any) -> asyncio.Task[None]:
        task: asyncio.Task[None] = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _say(self, speech_s: float) -> None:
        assert self._source is not None
        pcm = synthesize(seed=7, duration_ms=round(speech_s * 1000), sample_rate=AGENT_RATE)
        step = AGENT_RATE // 50 * 2
        for at in range(0, len(pcm), step):
            part = pcm[at : at + step]
            frame = rtc.AudioFrame(part, AGENT_RATE, 1, len(part) // 2)
            await self._source.capture_frame(frame)

    async def _listen(self, track: rtc.Track) -> None:
        listener = Listener(Hearing(end_silence_s=self.patience_s))
        clock = asyncio.get_running_loop().time
        stream = rtc.AudioStream(track, sample_rate=24_000, frame_size_ms=20)
        try:
            async for event in stream:
                samples = np.frombuffer(event.frame.data, dtype=np.int16)
                for found in listener.hear(samples, clock()):
                    self._react(found)
        finally:
            await stream.aclose()

    def _react(self, found: HeardEvent) -> None:
        self.heard.append(found)
        if isinstance(found, SpurtBegan):
            self.hush()
        else:
            self.speak(self.reply_s)
            self.replied.set()


@asynccontextmanager
async def agent_in(place: Place, **settings: Any) -> AsyncIterator[TinyAgent]:
    agent = TinyAgent(**settings)
    await agent.join(place)
    try:
        yield agent
    finally:
        await agent.leave()


@dataclass
class Events:
    """Collects events; `seen` waits for the first of a kind."""

    all: list[ParticipantEvent] = field(default_factory=list)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def __call__(self, event: ParticipantEvent) -> None:
        self.all.append(event)
        self._changed.set()

    def named(self, name: EventName) -> list[ParticipantEvent]:
        return [event for event in self.all if event.name is name]

    async def seen(self, name: EventName, count: int = 1) -> None:
        async with asyncio.timeout(20):
            while len(self.named(name)) < count:
                self._changed.clear()
                await self._changed.wait()


@pytest.fixture(scope="module")
def voices() -> Voices:
    made = Voices(sample_rate=24_000)
    made.warm()
    return made


def options_for(place: Place, script: Script, **more: Any) -> ParticipantOptions:
    values = {"url": place.url, "token": place.token(), "sample_rate": 24_000, "max_s": 20.0}
    return ParticipantOptions(script=script, **{**values, **more})


@asynccontextmanager
async def participant(
    place: Place, script: Script, voices: Voices, **more: Any
) -> AsyncIterator[tuple[Events, Callable[[], None], asyncio.Task[ParticipantSummary]]]:
    events, stop = Events(), asyncio.Event()
    task = asyncio.create_task(
        run_participant(options_for(place, script, **more), events, stop=stop, voices=voices)
    )
    try:
        yield events, stop.set, task
    finally:
        stop.set()
        await asyncio.gather(task, return_exceptions=True)


# -- what it measures ------------------------------------------------------------------------------


async def test_conversation_is_measured_until_the_room_is_deleted(
    place: Place, voices: Voices, tmp_path: Path
) -> None:
    wav = tmp_path / "heard.wav"
    async with (
        agent_in(place) as agent,
        participant(place, QUICK, voices, wav=wav, t0_epoch_s=1.0) as (events, _, task),
    ):
        await events.seen(EventName.JOINED)
        local = agent.room.local_participant
        await local.publish_data(b"ping", topic="control")
        await local.set_attributes({"lk.agent.state": "speaking"})
        await local.send_text("words", topic="lk.transcription")
        await events.seen(EventName.AGENT_SPEECH_ENDED, 2)
        await place.end()
        summary = await asyncio.wait_for(task, 10)

    tally = summary.tally
    assert summary.outcome is Outcome.ROOM_ENDED
    assert summary.disconnect_reason == "room_deleted"
    assert tally.agent_seen_s is not None
    assert 0 < tally.agent_seen_s < 5
    assert summary.first_audio_s is not None
    assert tally.joined_s[0] < summary.first_audio_s < 5
    assert summary.first_audio_since_t0_s is not None
    assert summary.first_audio_since_t0_s > 1e9
    assert tally.answers >= 1
    # The agent replies 0.3 s after it hears the end; the rest is the way there and back.
    assert 0.25 < tally.responses[0].response_s < 1.5
    greeting = tally.spurts[0]
    assert greeting.ended_s - greeting.began_s == pytest.approx(0.6, abs=0.2)
    assert summary.heard.speech_dbfs == pytest.approx(-18, abs=4)
    assert summary.heard.clipped_samples == 0
    assert tally.overlaps == []
    assert tally.received["data", "control"] == 1
    assert tally.received["text", "lk.transcription"] == 1
    assert tally.received["attribute", "lk.agent.state"] == 1
    assert tally.attributes["lk.agent.state"] == "speaking"
    assert wav.stat().st_size > 2 * 24_000 * tally.spurts[1].began_s
    assert json.loads(json.dumps(summary.as_json()))["outcome"] == "room_ended"


async def test_interruption_silences_the_agent_and_is_timed(place: Place, voices: Voices) -> None:
    cut = Interruption(utterance=1, after_s=0.5, speech_s=0.8)
    script = Script(name="cut", interruptions=(cut,))
    async with (
        agent_in(place, greeting_s=8.0) as agent,
        participant(place, script, voices) as (events, stop, task),
    ):
        await events.seen(EventName.INTERRUPTED)
        await asyncio.wait_for(agent.replied.wait(), 5)
        await events.seen(EventName.AGENT_SPEECH_STARTED, 2)
        stop()
        summary = await task

    (measured,) = summary.tally.cuts
    assert measured.stopped_after_s is not None
    assert 0 < measured.stopped_after_s < 1.0
    first = summary.tally.spurts[0]
    assert first.ended_s - first.began_s < 3.0
    assert [response.kind for response in summary.tally.responses] == ["barge_in"]
    assert summary.outcome is Outcome.STOPPED


async def test_leaves_returns_and_leaves_for_good(place: Place, voices: Voices) -> None:
    leaves = (Departure(after_answers=1, away_s=0.5), Departure(after_answers=2))
    script = Script(name="leaver", think_s=(0.1, 0.1), answer_s=(0.6, 0.6), departures=leaves)
    async with (
        agent_in(place) as agent,
        participant(place, script, voices) as (events, _, task),
    ):
        summary = await asyncio.wait_for(task, 15)
        await asyncio.wait_for(agent.alone.wait(), 5)

    assert summary.outcome is Outcome.SCRIPT_ENDED
    assert summary.tally.departures == 2
    assert summary.tally.answers == 2
    (left, _) = events.named(EventName.LEFT)
    (rejoined,) = events.named(EventName.REJOINED)
    assert rejoined.t_s - left.t_s > 0.5


@pytest.mark.parametrize(("patience_s", "spoken_over"), [(0.3, True), (2.0, False)])
async def test_pause_in_mid_answer_shows_who_is_patient(
    place: Place, voices: Voices, patience_s: float, spoken_over: bool
) -> None:
    script = Script(
        name="thinks",
        think_s=(0.1, 0.1),
        answer_s=(1.0, 1.0),
        pauses=(Pause(answer=1, after_s=0.5, pause_s=1.2),),
    )
    async with (
        agent_in(place, patience_s=patience_s, greeting_s=0.6),
        participant(place, script, voices) as (events, stop, task),
    ):
        await events.seen(EventName.ANSWERED)
        stop()
        summary = await task

    assert summary.tally.pauses == 1
    assert [overlap.in_pause for overlap in summary.tally.overlaps] == [True] * spoken_over


async def test_uplink_of_speech_only_sends_far_less(place: Place, voices: Voices) -> None:
    async def frames_of_one_turn(mode: UplinkMode) -> UplinkReport:
        room = replace(place, room=f"{place.room}-{mode.value}")
        async with (
            agent_in(room) as agent,
            participant(room, QUICK, voices, uplink=mode) as (_, stop, task),
        ):
            await asyncio.wait_for(agent.replied.wait(), 10)
            stop()
            return (await task).sent

    continuous, speech = await asyncio.gather(
        frames_of_one_turn(UplinkMode.CONTINUOUS), frames_of_one_turn(UplinkMode.SPEECH)
    )
    assert speech.frames < 0.7 * continuous.frames
    assert speech.speech_s == pytest.approx(0.8, abs=0.15)
    assert speech.speech_s == pytest.approx(continuous.speech_s)


async def test_muted_participant_shows_as_muted_and_sends_nothing(
    place: Place, voices: Voices
) -> None:
    script = Script(name="muted", muted=True)
    async with (
        agent_in(place) as agent,
        participant(place, script, voices) as (events, stop, task),
    ):
        await events.seen(EventName.AGENT_SPEECH_ENDED)
        (microphone,) = agent.room.remote_participants["p"].track_publications.values()
        assert microphone.muted
        stop()
        summary = await task
    assert agent.heard == []
    assert summary.sent.frames == 0
    assert summary.tally.answers == 0


# -- what can go wrong -----------------------------------------------------------------------------


async def test_refused_token_is_a_clear_error_without_the_token(
    place: Place, voices: Voices
) -> None:
    token = place.token("p")
    forged = token[:-6] + "abcdef"
    with pytest.raises(TokenRejected, match="401") as caught:
        await run_participant(
            options_for(place, QUICK, token=forged), lambda _: None, voices=voices
        )
    assert forged not in str(caught.value)
    assert "[token]" in str(caught.value)


async def test_unreachable_server_is_retryable(place: Place, voices: Voices) -> None:
    with socket.socket() as bound:  # and not listening: nobody else can take the port
        bound.bind(("127.0.0.1", 0))
        options = options_for(place, QUICK, url=f"ws://127.0.0.1:{bound.getsockname()[1]}")
        with pytest.raises(ServerUnreachable) as caught:
            await run_participant(options, lambda _: None, voices=voices)
    assert caught.value.retryable


async def test_server_that_never_answers_is_given_up_in_time(place: Place, voices: Voices) -> None:
    async def swallow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(swallow, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    url = f"ws://127.0.0.1:{port}"
    options = options_for(place, QUICK, url=url, connect_deadline_s=0.4)
    async with server:
        with pytest.raises(ServerUnreachable):
            await asyncio.wait_for(run_participant(options, lambda _: None, voices=voices), 5)


# -- the command -----------------------------------------------------------------------------------


async def start_command(*arguments: str, token: str = "", stdin: int | None = None) -> Any:
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "loadtest.participants",
        *arguments,
        cwd=REPO,
        env={**os.environ, "LIVEKIT_TOKEN": token},
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


async def next_event(process: Any, name: str) -> dict[str, Any]:
    async with asyncio.timeout(20):
        while True:
            line = await process.stdout.readline()
            assert line, f"ended before {name}: {(await process.stderr.read()).decode()}"
            event: dict[str, Any] = json.loads(line)
            if event["event"] == name:
                return event


async def ended(process: Any) -> int:
    """The exit status, once the output is read to its end and the pipes are closed."""
    await asyncio.wait_for(process.communicate(), 10)
    status: int = process.returncode
    return status


async def test_command_leaves_and_sums_up_on_sigterm(place: Place) -> None:
    async with agent_in(place) as agent:
        process = await start_command(
            "--url", place.url, "--script", "silent", token=place.token("p")
        )
        await next_event(process, "agent_speech_started")
        process.send_signal(signal.SIGTERM)
        summary = await next_event(process, "summary")
        assert await ended(process) == 0
        await asyncio.wait_for(agent.alone.wait(), 5)
    assert summary["outcome"] == "stopped"
    # Counted from the start of the process: interpreter and imports are in it.
    assert summary["first_audio_s"] > summary["connect_s"] > 0


async def test_command_with_a_refused_token_exits_3_and_prints_no_token(place: Place) -> None:
    forged = place.token("p")[:-6] + "abcdef"
    process = await start_command("--url", place.url, token=forged)
    out, err = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 3
    assert json.loads(out.splitlines()[-1])["error"] == "TokenRejected"
    assert b"refused the token" in err
    assert forged.encode() not in out + err


async def test_command_dies_with_its_parent(place: Place) -> None:
    relay = (
        "import subprocess, sys; subprocess.Popen([sys.executable, '-m', 'loadtest.participants',"
        " *sys.argv[1:]]).wait()"
    )
    async with agent_in(place) as agent:
        parent = await asyncio.create_subprocess_exec(
            sys.executable,
            "-c",
            relay,
            "--url",
            place.url,
            "--script",
            "silent",
            cwd=REPO,
            env={**os.environ, "LIVEKIT_TOKEN": place.token("p")},
            stdout=subprocess.PIPE,
        )
        # Not at once: the server tells nobody about one who leaves 20 ms after joining.
        await next_event(parent, "agent_speech_started")
        parent.kill()
        assert await ended(parent) == -signal.SIGKILL
        await asyncio.wait_for(agent.alone.wait(), 10)


async def test_many_participants_in_one_process(place: Place) -> None:
    process = await start_command("many", "--stdin", stdin=subprocess.PIPE)
    silent = {"url": place.url, "script": {"silent": True}, "sample_rate": 24_000}
    orders = [
        {"id": "a", "token": place.token("a"), **silent},
        {"id": "b", "token": place.token("b"), "max_s": 1.5, **silent},
        {"id": "c", "token": place.token("c"), **silent, "script": "nonsense"},
    ]
    process.stdin.write("".join(json.dumps(order) + "\n" for order in orders).encode())
    failed = await next_event(process, "failed")
    first = await next_event(process, "summary")
    process.stdin.write(b'{"id": "a", "stop": true}\n')
    second = await next_event(process, "summary")
    process.stdin.close()
    assert await ended(process) == 1
    assert (failed["id"], failed["error"]) == ("c", "BadScript")
    assert (first["id"], first["outcome"]) == ("b", "time_limit")
    assert (second["id"], second["outcome"]) == ("a", "stopped")
