"""The interviewer's output in a real room: what a participant hears of it, and when."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pytest
from livekit import rtc
from livekit.agents.voice import io
from pydantic import SecretStr

from agent_actor.room_output import RoomOutput
from agent_actor.speaker import RoomSpeaker
from fleet.livekit_client import LiveKitClient
from fleet.local.livekit import LiveKitAccess

pytestmark = pytest.mark.alone

RATE = 24_000
LOUD = 1_000
"""Of a block's level; the tone's is 5,700."""
BLOCK_S = 0.01
UNDER_LOAD_S = 0.5
"""How much later than at once something may be heard on a machine that does other work too."""


@dataclass
class Ear:
    """When each block of 10 ms came, and whether there was sound in it."""

    blocks: list[tuple[float, bool]] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    async def listen(self, track: rtc.Track) -> None:
        stream = rtc.AudioStream(track, sample_rate=RATE, num_channels=1, frame_size_ms=10)
        try:
            async for event in stream:
                pcm = np.frombuffer(event.frame.data, dtype=np.int16).astype(np.float64)
                self.blocks.append((time.monotonic(), float(np.sqrt((pcm**2).mean())) > LOUD))
                self.changed.set()
        finally:
            await stream.aclose()

    def sound_s(self) -> float:
        return sum(loud for _, loud in self.blocks) * BLOCK_S

    def last_sound(self) -> float:
        return max((at for at, loud in self.blocks if loud), default=0.0)

    def quiet_for_s(self) -> float:
        return time.monotonic() - self.last_sound()

    async def heard_more(self, seconds: float) -> None:
        wanted_s = self.sound_s() + seconds
        await self.until(lambda: self.sound_s() > wanted_s)

    async def until(self, true: Callable[[], bool], within_s: float = 15.0) -> None:
        async with asyncio.timeout(within_s):
            while not true():
                self.changed.clear()
                await self.changed.wait()


@dataclass
class Talk:
    out: RoomOutput
    ear: Ear
    finished: list[io.PlaybackFinishedEvent]
    mutes: list[bool]

    def has_rested(self, times: int) -> bool:
        return self.mutes == [True, False] * times

    async def say(self, seconds: float) -> None:
        t = np.arange(round(RATE * seconds)) / RATE
        pcm = (8_000 * np.sin(2 * np.pi * 440 * t)).astype(np.int16)
        await self.out.capture_frame(rtc.AudioFrame(pcm.tobytes(), RATE, 1, len(pcm)))


@asynccontextmanager
async def talking(livekit: LiveKitAccess) -> AsyncIterator[Talk]:
    """An output and somebody who hears it, in a room of their own."""
    name = f"output-{uuid.uuid4().hex[:8]}"
    client = LiveKitClient(
        url=livekit.url, api_key=livekit.api_key, api_secret=SecretStr(livekit.api_secret)
    )
    agent, participant, ear = rtc.Room(), rtc.Room(), Ear()
    ears: list[asyncio.Task[None]] = []
    mutes: list[bool] = []
    participant.on(
        "track_subscribed", lambda track, *_: ears.append(asyncio.create_task(ear.listen(track)))
    )
    participant.on("track_muted", lambda *_: mutes.append(True))
    participant.on("track_unmuted", lambda *_: mutes.append(False))
    try:
        await client.create_room(name, metadata="")
        await agent.connect(livekit.url, client.agent_token(room=name, identity="agent", ttl_s=300))
        speaker = RoomSpeaker(agent, sample_rate=RATE, track_name="interviewer")
        assert speaker.is_direct, "the SDK has changed: see agent_actor/direct_source.py"
        out = RoomOutput(speaker, sample_rate=RATE)
        finished: list[io.PlaybackFinishedEvent] = []
        out.on("playback_finished", finished.append)
        # Before anybody is there: who comes later must not miss the first word.
        out.start()
        await participant.connect(
            livekit.url, client.participant_token(room=name, identity="participant", ttl_s=300)
        )
        yield Talk(out, ear, finished, mutes)
        await out.aclose()
    finally:
        for task in ears:
            task.cancel()
        await asyncio.gather(*ears, return_exceptions=True)
        await agent.disconnect()
        await participant.disconnect()
        await client.delete_room(name)
        await client.aclose()


async def test_a_long_utterance_with_late_chunks_is_heard_whole(
    livekit_server: LiveKitAccess,
) -> None:
    async with talking(livekit_server) as talk:
        for _ in range(3):
            await talk.say(1.0)
            # The next chunk comes after this one has run out.
            await talk.ear.heard_more(0.8)
            await talk.ear.until(lambda: talk.ear.quiet_for_s() > 0.15)
        talk.out.flush()
        played = await asyncio.wait_for(talk.out.wait_for_playout(), 15)
        assert (played.playback_position, played.interrupted) == (3.0, False)
        await talk.ear.until(lambda: talk.ear.quiet_for_s() > 0.3)
        assert abs(talk.ear.sound_s() - 3.0) < UNDER_LOAD_S


async def test_an_interruption_is_silence_at_once(livekit_server: LiveKitAccess) -> None:
    async with talking(livekit_server) as talk:
        await talk.say(20.0)
        talk.out.flush()
        await talk.ear.until(lambda: talk.ear.sound_s() > 1.0)
        talk.out.clear_buffer()
        cut = time.monotonic()
        (played,) = talk.finished
        assert played.interrupted
        assert 1.0 <= played.playback_position < 5.0
        await talk.ear.until(lambda: talk.ear.quiet_for_s() > 0.5)
        assert talk.ear.last_sound() - cut < UNDER_LOAD_S
        # And it goes on with the next segment.
        await talk.say(0.5)
        talk.out.flush()
        await talk.out.wait_for_playout()
        assert not talk.finished[-1].interrupted
        await talk.ear.until(lambda: talk.ear.last_sound() > cut + UNDER_LOAD_S)


async def test_a_pause_is_silence_and_loses_nothing(livekit_server: LiveKitAccess) -> None:
    async with talking(livekit_server) as talk:
        await talk.say(2.0)
        talk.out.flush()
        await talk.ear.until(lambda: talk.ear.sound_s() > 0.5)
        talk.out.pause()
        await talk.ear.until(lambda: talk.ear.quiet_for_s() > 1.2)
        assert not talk.finished
        talk.out.resume()
        played = await asyncio.wait_for(talk.out.wait_for_playout(), 15)
        assert (played.playback_position, played.interrupted) == (2.0, False)
        await talk.ear.until(lambda: talk.ear.quiet_for_s() > 0.3)
        assert abs(talk.ear.sound_s() - 2.0) < UNDER_LOAD_S


async def test_after_a_silence_words_are_not_held_back(livekit_server: LiveKitAccess) -> None:
    """Each silence ends in a mute that is taken back; without it every next word comes later."""
    async with talking(livekit_server) as talk:
        for number in range(3):
            said = time.monotonic()
            await talk.say(1.0)
            talk.out.flush()
            await talk.ear.heard_more(0.8)
            await talk.out.wait_for_playout()
            await talk.ear.until(partial(talk.has_rested, number + 1))
            assert talk.ear.last_sound() - said < 1.0 + UNDER_LOAD_S
