from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, cast

import pytest

from agent_actor import lifecycle
from agent_actor.checkpoint import Checkpoint
from agent_actor.conductor import Conductor
from agent_actor.contract import EndReason, SessionConfig, SessionState, parse_tolerant
from agent_actor.errors import ProviderRefused
from agent_actor.follower import BETWEEN_TURNS_S, Follower
from agent_actor.journal import EventKind, LiveState
from agent_actor.journal_writer import JournalWriter
from agent_actor.messages import StopMode, StopOrder, Verdict
from agent_actor.phases import PhaseState
from agent_actor.recorder import Recorder
from agent_actor.signals import Broken, HandOver, ProtocolOver, Signal, TurnToAnswer
from agent_actor.transport import RoomChange, RoomEvent
from tests.unit.agent_actor.virtual_time import clock, run, settle

CONFIG: SessionConfig = parse_tolerant(
    '{"provider": "openai_realtime", "instructions": "x",'
    ' "phases": [{"id": "one", "name": "One", "duration_seconds": 100}]}'
)
LIMITS = lifecycle.Limits(no_show_s=60, reconnect_grace_s=30, session_timeout_s=600, goodbye_s=15)
FIRST_AUDIO_S = 20.0

JOINED = RoomEvent(change=RoomChange.PARTICIPANT_JOINED, identity="participant")
LEFT = RoomEvent(change=RoomChange.PARTICIPANT_LEFT, identity="participant", reason="left")


class Journal:
    attempt = 1

    def __init__(self) -> None:
        self.entries: list[tuple[EventKind, dict[str, Any]]] = []

    def record(self, kind: EventKind, **data: Any) -> None:
        self.entries.append((kind, data))

    def live(self, state: LiveState) -> None:
        pass

    def changes(self) -> list[str]:
        return [data["change"] for kind, data in self.entries if kind is EventKind.PARTICIPANT]

    def states(self) -> list[str]:
        return [data["state"] for kind, data in self.entries if kind is EventKind.STATE]


class Stage:
    """A conductor that notes what it is told. Its goodbye lasts until ``spoken`` is set."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.due: float | None = None
        self.spoken = asyncio.Event()
        self.goodbye_fails = False
        self.has_begun = True

    def deadline(self) -> float | None:
        return self.due

    async def begin(self) -> None:
        self.told.append("begin")

    async def tick(self) -> None:
        self.told.append(f"tick at {clock():g}")
        self.due = None

    async def wrap_up(self) -> None:
        self.told.append("wrap_up")

    def pause(self) -> None:
        self.told.append("pause")

    def resume(self) -> None:
        self.told.append("resume")

    def carry_on(self) -> bool:
        self.told.append("carry_on")
        return True

    def participant_speaking(self, active: bool) -> None:
        self.told.append("speaking" if active else "silent")

    def answer(self) -> None:
        self.told.append("answer")

    async def say_goodbye(self) -> None:
        self.told.append("goodbye")
        if self.goodbye_fails:
            raise RuntimeError("the voice is closing")
        await self.spoken.wait()


class Followed:
    """A follower under way on the loop's clock."""

    def __init__(
        self, *, here: bool = False, left: Checkpoint | None = None, may_fall_over: bool = False
    ) -> None:
        self.journal = Journal()
        self.recorder = Recorder(cast(JournalWriter, self.journal))
        self.stage = Stage()
        self.signals: asyncio.Queue[Signal] = asyncio.Queue()
        self.between_turns = False
        follower = Follower(
            config=CONFIG,
            limits=LIMITS,
            first_audio_timeout_s=FIRST_AUDIO_S,
            conductor=cast(Conductor, self.stage),
            recorder=self.recorder,
            signals=self.signals,
            participant_here=here,
            between_turns=lambda: self.between_turns,
            left=left,
            may_fall_over=may_fall_over,
            clock=clock,
        )
        self.follower = follower
        self.running = asyncio.create_task(follower.run())

    @property
    def reason(self) -> EndReason | None:
        return self.recorder.outcome.reason

    async def tell(self, *signals: Signal) -> None:
        for signal in signals:
            self.signals.put_nowait(signal)
            await settle()

    def heard(self) -> None:
        self.recorder.outcome.first_audio_s = 1.0


def following(test: Any) -> Any:
    """Run an async test in virtual time."""

    def wrapped() -> None:
        work: Coroutine[Any, Any, None] = test()
        run(lambda: work)

    wrapped.__name__ = test.__name__
    return wrapped


@following
async def test_nobody_came() -> None:
    f = Followed()
    await f.running
    assert (f.reason, clock()) == (EndReason.NO_SHOW, 60)
    assert f.stage.told == []


@following
async def test_somebody_else_is_not_the_participant() -> None:
    f = Followed()
    await f.tell(RoomEvent(change=RoomChange.PARTICIPANT_JOINED, identity="observer"))
    await f.running
    assert f.reason is EndReason.NO_SHOW


@following
async def test_who_is_there_already_is_greeted_once() -> None:
    f = Followed(here=True)
    await f.tell(JOINED)
    assert f.stage.told == ["begin"]
    assert f.journal.changes() == ["present"]
    assert f.follower.participant_present
    assert f.journal.states() == [SessionState.LIVE]
    await f.tell(StopOrder(reason=EndReason.OPERATOR, mode=StopMode.NOW))
    await f.running


@following
async def test_who_left_and_came_back_within_the_grace_goes_on() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    await f.tell(LEFT)
    await asyncio.wait([f.running], timeout=29)
    assert not f.running.done()
    assert not f.follower.participant_present
    await f.tell(JOINED)
    assert f.stage.told == ["begin", "silent", "pause", "resume"]
    assert f.journal.changes() == ["present", "left", "returned"]
    await f.running
    assert (f.reason, clock()) == (EndReason.SESSION_TIMEOUT, 615)


@following
async def test_who_left_for_good_is_waited_for_no_longer_than_the_grace() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    await f.tell(LEFT)
    await f.running
    assert (f.reason, clock()) == (EndReason.PARTICIPANT_LEFT, 30)


@following
async def test_session_timeout_says_goodbye_and_no_longer_than_it_may() -> None:
    f = Followed(here=True)
    f.heard()
    await f.running
    assert (f.reason, clock()) == (EndReason.SESSION_TIMEOUT, 600 + 15)
    assert f.stage.told == ["begin", "goodbye"]


@following
async def test_first_audio_that_does_not_come_is_a_failed_provider() -> None:
    f = Followed(here=True)
    await f.running
    assert (f.reason, clock()) == (EndReason.PROVIDER_FAILED, FIRST_AUDIO_S)
    assert f.recorder.outcome.error is not None
    assert f.recorder.outcome.error.code == "provider_unavailable"
    assert f.recorder.outcome.error.retryable


@following
async def test_first_audio_is_not_expected_while_nobody_is_there() -> None:
    f = Followed(here=True)
    await settle()
    await asyncio.wait([f.running], timeout=5)
    await f.tell(LEFT)
    await f.running
    assert (f.reason, clock()) == (EndReason.PARTICIPANT_LEFT, 35)


@following
async def test_first_audio_is_expected_anew_of_who_came_back() -> None:
    f = Followed(here=True)
    await settle()
    await asyncio.wait([f.running], timeout=15)
    await f.tell(LEFT, JOINED)
    await f.running
    assert (f.reason, clock()) == (EndReason.PROVIDER_FAILED, 15 + FIRST_AUDIO_S)


@following
async def test_phase_deadlines_are_kept_only_while_somebody_is_there() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    f.stage.due = 50
    await f.tell(Verdict.GO_ON)
    await asyncio.wait([f.running], timeout=51)
    assert "tick at 50" in f.stage.told
    f.stage.due = 60
    await f.tell(LEFT)
    await f.running
    assert "tick at 60" not in f.stage.told


@following
async def test_goodbye_that_was_said_ends_the_session() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    await f.tell(StopOrder(reason=EndReason.DRAINED))
    assert not f.running.done()
    f.stage.spoken.set()
    await f.running
    assert (f.reason, clock()) == (EndReason.DRAINED, 0)
    assert f.journal.states() == [SessionState.LIVE, SessionState.ENDING]


@following
async def test_stop_at_once_cuts_a_goodbye_short_and_the_first_reason_stays() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    await f.tell(ProtocolOver(early=False))
    await f.tell(StopOrder(reason=EndReason.OPERATOR, mode=StopMode.NOW))
    assert f.running.done()
    assert f.reason is EndReason.COMPLETED


@following
async def test_goodbye_that_cannot_be_said_ends_the_session_all_the_same() -> None:
    f = Followed(here=True)
    f.heard()
    f.stage.goodbye_fails = True
    await settle()
    await f.tell(StopOrder(reason=EndReason.OPERATOR))
    await f.running
    assert (f.reason, clock()) == (EndReason.OPERATOR, 0)


@following
async def test_signals_are_taken_in_their_order() -> None:
    f = Followed()
    for signal in (JOINED, LEFT, JOINED, Verdict.WRAP_UP, Verdict.END):
        f.signals.put_nowait(signal)
    f.heard()
    await settle()
    assert f.stage.told == ["begin", "silent", "pause", "resume", "wrap_up", "goodbye"]
    assert f.reason is EndReason.BUDGET_EXCEEDED
    f.stage.spoken.set()
    await f.running


@pytest.mark.parametrize(
    ("wrap_up", "early", "reason"),
    [
        (True, True, EndReason.BUDGET_EXCEEDED),
        (True, False, EndReason.COMPLETED),
        (False, True, EndReason.COMPLETED),
    ],
)
def test_protocol_ended_early_for_want_of_money_says_so(
    wrap_up: bool, early: bool, reason: EndReason
) -> None:
    async def test() -> None:
        f = Followed(here=True)
        f.heard()
        await settle()
        if wrap_up:
            await f.tell(Verdict.WRAP_UP)
        await f.tell(ProtocolOver(early=early))
        f.stage.spoken.set()
        await f.running
        assert f.reason is reason

    run(test)


@following
async def test_broken_provider_ends_the_session_with_its_error() -> None:
    f = Followed(here=True)
    await settle()
    await f.tell(Broken(error=ProviderRefused("no quota")))
    await f.running
    assert f.reason is EndReason.PROVIDER_FAILED
    assert str(f.recorder.outcome.error) == "no quota"


@following
async def test_with_another_provider_to_go_to_the_interview_is_not_over() -> None:
    f = Followed(here=True, may_fall_over=True)
    await settle()
    await f.tell(Broken(error=ProviderRefused("no quota")))
    await f.running
    assert f.reason is EndReason.PROVIDER_FAILED
    assert f.follower.life.stage is lifecycle.Stage.LIVE
    assert f.follower.life.reason is None


@following
async def test_what_is_ending_does_not_go_to_another_provider_for_its_goodbye() -> None:
    f = Followed(here=True, may_fall_over=True)
    f.heard()
    await settle()
    await f.tell(ProtocolOver(early=False), Broken(error=ProviderRefused("too late")))
    await f.running
    assert f.reason is EndReason.COMPLETED
    assert f.follower.life.stage is lifecycle.Stage.ENDED


@following
async def test_what_breaks_during_the_goodbye_is_not_the_session_s_error() -> None:
    f = Followed(here=True)
    f.heard()
    await settle()
    await f.tell(ProtocolOver(early=False), Broken(error=ProviderRefused("too late")))
    await f.running
    assert (f.reason, f.recorder.outcome.error) == (EndReason.COMPLETED, None)


@pytest.mark.parametrize(
    ("why", "reason", "code"),
    [
        ("room_deleted", EndReason.OPERATOR, None),
        ("signal_close", EndReason.ROOM_FAILED, "room_unreachable"),
        ("duplicate_identity", EndReason.ROOM_FAILED, "room_unreachable"),
    ],
)
def test_lost_room_ends_the_session(why: str, reason: EndReason, code: str | None) -> None:
    async def test() -> None:
        f = Followed(here=True)
        await settle()
        await f.tell(RoomEvent(change=RoomChange.DISCONNECTED, reason=why))
        await f.running
        error = f.recorder.outcome.error
        assert f.reason is reason
        assert (error.code if error else None) == code

    run(test)


@following
async def test_a_turn_is_answered_while_the_interview_is_on_and_not_after() -> None:
    f = Followed(here=True)
    f.heard()
    await f.tell(TurnToAnswer())
    await f.tell(LEFT, TurnToAnswer(), JOINED)
    await f.tell(Verdict.END, TurnToAnswer())
    answers = [told for told in f.stage.told if told == "answer"]
    assert answers == ["answer"]
    f.stage.spoken.set()
    await f.running


def left_by(stage: lifecycle.Stage, **changes: Any) -> Checkpoint:
    """What an earlier actor left 400 seconds into the session."""
    life = lifecycle.LifeAges(
        stage=stage,
        joined_s=400,
        since_s=5,
        met=stage is not lifecycle.Stage.JOINED,
        reason=changes.pop("reason", None),
    )
    return Checkpoint(attempt=1, at=0.0, life=life, interview_s=390, **changes)


@following
async def test_a_successor_carries_on_with_who_is_there_and_ends_when_the_session_should() -> None:
    f = Followed(here=True, left=left_by(lifecycle.Stage.LIVE))
    await settle()
    assert f.stage.told == ["carry_on"]
    assert f.journal.states() == [SessionState.LIVE]
    f.heard()
    f.stage.spoken.set()
    await f.running
    assert (f.reason, clock()) == (EndReason.SESSION_TIMEOUT, 200)


@following
async def test_a_successor_welcomes_back_who_was_away_and_who_has_gone_meanwhile() -> None:
    away = Followed(here=True, left=left_by(lifecycle.Stage.AWAY))
    gone = Followed(left=left_by(lifecycle.Stage.LIVE))
    await settle()
    assert away.stage.told == ["resume"]
    assert gone.stage.told == []
    await gone.tell(JOINED)
    assert gone.stage.told == ["resume"]
    for f in (away, gone):
        await f.tell(StopOrder(reason=EndReason.OPERATOR, mode=StopMode.NOW))
        await f.running


@following
async def test_who_does_not_come_back_has_left_and_is_no_no_show() -> None:
    f = Followed(left=left_by(lifecycle.Stage.LIVE))
    await f.running
    assert (f.reason, clock()) == (EndReason.PARTICIPANT_LEFT, 30)


@following
async def test_a_successor_only_says_the_goodbye_where_that_was_due() -> None:
    reason = EndReason.BUDGET_EXCEEDED
    f = Followed(here=True, left=left_by(lifecycle.Stage.CLOSING, reason=reason))
    closed = PhaseState(index=0, closed=True)
    g = Followed(here=True, left=left_by(lifecycle.Stage.LIVE, phases=closed))
    await settle()
    assert f.stage.told == g.stage.told == ["goodbye"]
    for followed, expected in ((f, reason), (g, EndReason.COMPLETED)):
        followed.stage.spoken.set()
        await followed.running
        assert followed.reason is expected


@following
async def test_one_that_had_met_nobody_begins_within_what_is_left_of_the_wait() -> None:
    f = Followed(left=left_by(lifecycle.Stage.JOINED))
    assert f.journal.states() == []
    await f.running
    assert (f.reason, clock()) == (EndReason.NO_SHOW, 55)


def left(f: Followed) -> bool:
    return f.running.done() and f.follower.handed_over and f.reason is None


@following
async def test_it_is_handed_over_between_two_turns() -> None:
    f = Followed(here=True)
    f.heard()
    await f.tell(HandOver(patience_s=20))
    await asyncio.wait([f.running], timeout=5)
    assert not f.running.done()
    f.between_turns = True
    await asyncio.wait([f.running], timeout=BETWEEN_TURNS_S + 0.2)
    assert left(f)
    assert f.follower.life.stage is lifecycle.Stage.LIVE
    assert SessionState.ENDING not in f.journal.states()


@following
async def test_but_not_in_the_moment_between_a_function_call_and_its_words() -> None:
    f = Followed(here=True)
    f.heard()
    f.between_turns = True
    await f.tell(HandOver(patience_s=20))
    await asyncio.sleep(BETWEEN_TURNS_S / 2)
    f.between_turns = False
    await asyncio.wait([f.running], timeout=1)
    assert not f.running.done()
    f.running.cancel()


@following
async def test_it_is_handed_over_when_its_patience_ends_of_which_the_shortest_counts() -> None:
    f = Followed(here=True)
    f.heard()
    await f.tell(HandOver(patience_s=20), HandOver(patience_s=60))
    await f.running
    assert left(f)
    assert 20 <= clock() < 20.2


@following
async def test_it_is_handed_over_at_once_where_nobody_is_there_to_notice() -> None:
    f = Followed()
    await f.tell(HandOver(patience_s=20))
    await f.running
    assert left(f)
    assert clock() < 0.2


@following
async def test_a_goodbye_is_not_handed_over() -> None:
    f = Followed(here=True)
    f.heard()
    await f.tell(StopOrder(reason=EndReason.OPERATOR), HandOver(patience_s=0))
    f.stage.spoken.set()
    await f.running
    assert not f.follower.handed_over
    assert f.reason is EndReason.OPERATOR
