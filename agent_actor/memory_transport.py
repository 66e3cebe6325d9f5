"""The control tier's transport: audio in memory in place of a room. For load tests only.

Everything else of a session is real: its actor, the framework, the provider's plugin and wire,
metering, budget, journal. The contract, which otherwise stands in the room, comes with the
assignment; a scripted participant (``Rehearsal``) comes, speaks and leaves.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from livekit.agents import Agent, AgentSession

from agent_actor.contract import Rehearsal, SessionConfig, parse_tolerant
from agent_actor.errors import ContractError
from agent_actor.memory_audio import MemoryInput, MemoryOutput
from agent_actor.rehearsed import Rehearsed
from agent_actor.transport import AGENT_SAMPLE_RATE, RoomChange, RoomEvent


class MemoryTransport:
    """``metadata`` is the contract as a room would hold it."""

    def __init__(self, metadata: str) -> None:
        self.events: asyncio.Queue[RoomEvent] = asyncio.Queue()
        self._metadata = metadata
        self._present: set[str] = set()
        self._participant: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        """There is no room to join."""

    first_comer = None
    """Its one participant goes by the contract's name."""

    def expect(self, first_comer: str) -> None:
        raise NotImplementedError("nobody comes first here")

    @property
    def metadata(self) -> str:
        return self._metadata

    def is_present(self, identity: str) -> bool:
        return identity in self._present

    async def start(self, session: AgentSession[None], agent: Agent, identity: str) -> None:
        config = _config(self._metadata)
        script = config.rehearsal or Rehearsal()
        audio_in = MemoryInput()
        audio_out = MemoryOutput(sample_rate=AGENT_SAMPLE_RATE, speed=script.speed)
        session.input.audio, session.output.audio = audio_in, audio_out
        await session.start(agent, session_host=False, record=False)
        participant = Rehearsed(
            script,
            config.vad_config,
            audio_in,
            audio_out,
            here=lambda: self._came(identity),
            gone=lambda: self._left(identity),
            speaking=lambda active: self._tell(RoomChange.SPEAKING, identity, active=active),
        )
        self._participant = asyncio.create_task(participant.run(), name="rehearsed participant")

    async def publish(self, topic: str, payload: bytes, to: Sequence[str]) -> None:
        """Nobody is here to receive it."""

    async def aclose(self) -> None:
        if self._participant is not None:
            self._participant.cancel()
            await asyncio.gather(self._participant, return_exceptions=True)

    def _came(self, identity: str) -> None:
        self._present.add(identity)
        self._tell(RoomChange.PARTICIPANT_JOINED, identity)

    def _left(self, identity: str) -> None:
        self._present.discard(identity)
        self._tell(RoomChange.PARTICIPANT_LEFT, identity, reason="client_initiated")

    def _tell(
        self, change: RoomChange, identity: str, *, active: bool = False, reason: str = ""
    ) -> None:
        event = RoomEvent(change=change, identity=identity, active=active, reason=reason)
        self.events.put_nowait(event)


def _config(metadata: str) -> SessionConfig:
    try:
        return parse_tolerant(metadata)
    except ContractError as error:
        raise AssertionError("the session waits for a usable contract before it starts") from error
