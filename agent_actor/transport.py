"""The agent's end of a room: connecting, who is there, its metadata, and closing.

``Transport`` is what a session needs; ``LiveKitTransport`` is the real one and the only module
of this package that talks to ``livekit.rtc``'s room.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from livekit import rtc
from livekit.agents import NOT_GIVEN, Agent, AgentSession
from livekit.agents.job import DEFAULT_PARTICIPANT_KINDS
from livekit.agents.voice import room_io

from agent_actor.contract import EndReason
from agent_actor.errors import RoomTokenRejected, RoomUnreachable
from agent_actor.first_comer import FirstComer
from agent_actor.interviewer import Interviewer
from agent_actor.logs import scrub
from agent_actor.room_output import RoomOutput
from agent_actor.settings import RoomOutputKind
from agent_actor.speaker import RoomSpeaker

AGENT_SAMPLE_RATE = 24_000
TRACK_NAME = "interviewer"


class RoomChange(StrEnum):
    METADATA = "metadata"
    PARTICIPANT_JOINED = "participant_joined"
    PARTICIPANT_LEFT = "participant_left"
    SPEAKING = "speaking"
    """The participant began or, with ``active`` false, ceased to be heard, as the server judges
    by level: a signal that is the same for every provider."""
    DISCONNECTED = "disconnected"


@dataclass(frozen=True, kw_only=True)
class RoomEvent:
    """``identity`` for participants; ``reason`` is LiveKit's disconnect reason in lower case."""

    change: RoomChange
    identity: str = ""
    reason: str = ""
    active: bool = False


class Transport(Protocol):
    """One room, one agent. ``events`` is consumed by the session alone."""

    events: asyncio.Queue[RoomEvent]

    async def connect(self) -> None:
        """Join the room. Raises RoomUnreachable or RoomTokenRejected."""

    @property
    def metadata(self) -> str:
        """The room's metadata as known now, "" for none."""

    @property
    def first_comer(self) -> str | None:
        """Who came first, where that one is the participant; None: nobody yet, or it is settled by
        name."""

    def expect(self, first_comer: str) -> None:
        """That one came first, to an agent before this one. Before ``start``."""

    def is_present(self, identity: str) -> bool:
        """Whether that participant is in the room."""

    async def start(self, session: AgentSession[None], agent: Agent, identity: str) -> None:
        """Start ``session`` with its audio going to and from participant ``identity``."""

    async def publish(self, topic: str, payload: bytes, to: Sequence[str]) -> None:
        """Send data to those participants, who may be hidden; to nobody if there are none. One
        that is not in the room gets nothing. Raises where the room cannot be reached."""

    async def aclose(self) -> None:
        """Leave the room. Idempotent, never raises."""


class LiveKitTransport:
    def __init__(
        self,
        *,
        url: str,
        token: str,
        connect_timeout_s: float,
        metadata: str | None = None,
        first_comer_as: str | None = None,
        output: RoomOutputKind = RoomOutputKind.FRAMEWORK,
    ) -> None:
        """``metadata``: the contract, where it is not to be read from the room. ``first_comer_as``:
        whoever comes first is the participant, and goes by this identity.
        """
        self.events: asyncio.Queue[RoomEvent] = asyncio.Queue()
        self._output: RoomOutput | None = None
        self._output_kind = output
        self._url = url
        self._token = token
        self._timeout_s = connect_timeout_s
        self._room = rtc.Room()
        self._room.on("room_metadata_changed", self._on_metadata)
        self._room.on("participant_connected", self._on_joined)
        self._room.on("participant_disconnected", self._on_left)
        self._room.on("active_speakers_changed", self._on_speakers)
        self._room.on("disconnected", self._on_disconnected)
        self._heard: set[str] = set()
        self._metadata = metadata
        self._participant = FirstComer(first_comer_as)

    async def connect(self) -> None:
        options = rtc.RoomOptions(connect_timeout=self._timeout_s)
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._room.connect(self._url, self._token, options)
        except TimeoutError:
            raise RoomUnreachable(f"LiveKit did not answer in {self._timeout_s:g} s") from None
        except rtc.ConnectError as error:
            raise _typed(error) from None
        for participant in self._room.remote_participants.values():
            self._came(participant)

    @property
    def metadata(self) -> str:
        return self._metadata or self._room.metadata or ""

    @property
    def first_comer(self) -> str | None:
        return self._participant.identity

    def expect(self, first_comer: str) -> None:
        self._participant.known(first_comer)

    def is_present(self, identity: str) -> bool:
        return self._participant.in_room(identity) in self._room.remote_participants

    async def start(self, session: AgentSession[None], agent: Agent, identity: str) -> None:
        self._output = await self._own_output(agent)
        if self._output is not None:
            self._output.start()
            session.output.audio = self._output
        options = room_options(
            self._participant.in_room(identity), framework_output=self._output is None
        )
        await session.start(
            agent,
            room=self._room,
            room_options=options,
            # The framework's remote control over data streams would let anyone in the room
            # drive the session.
            session_host=False,
            record=False,
        )

    async def _own_output(self, agent: Agent) -> RoomOutput | None:
        """None: the framework's is to be used, as the SDK has no way to send from a thread."""
        if self._output_kind is RoomOutputKind.FRAMEWORK:
            return None
        speaker = RoomSpeaker(self._room, sample_rate=AGENT_SAMPLE_RATE, track_name=TRACK_NAME)
        if not speaker.is_direct:
            await speaker.aclose()
            return None
        heard = agent.heard if isinstance(agent, Interviewer) else None
        return RoomOutput(speaker, sample_rate=AGENT_SAMPLE_RATE, heard=heard)

    async def publish(self, topic: str, payload: bytes, to: Sequence[str]) -> None:
        # An empty list means everybody to LiveKit.
        if to:
            await self._room.local_participant.publish_data(
                payload, reliable=True, destination_identities=list(to), topic=topic
            )

    async def aclose(self) -> None:
        if self._output is not None:
            await self._output.aclose()
        await self._room.disconnect()

    def _on_metadata(self, _old: str, _new: str) -> None:
        self.events.put_nowait(RoomEvent(change=RoomChange.METADATA))

    def _on_joined(self, participant: rtc.RemoteParticipant) -> None:
        self._came(participant)
        identity = self._participant.told(participant.identity)
        event = RoomEvent(change=RoomChange.PARTICIPANT_JOINED, identity=identity)
        self.events.put_nowait(event)

    def _came(self, participant: rtc.RemoteParticipant) -> None:
        # The framework goes by the same kinds when it links to the first that comes.
        if participant.kind in DEFAULT_PARTICIPANT_KINDS:
            self._participant.came(participant.identity)

    def _on_left(self, participant: rtc.RemoteParticipant) -> None:
        reason = _reason_name(participant.disconnect_reason)
        identity = self._participant.told(participant.identity)
        event = RoomEvent(change=RoomChange.PARTICIPANT_LEFT, identity=identity, reason=reason)
        self.events.put_nowait(event)

    def _on_speakers(self, speakers: list[rtc.Participant]) -> None:
        heard = {self._participant.told(speaker.identity) for speaker in speakers}
        for identity in heard ^ self._heard:
            self.events.put_nowait(
                RoomEvent(change=RoomChange.SPEAKING, identity=identity, active=identity in heard)
            )
        self._heard = heard

    def _on_disconnected(self, reason: rtc.DisconnectReason.ValueType) -> None:
        event = RoomEvent(change=RoomChange.DISCONNECTED, reason=_reason_name(reason))
        self.events.put_nowait(event)


def ending_of(disconnected: RoomEvent) -> tuple[EndReason, RoomUnreachable | None]:
    """What a DISCONNECTED means. Deleting the room is how an admin ends a session from LiveKit's
    side; everything else was not wanted.
    """
    if disconnected.reason == "room_deleted":
        return EndReason.OPERATOR, None
    error = RoomUnreachable(f"LiveKit dropped the agent: {disconnected.reason}")
    return EndReason.ROOM_FAILED, error


def room_options(identity: str | None, *, framework_output: bool = True) -> room_io.RoomOptions:
    """How the framework takes part in a room. ``identity``: the participant's, None where nobody
    is known yet."""
    output = room_io.AudioOutputOptions(sample_rate=AGENT_SAMPLE_RATE, track_name=TRACK_NAME)
    return room_io.RoomOptions(
        # Typed text would reach the model past the protocol; participants only speak.
        text_input=False,
        # With the framework's output come captions in the room, and what paces them by the sound.
        # Nobody reads them: what was said stands in the journal.
        text_output=framework_output,
        audio_input=room_io.AudioInputOptions(pre_connect_audio=False),
        audio_output=output if framework_output else False,
        # Pinned, or the framework may link to an agent that has just died. Where nobody is known
        # yet it links to the first that comes, and pins that one.
        participant_identity=NOT_GIVEN if identity is None else identity,
        # Leaving is ours to judge: there is a grace for coming back.
        close_on_disconnect=False,
    )


def _typed(error: rtc.ConnectError) -> RoomUnreachable | RoomTokenRejected:
    text = error.message.lower()
    if any(word in text for word in ("401", "403", "unauthorized", "invalid token", "permission")):
        return RoomTokenRejected("LiveKit refused the agent's token (wrong or expired)")
    # The SDK quotes the whole address in its message, the token in it too.
    return RoomUnreachable(f"LiveKit is not reachable: {scrub(error.message)}")


def _reason_name(reason: int | None) -> str:
    return rtc.DisconnectReason.Name(reason).lower() if reason is not None else "unknown"  # type: ignore[arg-type]
