"""The interviewer's track in the room: what is sent into it, frame by frame.

The source has no queue (``queue_size_ms=0``): with one, the SDK feeds and encodes silence for
ever, half of what a silent session costs. Without one nothing is sent unless a frame is, so the
pace is the caller's, and so is the end of speech (see ``rest``).
"""

from __future__ import annotations

import time
from typing import Protocol

from livekit import rtc

from agent_actor.direct_source import direct_sender
from agent_actor.pacer import Line
from agent_actor.reel import FRAME_S

PULSE_S = 0.1
"""Between mute and unmute: they are sent to the server by tasks of the SDK, whose order is not
promised, and the last word must be unmute."""
SETTLE_S = 0.05
"""After unmute: the server drops what comes before it has heard of it."""


class Speaker(Line, Protocol):
    async def publish(self) -> None:
        """Returns when somebody who is not hidden listens."""

    async def aclose(self) -> None:
        """Nothing is sent after it. Idempotent, never raises."""


class RoomSpeaker:
    """Use once: ``publish`` first. The SDK publishes the track again when a connection is
    restored that the server had given up."""

    def __init__(self, room: rtc.Room, *, sample_rate: int, track_name: str) -> None:
        self._room = room
        self._source = rtc.AudioSource(sample_rate, 1, queue_size_ms=0)
        self._send = direct_sender(self._source, round(sample_rate * FRAME_S))
        self._track = rtc.LocalAudioTrack.create_audio_track(track_name, self._source)

    async def publish(self) -> None:
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        publication = await self._room.local_participant.publish_track(self._track, options)
        await publication.wait_for_subscription()

    @property
    def is_direct(self) -> bool:
        """Without that there is no way to send from a thread."""
        return self._send is not None

    def send(self, pcm: bytes) -> None:
        if self._send is not None:
            self._send(pcm)

    def rest(self) -> None:
        """Makes the server set the track's clock anew.

        The timestamps of what is sent stand still while nothing is. A listener's jitter buffer
        takes the next words for that much late, and for seconds plays everything later (300 ms
        after a few pauses under 2 s, measured; a browser has the same code). A muted track is
        put back on the wall's time by the server, which is all that this mute is for.
        """
        try:
            self._track.mute()
            time.sleep(PULSE_S)
        finally:
            self._track.unmute()
        time.sleep(SETTLE_S)

    async def aclose(self) -> None:
        self._send = None
        await self._source.aclose()
