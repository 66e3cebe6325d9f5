from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, cast

from livekit.agents import Agent, AgentSession, AgentStateChangedEvent, llm

from agent_actor import lifecycle, phases, prompting
from agent_actor.checkpoint import Checkpoint
from agent_actor.conductor import (
    GREETED_AGAIN,
    GREETING_S,
    LISTEN_FIRST_S,
    REHEARD_S,
    SAY_TRIES,
    SPEECH_START_TIMEOUT_S,
    UNANSWERED_S,
    Conductor,
)
from agent_actor.contract import parse_tolerant
from agent_actor.journal import EventKind
from tests.unit.agent_actor.virtual_time import clock, run, settle

SILENCE_MS = 2_000
QUIET_S = SILENCE_MS / 1000 + 0.5
NOTHING_LOST: dict[str, Any] = {"cut_short": None, "unanswered": False, "planned": False}
CUT_SHORT: dict[str, Any] = {**NOTHING_LOST, "cut_short": ""}
CONFIG = parse_tolerant(
    json.dumps(
        {
            "provider": "openai_realtime",
            "instructions": "Ask about parks.",
            "vad_config": {"silence_duration_ms": SILENCE_MS},
            "phases": [
                {"id": "one", "name": "One", "duration_seconds": 100},
                {"id": "two", "name": "Two", "duration_seconds": 100, "prompt_suffix": "Dig."},
            ],
        }
    )
)


class Handle:
    def __init__(self) -> None:
        self.played = asyncio.Event()
        self.error: Exception | None = None
        self._callbacks: list[Callable[[Handle], None]] = []

    def exception(self) -> Exception | None:
        return self.error

    def add_done_callback(self, callback: Callable[[Handle], None]) -> None:
        self._callbacks.append(callback)

    def fails(self, error: Exception) -> None:
        self.error = error
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(self)

    def __await__(self) -> Any:
        return self.played.wait().__await__()


class Voiced:
    """Stands where the framework's session is. Speaking is told by ``speaks``."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.hushed = 0
        self.closing = False
        self.handle = Handle()
        self._listeners: list[Callable[[AgentStateChangedEvent], None]] = []

    def on(self, _event: str, listener: Callable[[AgentStateChangedEvent], None]) -> None:
        self._listeners.append(listener)

    def off(self, _event: str, listener: Callable[[AgentStateChangedEvent], None]) -> None:
        self._listeners.remove(listener)

    def generate_reply(
        self, *, instructions: str | None = None, input_modality: str = "text"
    ) -> Handle:
        if self.closing:
            raise RuntimeError("the session is closing")
        self.asked.append(f"[{input_modality}]" if instructions is None else instructions)
        return self.handle

    def interrupt(self, *, force: bool) -> None:
        assert force
        if self.closing:
            raise RuntimeError("the session is closing")
        self.hushed += 1

    def speaks(self, active: bool) -> None:
        old, new = ("listening", "speaking") if active else ("speaking", "listening")
        for listener in self._listeners:
            listener(AgentStateChangedEvent(old_state=old, new_state=new))


class Instructed:
    """Stands where the framework's agent is."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self.error: Exception | None = None

    async def update_instructions(self, text: str) -> None:
        self.texts.append(text)
        if self.error is not None:
            raise self.error


class Purse:
    """Stands where the session's money is."""

    def __init__(self) -> None:
        self.refused = asyncio.Event()
        self.closed = 0
        self.fits = True

    def close(self) -> None:
        self.closed += 1

    async def goodbye_fits(self) -> bool:
        return self.fits


class Play:
    def __init__(self) -> None:
        self.purse = Purse()
        self.voiced, self.agent = Voiced(), Instructed()
        self.closes: list[bool] = []
        self.journal: list[tuple[EventKind, dict[str, Any]]] = []
        self.conductor = Conductor(
            config=CONFIG,
            session=cast("AgentSession[None]", self.voiced),
            money=self.purse,
            record=lambda kind, **data: self.journal.append((kind, data)),
            on_close=self.closes.append,
            clock=clock,
        )
        self.conductor.attach(cast(Agent, self.agent))

    @property
    def phase(self) -> str | None:
        return cast("str | None", self.conductor.progress()["phase_id"])


async def elapse(until_s: float) -> None:
    loop = asyncio.get_running_loop()
    reached = loop.create_future()
    loop.call_at(until_s, reached.set_result, None)
    await reached
    await settle()


async def begun() -> Play:
    play = Play()
    await play.conductor.begin()
    play.voiced.asked.clear()
    return play


def test_beginning_greets_in_the_first_phase() -> None:
    async def test() -> None:
        play = Play()
        assert (play.phase, play.conductor.deadline()) == (None, None)
        await play.conductor.begin()
        assert play.phase == "one"
        assert play.voiced.asked == [prompting.opening(CONFIG)]
        assert play.conductor.deadline() == 80
        await play.conductor.aclose()

    run(test)


def greets(play: Play) -> None:
    play.voiced.speaks(True)
    play.voiced.speaks(False)


def test_who_says_nothing_to_a_greeting_is_greeted_again_so_often() -> None:
    async def test() -> None:
        play = await begun()
        await elapse(4)
        greets(play)
        for number in range(GREETED_AGAIN):
            said_at = asyncio.get_running_loop().time()
            await elapse(said_at + QUIET_S + UNANSWERED_S - 0.1)
            assert play.voiced.asked == number * [prompting.NOT_ANSWERED]
            await elapse(said_at + QUIET_S + UNANSWERED_S + 0.1)
            assert play.voiced.asked == (number + 1) * [prompting.NOT_ANSWERED]
            greets(play)
        await elapse(asyncio.get_running_loop().time() + 60)
        assert len(play.voiced.asked) == GREETED_AGAIN
        await play.conductor.aclose()

    run(test)


def test_who_has_said_a_word_may_think_for_as_long_as_they_like() -> None:
    async def test() -> None:
        play = await begun()
        # Over the greeting, as one does.
        play.voiced.speaks(True)
        play.conductor.participant_speaking(True)
        play.conductor.participant_speaking(False)
        play.voiced.speaks(False)
        await elapse(QUIET_S + UNANSWERED_S + 1)
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_nobody_is_greeted_again_over_an_answer_that_comes_late() -> None:
    async def test() -> None:
        play = await begun()
        greets(play)
        await elapse(QUIET_S + UNANSWERED_S - 0.1)
        play.conductor.participant_speaking(True)
        await elapse(QUIET_S + UNANSWERED_S + 20)
        play.conductor.participant_speaking(False)
        await elapse(QUIET_S + UNANSWERED_S + 60)
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_nobody_is_greeted_again_who_has_gone() -> None:
    async def test() -> None:
        play = await begun()
        greets(play)
        play.conductor.pause()
        await elapse(GREETING_S + QUIET_S + UNANSWERED_S + 1)
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


LATE = llm.RealtimeError("generate_reply timed out.")


def test_words_that_do_not_begin_are_asked_for_again_so_often() -> None:
    async def test() -> None:
        play = Play()
        await play.conductor.begin()
        for _ in range(SAY_TRIES + 2):
            play.voiced.handle.fails(LATE)
        assert play.voiced.asked == SAY_TRIES * [prompting.opening(CONFIG)]
        await play.conductor.aclose()

    run(test)


def test_nothing_is_asked_for_again_that_has_its_words_or_nobody_to_hear_them() -> None:
    async def test() -> None:
        play = Play()
        await play.conductor.begin()
        # They came after all.
        play.voiced.speaks(True)
        play.voiced.handle.fails(LATE)
        play.voiced.speaks(False)
        play.conductor.resume()
        # There is no money for them.
        play.voiced.handle.fails(llm.RealtimeError("no money for this response"))
        play.conductor.resume()
        play.conductor.pause()
        play.voiced.handle.fails(LATE)
        assert play.voiced.asked == [prompting.opening(CONFIG), *2 * [prompting.WELCOME_BACK]]
        await play.conductor.aclose()

    run(test)


def test_model_moves_on_and_is_told_what_comes() -> None:
    async def test() -> None:
        play = await begun()
        answer = await play.conductor.advance("one")
        assert answer == prompting.entered(CONFIG.phases, 1)
        assert play.phase == "two"
        assert "Current phase: two (Two).\nDig." in play.agent.texts[-1]
        # It speaks by itself in answer to its call.
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_call_for_a_phase_that_is_over_is_refused_and_changes_nothing() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.advance(None)
        texts = list(play.agent.texts)
        answer = await play.conductor.advance("one")
        assert answer == "Not done: the current phase is 'two', not 'one'."
        assert (play.phase, play.agent.texts, play.closes) == ("two", texts, [])
        await play.conductor.aclose()

    run(test)


def test_call_before_the_beginning_and_after_the_end_is_refused() -> None:
    async def test() -> None:
        play = Play()
        assert "has not begun" in await play.conductor.advance(None)
        await play.conductor.begin()
        assert await play.conductor.end() == prompting.CLOSING
        assert "already closing" in await play.conductor.advance(None)
        assert "already closing" in await play.conductor.end()
        assert play.closes == [True]
        await play.conductor.aclose()

    run(test)


def test_going_through_the_last_phase_is_not_early() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.advance("one")
        assert await play.conductor.advance("two") == prompting.CLOSING
        assert play.closes == [False]
        await play.conductor.aclose()

    run(test)


def test_time_nudges_first_and_then_moves_on_when_all_are_quiet() -> None:
    async def test() -> None:
        play = await begun()
        await elapse(80)
        await play.conductor.tick()
        assert play.agent.texts[-1].endswith(prompting.time_note(20))
        assert play.voiced.asked == []
        await elapse(99)
        play.conductor.participant_speaking(True)
        await elapse(100)
        await play.conductor.tick()
        assert play.phase == "two"
        await elapse(150)
        assert play.voiced.asked == [], "spoke over a participant"
        play.conductor.participant_speaking(False)
        await elapse(150 + QUIET_S - 0.1)
        assert play.voiced.asked == [], "spoke into a pause for thought"
        await elapse(150 + QUIET_S + 0.1)
        assert play.voiced.asked == [prompting.moved_on(CONFIG.phases, 1)]
        await play.conductor.aclose()

    run(test)


def test_pause_for_thought_begins_anew_with_every_word() -> None:
    async def test() -> None:
        play = await begun()
        await elapse(100)
        play.conductor.participant_speaking(True)
        await play.conductor.tick()
        for second in (101, 103, 105):
            play.conductor.participant_speaking(False)
            await elapse(second + 0.9)
            play.conductor.participant_speaking(True)
            await elapse(second + 1.5)
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_nothing_is_forced_upon_an_interviewer_who_goes_on_by_itself() -> None:
    async def test() -> None:
        play = await begun()
        await elapse(100)
        play.conductor.participant_speaking(True)
        await play.conductor.tick()
        play.conductor.participant_speaking(False)
        await elapse(101)
        play.voiced.speaks(True)
        await elapse(104)
        play.voiced.speaks(False)
        await elapse(200)
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_goodbye_of_our_own_waits_until_it_has_been_played() -> None:
    async def test() -> None:
        play = await begun()
        goodbye = asyncio.create_task(play.conductor.say_goodbye())
        await elapse(30)
        assert not goodbye.done()
        assert play.voiced.asked == [prompting.CLOSING]
        assert play.voiced.hushed == 1
        play.voiced.handle.played.set()
        await goodbye
        await play.conductor.aclose()

    run(test)


def test_goodbye_that_the_model_owes_is_waited_for_and_not_asked_for_twice() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.end()
        goodbye = asyncio.create_task(play.conductor.say_goodbye())
        await elapse(SPEECH_START_TIMEOUT_S - 1)
        play.voiced.speaks(True)
        await elapse(60)
        assert not goodbye.done()
        play.voiced.speaks(False)
        await goodbye
        assert (play.voiced.asked, play.voiced.hushed) == ([], 0)
        await play.conductor.aclose()

    run(test)


def test_goodbye_that_the_model_never_says_is_given_up() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.end()
        await play.conductor.say_goodbye()
        assert clock() == SPEECH_START_TIMEOUT_S
        await play.conductor.aclose()

    run(test)


def test_goodbye_takes_back_a_prompt_that_waits_for_quiet() -> None:
    async def test() -> None:
        play = await begun()
        await elapse(100)
        play.conductor.participant_speaking(True)
        await play.conductor.tick()
        goodbye = asyncio.create_task(play.conductor.say_goodbye())
        await settle()
        play.conductor.participant_speaking(False)
        await elapse(200)
        assert play.voiced.asked == [prompting.CLOSING]
        play.voiced.handle.played.set()
        await goodbye
        await play.conductor.aclose()

    run(test)


def test_nobody_is_talked_to_who_is_away() -> None:
    async def test() -> None:
        play = await begun()
        play.conductor.pause()
        assert play.voiced.hushed == 1
        play.conductor.reconnected(**CUT_SHORT)
        await elapse(60)
        assert play.voiced.asked == []
        play.conductor.resume()
        assert play.voiced.asked == [prompting.WELCOME_BACK]
        await play.conductor.aclose()

    run(test)


async def after_reconnect(last: str, **lost: Any) -> tuple[list[str], list[str]]:
    """What it says at once, and what within a minute of nobody speaking."""
    play = await begun()
    play.voiced.speaks(True)
    play.voiced.speaks(False)
    if last == "participant":
        play.conductor.participant_speaking(True)
        play.conductor.participant_speaking(False)
    play.conductor.reconnected(**{**NOTHING_LOST, **lost})
    await elapse(QUIET_S - 0.1)
    at_once = list(play.voiced.asked)
    await elapse(60)
    await play.conductor.aclose()
    return at_once, play.voiced.asked


def test_lost_connection_is_spoken_of_only_if_something_was_lost_with_it() -> None:
    carry_on = [prompting.CARRY_ON]
    assert run(lambda: after_reconnect("participant")) == ([], carry_on)
    assert run(lambda: after_reconnect("interviewer")) == ([], [])
    assert run(lambda: after_reconnect("participant", planned=True)) == ([], [])


def test_interviewer_cut_short_carries_on_at_once_with_its_sentence() -> None:
    said = [prompting.carry_on("Tell me")]
    assert run(lambda: after_reconnect("interviewer", cut_short="Tell me")) == (said, said)
    assert run(lambda: after_reconnect("participant", cut_short="Tell me")) == (said, said)


def test_provider_that_hears_a_turn_again_is_given_time_to_answer_it() -> None:
    lost = {"unanswered": True, "cut_short": ""}
    assert run(lambda: after_reconnect("participant", **lost)) == ([], [prompting.CARRY_ON])

    async def answered_late() -> list[str]:
        play = await begun()
        play.conductor.participant_speaking(True)
        play.conductor.participant_speaking(False)
        play.conductor.reconnected(**{**NOTHING_LOST, **lost})
        await elapse(QUIET_S + REHEARD_S - 0.1)
        play.voiced.speaks(True)
        play.voiced.speaks(False)
        await elapse(60)
        await play.conductor.aclose()
        return play.voiced.asked

    assert run(answered_late) == []


def test_who_is_speaking_is_not_spoken_over_after_a_reconnect() -> None:
    async def test() -> None:
        play = await begun()
        play.conductor.participant_speaking(True)
        play.conductor.reconnected(**{**NOTHING_LOST, "unanswered": True, "cut_short": "Tell me"})
        await elapse(10)
        assert play.voiced.asked == []
        play.conductor.participant_speaking(False)
        await elapse(10 + QUIET_S + REHEARD_S + 0.1)
        assert play.voiced.asked == [prompting.CARRY_ON]
        await play.conductor.aclose()

    run(test)


def test_connection_before_the_beginning_or_after_the_end_is_nobody_s_loss() -> None:
    async def test() -> None:
        play = Play()
        play.conductor.reconnected(**CUT_SHORT)
        await play.conductor.begin()
        await play.conductor.end()
        play.conductor.reconnected(**CUT_SHORT)
        await elapse(60)
        assert play.voiced.asked == [prompting.opening(CONFIG)]
        await play.conductor.aclose()

    run(test)


def test_wrap_up_outlives_a_change_of_phase() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.wrap_up()
        assert play.agent.texts[-1].endswith(prompting.WRAP_UP)
        await play.conductor.advance(None)
        assert play.agent.texts[-1].endswith(prompting.WRAP_UP)
        assert "Current phase: two" in play.agent.texts[-1]
        await play.conductor.aclose()

    run(test)


def test_voice_that_is_closing_or_a_provider_that_is_away_breaks_nothing() -> None:
    async def test() -> None:
        play = await begun()
        play.agent.error = llm.RealtimeError("timed out")
        await play.conductor.wrap_up()
        play.voiced.closing = True
        play.conductor.pause()
        play.conductor.resume()
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_closing_takes_back_what_was_still_to_be_said() -> None:
    async def test() -> None:
        play = await begun()
        before = asyncio.all_tasks()
        play.conductor.reconnected(**CUT_SHORT)
        await play.conductor.aclose()
        assert asyncio.all_tasks() == before
        play.voiced.speaks(True)
        assert not play.conductor.voice.interviewer

    run(test)


def test_a_turn_is_answered_only_while_somebody_listens_and_the_protocol_is_on() -> None:
    async def test() -> None:
        play = await begun()
        play.conductor.answer()
        assert play.voiced.asked == ["[audio]"]
        play.conductor.pause()
        play.conductor.answer()
        play.conductor.resume()
        await play.conductor.end()
        play.conductor.answer()
        assert play.voiced.asked == ["[audio]", prompting.WELCOME_BACK]
        await play.conductor.aclose()

    run(test)


def test_once_the_protocol_is_over_only_the_goodbye_is_paid_for() -> None:
    async def test() -> None:
        play = await begun()
        assert play.purse.closed == 0
        await play.conductor.end()
        assert play.purse.closed == 1
        await play.conductor.aclose()

    run(test)


def test_a_goodbye_that_cannot_be_paid_for_is_not_begun() -> None:
    async def test() -> None:
        play = await begun()
        play.purse.fits = False
        await play.conductor.say_goodbye()
        assert play.voiced.hushed == 1
        assert play.voiced.asked == []
        await play.conductor.aclose()

    run(test)


def test_a_goodbye_that_the_model_owes_and_is_refused_is_not_waited_for() -> None:
    async def test() -> None:
        play = await begun()
        await play.conductor.end()
        saying = asyncio.create_task(play.conductor.say_goodbye())
        await settle()
        assert not saying.done()
        play.purse.refused.set()
        await saying
        assert clock() == 0
        await play.conductor.aclose()

    run(test)


def test_a_goodbye_that_another_turn_was_taken_for_is_waited_for() -> None:
    async def test() -> None:
        play = await begun()
        goodbye = asyncio.create_task(play.conductor.say_goodbye())
        await settle()
        play.voiced.handle.played.set()
        await settle()
        assert not goodbye.done()
        play.voiced.speaks(True)
        await settle()
        play.voiced.speaks(False)
        await goodbye
        assert clock() == 0
        await play.conductor.aclose()

    run(test)


def test_a_goodbye_that_failed_is_not_waited_for() -> None:
    async def test() -> None:
        play = await begun()
        play.voiced.handle.error = llm.RealtimeError("refused")
        play.voiced.handle.played.set()
        await play.conductor.say_goodbye()
        assert clock() == 0
        await play.conductor.aclose()

    run(test)


def restored(**changes: Any) -> Play:
    """A successor of an actor that was lost 110 s into the interview, 100 s into phase two's."""
    visits = (
        phases.Visit(phase_id="one", cause=phases.Cause.STARTED, entered_s=0.0, left_s=10.0),
        phases.Visit(phase_id="two", cause=phases.Cause.ADVANCED, entered_s=10.0),
    )
    state = phases.PhaseState(index=1, nudged=True, visits=visits)
    life = lifecycle.LifeAges(stage=lifecycle.Stage.LIVE, joined_s=111, since_s=110, met=True)
    left = Checkpoint(attempt=1, at=0.0, life=life, interview_s=60.0, phases=state, **changes)
    play = Play()
    play.conductor.restore(left)
    return play


def test_a_successor_stands_in_the_same_phase_with_the_same_time_left() -> None:
    async def test() -> None:
        play = restored(last_speaker="interviewer")
        assert play.phase == "two"
        assert play.conductor.elapsed_s() == 60
        assert play.conductor.deadline() == 50
        assert [t.phase_id for t in play.conductor.timings()] == ["one", "two"]
        assert not play.conductor.carry_on()
        await elapse(40)
        # It listens: the participant has been asked.
        assert play.voiced.asked == []
        await elapse(50)
        await play.conductor.tick()
        assert play.closes == [False]
        await play.conductor.aclose()

    run(test)


def test_one_that_was_cut_off_carries_on_at_once_with_its_sentence() -> None:
    async def test() -> None:
        play = restored(speaking="interviewer", cut_off="And how often do you ")
        assert play.conductor.carry_on()
        (asked,) = play.voiced.asked
        assert '"And how often do you"' in asked
        assert play.conductor.carry_on() is False
        assert len(play.voiced.asked) == 1
        await play.conductor.aclose()

    run(test)


def test_what_the_participant_said_is_asked_again_when_it_waits() -> None:
    async def test() -> None:
        play = restored(speaking="participant", last_speaker="participant")
        assert not play.conductor.carry_on()
        await settle()
        play.conductor.participant_speaking(True)
        await elapse(5)
        assert play.voiced.asked == []
        play.conductor.participant_speaking(False)
        await elapse(5 + QUIET_S)
        assert play.voiced.asked == []
        await elapse(5 + QUIET_S + LISTEN_FIRST_S)
        assert play.voiced.asked == [prompting.ASK_AGAIN]
        await play.conductor.aclose()

    run(test)
