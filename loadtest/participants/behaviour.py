"""What a participant decides, as a pure step.

`step(state, event, now_s, rng)` returns the next state and the commands the shell carries out.
Time is the caller's: seconds on any clock that never runs backwards. Between events the shell
sends `Tick` at `next_wake_s(state)`; a late tick is harmless, it acts on what is due.
"""

from __future__ import annotations

from dataclasses import replace

from loadtest.participants.moves import (
    AgentEnded,
    AgentStarted,
    Command,
    Event,
    Joined,
    Leave,
    Mode,
    Rejoin,
    Rng,
    Speak,
    SpeechEnded,
    SpokenOver,
    State,
    Step,
    Tick,
    Turn,
    TurnBegan,
    TurnEnded,
    TurnKind,
    TurnPaused,
    TurnResumed,
)
from loadtest.participants.script import Departure, Interruption, Pause, Script

YIELD_S = 1.5
"""An agent that falls silent within this long after a barge-in gave way: that needs no answer."""


def step(state: State, event: Event, now_s: float, rng: Rng) -> Step:
    """One decision. Events that make no sense in the present mode change nothing."""
    if state.mode is Mode.GONE:
        return state, ()
    match event:
        case Joined():
            return _joined(state, now_s)
        case AgentStarted():
            return _agent_started(state, now_s)
        case AgentEnded():
            return _agent_ended(state, now_s, rng)
        case SpeechEnded():
            return _speech_ended(state, now_s)
        case Tick():
            return _time_passed(state, now_s, rng)


def next_wake_s(state: State) -> float | None:
    """When the next Tick is due; None: only an event can change anything."""
    times = (_departure_at_s(state), state.wake_at_s, state.barge_at_s, _speak_up_at_s(state))
    return min((at for at in times if at is not None), default=None)


# -- events, one by one ----------------------------------------------------------------------------


def _joined(state: State, now_s: float) -> Step:
    first = now_s if state.first_joined_s is None else state.first_joined_s
    return replace(
        state,
        mode=Mode.LISTENING,
        first_joined_s=first,
        wake_at_s=None,
        quiet_since_s=now_s,
        agent_speaking=False,
        turn=None,
    ), ()


def _agent_started(state: State, now_s: float) -> Step:
    if state.agent_speaking or state.mode in (Mode.OUTSIDE, Mode.AWAY):
        return state, ()
    number = state.utterances + 1
    heard = replace(
        state,
        agent_speaking=True,
        utterances=number,
        barge_at_s=_barge_at_s(state, number, now_s),
        barged_until_s=None,
        quiet_since_s=None,
    )
    if heard.mode is Mode.THINKING:
        return replace(heard, mode=Mode.LISTENING, wake_at_s=None), ()
    return heard, _spoken_over(heard, now_s)


def _spoken_over(state: State, now_s: float) -> tuple[Command, ...]:
    turn = state.turn
    if turn is None or turn.kind is not TurnKind.ANSWER:
        return ()
    return (
        SpokenOver(
            answer=turn.number,
            into_answer_s=now_s - turn.began_s,
            in_pause=state.mode is Mode.PAUSING,
        ),
    )


def _agent_ended(state: State, now_s: float, rng: Rng) -> Step:
    if not state.agent_speaking:
        return state, ()
    quiet_since_s = now_s if state.turn is None else None
    ended = replace(state, agent_speaking=False, barge_at_s=None, quiet_since_s=quiet_since_s)
    gave_way = state.barged_until_s is not None and now_s <= state.barged_until_s + YIELD_S
    if ended.mode is not Mode.LISTENING or gave_way or not state.script.speaks:
        return ended, ()
    think_s = rng.uniform(*state.script.think_s)
    return replace(ended, mode=Mode.THINKING, wake_at_s=now_s + think_s), ()


def _speech_ended(state: State, now_s: float) -> Step:
    turn = state.turn
    if turn is None or state.mode is not Mode.SPEAKING:
        return state, ()
    if turn.rest_s > 0:
        paused = replace(state, mode=Mode.PAUSING, wake_at_s=now_s + turn.pause_s)
        return paused, (TurnPaused(number=turn.number, pause_s=turn.pause_s),)
    return _turn_ended(state, turn, now_s)


def _turn_ended(state: State, turn: Turn, now_s: float) -> Step:
    is_answer = turn.kind is TurnKind.ANSWER
    over = replace(
        state,
        mode=Mode.LISTENING,
        turn=None,
        answers=state.answers + is_answer,
        barged_until_s=state.barged_until_s if is_answer else now_s,
        quiet_since_s=None if state.agent_speaking else now_s,
    )
    note = TurnEnded(kind=turn.kind, number=turn.number)
    departure = _departure(over)
    if not is_answer or departure is None or not _answered_enough(over, departure):
        return over, (note,)
    left, commands = _leave(over, departure, now_s)
    return left, (note, *commands)


def _answered_enough(state: State, departure: Departure) -> bool:
    return departure.after_answers is not None and state.answers >= departure.after_answers


def _time_passed(state: State, now_s: float, rng: Rng) -> Step:
    def due(at_s: float | None) -> bool:
        return at_s is not None and at_s <= now_s

    departure = _departure(state)
    if departure is not None and due(_departure_at_s(state)):
        return _leave(state, departure, now_s)
    if due(state.barge_at_s):
        return _barge_in(state, now_s)
    if due(state.wake_at_s):
        return _wake(state, now_s, rng)
    if due(_speak_up_at_s(state)):
        return _answer(state, now_s, rng)
    return state, ()


def _wake(state: State, now_s: float, rng: Rng) -> Step:
    woken = replace(state, wake_at_s=None)
    if state.mode is Mode.THINKING:
        return _answer(woken, now_s, rng)
    if state.mode is Mode.PAUSING:
        return _resume(woken)
    return woken, (Rejoin(),) if state.mode is Mode.AWAY else ()


# -- speaking and leaving --------------------------------------------------------------------------


def _answer(state: State, now_s: float, rng: Rng) -> Step:
    number = state.answers + 1
    speech_s = rng.uniform(*state.script.answer_s)
    pause = _pause_in(state.script, number)
    if pause is None or pause.after_s >= speech_s:
        turn = Turn(kind=TurnKind.ANSWER, number=number, began_s=now_s)
        return _begin(state, turn, speech_s)
    turn = Turn(
        kind=TurnKind.ANSWER,
        number=number,
        began_s=now_s,
        pause_s=pause.pause_s,
        rest_s=speech_s - pause.after_s,
    )
    return _begin(state, turn, pause.after_s)


def _barge_in(state: State, now_s: float) -> Step:
    ready = replace(state, barge_at_s=None)
    cut = _interruption_of(state.script, state.utterances)
    if cut is None or state.mode is not Mode.LISTENING:
        return ready, ()
    number = state.barge_ins + 1
    turn = Turn(kind=TurnKind.BARGE_IN, number=number, began_s=now_s)
    begun = replace(ready, barge_ins=number, barged_until_s=now_s + cut.speech_s)
    return _begin(begun, turn, cut.speech_s)


def _begin(state: State, turn: Turn, speech_s: float) -> Step:
    begun = replace(state, mode=Mode.SPEAKING, turn=turn, wake_at_s=None, quiet_since_s=None)
    note = TurnBegan(kind=turn.kind, number=turn.number, over_agent=state.agent_speaking)
    return begun, (note, Speak(speech_s=speech_s))


def _resume(state: State) -> Step:
    if state.turn is None:
        return replace(state, mode=Mode.LISTENING), ()
    turn = state.turn
    resumed = replace(state, mode=Mode.SPEAKING, turn=replace(turn, pause_s=0.0, rest_s=0.0))
    return resumed, (TurnResumed(number=turn.number), Speak(speech_s=turn.rest_s))


def _leave(state: State, departure: Departure, now_s: float) -> Step:
    for_good = departure.away_s is None
    left = replace(
        state,
        mode=Mode.GONE if for_good else Mode.AWAY,
        departed=state.departed + 1,
        turn=None,
        agent_speaking=False,
        barge_at_s=None,
        barged_until_s=None,
        quiet_since_s=None,
        wake_at_s=None if departure.away_s is None else now_s + departure.away_s,
    )
    return left, (Leave(for_good=for_good),)


# -- what the script says --------------------------------------------------------------------------


def _departure(state: State) -> Departure | None:
    inside = state.mode not in (Mode.OUTSIDE, Mode.AWAY, Mode.GONE)
    remaining = state.script.departures[state.departed :]
    return remaining[0] if inside and remaining else None


def _departure_at_s(state: State) -> float | None:
    departure = _departure(state)
    if departure is None or departure.at_s is None or state.first_joined_s is None:
        return None
    return state.first_joined_s + departure.at_s


def _speak_up_at_s(state: State) -> float | None:
    after_s = state.script.speaks_up_after_s
    waiting = state.mode is Mode.LISTENING and state.script.speaks
    if after_s is None or state.quiet_since_s is None or not waiting:
        return None
    return state.quiet_since_s + after_s


def _barge_at_s(state: State, utterance: int, now_s: float) -> float | None:
    if not state.script.speaks:
        return None
    cut = _interruption_of(state.script, utterance)
    return None if cut is None else now_s + cut.after_s


def _interruption_of(script: Script, utterance: int) -> Interruption | None:
    return next((cut for cut in script.interruptions if cut.utterance == utterance), None)


def _pause_in(script: Script, answer: int) -> Pause | None:
    return next((pause for pause in script.pauses if pause.answer == answer), None)
