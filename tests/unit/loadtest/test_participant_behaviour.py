"""What a participant decides, in virtual time: a tiny world speaks with it."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from loadtest.participants.behaviour import YIELD_S, next_wake_s, step
from loadtest.participants.moves import (
    AgentEnded,
    AgentStarted,
    Command,
    Event,
    Joined,
    Leave,
    Mode,
    Rejoin,
    Speak,
    SpeechEnded,
    SpokenOver,
    State,
    Tick,
    TurnBegan,
    TurnEnded,
    TurnKind,
    TurnPaused,
    TurnResumed,
)
from loadtest.participants.script import Departure, Interruption, Pause, Script
from loadtest.participants.scripts import NAMED

QUICK = Script(name="quick", think_s=(1.0, 1.0), answer_s=(3.0, 3.0))


@dataclass
class World:
    """Carries out commands on a virtual clock: speech takes as long as it says."""

    script: Script
    seed: int = 1
    now_s: float = 0.0
    log: list[tuple[float, Command]] = field(default_factory=list)
    agenda: list[tuple[float, Event]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.state = State(script=self.script)
        self.rng = random.Random(self.seed)

    def at(self, at_s: float, event: Event) -> World:
        self.agenda.append((at_s, event))
        return self

    def agent(self, began_s: float, ended_s: float) -> World:
        return self.at(began_s, AgentStarted()).at(ended_s, AgentEnded())

    def run(self, until_s: float = 120.0) -> World:
        while (due := self._next()) is not None and due[0] <= until_s:
            if due in self.agenda:
                self.agenda.remove(due)
            self.now_s = max(self.now_s, due[0])
            self._take(due[1])
        return self

    def _next(self) -> tuple[float, Event] | None:
        wake_s = next_wake_s(self.state)
        due = [*self.agenda, *([] if wake_s is None else [(wake_s, Tick())])]
        return min(due, key=lambda item: item[0], default=None)

    def _take(self, event: Event) -> None:
        self.state, commands = step(self.state, event, self.now_s, self.rng)
        for command in commands:
            self.log.append((self.now_s, command))
            if isinstance(command, Speak):
                self.agenda.append((self.now_s + command.speech_s, SpeechEnded()))
            elif isinstance(command, Rejoin):
                self.agenda.append((self.now_s + 0.1, Joined()))
            elif isinstance(command, Leave):
                self.agenda = [item for item in self.agenda if not speaks(item[1])]

    def times(self, kind: type[Any]) -> list[float]:
        return [at_s for at_s, command in self.log if isinstance(command, kind)]

    def only(self, kind: type[Any]) -> Any:
        (found,) = [command for _, command in self.log if isinstance(command, kind)]
        return found


def speaks(event: Event) -> bool:
    return isinstance(event, SpeechEnded)


def world(script: Script = QUICK) -> World:
    return World(script).at(0.0, Joined())


def test_says_nothing_until_the_agent_has_spoken() -> None:
    assert world().run().log == []


def test_answers_a_think_time_after_the_agents_end() -> None:
    seen = world().agent(1.0, 4.0).run()
    assert seen.times(Speak) == [5.0]
    assert seen.times(TurnEnded) == [8.0]
    assert seen.state.answers == 1
    assert seen.state.mode is Mode.LISTENING


def test_goes_back_to_listening_when_the_agent_resumes_while_it_thinks() -> None:
    seen = world().agent(1.0, 4.0).agent(4.5, 6.0).run()
    assert seen.times(Speak) == [7.0]
    assert seen.times(SpokenOver) == []


def test_draws_are_the_seeds() -> None:
    script = replace(QUICK, think_s=(0.5, 5.0), answer_s=(1.0, 9.0))

    def run(seed: int) -> list[tuple[float, Command]]:
        return World(script, seed=seed).at(0.0, Joined()).agent(1.0, 2.0).run().log

    assert run(3) == run(3)
    assert run(3) != run(4)


def test_pauses_in_mid_answer_and_says_the_rest() -> None:
    script = replace(QUICK, pauses=(Pause(answer=1, after_s=1.0, pause_s=10.0),))
    seen = world(script).agent(1.0, 4.0).run()
    assert seen.times(TurnPaused) == [6.0]
    assert seen.times(TurnResumed) == [16.0]
    assert seen.times(TurnEnded) == [18.0]
    assert [c.speech_s for _, c in seen.log if isinstance(c, Speak)] == [1.0, 2.0]
    assert seen.state.answers == 1


def test_a_pause_after_the_answers_end_is_no_pause() -> None:
    script = replace(QUICK, pauses=(Pause(answer=1, after_s=3.0, pause_s=10.0),))
    seen = world(script).agent(1.0, 4.0).run()
    assert seen.times(TurnPaused) == []
    assert seen.times(TurnEnded) == [8.0]


def test_pauses_only_in_the_answer_it_is_meant_for() -> None:
    script = replace(QUICK, pauses=(Pause(answer=2, after_s=1.0, pause_s=5.0),))
    seen = world(script).agent(1.0, 4.0).agent(10.0, 11.0).run()
    assert seen.times(TurnPaused) == [13.0]


def test_agent_that_starts_in_the_pause_has_spoken_over() -> None:
    script = replace(QUICK, pauses=(Pause(answer=1, after_s=1.0, pause_s=10.0),))
    seen = world(script).agent(1.0, 4.0).agent(7.0, 9.0).run()
    assert seen.only(SpokenOver) == SpokenOver(answer=1, into_answer_s=2.0, in_pause=True)
    assert seen.times(TurnEnded) == [18.0], "the participant is not put off"


def test_agent_that_starts_in_the_speech_has_spoken_over() -> None:
    seen = world().agent(1.0, 4.0).agent(6.0, 9.0).run()
    assert seen.only(SpokenOver) == SpokenOver(answer=1, into_answer_s=1.0, in_pause=False)


def test_agent_that_starts_after_the_answer_has_not_spoken_over() -> None:
    assert world().agent(1.0, 4.0).agent(8.001, 9.0).run().times(SpokenOver) == []


def test_interrupts_the_utterance_it_is_meant_for() -> None:
    cut = Interruption(utterance=2, after_s=0.5, speech_s=2.0)
    seen = world(replace(QUICK, interruptions=(cut,))).agent(1.0, 4.0).agent(10.0, 11.0).run()
    began = [(at_s, c) for at_s, c in seen.log if isinstance(c, TurnBegan)]
    assert began[1] == (10.5, TurnBegan(kind=TurnKind.BARGE_IN, number=1, over_agent=True))
    assert seen.state.answers == 1, "a barge-in is no answer"
    assert seen.times(SpokenOver) == []


def test_does_not_interrupt_an_utterance_that_was_over_sooner() -> None:
    cut = Interruption(utterance=1, after_s=5.0)
    seen = world(replace(QUICK, interruptions=(cut,))).agent(1.0, 4.0).run()
    assert seen.only(TurnBegan).kind is TurnKind.ANSWER


@pytest.mark.parametrize(
    ("agent_ended_s", "answers"),
    [(3.0, 0), (4.0 + YIELD_S, 0), (4.0 + YIELD_S + 0.1, 1)],
    ids=["gave way", "gave way late", "spoke on"],
)
def test_answers_after_a_barge_in_only_an_agent_that_spoke_on(
    agent_ended_s: float, answers: int
) -> None:
    cut = Interruption(utterance=1, after_s=1.0, speech_s=2.0)
    script = replace(QUICK, interruptions=(cut,))
    seen = world(script).agent(1.0, agent_ended_s).run()
    assert seen.state.barge_ins == 1
    assert seen.state.answers == answers


def test_leaves_after_its_answers_and_comes_back() -> None:
    script = replace(QUICK, departures=(Departure(after_answers=1, away_s=6.0),))
    seen = world(script).agent(1.0, 4.0).agent(20.0, 21.0).run()
    assert seen.only(Leave) == Leave(for_good=False)
    assert seen.times(Leave) == [8.0]
    assert seen.times(Rejoin) == [14.0]
    assert seen.state.answers == 2, "it goes on where it was"


def test_leaves_for_good_and_wants_nothing_more() -> None:
    script = replace(QUICK, departures=(Departure(after_answers=1),))
    seen = world(script).agent(1.0, 4.0).agent(20.0, 21.0).run()
    assert seen.only(Leave) == Leave(for_good=True)
    assert seen.state.mode is Mode.GONE
    assert next_wake_s(seen.state) is None


def test_leaves_at_its_time_in_mid_answer() -> None:
    script = replace(QUICK, departures=(Departure(at_s=6.0, away_s=1.0),))
    seen = world(script).agent(1.0, 4.0).run()
    assert seen.times(Leave) == [6.0]
    assert seen.times(TurnEnded) == []
    assert seen.state.mode is Mode.LISTENING


def test_times_of_departure_count_from_the_first_join() -> None:
    leaves = (Departure(at_s=5.0, away_s=5.0), Departure(at_s=30.0))
    seen = World(replace(QUICK, departures=leaves)).at(2.0, Joined()).run()
    assert seen.times(Leave) == [7.0, 32.0]


def test_agent_heard_while_away_does_not_count() -> None:
    script = replace(QUICK, departures=(Departure(at_s=2.0, away_s=10.0),))
    seen = world(script).agent(5.0, 6.0).run()
    assert seen.state.utterances == 0
    assert seen.times(Speak) == []


@pytest.mark.parametrize("quiet", ["silent", "muted"])
def test_silent_and_muted_say_nothing_ever(quiet: str) -> None:
    script = replace(
        QUICK,
        interruptions=(Interruption(utterance=1, after_s=0.1),),
        speaks_up_after_s=1.0,
        silent=quiet == "silent",
        muted=quiet == "muted",
    )
    seen = world(script).agent(1.0, 4.0).run()
    assert seen.log == []
    assert seen.state.utterances == 1


def test_speaks_up_when_nobody_speaks() -> None:
    script = replace(QUICK, speaks_up_after_s=5.0)
    assert world(script).run(until_s=20.0).times(Speak) == [5.0, 13.0]


def test_does_not_speak_up_while_the_agent_speaks() -> None:
    script = replace(QUICK, speaks_up_after_s=5.0)
    assert world(script).agent(1.0, 30.0).run(until_s=30.5).times(Speak) == []


def test_late_tick_acts_on_what_is_due() -> None:
    rng = random.Random(0)
    state, _ = step(State(script=QUICK), Joined(), 0.0, rng)
    state, _ = step(state, AgentStarted(), 1.0, rng)
    state, _ = step(state, AgentEnded(), 2.0, rng)
    assert next_wake_s(state) == 3.0
    assert step(state, Tick(), 2.9, rng) == (state, ())
    state, commands = step(state, Tick(), 9.0, rng)
    assert commands[-1] == Speak(speech_s=3.0)


@pytest.mark.parametrize("event", [AgentEnded(), SpeechEnded(), Tick()])
def test_events_out_of_place_change_nothing(event: Event) -> None:
    rng = random.Random(0)
    state, _ = step(State(script=QUICK), Joined(), 0.0, rng)
    assert step(state, event, 1.0, rng) == (state, ())


def interview(script: Script) -> World:
    """Five questions of 4 s, one every 40 s, to somebody who answers for up to 20 s."""
    seen = world(script)
    for number in range(5):
        seen.agent(40.0 * number + 1.0, 40.0 * number + 5.0)
    return seen.run(until_s=200.0)


def test_named_scripts_do_what_their_names_say() -> None:
    ends = {name: interview(script) for name, script in NAMED.items()}
    assert ends["cooperative"].state.answers == 5
    assert ends["silent"].times(Speak) == []
    assert ends["interrupter"].state.barge_ins == 2
    assert [p.pause_s for _, p in ends["thinker"].log if isinstance(p, TurnPaused)] == [10.0]
    assert ends["leaver_returns"].times(Rejoin)
    assert ends["leaver_returns"].state.mode is not Mode.GONE
    assert ends["leaves_early"].state.mode is Mode.GONE
    assert ends["talkative"].state.answers > 5
