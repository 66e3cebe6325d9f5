"""One stay in a room: joining, the microphone, the agent's tracks, leaving.

Every call to livekit.rtc outside uplink and downlink is here. What happens in the room arrives
as messages, in order, through the `tell` callback; it is called on the event loop and must not
block.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from livekit import rtc

from loadtest.participants.downlink import Recording, hear_track
from loadtest.participants.errors import ConnectFailed, ServerUnreachable, TokenRejected
from loadtest.participants.listening import AudioReport, HeardEvent, Hearing, Listener, merge
from loadtest.participants.reach import assert_reachable
from loadtest.participants.redact import redact
from loadtest.participants.uplink import Uplink

Clock = Callable[[], float]

SDK_ATTEMPTS = 4
"""The SDK tries to connect once and then three times more before it gives up."""
LEAVE_DEADLINE_S = 5.0
TEXT_TOPICS = ("lk.transcription", "lk.chat")


@dataclass(frozen=True, kw_only=True)
class Seen:
    """The agent is in the room."""

    identity: str


@dataclass(frozen=True, kw_only=True)
class Unseen:
    """The agent has left the room."""

    identity: str


@dataclass(frozen=True, kw_only=True)
class Heard:
    event: HeardEvent


@dataclass(frozen=True, kw_only=True)
class Received:
    """Something besides audio: kind is data, text, transcription or metadata."""

    kind: str
    name: str


@dataclass(frozen=True, kw_only=True)
class Attributes:
    """Attributes of a remote participant that changed, with their new values."""

    changed: dict[str, str]


@dataclass(frozen=True, kw_only=True)
class Link:
    """The connection broke and is being restored, or has been."""

    up: bool


@dataclass(frozen=True, kw_only=True)
class Closed:
    """The stay was ended by the other side; the name of LiveKit's disconnect reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Said:
    """The last sample of what `Visit.say` was given has been sent."""

    at_s: float


Message = Seen | Unseen | Heard | Received | Attributes | Link | Closed | Said
Tell = Callable[[Message], None]


@dataclass(frozen=True, kw_only=True)
class Door:
    """What it takes to get in, and how the stay is set up."""

    url: str
    token: str
    agent_identity: str | None
    """Only this participant counts as the agent; None: whoever else is in the room."""
    connect_deadline_s: float
    muted: bool


class Visit:
    """A stay under way; made by `visit` only."""

    def __init__(
        self,
        *,
        door: Door,
        uplink: Uplink,
        hearing: Hearing,
        recording: Recording | None,
        clock: Clock,
        tell: Tell,
        tasks: asyncio.TaskGroup,
    ) -> None:
        self._door = door
        self._uplink = uplink
        self._hearing = hearing
        self._recording = recording
        self._clock = clock
        self._tell = tell
        self._group = tasks
        self._tasks: set[asyncio.Task[None]] = set()
        self._listeners: list[Listener] = []
        self._ears: dict[str, asyncio.Task[None]] = {}
        self._room = rtc.Room()
        self._listen_to(self._room)
        self.connect_s = 0.0
        """From asking to being in the room with a published microphone."""

    def say(self, clip: Any) -> None:
        self._uplink.say(clip, lambda at_s: self._tell(Said(at_s=at_s)))

    def notice_silence(self) -> None:
        """Frames can stop coming without the track's end: ends spurts that this leaves open."""
        now_s = self._clock()
        for listener in self._listeners:
            for event in listener.silence_until(now_s):
                self._tell(Heard(event=event))

    def heard(self) -> AudioReport:
        report = AudioReport()
        for listener in self._listeners:
            report = merge(report, listener.report())
        return report

    # -- joining and leaving -----------------------------------------------------------------------

    async def enter(self) -> None:
        """Join and publish the microphone. Raises ConnectFailed."""
        asked_s = self._clock()
        deadline_s = self._door.connect_deadline_s
        options = rtc.RoomOptions(connect_timeout=deadline_s / SDK_ATTEMPTS)
        try:
            async with asyncio.timeout(deadline_s):
                await self._room.connect(self._door.url, self._door.token, options)
                await self._publish()
        except rtc.ConnectError as error:
            raise connect_failure(error.message, self._door.url) from None
        except TimeoutError:
            raise ServerUnreachable(
                f"{self._door.url}: not in the room after {deadline_s:g} s"
            ) from None
        self.connect_s = self._clock() - asked_s
        for participant in self._room.remote_participants.values():
            self._seen(participant)
            if participant.attributes:
                self._tell(Attributes(changed=dict(participant.attributes)))
        if not self._door.muted:
            self._own(self._uplink.run())

    async def leave(self) -> None:
        """Stop everything and disconnect; safe to call in any state."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=LEAVE_DEADLINE_S)
        try:
            async with asyncio.timeout(LEAVE_DEADLINE_S):
                await self._room.disconnect()
        except TimeoutError:
            return

    async def _publish(self) -> None:
        track = rtc.LocalAudioTrack.create_audio_track("microphone", self._uplink.source)
        options = rtc.TrackPublishOptions(source=rtc.TrackSource.SOURCE_MICROPHONE)
        await self._room.local_participant.publish_track(track, options)
        if self._door.muted:
            track.mute()

    def _own(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    # -- what happens in the room ------------------------------------------------------------------

    def _listen_to(self, room: rtc.Room) -> None:
        room.on("participant_connected", self._seen)
        room.on("participant_disconnected", self._unseen)
        room.on("track_subscribed", self._track_came)
        room.on("track_unsubscribed", self._track_went)
        room.on("data_received", self._data_came)
        room.on("transcription_received", self._transcription_came)
        room.on("participant_attributes_changed", self._attributes_changed)
        room.on("room_metadata_changed", self._metadata_changed)
        room.on("reconnecting", lambda: self._tell(Link(up=False)))
        room.on("reconnected", lambda: self._tell(Link(up=True)))
        room.on("disconnected", self._disconnected)
        for topic in TEXT_TOPICS:
            room.register_text_stream_handler(topic, self._text_came)

    def _is_agent(self, participant: rtc.Participant) -> bool:
        wanted = self._door.agent_identity
        return wanted is None or participant.identity == wanted

    def _seen(self, participant: rtc.RemoteParticipant) -> None:
        if self._is_agent(participant):
            self._tell(Seen(identity=participant.identity))

    def _unseen(self, participant: rtc.RemoteParticipant) -> None:
        if self._is_agent(participant):
            self._tell(Unseen(identity=participant.identity))

    def _track_came(
        self,
        track: rtc.Track,
        publication: rtc.RemoteTrackPublication,
        participant: rtc.RemoteParticipant,
    ) -> None:
        if track.kind != rtc.TrackKind.KIND_AUDIO or not self._is_agent(participant):
            return
        listener = Listener(self._hearing)
        self._listeners.append(listener)
        self._ears[publication.sid] = self._own(
            hear_track(
                track,
                listener,
                sample_rate=self._hearing.sample_rate,
                clock=self._clock,
                heard=lambda event: self._tell(Heard(event=event)),
                recording=self._recording,
            )
        )

    def _track_went(self, _: rtc.Track, publication: rtc.RemoteTrackPublication) -> None:
        ear = self._ears.pop(publication.sid, None)
        if ear is not None:
            ear.cancel()

    def _text_came(self, reader: rtc.TextStreamReader, _: str) -> None:
        self._tell(Received(kind="text", name=reader.info.topic))
        self._own(_read_to_end(reader))

    def _data_came(self, packet: rtc.DataPacket) -> None:
        self._tell(Received(kind="data", name=packet.topic or ""))

    def _transcription_came(self, segments: list[rtc.TranscriptionSegment]) -> None:
        for segment in segments:
            name = "final" if segment.final else "interim"
            self._tell(Received(kind="transcription", name=name))

    def _attributes_changed(self, changed: dict[str, str], participant: rtc.Participant) -> None:
        if isinstance(participant, rtc.RemoteParticipant):
            self._tell(Attributes(changed=changed))

    def _metadata_changed(self) -> None:
        self._tell(Received(kind="metadata", name="room"))

    def _disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        self._tell(Closed(reason=rtc.DisconnectReason.Name(reason).lower()))


@asynccontextmanager
async def visit(
    *,
    door: Door,
    uplink: Uplink,
    hearing: Hearing,
    recording: Recording | None,
    clock: Clock,
    tell: Tell,
) -> AsyncIterator[Visit]:
    """A stay in the room, left on exit however that comes about. Raises ConnectFailed.

    A failure of a task of the stay (microphone, ear) cancels the body and is raised from here in
    an ExceptionGroup.
    """
    await assert_reachable(door.url, door.connect_deadline_s)
    async with asyncio.TaskGroup() as tasks:
        stay = Visit(
            door=door,
            uplink=uplink,
            hearing=hearing,
            recording=recording,
            clock=clock,
            tell=tell,
            tasks=tasks,
        )
        try:
            await stay.enter()
            yield stay
        finally:
            await stay.leave()
            await uplink.source.aclose()


def connect_failure(message: str, url: str) -> ConnectFailed:
    """The typed error for what the SDK said. Its text can quote the token: that is taken out."""
    said = redact(message)
    if "401" in said or "permissions denied" in said:
        return TokenRejected(f"{url}: the server refused the token ({said})")
    if "client error" in said:
        return ConnectFailed(f"{url}: the server refused to let the participant in ({said})")
    return ServerUnreachable(f"{url}: no LiveKit server answered ({said})")


async def _read_to_end(reader: rtc.TextStreamReader) -> None:
    """An unread stream keeps its buffers until the process ends."""
    try:
        async for _ in reader:
            pass
    except rtc.StreamError:
        return
