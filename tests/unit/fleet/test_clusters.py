"""Whose sessions they are, where several clusters share one registry."""

from __future__ import annotations

from fleet.clusters import GONE_AFTER_S, MOST_APART_S, Clusters
from fleet.records import SessionRecord


def record_of(cluster: str | None) -> SessionRecord:
    return SessionRecord(
        session_id="s-a",
        study_id="study-7",
        participant_identity="p-1",
        room="interview-s-a",
        provider="openai_realtime",
        limit_micro_usd=1,
        created_at=0.0,
        cluster=cluster,
    )


def watching(clusters: Clusters, beat: int, from_s: float, to_s: float) -> None:
    """Looks every 5 s, in which the old cluster's beat stands at ``beat``."""
    at = from_s
    while at <= to_s:
        clusters.heard({"new": int(at), "old": beat}, at)
        at += 5.0


def test_ones_own_and_nobodys_are_cared_for_from_the_beginning() -> None:
    clusters = Clusters("new")
    assert clusters.cares_for(record_of("new"))
    assert clusters.cares_for(record_of(None))


def test_anothers_is_left_alone_before_the_first_look() -> None:
    assert not Clusters("new").cares_for(record_of("old"))


def test_anothers_is_left_alone_while_its_beat_goes_on() -> None:
    clusters = Clusters("new")
    for second in range(0, 600, 5):
        clusters.heard({"new": second, "old": second}, float(second))
        assert not clusters.cares_for(record_of("old"))
    assert clusters.gone() == []


def test_it_is_gone_when_its_beat_has_stood_still_long_enough() -> None:
    clusters = Clusters("new")
    watching(clusters, 7, 0.0, GONE_AFTER_S - 5.0)
    assert not clusters.cares_for(record_of("old"))
    watching(clusters, 7, GONE_AFTER_S, GONE_AFTER_S)
    assert clusters.cares_for(record_of("old"))
    assert clusters.gone() == ["old"]


def test_one_that_beats_again_is_back() -> None:
    clusters = Clusters("new")
    watching(clusters, 7, 0.0, GONE_AFTER_S)
    watching(clusters, 8, GONE_AFTER_S + 5.0, GONE_AFTER_S + 5.0)
    assert not clusters.cares_for(record_of("old"))


def test_one_that_left_is_gone_after_the_same_time() -> None:
    clusters = Clusters("new")
    watching(clusters, 7, 0.0, 10.0)
    for second in range(15, 60, 5):
        clusters.heard({"new": second}, float(second))
        assert not clusters.cares_for(record_of("old"))
    clusters.heard({"new": 60}, 60.0)
    assert clusters.cares_for(record_of("old"))
    assert clusters.gone() == []


def test_one_that_is_gone_stays_so_when_it_was_taken_out_of_the_book() -> None:
    clusters = Clusters("new")
    watching(clusters, 7, 0.0, GONE_AFTER_S)
    clusters.heard({"new": 99}, GONE_AFTER_S + 5.0)
    assert clusters.cares_for(record_of("old"))


def test_one_that_has_begun_since_the_last_look_is_not_gone() -> None:
    """Its first session may be there before we see its beat."""
    clusters = Clusters("old")
    clusters.heard({"old": 99}, 495.0)
    assert not clusters.cares_for(record_of("new"))
    clusters.heard({"old": 100, "new": 1}, 500.0)
    assert not clusters.cares_for(record_of("new"))


def test_nothing_is_concluded_from_a_time_without_looks() -> None:
    """The store was away: nobody could beat."""
    clusters = Clusters("new")
    watching(clusters, 7, 0.0, GONE_AFTER_S - 5.0)
    back = GONE_AFTER_S + MOST_APART_S + 5.0
    watching(clusters, 7, back, back + GONE_AFTER_S - 5.0)
    assert not clusters.cares_for(record_of("old"))
    watching(clusters, 7, back + GONE_AFTER_S, back + GONE_AFTER_S)
    assert clusters.cares_for(record_of("old"))
