"""Carries out what the phase machine decides: swaps instructions, prompts, says goodbye.

The machine (``phases``) is pure; this shell holds its state, brings the clock, and speaks
through the framework's AgentSession.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

import structlog
from livekit.agents import Agent, AgentSession, llm
from livekit.agents.voice import SpeechHandle

from agent_actor import phases, prompting
from agent_actor.checkpoint import Checkpoint, Resumption, resumption
from agent_actor.contract import SessionConfig
from agent_actor.journal import EventKind
from agent_actor.messages import PhaseTiming
from agent_actor.providers.failures import is_late
from agent_actor.voice import Voice

log = structlog.get_logger(__name__)

SPEECH_START_TIMEOUT_S = 6.0
"""How long a reply the model owes us (the goodbye after its function call) may take to begin."""

LATE_GOODBYE_S = 3.0

LISTEN_FIRST_S = 1.0
"""More patience of one who has just come into a conversation: the participant's voice takes as long
to reach it."""

SAY_TRIES = 3
"""How often words are asked for that do not begin. The plugins wait 10 s (OpenAI) or 5 s (Gemini)
for each, and discard or interrupt what then comes of the one before."""
UNANSWERED_S = 8.0
"""Beyond the silence that ends a turn: how much longer a greeting may stay without a word."""
GREETED_AGAIN = 2
"""How often. A participant's terminal may take seconds until it plays what it receives, long after
the server has said that it listens. Who has not heard a question does not answer, and both would
wait for each other."""
GREETING_S = 30.0
"""A greeting that has not begun by then is the provider's failure, not the participant's."""
REHEARD_S = 4.0
"""How long the provider may take to answer what it is sent a second time."""


class Record(Protocol):
    """Where events go; see agent_actor.journal for the kinds and their data."""

    def __call__(self, kind: EventKind, **data: Any) -> None: ...


class Money(Protocol):
    """What of the session's money the protocol has to know. See ``Spending``."""

    refused: asyncio.Event

    def close(self) -> None: ...

    async def goodbye_fits(self) -> bool: ...


class Conductor:
    """One interview's protocol. All methods run on the session's event loop.

    ``on_close`` is called once, when the protocol is over and a goodbye is due; with True if
    the model ended it before the last phase was through.
    """

    def __init__(
        self,
        *,
        config: SessionConfig,
        session: AgentSession[None],
        money: Money,
        record: Record,
        on_close: Callable[[bool], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._config = config
        self._session = session
        self._money = money
        self._record = record
        self._on_close = on_close
        self._clock = clock
        self._began_at: float | None = None
        self._plan = [
            phases.PhaseLimit(id=p.id, duration_s=p.duration_seconds) for p in config.phases
        ]
        self._state = phases.PhaseState()
        self._left: Checkpoint | None = None
        """What an earlier actor of this session left, until it is taken up."""
        self._agent: Agent | None = None
        self._listened_to = False
        self._goodbye_owed_by_model = False
        self._wrapping_up = False
        self._voice = Voice(clock)
        self._prompting: asyncio.Task[None] | None = None
        session.on("agent_state_changed", self._voice.agent_state_changed)

    # --- what the session asks of it

    def attach(self, agent: Agent) -> None:
        self._agent = agent

    def restore(self, left: Checkpoint) -> None:
        """Stand where an earlier actor of this session stood. Call it before anything else;
        ``carry_on`` then takes up the word."""
        self._left = left
        self._state = left.phases
        self._voice.last = left.last_speaker
        if left.interview_s is not None:
            self._began_at = self._clock() - left.interview_s

    @property
    def state(self) -> phases.PhaseState:
        return self._state

    @property
    def has_begun(self) -> bool:
        return self._began_at is not None

    @property
    def voice(self) -> Voice:
        return self._voice

    def elapsed_s(self) -> float:
        """Seconds on the interview's own clock."""
        return 0.0 if self._began_at is None else self._clock() - self._began_at

    def deadline(self) -> float | None:
        """When ``tick`` is due next, on the clock given; None for never."""
        at_s = phases.next_deadline_s(self._plan, self._state)
        return None if at_s is None or self._began_at is None else self._began_at + at_s

    def progress(self) -> dict[str, Any]:
        """The phase fields of a LiveState."""
        visits = self._state.visits
        return {
            "phase_id": visits[-1].phase_id if visits else None,
            "phase_index": self._state.index if visits else None,
            "phase_count": len(self._plan),
        }

    def timings(self) -> tuple[PhaseTiming, ...]:
        return timings(self._state)

    async def begin(self) -> None:
        """Greet and enter the first phase."""
        self._began_at = self._clock()
        self._listened_to = True
        await self._carry_out(phases.Begin())
        self._say(prompting.opening(self._config))
        self._prompting = asyncio.create_task(self._greet_again())

    async def tick(self) -> None:
        await self._carry_out(phases.Tick())

    async def wrap_up(self) -> None:
        """Tell the interviewer, from now on, to come to an end; nothing is interrupted."""
        self._wrapping_up = True
        await self._instruct(None)

    def pause(self) -> None:
        """Nobody is listening: stop talking."""
        self._listened_to = False
        self._stop_prompting()
        self._hush()

    def carry_on(self) -> bool:
        """The participant is here and has not left: go on where the actor before was lost. Whether
        words come at once."""
        self._listened_to = True
        left, self._left = self._left, None
        if left is None:
            return False
        match resumption(left):
            case Resumption.CARRY_ON:
                self._say(prompting.carry_on(left.cut_off))
                return True
            case Resumption.ASK_AGAIN:
                self._prompt_when_quiet(prompting.ASK_AGAIN, more_s=LISTEN_FIRST_S)
            case Resumption.LISTEN:
                pass
        return False

    def resume(self) -> None:
        self._listened_to = True
        self._say(prompting.WELCOME_BACK)

    def reconnected(self, *, cut_short: str | None, unanswered: bool, planned: bool) -> None:
        """The provider's connection is up again.

        ``cut_short``: what of the interviewer's words was lost with it, as far as it is known;
        None: none. ``unanswered``: the provider hears the participant's turn once more, and
        answers that. ``planned``: nothing can have been lost.
        """
        if not self._listened_to or self._state.closed:
            return
        if unanswered:
            # If it does not answer after all, both sides would wait for each other.
            self._prompt_when_quiet(prompting.CARRY_ON, more_s=REHEARD_S)
        elif cut_short is not None:
            # Nothing is unanswered, so nobody is speaking, whatever the room's late word says.
            self._stop_prompting()
            self._say(prompting.carry_on(cut_short))
        elif self._voice.last == "participant" and not planned:
            self._prompt_when_quiet(prompting.CARRY_ON)

    def participant_speaking(self, active: bool) -> None:
        self._voice.participant_speaking(active)

    def answer(self) -> None:
        """Have the interviewer answer the participant: the server won't by itself."""
        if self._listened_to and not self._state.closed:
            self._say(None)

    async def say_goodbye(self) -> None:
        """Returns when the goodbye has been spoken, or it is clear that it won't be. The caller
        bounds it."""
        self._stop_prompting()
        if self._goodbye_owed_by_model:
            self._record(EventKind.PHASE, change="goodbye")
            await self._spoken_or_refused()
            return
        self._hush()
        if not await self._money.goodbye_fits():
            self._record(EventKind.NOTE, text="no goodbye: it could not be paid for")
            return
        self._record(EventKind.PHASE, change="goodbye")
        before = self._voice.spurts
        handle = self._session.generate_reply(instructions=prompting.CLOSING)
        await handle
        if self._voice.spurts == before and handle.exception() is None:
            # The provider has ended another turn first, and the framework took that for this one.
            await self._voice.wait_spoken(LATE_GOODBYE_S)

    async def _spoken_or_refused(self) -> None:
        spoken = asyncio.ensure_future(self._voice.wait_spoken(SPEECH_START_TIMEOUT_S))
        refused = asyncio.ensure_future(self._money.refused.wait())
        try:
            await asyncio.wait({spoken, refused}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            spoken.cancel()
            refused.cancel()
            await asyncio.gather(spoken, refused, return_exceptions=True)

    async def aclose(self) -> None:
        if self._prompting is not None:
            self._prompting.cancel()
            await asyncio.wait([self._prompting])
        self._session.off("agent_state_changed", self._voice.agent_state_changed)

    # --- the model's tools (interviewer.PhaseTools)

    async def advance(self, completed: str | None) -> str:
        return await self._from_tool("advance_phase", phases.Advance(completed=completed))

    async def end(self) -> str:
        return await self._from_tool("end_interview", phases.End())

    async def _from_tool(self, name: str, event: phases.Event) -> str:
        self._goodbye_owed_by_model = True
        try:
            answer = await self._carry_out(event)
        finally:
            self._goodbye_owed_by_model = self._state.closed
        self._record(EventKind.TOOL, name=name, closed=self._state.closed)
        return answer

    # --- carrying out

    async def _carry_out(self, event: phases.Event) -> str:
        """Step the machine and execute its commands; returns the answer for a tool call."""
        self._state, commands = phases.step(self._plan, self._state, event, self.elapsed_s())
        answer = ""
        for command in commands:
            answer = await self._execute(command)
        return answer

    async def _execute(self, command: phases.Command) -> str:
        match command:
            case phases.Enter(index=index, cause=cause):
                return await self._enter(index, cause)
            case phases.Nudge(remaining_s=remaining_s):
                self._record(EventKind.PHASE, change="nudged", phase_id=self._phase_id)
                await self._instruct(prompting.time_note(remaining_s))
                return ""
            case phases.Close(cause=cause):
                self._money.close()
                self._record(EventKind.PHASE, change="closing", cause=cause.value)
                self._on_close(cause is phases.Cause.ENDED)
                return prompting.CLOSING
            case phases.Refuse(reason=reason):
                return f"Not done: {reason}."

    async def _enter(self, index: int, cause: phases.Cause) -> str:
        self._record(
            EventKind.PHASE,
            change="entered",
            phase_id=self._phase_id,
            name=self._config.phases[index].name,
            index=index,
            cause=cause.value,
            elapsed_s=round(self.elapsed_s(), 3),
        )
        if cause is phases.Cause.STARTED:
            return ""
        await self._instruct(None)
        if cause is phases.Cause.FORCED:
            self._prompt_when_quiet(prompting.moved_on(self._config.phases, index))
        return prompting.entered(self._config.phases, index)

    @property
    def _phase_id(self) -> str:
        return self._config.phases[self._state.index].id

    async def _instruct(self, note: str | None) -> None:
        if self._agent is None or self._state.index < 0:
            return
        # The wrap-up outlives a change of phase, and nothing else is as urgent.
        note = prompting.WRAP_UP if self._wrapping_up else note
        text = prompting.instructions_for(self._config, self._state.index, note=note)
        try:
            await self._agent.update_instructions(text)
        except llm.RealtimeError as error:
            # The reconnect that is under way then carries the new instructions itself.
            log.warning("instructions not confirmed by the provider", error=str(error))

    def _say(self, instructions: str | None, tries: int = 1) -> None:
        try:
            if instructions is None:
                handle = self._session.generate_reply(input_modality="audio")
            else:
                handle = self._session.generate_reply(instructions=instructions)
        except RuntimeError as error:
            log.warning("reply not possible, the session is closing", error=str(error))
            return
        handle.add_done_callback(partial(self._said, instructions, tries, self._voice.spurts))

    def _said(
        self, instructions: str | None, tries: int, spurts: int, handle: SpeechHandle
    ) -> None:
        """Words that the provider did not begin in time are asked for again, while nothing else
        has been said: the plugin has given them up, and nobody would ever speak."""
        if not is_late(handle.exception()) or tries == SAY_TRIES or self._voice.spurts != spurts:
            return
        if self._listened_to and not self._state.closed:
            self._record(EventKind.NOTE, text="the provider was late with words: asked again")
            self._say(instructions, tries + 1)

    def _hush(self) -> None:
        try:
            self._session.interrupt(force=True)
        except RuntimeError as error:
            log.debug("nothing to interrupt", error=str(error))

    def _prompt_when_quiet(self, instructions: str, *, more_s: float = 0.0) -> None:
        """Speak unasked, but never over a participant who is speaking or thinking: only after
        a silence as long as the one that ends a turn, and ``more_s``."""
        self._stop_prompting()
        self._prompting = asyncio.create_task(
            self._prompt_after(self._quiet_s(more_s), instructions)
        )

    def _quiet_s(self, more_s: float) -> float:
        return self._config.vad_config.silence_duration_ms / 1000 + 0.5 + more_s

    async def _greet_again(self) -> None:
        quiet_s = self._quiet_s(UNANSWERED_S)
        for _ in range(GREETED_AGAIN):
            before = self._voice.spurts
            await self._voice.wait_spoken(GREETING_S)
            if self._voice.spurts == before:
                return
            quiet = await self._voice.wait_quiet(quiet_s)
            if not quiet or self._voice.participant_heard or self._state.closed:
                return
            self._record(EventKind.NOTE, text="nobody answers: greeted again")
            self._say(prompting.NOT_ANSWERED)

    async def _prompt_after(self, quiet_s: float, instructions: str) -> None:
        if await self._voice.wait_quiet(quiet_s):
            self._say(instructions)

    def _stop_prompting(self) -> None:
        if self._prompting is not None:
            self._prompting.cancel()
            self._prompting = None


def timings(state: phases.PhaseState) -> tuple[PhaseTiming, ...]:
    return tuple(
        PhaseTiming(
            phase_id=v.phase_id, entered_s=v.entered_s, left_s=v.left_s, cause=v.cause.value
        )
        for v in state.visits
    )
