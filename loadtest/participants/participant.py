"""The shell: joins behaviour, listening and tally to a room. `run_participant` is the entry."""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import assert_never

from loadtest.participants.behaviour import next_wake_s, step
from loadtest.participants.downlink import Recording
from loadtest.participants.errors import ParticipantError
from loadtest.participants.listening import AudioReport, HeardEvent, Hearing, merge
from loadtest.participants.moves import (
    Command,
    Event,
    Joined,
    Leave,
    Mode,
    Rejoin,
    Speak,
    SpeechEnded,
    State,
    Tick,
)
from loadtest.participants.narrator import Narrator, OnEvent
from loadtest.participants.report import EventName, Outcome, ParticipantSummary, UplinkReport
from loadtest.participants.script import Script
from loadtest.participants.uplink import Uplink, UplinkMode
from loadtest.participants.visit import (
    Attributes,
    Closed,
    Door,
    Heard,
    Link,
    Message,
    Received,
    Said,
    Seen,
    Unseen,
    Visit,
    visit,
)
from loadtest.participants.voice import Voices

SILENCE_CHECK_S = 0.1
LOST = frozenset(
    {"unknown_reason", "signal_close", "connection_timeout", "media_failure", "join_failure"}
)
"""LiveKit disconnect reasons that mean a broken connection, not an ended interview."""


@dataclass(frozen=True, kw_only=True)
class ParticipantOptions:
    """All that a participant is given. `token` is a secret: it is kept out of `repr`."""

    url: str
    token: str = field(repr=False)
    script: Script
    seed: int = 0
    max_s: float | None = None
    """Leaves this long after its start, whatever the script says."""
    uplink: UplinkMode = UplinkMode.CONTINUOUS
    sample_rate: int = 48_000
    """Of the microphone: 48000, as a browser's, or 24000."""
    wav: Path | None = None
    """Where to write what was heard (mono, aligned to the start)."""
    agent_identity: str | None = None
    """Only this participant counts as the agent; None: whoever else is in the room."""
    connect_deadline_s: float = 10.0
    started_epoch_s: float | None = None
    """The participant's start, which all `t_s` count from; None: when it is run."""
    t0_epoch_s: float | None = None
    """Another zero for the `_since_t0_s` measures: when the session was asked for, say."""


async def run_participant(
    options: ParticipantOptions,
    on_event: OnEvent,
    *,
    stop: asyncio.Event | None = None,
    voices: Voices | None = None,
) -> ParticipantSummary:
    """Be a participant until the room, the script, `max_s` or `stop` ends it.

    `on_event` is called on the event loop, in order, and must not block. `voices` can be shared
    by participants of the same sample rate on one loop; warm it first. A stop is noticed once a
    join under way is through. Leaves the room on every way out, cancellation included. Raises
    ConnectFailed when the room could not be joined, or joined again.
    """
    started_epoch_s = options.started_epoch_s or time.time()
    if voices is None:
        voices = Voices(sample_rate=options.sample_rate, seed=options.seed)
        await asyncio.to_thread(voices.warm)
    with ExitStack() as files:
        recording = None
        if options.wav is not None:
            recording = files.enter_context(Recording(options.wav, Hearing().sample_rate))
        participant = _Participant(
            options=options,
            on_event=on_event,
            started_epoch_s=started_epoch_s,
            voices=voices,
            recording=recording,
        )
        try:
            async with asyncio.TaskGroup() as tasks:
                watch = tasks.create_task(participant.stop_when(stop or asyncio.Event()))
                try:
                    return await participant.run()
                finally:
                    watch.cancel()
        except ExceptionGroup as group:
            raise _cause(group) from None


def _cause(group: ExceptionGroup[Exception]) -> Exception:
    """The error of ours inside a task group's, or the group itself."""
    ours, _ = group.split(ParticipantError)
    found: Exception | None = ours
    while isinstance(found, ExceptionGroup):
        found = found.exceptions[0]
    return found or group


class _Participant:
    """One run. Everything happens in `_next`, one message or due time after the other."""

    def __init__(
        self,
        *,
        options: ParticipantOptions,
        on_event: OnEvent,
        started_epoch_s: float,
        voices: Voices,
        recording: Recording | None,
    ) -> None:
        self._options = options
        self._voices = voices
        self._recording = recording
        self._rng = random.Random(options.seed)
        self._hearing = Hearing(end_silence_s=options.script.turn_gap_s)
        self._started_epoch_s = started_epoch_s
        self._started_s = time.monotonic() - (time.time() - started_epoch_s)
        self._narrator = Narrator(on_event)
        self._state = State(script=options.script)
        self._inbox: asyncio.Queue[Message | None] = asyncio.Queue()
        self._stay: Visit | None = None
        self._inside = False
        self._outcome: Outcome | None = None
        self._reason: str | None = None
        self._heard = AudioReport()
        self._sent = UplinkReport()

    async def run(self) -> ParticipantSummary:
        self._narrator.tell(
            EventName.STARTED,
            self._clock(),
            script=self._options.script.name,
            epoch_s=self._started_epoch_s,
        )
        while self._outcome is None:
            await self._visit_once()
            await self._stay_away()
        self._narrator.tell(
            EventName.ENDED, self._clock(), outcome=self._outcome.value, reason=self._reason
        )
        return self._summary(self._outcome)

    async def stop_when(self, stop: asyncio.Event) -> None:
        """Ends the run when `stop` is set."""
        await stop.wait()
        self._outcome = self._outcome or Outcome.STOPPED
        self._inbox.put_nowait(None)

    def _clock(self) -> float:
        return time.monotonic() - self._started_s

    # -- in and out of the room --------------------------------------------------------------------

    async def _visit_once(self) -> None:
        """Join, live there until it is time to leave, leave."""
        uplink = self._uplink()
        async with visit(
            door=self._door(),
            uplink=uplink,
            hearing=self._hearing,
            recording=self._recording,
            clock=self._clock,
            tell=self._inbox.put_nowait,
        ) as stay:
            self._stay, self._inside = stay, True
            self._narrator.joined(connect_s=stay.connect_s, at_s=self._clock())
            self._decide(Joined(), self._clock())
            while self._inside and self._outcome is None:
                await self._next()
        self._stay, self._inside = None, False
        self._drain()
        self._heard = merge(self._heard, stay.heard())
        self._sent = self._sent + uplink.report()

    async def _stay_away(self) -> None:
        while self._state.mode is Mode.AWAY and self._outcome is None and not self._inside:
            await self._next()

    def _drain(self) -> None:
        """Of what the stay left behind only the end of the agent's speech matters."""
        while not self._inbox.empty():
            message = self._inbox.get_nowait()
            if isinstance(message, Heard):
                self._narrator.heard(message.event)

    def _door(self) -> Door:
        options = self._options
        return Door(
            url=options.url,
            token=options.token,
            agent_identity=options.agent_identity,
            connect_deadline_s=options.connect_deadline_s,
            muted=options.script.muted,
        )

    def _uplink(self) -> Uplink:
        return Uplink(
            sample_rate=self._options.sample_rate,
            mode=self._options.uplink,
            background=self._voices.background(self._options.script.noise_dbfs),
            clock=self._clock,
        )

    # -- one thing after the other -----------------------------------------------------------------

    async def _next(self) -> None:
        """Wait for a message, a due time or the end, and act on it."""
        message: Message | None = None
        try:
            async with asyncio.timeout(self._wait_s()):
                message = await self._inbox.get()
        except TimeoutError:
            self._nothing_came()
        if message is not None:
            self._handle(message)
        now_s, wake_s = self._clock(), next_wake_s(self._state)
        if self._outcome is None and wake_s is not None and wake_s <= now_s:
            self._decide(Tick(), now_s)

    def _wait_s(self) -> float | None:
        due_s = (next_wake_s(self._state), self._options.max_s)
        waits_s = [max(0.0, at - self._clock()) for at in due_s if at is not None]
        if self._narrator.agent_audible:
            waits_s.append(SILENCE_CHECK_S)
        return min(waits_s, default=None)

    def _nothing_came(self) -> None:
        max_s = self._options.max_s
        if max_s is not None and self._clock() >= max_s:
            self._outcome = self._outcome or Outcome.TIME_LIMIT
        elif self._stay is not None and self._narrator.agent_audible:
            self._stay.notice_silence()

    def _handle(self, message: Message) -> None:
        narrator, now_s = self._narrator, self._clock()
        match message:
            case Heard():
                self._hear(message.event)
            case Said():
                self._decide(SpeechEnded(), message.at_s)
            case Seen():
                narrator.agent_seen(message.identity, now_s)
            case Unseen():
                narrator.tell(EventName.AGENT_GONE, now_s, identity=message.identity)
            case Received():
                narrator.received(message.kind, message.name)
            case Attributes():
                narrator.attributes_changed(message.changed)
            case Link():
                name = EventName.RECONNECTED if message.up else EventName.RECONNECTING
                narrator.tell(name, now_s)
            case Closed():
                lost = message.reason in LOST
                self._reason = message.reason
                self._outcome = Outcome.CONNECTION_LOST if lost else Outcome.ROOM_ENDED
            case _:
                assert_never(message)

    def _hear(self, event: HeardEvent) -> None:
        meaning = self._narrator.heard(event)
        if meaning is not None:
            self._decide(meaning, self._clock())

    # -- what the behaviour wants ------------------------------------------------------------------

    def _decide(self, event: Event, now_s: float) -> None:
        self._state, commands = step(self._state, event, now_s, self._rng)
        for command in commands:
            self._execute(command, now_s)

    def _execute(self, command: Command, now_s: float) -> None:
        match command:
            case Speak():
                self._speak(command.speech_s)
            case Leave():
                self._inside = False
                self._narrator.left(now_s, for_good=command.for_good)
                if command.for_good:
                    self._outcome = Outcome.SCRIPT_ENDED
            case Rejoin():
                self._inside = True
            case _:
                self._narrator.turn(command, now_s)

    def _speak(self, speech_s: float) -> None:
        if self._stay is not None:
            choice = self._rng.randrange(1 << 16)
            self._stay.say(self._voices.speech(choice=choice, speech_s=speech_s))

    def _summary(self, outcome: Outcome) -> ParticipantSummary:
        t0_s = self._options.t0_epoch_s
        return ParticipantSummary(
            script=self._options.script.name,
            outcome=outcome,
            disconnect_reason=self._reason,
            t0_epoch_s=t0_s,
            start_since_t0_s=None if t0_s is None else self._started_epoch_s - t0_s,
            duration_s=self._clock(),
            tally=self._narrator.tally,
            heard=self._heard,
            sent=self._sent,
        )
