"""One interview, from joining the room to leaving it.

``InterviewSession.run`` is the whole life: join → wait for the contract → build the provider →
start the voice → follow the signals until the lifecycle is over → settle the bill → leave. It
never raises; what goes wrong is in the SessionResult.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import structlog
from livekit import rtc
from livekit.agents import AgentSession, AgentStateChangedEvent, ConversationItemAddedEvent
from livekit.agents.llm import ChatMessage

from agent_actor import lifecycle
from agent_actor.checkpoint import CONTRACT_FIELD, Checkpoint, Resumption, resumption
from agent_actor.conductor import Conductor, timings
from agent_actor.contract import (
    ActorId,
    EndReason,
    SessionConfig,
    SessionState,
    parse_tolerant,
)
from agent_actor.cost_feed import Cost, CostFeed
from agent_actor.dialogue import Dialogue, Said
from agent_actor.ear import Ear
from agent_actor.errors import (
    AgentError,
    CheckpointUnavailable,
    MetadataTimeout,
    ProviderError,
    ProviderUnavailable,
    RoomError,
)
from agent_actor.follower import Follower
from agent_actor.interviewer import Interviewer, agent_session
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.logs import scrub
from agent_actor.messages import (
    Allowance,
    Assignment,
    JoinReport,
    PhaseTiming,
    SessionResult,
    StopOrder,
)
from agent_actor.metadata import Found, wait_for_config
from agent_actor.owned_tasks import OwnedTasks
from agent_actor.prompting import instructions_for
from agent_actor.provider_link import ProviderLink
from agent_actor.provider_side import ProviderSide, ProviderSideParts, provider_side
from agent_actor.providers.base import Connected, Disconnected, nothing_opened
from agent_actor.recorder import Recorder
from agent_actor.session_trace import SessionTrace
from agent_actor.settings import AgentSettings
from agent_actor.signals import Broken, HandOver, ProtocolOver, Signal
from agent_actor.spending import AskBudget, Spending
from agent_actor.telemetry import NO_TRACER, Tracer
from agent_actor.transport import RoomChange, RoomEvent, Transport, ending_of

log = structlog.get_logger(__name__)

T = TypeVar("T")

REPORT_TURNS = 4
"""Of the event loop, from a result to the answer of whoever waits for it."""

KEEP_EVERY_S, KEEP_EVERY_SPOKEN_S = 3.0, 1.0
"""How old a checkpoint gets at most; while the interviewer speaks, for the words it has said."""

_SPEAKERS = {"user": "participant", "assistant": "interviewer"}


class InterviewSession:
    """One assignment. Use once: ``run`` it and read its result.

    ``on_joined`` is called when the agent is in the room; ``ask_budget`` carries usage reports
    to the budget actor and allowances back.
    """

    def __init__(
        self,
        *,
        assignment: Assignment,
        settings: AgentSettings,
        transport: Transport,
        journal: JournalWriter,
        ask_budget: AskBudget,
        on_joined: Callable[[JoinReport], None],
        actor_id: ActorId,
        opened: Callable[[str], Awaitable[Any | None]] = nothing_opened,
        tracer: Tracer = NO_TRACER,
    ) -> None:
        self._assignment = assignment
        self._settings = settings
        self._transport = transport
        self._ask_budget = ask_budget
        self._on_joined = on_joined
        self._actor_id = actor_id
        self._opened = opened
        self._trace = SessionTrace(tracer, assignment)
        self._recorder = Recorder(journal, self._trace.saw)
        self._dialogue = Dialogue()
        self._contract = ""
        self._left: Checkpoint | None = None
        """By the actor that had this session before."""
        self._ear: Ear | None = None
        self._leaving: Checkpoint | None = None
        """As it stood when it was handed over: what is torn down after that changes nothing."""
        self._silent_since = 0.0
        self._silence_s: float | None = None
        self._signals: asyncio.Queue[Signal] = asyncio.Queue()
        self._tasks = OwnedTasks("session", on_failed=self._on_part_failed)
        self._over = asyncio.Event()
        """Set when what is being waited for at the start is not worth waiting for any more."""
        self._started = time.monotonic()
        self._fallen_over = assignment.fallen_over
        """The contract's first provider was given up."""
        self._fallback_left = False
        """There is one, and it has not been tried."""
        self._restrained: Allowance | None = None
        """The latest allowance out of turn: it may come before there is anything to spend."""
        self._link: ProviderLink | None = None
        self._spending: Spending | None = None
        self._conductor: Conductor | None = None
        self._follower: Follower | None = None
        self._feed = CostFeed(
            session_id=assignment.session_id,
            attempt=assignment.attempt,
            observers=assignment.observers,
            look=self._cost,
            publish=transport.publish,
        )

    def stop(self, order: StopOrder) -> None:
        """Ask the session to end. Safe at any time, any number of times."""
        self._signals.put_nowait(order)
        self._over.set()

    def hand_over(self, patience_s: float) -> None:
        """Leave the interview to another actor, by ``patience_s`` from now; told again it can only
        be sooner. One that is ending goes on to its end."""
        self._signals.put_nowait(HandOver(patience_s=patience_s))

    def restrain(self, allowance: Allowance) -> None:
        """Take a new allowance out of turn."""
        self._restrained = allowance
        if self._spending is not None:
            self._spending.restrain(allowance)

    def observe(self, observers: Sequence[str]) -> None:
        """Who is told what the session costs, from now on."""
        self._feed.observe(observers)

    async def run(self) -> SessionResult:
        """Never raises; cancellation ends the session at once and is passed on."""
        self._recorder.refresh = self._refresh
        self._recorder.keep(self._kept)
        try:
            await self._interview()
        except AgentError as error:
            self._fail(error)
        except Exception as error:
            log.exception("session failed unexpectedly")
            self._fail(_unexpected(error))
        finally:
            await self._tasks.aclose()
            await self._transport.aclose()
            if self._passed_on:
                self._recorder.publish()
            else:
                self._recorder.enter(SessionState.GONE, **self._owed())
            self._close_trace()
        return self._result()

    # --- the stages

    async def _interview(self) -> None:
        joining = asyncio.ensure_future(self._join())
        try:
            left = await self._recall()
            if left is not None and left.life.stage is lifecycle.Stage.ENDED:
                await joining
                self._left = left
                self._recorder.outcome.end(left.life.reason or EndReason.COMPLETED)
            elif left is not None and left.contract:
                # All is known: the provider is got ready while the room is being joined.
                self._contract = left.contract
                self._take_up(left)
                await self._converse(parse_tolerant(left.contract), joining)
            else:
                await joining
                await self._begin(left, joining)
        finally:
            joining.cancel()
            await asyncio.gather(joining, return_exceptions=True)

    async def _begin(self, left: Checkpoint | None, joined: asyncio.Future[None]) -> None:
        """With the contract that the room has."""
        found = await self._unless_over(
            wait_for_config(
                self._transport,
                timeout_s=self._settings.metadata_timeout_s,
                poll_s=self._settings.metadata_poll_s,
            )
        )
        if not isinstance(found, Found):
            self._over_early(found)
            return
        self._recorder.outcome.metadata_wait_s = found.waited_s
        self._recorder.record(
            EventKind.METADATA, wait_s=round(found.waited_s, 4), problems=list(found.problems)
        )
        for event in found.passed_over:
            self._signals.put_nowait(event)
        self._contract = self._transport.metadata
        if left is not None:
            self._take_up(left)
        await self._converse(found.config, joined)

    async def _recall(self) -> Checkpoint | None:
        return await self._recorder.recall() if self._assignment.attempt > 1 else None

    def _take_up(self, left: Checkpoint) -> None:
        """Stand where an earlier actor stood; what it was just saying counts as said."""
        self._left = left
        self._fallen_over = self._fallen_over or left.fallen_over
        self._silent_since = left.at
        if left.first_comer is not None:
            self._transport.expect(left.first_comer)
        self._dialogue = Dialogue(left.said)
        self._recorder.record(
            EventKind.RECOVERY,
            from_attempt=left.attempt,
            resumption=resumption(left).value,
            phase_id=left.phases.visits[-1].phase_id if left.phases.visits else None,
            elapsed_s=None if left.interview_s is None else round(left.interview_s, 3),
            gap_s=round(time.time() - left.at, 3),
            utterances=len(left.said),
        )
        if left.cut_off.strip():
            self._note_turn(Said(speaker="interviewer", text=left.cut_off, interrupted=True))

    async def _join(self) -> None:
        await self._transport.connect()
        self._recorder.enter(SessionState.JOINED)
        self._on_joined(
            JoinReport(
                session_id=self._assignment.session_id,
                actor_id=self._actor_id,
                connect_s=time.monotonic() - self._started,
            )
        )
        # Whoever waits for the report hears it before starting the voice takes the loop for 0.1 s.
        for _ in range(REPORT_TURNS):
            await asyncio.sleep(0)

    async def _unless_over(self, work: Coroutine[Any, Any, T]) -> T | None:
        """What ``work`` returns or raises; None if it was cut short because all is over."""
        tasks = asyncio.ensure_future(work), asyncio.ensure_future(self._over.wait())
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            return tasks[0].result() if tasks[0].done() else None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def _over_early(self, disconnected: RoomEvent | None) -> None:
        """Over before there was anything to follow: the room is gone, or we were told to stop."""
        if disconnected is not None:
            self._recorder.outcome.end(*ending_of(disconnected))
            return
        told = (self._signals.get_nowait() for _ in range(self._signals.qsize()))
        order = next(signal for signal in told if isinstance(signal, StopOrder))
        self._recorder.outcome.end(order.reason)

    async def _converse(self, config: SessionConfig, joined: asyncio.Future[None]) -> None:
        if self._fallen_over:
            config = config.fallen_over()
        self._fallback_left = config.fallback is not None
        side = self._prepare(config)
        session = self._new_agent_session(side)
        conductor = Conductor(
            config=config,
            session=session,
            money=side.spending,
            record=self._recorder.record,
            on_close=lambda early: self._signals.put_nowait(ProtocolOver(early=early)),
        )
        if self._left is not None:
            conductor.restore(self._left.aged(time.time()))
            self._ear = Ear(conductor.participant_speaking)
        self._conductor = conductor
        agent = self._new_interviewer(config, conductor)
        try:
            if not joined.done():
                self._tasks.start(side.provider.begin(agent))
            await joined
            self._tasks.start(self._pump_room_events())
            self._tasks.start(self._keep_kept())
            await self._start_voice(config, session, agent, side.link)
            await self._follow(config, conductor)
        except AgentError as error:
            # Before anything is wound up: whether the session is over, or falls over, goes by it.
            self._fail(error)
            raise
        finally:
            side.link.aclose()
            if not self._passed_on:
                self._recorder.enter(SessionState.ENDING)
            await self._wind_up(session, conductor, side)

    def _prepare(self, config: SessionConfig) -> ProviderSide:
        parts = ProviderSideParts(
            assignment=self._assignment,
            settings=self._settings,
            recorder=self._recorder,
            trace=self._trace,
            ask_budget=self._ask_budget,
            signal=self._signals.put_nowait,
            on_back=self._on_provider_back,
            on_heard=self._on_heard,
            opened=self._opened,
        )
        side = provider_side(config, parts)
        self._link, self._spending = side.link, side.spending
        if self._restrained is not None:
            side.spending.restrain(self._restrained)
        self._tasks.start(side.spending.run())
        self._tasks.start(self._feed.run())
        self._recorder.outcome.unmapped = side.provider.unmapped
        for text in side.provider.unmapped:
            self._recorder.note(text)
        return side

    def _new_interviewer(self, config: SessionConfig, conductor: Conductor) -> Interviewer:
        phase = max(0, conductor.state.index)
        agent = Interviewer(
            instructions=instructions_for(config, phase), tools=conductor, dialogue=self._dialogue
        )
        conductor.attach(agent)
        return agent

    async def _start_voice(
        self,
        config: SessionConfig,
        session: AgentSession[None],
        agent: Interviewer,
        link: ProviderLink,
    ) -> None:
        await self._transport.start(session, agent, config.participant_identity)
        timeout_s = self._settings.provider_connect_timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                # Cut short, the follower is told the reason by the signals.
                await self._unless_over(_result_of(link.ready))
        except TimeoutError:
            told = f": {link.error}" if link.error else ""
            raise ProviderUnavailable(
                f"{config.provider.value} did not set up a session in {timeout_s:g} s{told}"
            ) from None
        self._recorder.enter(SessionState.CONFIGURED)

    async def _follow(self, config: SessionConfig, conductor: Conductor) -> None:
        limits = lifecycle.Limits(
            no_show_s=config.no_show_seconds,
            reconnect_grace_s=config.reconnect_grace_seconds,
            session_timeout_s=config.session_timeout_seconds,
            goodbye_s=self._settings.goodbye_timeout_s,
        )
        self._follower = Follower(
            config=config,
            limits=limits,
            first_audio_timeout_s=self._settings.first_audio_timeout_s,
            conductor=conductor,
            recorder=self._recorder,
            signals=self._signals,
            participant_here=self._transport.is_present(config.participant_identity),
            between_turns=self._between_turns,
            left=self._left.aged(time.time()) if self._left else None,
            may_fall_over=config.fallback is not None,
        )
        await self._follower.run()
        if self._follower.handed_over:
            self._leave("handed_over")
        elif self._falls_over:
            self._leave("falls_over")

    def _between_turns(self) -> bool:
        checkpoint = self._checkpoint()
        return checkpoint is not None and resumption(checkpoint) is Resumption.LISTEN

    def _leave(self, change: str) -> None:
        leaving = self._checkpoint()
        assert leaving is not None
        self._recorder.record(
            EventKind.RECOVERY, change=change, resumption=resumption(leaving).value
        )
        self._leaving = leaving

    async def _wind_up(
        self, session: AgentSession[None], conductor: Conductor, side: ProviderSide
    ) -> None:
        """In this order: no more prompts, no more responses, the provider's last bill, our last
        report. A step that fails does not keep the next from being taken.
        """
        await conductor.aclose()
        self._recorder.record(EventKind.AUDIO, **conductor.voice.statistics())
        await side.spending.hush()
        for close in (session.aclose, side.provider.model.aclose):
            try:
                await close()
            except Exception as error:
                # The plugin raises once more what had ended it.
                log.info("closing the voice failed", error_type=type(error).__name__)
        await self._tasks.aclose()
        await side.spending.settle()
        if not self._passed_on:
            await self._feed.finish()

    def _owed(self) -> dict[str, Any]:
        """The final usage report that the budget actor did not take. The result carries it too, but
        whoever waits for that may be away as well."""
        unheard = self._spending.unheard if self._spending else None
        return {} if unheard is None else {"report": unheard.to_dict()}

    async def _keep_kept(self) -> None:
        """Nothing may happen for long, and the checkpoint is to be young all the same."""
        while True:
            speaking = self._conductor is not None and self._conductor.voice.interviewer
            await asyncio.sleep(KEEP_EVERY_SPOKEN_S if speaking else KEEP_EVERY_S)
            self._recorder.publish()

    async def _pump_room_events(self) -> None:
        while True:
            event = await self._transport.events.get()
            self._signals.put_nowait(event)
            if event.change is RoomChange.DISCONNECTED:
                self._over.set()

    def _on_part_failed(self, error: BaseException) -> None:
        """A crash of what runs beside the interview ends it, instead of going unseen."""
        self._signals.put_nowait(Broken(error=_unexpected(error)))

    # --- what the provider and the framework tell

    def _new_agent_session(self, side: ProviderSide) -> AgentSession[None]:
        session = agent_session(side.provider.model)
        session.on("close", side.link.on_close)
        session.on("error", side.link.on_error)
        session.on("agent_state_changed", self._on_agent_state)
        session.on("conversation_item_added", self._on_conversation_item)
        return session

    def _on_provider_back(self, event: Connected, lost: Disconnected) -> None:
        if self._conductor is not None:
            self._conductor.reconnected(
                cut_short=self._dialogue.cut_off if lost.cut_short else None,
                unanswered=event.unanswered,
                planned=lost.planned,
            )

    def _on_heard(self, frame: rtc.AudioFrame) -> None:
        if self._ear is not None and not self._ear.done:
            self._ear.hear(np.frombuffer(frame.data, dtype=np.int16), frame.duration * 1000)

    def _on_agent_state(self, event: AgentStateChangedEvent) -> None:
        outcome = self._recorder.outcome
        if event.new_state == "speaking" and outcome.first_audio_s is None:
            outcome.first_audio_s = time.monotonic() - self._started
            self._recorder.record(EventKind.AUDIO, first_audio_s=round(outcome.first_audio_s, 4))
            self._note_silence()
        self._recorder.publish()

    def _on_conversation_item(self, event: ConversationItemAddedEvent) -> None:
        item = event.item
        if isinstance(item, ChatMessage) and item.text_content and item.role in _SPEAKERS:
            said = Said(
                speaker=_SPEAKERS[item.role], text=item.text_content, interrupted=item.interrupted
            )
            self._note_turn(said)

    def _note_turn(self, said: Said) -> None:
        if self._leaving is not None and said.speaker == "interviewer":
            # Cut off by leaving: the successor is told, and tells the journal.
            return
        self._dialogue.add(said)
        self._recorder.record(
            EventKind.TURN, speaker=said.speaker, text=said.text, interrupted=said.interrupted
        )

    def _note_silence(self) -> None:
        if self._left is not None and resumption(self._left) is Resumption.CARRY_ON:
            self._silence_s = round(time.time() - self._silent_since, 3)
            self._recorder.record(EventKind.RECOVERY, silence_s=self._silence_s)

    # --- the record

    def _refresh(self, live: LiveState) -> LiveState:
        if self._conductor is not None:
            phases = self._conductor.progress()
            live = replace(live, **phases, speaking=self._conductor.voice.speaking)
        if self._spending is not None:
            live = replace(live, **self._spending.figures())
        if self._follower is None:
            return live
        present, away_s = self._follower.participant_present, self._follower.away_s
        left = self._leaving is not None
        return replace(live, participant_present=present, away_s=away_s, handed_over=left)

    def _kept(self) -> dict[str, str] | None:
        """Before there is anything to carry on with, the contract alone: it is not in the room, and
        whoever begins anew for a supervisor that was lost too could not know it."""
        checkpoint = self._leaving or self._checkpoint()
        if checkpoint is not None:
            return checkpoint.texts(self._dialogue.said_text())
        given = self._assignment.metadata
        return None if given is None else {CONTRACT_FIELD: given}

    def _checkpoint(self) -> Checkpoint | None:
        """Once there is something to carry on with; what was said is kept apart."""
        if self._follower is None or self._conductor is None or self._spending is None:
            return None
        voice = self._conductor.voice
        due = self._spending.responding or bool(self._link and self._link.owes_words)
        word = voice.interviewer or due
        return Checkpoint(
            attempt=self._assignment.attempt,
            at=time.time(),
            life=self._follower.life,
            interview_s=self._conductor.elapsed_s() if self._conductor.has_begun else None,
            phases=self._conductor.state,
            speaking=voice.speaking,
            last_speaker=voice.last,
            answer_due=due,
            cut_off=self._dialogue.cut_off if word else "",
            contract=self._contract,
            first_comer=self._transport.first_comer,
            fallen_over=self._fallen_over or self._falls_over,
        )

    def _cost(self) -> Cost | None:
        if self._spending is None:
            return None
        phase = self._conductor.progress() if self._conductor else {}
        return replace(self._spending.cost(), **phase)

    @property
    def _passed_on(self) -> bool:
        """The session goes on, with another actor."""
        return self._leaving is not None or self._falls_over

    @property
    def _falls_over(self) -> bool:
        """The session is not over: another actor carries it on with the other provider."""
        outcome = self._recorder.outcome
        failed = outcome.reason is EndReason.PROVIDER_FAILED
        return self._fallback_left and failed and isinstance(outcome.error, ProviderError)

    def _fail(self, error: AgentError) -> None:
        """Once for each error, however often it is caught on its way."""
        if self._recorder.outcome.error is error:
            return
        log.warning("session ended by an error", code=error.code, error=str(error))
        self._recorder.outcome.end(_reason_for(error), error)

    def _close_trace(self) -> None:
        outcome = self._recorder.outcome
        self._trace.close(
            reason=outcome.reason.value if outcome.reason else None,
            error=outcome.error.code if outcome.error else None,
        )

    def _phases(self) -> tuple[PhaseTiming, ...]:
        """All that the interview was in, by whichever actor."""
        if self._conductor is not None:
            return self._conductor.timings()
        return timings(self._left.phases) if self._left is not None else ()

    def _result(self) -> SessionResult:
        outcome = self._recorder.outcome
        error = outcome.error
        left = self._leaving is not None
        return SessionResult(
            session_id=self._assignment.session_id,
            attempt=self._assignment.attempt,
            end_reason=outcome.reason or (EndReason.DRAINED if left else EndReason.COMPLETED),
            error_code=error.code if error else None,
            error=scrub(str(error)) if error else None,
            retryable=bool(error and error.retryable),
            usage=self._spending.last_report if self._spending else None,
            phases=self._phases(),
            metadata_wait_s=outcome.metadata_wait_s,
            first_audio_s=outcome.first_audio_s,
            duration_s=time.monotonic() - self._started,
            provider_sessions=tuple(outcome.provider_sessions),
            unmapped=outcome.unmapped,
            silence_s=self._silence_s,
            silences_s=self._spending.silences_s if self._spending else (),
            handed_over=left and not self._falls_over,
            falls_over=self._falls_over,
        )


async def _result_of(future: asyncio.Future[T]) -> T:
    return await future


def _unexpected(error: BaseException) -> AgentError:
    return AgentError(f"{type(error).__name__}: {error}")


def _reason_for(error: AgentError) -> EndReason:
    if isinstance(error, MetadataTimeout):
        return EndReason.METADATA_TIMEOUT
    if isinstance(error, CheckpointUnavailable):
        return EndReason.ACTOR_LOST
    if isinstance(error, RoomError):
        return EndReason.ROOM_FAILED
    return EndReason.PROVIDER_FAILED
