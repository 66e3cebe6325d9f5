"""Handles, and how long a connection and a session may last."""

from __future__ import annotations

import pytest

from loadtest.simulators.gemini.limits import Limits
from loadtest.simulators.gemini.resumption import HANDLE_LIFE_S, HandleStore
from loadtest.simulators.gemini.session import Session
from loadtest.simulators.gemini.setup import Compression, SessionSetup, SetupError
from loadtest.simulators.script import Interviewer, Script


def test_a_handle_can_be_used_more_than_once() -> None:
    store: HandleStore[str] = HandleStore(secret="s")
    handle = store.issue("state", now_s=0)
    assert [store.redeem(handle, now_s=1), store.redeem(handle, now_s=2)] == ["state"] * 2


def test_each_handle_stands_for_its_own_state() -> None:
    store: HandleStore[str] = HandleStore(secret="s")
    first, second = store.issue("one", now_s=0), store.issue("two", now_s=1)
    assert (store.redeem(first, now_s=2), store.redeem(second, now_s=2)) == ("one", "two")


def test_a_handle_expires_after_two_hours() -> None:
    store: HandleStore[str] = HandleStore(secret="s")
    handle = store.issue("state", now_s=0)
    store.issue("later", now_s=HANDLE_LIFE_S - 1)
    assert store.redeem(handle, now_s=HANDLE_LIFE_S - 1) == "state"
    with pytest.raises(SetupError, match="session not found"):
        store.redeem(handle, now_s=HANDLE_LIFE_S)


@pytest.mark.parametrize(
    ("handle", "code"), [("not a handle", 1007), ("0" * 64, 1008), ("g" * 64, 1007)]
)
def test_other_handles_are_refused(handle: str, code: int) -> None:
    store: HandleStore[str] = HandleStore(secret="s")
    with pytest.raises(SetupError) as caught:
        store.redeem(handle, now_s=0)
    assert caught.value.code == code


def session(*, compression: Compression | None = None) -> Session:
    return Session(
        session_id="s",
        setup=SessionSetup(model="m", compression=compression),
        interviewer=Interviewer(seed=1, script=Script()),
        started_at_s=100.0,
    )


LIMITS = Limits(connection_s=600, go_away_before_s=60, audio_s=900)


def test_a_connection_is_told_before_it_ends() -> None:
    deadline = LIMITS.deadline(session(), now_s=100)
    assert (deadline.away_at_s, deadline.ends_at_s, deadline.code) == (640, 700, 1011)
    assert deadline.next_at_s == 640
    assert deadline.announce().next_at_s == 700
    assert deadline.left_s(640) == 60


def test_a_session_without_compression_ends_at_the_audio_limit() -> None:
    deadline = LIMITS.deadline(session(), now_s=700)
    assert (deadline.ends_at_s, deadline.code) == (1_000, 1008)
    assert deadline.reason == "BidiGenerateContent session expired"
    with pytest.raises(SetupError, match="expired"):
        LIMITS.deadline(session(), now_s=1_000)


def test_a_session_with_compression_goes_on() -> None:
    compressed = session(compression=Compression(trigger=10, target=5))
    assert LIMITS.deadline(compressed, now_s=5_000).ends_at_s == 5_600


def test_going_away_at_once() -> None:
    assert LIMITS.soon(now_s=10).ends_at_s == 70
    assert LIMITS.soon(now_s=10, left_s=0.5).ends_at_s == 10.5
