import pytest

from agent_actor.contract import EndReason
from agent_actor.messages import StopOrder
from fleet.attempts import (
    JOIN_TIMEOUT,
    Bounds,
    Next,
    Standing,
    end_of_adopted,
    end_of_loss,
    end_of_result,
    is_retryable,
    loss_cause,
    next_step,
)
from tests.unit.fleet.control_fakes import result_of


def ended(code=None, *, joined=True, retryable=False, **changes):
    reason = EndReason.METADATA_TIMEOUT if code else EndReason.COMPLETED
    result = result_of("s-1", end_reason=reason, error_code=code, retryable=retryable, **changes)
    return end_of_result(result, joined=joined)


def lost(code="actor_lost", *, joined=False):
    return end_of_loss(code, "why", joined=joined, ordered=None)


def after(end, *, tries=1, recoveries=0, stopping=False):
    standing = Standing(tries=tries, recoveries=recoveries, stopping=stopping)
    return next_step(end, standing, Bounds(max_attempts=2, max_recoveries=3))


def test_what_was_handed_over_is_carried_on_however_often_actors_were_lost():
    assert after(ended(handed_over=True), tries=2, recoveries=3) is Next.MOVE
    assert after(ended(handed_over=True), stopping=True) is Next.END


@pytest.mark.parametrize(
    "end",
    [
        ended("metadata_timeout"),
        ended("room_unreachable", joined=False),
        lost(),
        lost("actor_missing"),
        lost("actor_busy"),
        ended("checkpoint_unavailable"),
        lost(JOIN_TIMEOUT),
    ],
)
def test_another_actor_is_tried_once(end):
    assert after(end) is Next.RETRY
    assert after(end, tries=2) is Next.END
    assert after(end, stopping=True) is Next.END


@pytest.mark.parametrize(
    "end",
    [
        ended(),
        ended("provider_refused"),
        ended("provider_unavailable", retryable=True),
        ended("room_token_rejected", joined=False),
        ended("contract_invalid"),
        lost("internal_error", joined=True),
        lost("actor_no_answer", joined=True),
    ],
)
def test_what_another_actor_cannot_better_ends_the_session(end):
    assert after(end) is Next.END


def test_a_session_falls_over_to_its_other_provider_whatever_it_was_tried_before():
    end = ended("provider_unavailable", falls_over=True, first_audio_s=1.0)
    assert after(end, tries=2, recoveries=3) is Next.RECOVER
    assert after(end, stopping=True) is Next.END


def test_a_session_that_has_spoken_is_not_begun_again():
    assert after(ended("room_unreachable", first_audio_s=1.0)) is Next.END


@pytest.mark.parametrize("code", ["actor_lost", "control_plane_unavailable"])
def test_a_lost_interview_is_carried_on_as_often_as_is_allowed(code):
    end = lost(code, joined=True)
    assert after(end) is Next.RECOVER
    assert after(end, tries=2, recoveries=2) is Next.RECOVER
    assert after(end, recoveries=3) is Next.END
    assert after(end, stopping=True) is Next.END


def test_an_actor_that_could_say_how_it_ended_is_not_lost():
    assert after(ended("actor_lost")) is Next.END


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (
            "session-a: OutOfMemoryError: Task was killed due to the node running low",
            "out_of_memory",
        ),
        ("session-a: The actor died because its node died unexpectedly", "node_lost"),
        ("session-a: The actor died unexpectedly before finishing this task.", "actor_lost"),
    ],
)
def test_why_an_actor_was_lost_is_counted_from_a_closed_set(error, cause):
    assert loss_cause(end_of_loss("actor_lost", error, joined=True, ordered=None)) == cause


def test_a_loss_after_a_stop_is_the_stop():
    end = end_of_loss(
        "actor_lost", "killed", joined=True, ordered=StopOrder(reason=EndReason.OPERATOR)
    )
    assert (end.end_reason, end.error_code) == (EndReason.OPERATOR, None)


def test_a_loss_by_itself():
    assert lost().end_reason is EndReason.ACTOR_LOST
    assert lost(JOIN_TIMEOUT).end_reason is EndReason.ROOM_FAILED


def test_the_result_says_whether_trying_again_helps():
    assert is_retryable(ended("provider_unavailable", retryable=True))
    assert not is_retryable(ended("provider_refused"))
    assert is_retryable(lost())


@pytest.mark.parametrize("code", ["actor_lost", "actor_missing"])
def test_one_taken_over_whose_actor_was_gone_is_carried_on_if_it_had_joined(code):
    assert after(end_of_adopted(lost(code), had_joined=True)) is Next.RECOVER
    assert after(end_of_adopted(lost(code), had_joined=False)) is Next.RETRY
    # That it had joined before says nothing of an attempt that never did.
    assert after(end_of_adopted(lost(JOIN_TIMEOUT), had_joined=True)) is Next.RETRY
