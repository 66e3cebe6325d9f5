from __future__ import annotations

import pytest

from agent_actor.journal import LiveState
from fleet.vitals import Vitals

NOW = 1_000.0


def live(updated_at, state="live", away_s=None):
    return LiveState(state=state, updated_at=updated_at, away_s=away_s)


def test_nothing_is_known_before_anything_was_read():
    vitals = Vitals()
    vitals.read(None, 1.0, NOW)
    assert (vitals.silent_s, vitals.away_s) == (None, None)


def test_silence_is_counted_by_the_readers_clock_and_as_of_its_last_reading():
    vitals = Vitals()
    for clock in (100.0, 101.0, 104.0):
        vitals.read(live(7.0), clock, NOW)
    assert vitals.silent_s == 4.0
    vitals.read(live(8.0), 105.0, NOW)
    assert vitals.silent_s == 0.0


def test_a_store_that_did_not_answer_begins_it_anew():
    vitals = Vitals()
    vitals.read(live(7.0), 100.0, NOW)
    vitals.unread()
    assert vitals.silent_s is None
    vitals.read(live(7.0), 130.0, NOW)
    assert vitals.silent_s == 0.0


@pytest.mark.parametrize("state", ["assigned", "joined", "ending", "gone"])
def test_where_nothing_need_be_written_there_is_no_silence(state):
    vitals = Vitals()
    for clock in (100.0, 200.0):
        vitals.read(live(7.0, state), clock, NOW)
    assert vitals.silent_s is None


def test_an_absence_goes_on_between_two_words_of_it():
    vitals = Vitals()
    vitals.read(live(7.0, away_s=12.0), 100.0, NOW)
    vitals.read(live(7.0, away_s=12.0), 102.5, NOW)
    assert vitals.away_s == 14.5
    vitals.read(live(8.0), 103.0, NOW)
    assert vitals.away_s is None


def test_what_a_new_reader_finds_is_as_old_as_it_says():
    vitals = Vitals(found=True)
    vitals.read(live(NOW - 20.0, away_s=5.0), 100.0, NOW)
    assert (vitals.silent_s, vitals.away_s) == (20.0, 25.0)
    vitals.read(live(NOW + 1.0, away_s=26.0), 101.0, NOW + 1.0)
    assert (vitals.silent_s, vitals.away_s) == (0.0, 26.0)


def test_a_clock_that_is_ahead_makes_nothing_younger():
    vitals = Vitals(found=True)
    vitals.read(live(NOW + 50.0, away_s=5.0), 100.0, NOW)
    assert (vitals.silent_s, vitals.away_s) == (0.0, 5.0)
