from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.contract import EndReason
from agent_actor.lifecycle import (
    Command,
    EndWanted,
    Event,
    GoodbyeSaid,
    LifeState,
    Limits,
    Lost,
    ParticipantJoined,
    ParticipantLeft,
    Stage,
    Tick,
    ages,
    joined,
    next_deadline,
    resumed,
    step,
)

LIMITS = Limits(no_show_s=60, reconnect_grace_s=30, session_timeout_s=600, goodbye_s=15)
COMPLETED = EndWanted(reason=EndReason.COMPLETED, goodbye=True)
OVERSPENT = EndWanted(reason=EndReason.BUDGET_EXCEEDED, goodbye=True)
STOP_NOW = EndWanted(reason=EndReason.OPERATOR, goodbye=False)


def run(*events: tuple[Event, float]) -> tuple[LifeState, list[Command]]:
    state, commands = joined(0), []
    for event, now in events:
        state, out = step(LIMITS, state, event, now)
        commands.extend(out)
    return state, commands


def test_nobody_comes() -> None:
    state, commands = run((Tick(), 59.9), (Tick(), 60))
    assert commands == [Command.FINISH]
    assert state.reason is EndReason.NO_SHOW


def test_interview_completes_with_a_goodbye() -> None:
    state, commands = run((ParticipantJoined(), 5), (COMPLETED, 100), (GoodbyeSaid(), 104))
    assert commands == [Command.BEGIN, Command.SAY_GOODBYE, Command.FINISH]
    assert state.reason is EndReason.COMPLETED


def test_goodbye_that_takes_too_long_is_cut() -> None:
    state, commands = run((ParticipantJoined(), 5), (COMPLETED, 100), (Tick(), 115))
    assert commands[-1] is Command.FINISH
    assert state.stage is Stage.ENDED


def test_participant_comes_back_within_the_grace() -> None:
    state, commands = run(
        (ParticipantJoined(), 5), (ParticipantLeft(), 50), (ParticipantJoined(), 79)
    )
    assert commands == [Command.BEGIN, Command.PAUSE, Command.RESUME]
    assert state.stage is Stage.LIVE


def test_participant_stays_away() -> None:
    state, commands = run((ParticipantJoined(), 5), (ParticipantLeft(), 50), (Tick(), 80))
    assert commands == [Command.BEGIN, Command.PAUSE, Command.FINISH]
    assert state.reason is EndReason.PARTICIPANT_LEFT


def test_participant_leaves_during_the_goodbye() -> None:
    state, commands = run((ParticipantJoined(), 5), (COMPLETED, 100), (ParticipantLeft(), 101))
    assert commands[-1] is Command.FINISH
    assert state.reason is EndReason.COMPLETED


def test_session_timeout_says_goodbye_when_somebody_is_there() -> None:
    state, commands = run((ParticipantJoined(), 5), (Tick(), 600))
    assert commands[-1] is Command.SAY_GOODBYE
    assert state.reason is EndReason.SESSION_TIMEOUT


def test_session_timeout_while_away_ends_at_once() -> None:
    state, commands = run((ParticipantJoined(), 5), (ParticipantLeft(), 590), (Tick(), 600))
    assert commands[-1] is Command.FINISH
    assert state.reason is EndReason.SESSION_TIMEOUT


def test_first_reason_wins() -> None:
    state, _ = run((ParticipantJoined(), 5), (OVERSPENT, 50), (COMPLETED, 51), (GoodbyeSaid(), 52))
    assert state.reason is EndReason.BUDGET_EXCEEDED


def test_stop_now_cuts_a_goodbye_short_and_keeps_its_reason() -> None:
    state, commands = run((ParticipantJoined(), 5), (OVERSPENT, 50), (STOP_NOW, 51))
    assert commands[-1] is Command.FINISH
    assert state.reason is EndReason.BUDGET_EXCEEDED


def test_operator_ends_a_session_nobody_has_joined() -> None:
    state, commands = run((EndWanted(reason=EndReason.OPERATOR, goodbye=True), 3))
    assert commands == [Command.FINISH]
    assert state.reason is EndReason.OPERATOR


def test_lost_provider_ends_without_a_goodbye() -> None:
    state, commands = run((ParticipantJoined(), 5), (Lost(reason=EndReason.PROVIDER_FAILED), 9))
    assert commands == [Command.BEGIN, Command.FINISH]
    assert state.reason is EndReason.PROVIDER_FAILED


def test_goodbye_said_out_of_turn_is_ignored() -> None:
    state, commands = run((ParticipantJoined(), 5), (GoodbyeSaid(), 6))
    assert state.stage is Stage.LIVE
    assert commands == [Command.BEGIN]


@pytest.mark.parametrize(
    ("events", "due"),
    [
        ([], 60),
        ([(ParticipantJoined(), 5.0)], 600),
        ([(ParticipantJoined(), 5.0), (ParticipantLeft(), 50.0)], 80),
        ([(ParticipantJoined(), 5.0), (ParticipantLeft(), 590.0)], 600),
        ([(ParticipantJoined(), 5.0), (COMPLETED, 598.0)], 613),
        ([(STOP_NOW, 1.0)], None),
    ],
)
def test_next_deadline(events: list[tuple[Event, float]], due: float | None) -> None:
    state, _ = run(*events)
    assert next_deadline(LIMITS, state) == due


ANY = st.sampled_from(
    [
        ParticipantJoined(),
        ParticipantLeft(),
        COMPLETED,
        OVERSPENT,
        STOP_NOW,
        Lost(reason=EndReason.ROOM_FAILED),
        GoodbyeSaid(),
        Tick(),
    ]
)


@given(st.lists(st.tuples(ANY, st.floats(0, 100)), max_size=30))
def test_any_history_ends_at_most_once_and_always_in_time(
    history: list[tuple[Event, float]],
) -> None:
    state, now, finishes = joined(0), 0.0, 0
    for event, delta in history:
        now += delta
        state, commands = step(LIMITS, state, event, now)
        finishes += commands.count(Command.FINISH)
    while (due := next_deadline(LIMITS, state)) is not None:
        now = max(now, due)
        state, commands = step(LIMITS, state, Tick(), now)
        finishes += commands.count(Command.FINISH)
        assert commands, "a deadline that does nothing would spin"
    assert finishes == 1
    assert state.reason is not None
    assert now <= max(sum(d for _, d in history), 0) + 600 + 15 + 60


def test_a_successor_gives_the_participant_its_grace_and_no_more_of_the_session() -> None:
    live, _ = run((ParticipantJoined(), 10))
    left = ages(live, 100).aged(5)
    assert (left.joined_s, left.since_s) == (105, 95)
    state = resumed(left, 1_000)
    assert (state.stage, state.met, state.since) == (Stage.AWAY, True, 1_000)
    assert next_deadline(LIMITS, state) == 1_030
    back, commands = step(LIMITS, state, ParticipantJoined(), 1_001)
    assert commands == (Command.RESUME,)
    # Of 600 seconds 105 were over.
    assert next_deadline(LIMITS, back) == 1_000 + 600 - 105
    gone, _ = step(LIMITS, state, Tick(), 1_030)
    assert gone.reason is EndReason.PARTICIPANT_LEFT


def test_a_successor_waits_no_longer_than_what_is_left() -> None:
    waiting = resumed(ages(joined(0), 50), 1_000)
    assert next_deadline(LIMITS, waiting) == 1_010
    away, _ = run((ParticipantJoined(), 1), (ParticipantLeft(), 10))
    assert next_deadline(LIMITS, resumed(ages(away, 30), 1_000)) == 1_010


def test_a_successor_says_the_goodbye_that_was_cut_off() -> None:
    closing, _ = run((ParticipantJoined(), 1), (OVERSPENT, 10))
    left = ages(closing, 12)
    assert left.reason is EndReason.BUDGET_EXCEEDED
    state, _ = step(LIMITS, resumed(left, 1_000), ParticipantJoined(), 1_001)
    state, commands = step(LIMITS, state, OVERSPENT, 1_001)
    assert (state.stage, commands) == (Stage.CLOSING, (Command.SAY_GOODBYE,))


def test_what_was_over_stays_over() -> None:
    ended, _ = run((STOP_NOW, 10))
    state = resumed(ages(ended, 12), 1_000)
    assert (state.stage, state.reason) == (Stage.ENDED, EndReason.OPERATOR)
