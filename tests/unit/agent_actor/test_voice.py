from __future__ import annotations

import asyncio

import pytest
from livekit.agents import AgentStateChangedEvent

from agent_actor.voice import Voice


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def voice(clock: Clock) -> Voice:
    return Voice(clock)


def interviewer(voice: Voice, *, speaks: bool) -> None:
    old, new = ("listening", "speaking") if speaks else ("speaking", "listening")
    voice.agent_state_changed(AgentStateChangedEvent(old_state=old, new_state=new))


def test_seconds_are_counted_for_each_speaker(voice: Voice, clock: Clock) -> None:
    interviewer(voice, speaks=True)
    clock.now = 3
    interviewer(voice, speaks=False)
    voice.participant_speaking(True)
    clock.now = 8
    assert voice.statistics() == {
        "interviewer_spoke_s": 3.0,
        "participant_spoke_s": 5.0,
        "spurts": 1,
        "interruptions": 0,
    }


def test_speaking_over_the_interviewer_is_an_interruption(voice: Voice) -> None:
    interviewer(voice, speaks=True)
    voice.participant_speaking(True)
    voice.participant_speaking(True)
    assert voice.interruptions == 1
    assert voice.speaking == "interviewer"


async def test_waiting_for_words_ends_when_they_have_been_spoken(voice: Voice) -> None:
    waiting = asyncio.create_task(voice.wait_spoken(60))
    await asyncio.sleep(0)
    interviewer(voice, speaks=True)
    await asyncio.sleep(0)
    assert not waiting.done()
    interviewer(voice, speaks=False)
    await asyncio.wait_for(waiting, 1)


async def test_words_that_never_begin_are_given_up(voice: Voice) -> None:
    await asyncio.wait_for(voice.wait_spoken(0), 1)


async def test_a_participant_who_speaks_is_waited_out(voice: Voice, clock: Clock) -> None:
    voice.participant_speaking(True)
    waiting = asyncio.create_task(voice.wait_quiet(0.5))
    clock.now = 10
    await asyncio.sleep(0)
    assert not waiting.done()
    voice.participant_speaking(False)
    # Still within the half second: it waits on a timer, which this clock has already passed.
    clock.now = 10.5
    assert await asyncio.wait_for(waiting, 2)


async def test_quiet_that_was_long_ago_is_reached_at_once(voice: Voice, clock: Clock) -> None:
    clock.now = 5
    assert await voice.wait_quiet(2)


async def test_waiting_for_quiet_ends_when_the_interviewer_speaks_by_itself(voice: Voice) -> None:
    waiting = asyncio.create_task(voice.wait_quiet(60))
    await asyncio.sleep(0)
    interviewer(voice, speaks=True)
    assert await asyncio.wait_for(waiting, 1) is False
