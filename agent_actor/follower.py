"""Follows a session's signals and deadlines until its lifecycle is over.

The decisions are ``lifecycle``'s; this shell feeds it and carries its commands out through the
conductor.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import structlog

from agent_actor import lifecycle
from agent_actor.checkpoint import Checkpoint
from agent_actor.conductor import Conductor
from agent_actor.contract import EndReason, SessionConfig, SessionState
from agent_actor.errors import AgentError, ProviderUnavailable
from agent_actor.journal import EventKind
from agent_actor.lifecycle import Command, LifeAges, Stage
from agent_actor.messages import StopMode, StopOrder, Verdict
from agent_actor.recorder import Recorder
from agent_actor.signals import (
    Broken,
    GoodbyeSpoken,
    HandOver,
    ProtocolOver,
    Signal,
    TurnToAnswer,
)
from agent_actor.transport import RoomChange, RoomEvent, ending_of

LEAVING_LOOK_S = 0.05
BETWEEN_TURNS_S = 0.3
"""For so long nobody has had the word: the model may speak on after a function call."""

log = structlog.get_logger(__name__)


class Follower:
    """``run`` consumes ``signals`` and returns when the session is over, the reason being in the
    recorder's outcome, or when it is ``handed_over`` and is not. ``participant_here`` tells who was
    there before we began to listen, ``left`` what an earlier actor of this session left, as it is
    by now. ``between_turns``: whether the participant has been asked and nobody speaks.
    """

    def __init__(
        self,
        *,
        config: SessionConfig,
        limits: lifecycle.Limits,
        first_audio_timeout_s: float,
        conductor: Conductor,
        recorder: Recorder,
        signals: asyncio.Queue[Signal],
        participant_here: bool,
        between_turns: Callable[[], bool],
        left: Checkpoint | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._limits = limits
        self._first_audio_timeout_s = first_audio_timeout_s
        self._conductor = conductor
        self._recorder = recorder
        self._signals = signals
        self._here = participant_here
        self._clock = clock
        self._left = left
        now = clock()
        self._life = lifecycle.resumed(left.life, now) if left else lifecycle.joined(now)
        self._carries_on = left is not None and left.life.stage in (Stage.LIVE, Stage.CLOSING)
        """The participant was there when the actor before was lost: it is not welcomed back."""
        self._audio_due_at: float | None = None
        self._goodbye: asyncio.Task[None] | None = None
        self._short_of_money = False
        self._between_turns = between_turns
        self._leave_by: float | None = None
        self._between_since: float | None = None
        self.handed_over = False

    @property
    def participant_present(self) -> bool:
        return self._life.stage in (Stage.LIVE, Stage.CLOSING)

    @property
    def _ending(self) -> EndReason | None:
        """Why the session was ending already when the actor before was lost."""
        if self._left is None:
            return None
        return self._left.life.reason or (EndReason.COMPLETED if self._left.phases.closed else None)

    @property
    def life(self) -> LifeAges:
        return lifecycle.ages(self._life, self._clock())

    async def run(self) -> None:
        try:
            if self._left is not None and self._life.met:
                self._recorder.enter(SessionState.LIVE)
            if self._here:
                await self._participant_joined("present")
            self._carries_on = False
            if self._ending is not None:
                await self._step(lifecycle.EndWanted(reason=self._ending, goodbye=True))
            while self._life.stage is not Stage.ENDED and not self.handed_over:
                signal = await self._next_signal()
                if signal is not None:
                    await self._handle(signal)
                await self._tick()
        finally:
            if self._goodbye is not None:
                self._goodbye.cancel()
                await asyncio.wait([self._goodbye])

    async def _next_signal(self) -> Signal | None:
        deadlines = (
            lifecycle.next_deadline(self._limits, self._life),
            self._conductor.deadline() if self._life.stage is Stage.LIVE else None,
            self._audio_due_at,
            None if self._leave_by is None else self._clock() + LEAVING_LOOK_S,
        )
        due = min((d for d in deadlines if d is not None), default=None)
        timeout_s = None if due is None else max(0.0, due - self._clock())
        try:
            async with asyncio.timeout(timeout_s):
                return await self._signals.get()
        except TimeoutError:
            return None

    async def _tick(self) -> None:
        now = self._clock()
        self._check_first_audio(now)
        await self._step(lifecycle.Tick())
        due = self._conductor.deadline()
        if self._life.stage is Stage.LIVE and due is not None and now >= due:
            await self._conductor.tick()
        self.handed_over = self._may_leave(now)

    def _may_leave(self, now: float) -> bool:
        """A session that is ending is not worth another actor."""
        if self._leave_by is None or self._life.stage in (Stage.CLOSING, Stage.ENDED):
            return False
        if self._life.stage is not Stage.LIVE or now >= self._leave_by:
            return True
        if not self._between_turns():
            self._between_since = None
            return False
        self._between_since = now if self._between_since is None else self._between_since
        return now - self._between_since >= BETWEEN_TURNS_S

    def _check_first_audio(self, now: float) -> None:
        if self._audio_due_at is None or now < self._audio_due_at:
            return
        self._audio_due_at = None
        if self._life.stage is Stage.LIVE and self._recorder.outcome.first_audio_s is None:
            waited = f"{self._first_audio_timeout_s:g} s"
            error = ProviderUnavailable(f"the provider gave no audio within {waited}")
            self._signals.put_nowait(Broken(error=error))

    # --- signals

    async def _handle(self, signal: Signal) -> None:
        match signal:
            case RoomEvent():
                await self._room_event(signal)
            case StopOrder(reason=reason, mode=mode):
                goodbye = mode is StopMode.GOODBYE
                await self._step(lifecycle.EndWanted(reason=reason, goodbye=goodbye))
            case Verdict.WRAP_UP:
                self._short_of_money = True
                await self._conductor.wrap_up()
            case Verdict.END:
                reason = EndReason.BUDGET_EXCEEDED
                await self._step(lifecycle.EndWanted(reason=reason, goodbye=True))
            case Verdict.GO_ON:
                pass
            case ProtocolOver(early=early):
                # Told to wrap up, the model ends the interview itself; the money is still why.
                cut_short = early and self._short_of_money
                reason = EndReason.BUDGET_EXCEEDED if cut_short else EndReason.COMPLETED
                await self._step(lifecycle.EndWanted(reason=reason, goodbye=True))
            case TurnToAnswer():
                if self._life.stage is Stage.LIVE:
                    self._conductor.answer()
            case GoodbyeSpoken():
                await self._step(lifecycle.GoodbyeSaid())
            case HandOver(patience_s=patience_s):
                by = self._clock() + patience_s
                self._leave_by = by if self._leave_by is None else min(by, self._leave_by)
            case Broken(error=error):
                await self._lost(EndReason.PROVIDER_FAILED, error)

    async def _room_event(self, event: RoomEvent) -> None:
        if event.change is RoomChange.DISCONNECTED:
            await self._lost(*ending_of(event))
        elif event.identity != self._config.participant_identity:
            return
        elif event.change is RoomChange.PARTICIPANT_JOINED:
            await self._participant_joined("returned" if self._life.met else "joined")
        elif event.change is RoomChange.PARTICIPANT_LEFT:
            self._recorder.record(EventKind.PARTICIPANT, change="left", reason=event.reason)
            self._conductor.participant_speaking(False)
            await self._step(lifecycle.ParticipantLeft())
        elif event.change is RoomChange.SPEAKING:
            self._conductor.participant_speaking(event.active)
            self._recorder.publish()

    async def _participant_joined(self, change: str) -> None:
        if self._life.stage is Stage.LIVE:
            # Their coming was still to be told when we looked who was there.
            return
        self._recorder.record(EventKind.PARTICIPANT, change=change)
        await self._step(lifecycle.ParticipantJoined())

    async def _lost(self, reason: EndReason, error: AgentError | None) -> None:
        if self._life.reason is None:
            # What breaks while a goodbye is being said is not why the session ends.
            self._recorder.outcome.error = self._recorder.outcome.error or error
        await self._step(lifecycle.Lost(reason=reason))

    # --- commands

    async def _step(self, event: lifecycle.Event) -> None:
        self._life, commands = lifecycle.step(self._limits, self._life, event, self._clock())
        if self._life.reason is not None:
            self._recorder.outcome.end(self._life.reason)
        for command in commands:
            await self._execute(command)

    async def _execute(self, command: Command) -> None:
        match command:
            case Command.BEGIN:
                self._expect_audio()
                self._recorder.enter(SessionState.LIVE)
                await self._conductor.begin()
            case Command.PAUSE:
                self._conductor.pause()
            case Command.RESUME:
                await self._resume()
            case Command.SAY_GOODBYE:
                self._recorder.enter(SessionState.ENDING)
                self._goodbye = asyncio.create_task(self._say_goodbye())
            case Command.FINISH:
                self._recorder.enter(SessionState.ENDING)

    async def _resume(self) -> None:
        if self._ending is not None:
            # Only the goodbye is due.
            return
        if self._left is not None and not self._conductor.has_begun:
            self._expect_audio()
            await self._conductor.begin()
        elif not self._carries_on:
            self._expect_audio()
            self._conductor.resume()
        elif self._conductor.carry_on():
            self._expect_audio()
        self._recorder.publish()

    def _expect_audio(self) -> None:
        if self._recorder.outcome.first_audio_s is None:
            self._audio_due_at = self._clock() + self._first_audio_timeout_s

    async def _say_goodbye(self) -> None:
        try:
            await self._conductor.say_goodbye()
        except RuntimeError as error:
            log.info("no goodbye, the voice is closing", error=str(error))
        finally:
            self._recorder.record(EventKind.PHASE, change="goodbye_over")
            self._signals.put_nowait(GoodbyeSpoken())
