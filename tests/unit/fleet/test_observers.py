import pytest

from fleet.dispatch_plan import OBSERVER_PREFIX
from fleet.errors import ControlPlaneUnavailable, TooManyObservers
from fleet.observers import MOST_OBSERVERS, ObserverDesk
from fleet.records import SessionRecord

RECORD = SessionRecord(
    session_id="s-1",
    study_id="study-7",
    participant_identity="p-1",
    room="interview-s-1",
    provider="openai_realtime",
    limit_micro_usd=1,
    created_at=1.0,
)


class Book:
    def __init__(self):
        self.added = []

    async def add_observer(self, session_id, identity, *, ttl_s, most):
        if len(self.added) >= most:
            raise TooManyObservers(session_id, most)
        self.added.append((session_id, identity, ttl_s))


class Tokens:
    def observer_token(self, *, room, identity, ttl_s):
        return f"{identity}@{room} for {ttl_s}"


class Sessions:
    def __init__(self):
        self.told = []
        self.failure = None

    async def observe(self, session_id):
        if self.failure is not None:
            raise self.failure
        self.told.append(session_id)
        return True


@pytest.fixture
def book():
    return Book()


@pytest.fixture
def sessions():
    return Sessions()


@pytest.fixture
def desk(book, sessions):
    return ObserverDesk(
        book=book,
        tokens=Tokens(),
        sessions=sessions,
        livekit_url="wss://x",
        ttl_s=60,
        now=lambda: 1_000.0,
    )


async def test_an_observer_is_written_down_and_told(desk, book, sessions):
    given = await desk.admit(RECORD)
    assert given.identity.startswith(OBSERVER_PREFIX)
    assert book.added == [("s-1", given.identity, 60)]
    assert sessions.told == ["s-1"]
    assert given.token == f"{given.identity}@interview-s-1 for 60"
    assert (given.expires_at, given.told, given.livekit_url) == (1_060.0, True, "wss://x")
    assert "token" not in repr(given)


async def test_a_supervisor_that_is_away_does_not_keep_it_out(desk, book, sessions):
    sessions.failure = ControlPlaneUnavailable("supervisor", "away")
    given = await desk.admit(RECORD)
    assert not given.told
    assert len(book.added) == 1


async def test_no_more_than_there_may_be(desk, sessions):
    given = [await desk.admit(RECORD) for _ in range(MOST_OBSERVERS)]
    assert len({g.identity for g in given}) == MOST_OBSERVERS
    with pytest.raises(TooManyObservers):
        await desk.admit(RECORD)
    assert len(sessions.told) == MOST_OBSERVERS
