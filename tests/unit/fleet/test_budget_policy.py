"""When a session ends, and how much it may spend until it must ask again."""

from __future__ import annotations

from dataclasses import dataclass, replace
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent_actor.messages import Verdict
from fleet.budget.policy import (
    Grant,
    GrantPolicy,
    Standing,
    decide,
    in_hand,
    reserve_of,
    usable_of,
)

POLICY = GrantPolicy()
MID = Standing(
    cap=10_000_000,
    limit=10_000_000,
    spent=2_000_000,
    estimate=0,
    at_risk=0,
    goodbye=10_000,
    response=300_000,
    minute=500_000,
    busiest_minute=150_000,
)


def room_of(standing: Standing) -> int:
    return usable_of(POLICY, standing) - standing.spent


def test_in_mid_session_it_covers_a_minute_at_the_worst_burn() -> None:
    verdict, grant = decide(POLICY, MID, None, now=0.0)
    assert verdict is Verdict.GO_ON
    assert grant.up_to - MID.spent >= 2 * in_hand(POLICY, MID) >= 2 * MID.minute
    assert grant.expires_at == POLICY.lease_s >= 60
    busy = replace(MID, busiest_minute=1_800_000)
    assert decide(POLICY, busy, None, now=0.0)[1].up_to - MID.spent >= 2 * 1_800_000


def test_the_session_never_has_to_ask_first_because_its_renewal_is_on_its_way() -> None:
    """It does so with less than three worst cases in hand, see agent_actor.permits."""
    _, grant = decide(POLICY, MID, None, now=0.0)
    for spent in range(MID.spent, grant.up_to, 10_000):
        standing = replace(MID, spent=spent)
        _, renewed = decide(POLICY, standing, grant, now=1.0)
        assert renewed.up_to - spent >= POLICY.covered_responses * MID.response


def test_a_response_under_way_comes_on_top() -> None:
    calm = decide(POLICY, MID, None, now=0.0)[1]
    responding = replace(MID, estimate=50_000, at_risk=400_000)
    assert decide(POLICY, responding, None, now=0.0)[1].up_to == calm.up_to + 400_000


def test_it_is_renewed_from_half_of_the_amount_on() -> None:
    _, grant = decide(POLICY, MID, None, now=0.0)
    just_before = replace(MID, spent=MID.spent + grant.size // 2)
    assert decide(POLICY, just_before, grant, now=1.0)[1] is grant
    after = replace(MID, spent=MID.spent + grant.size // 2 + 1)
    assert decide(POLICY, after, grant, now=1.0)[1].up_to > grant.up_to


def test_it_is_renewed_as_soon_as_a_minute_may_cost_more_than_is_left() -> None:
    _, grant = decide(POLICY, MID, None, now=0.0)
    listened = replace(MID, spent=MID.spent + grant.size // 4, minute=4 * MID.minute)
    assert grant.up_to - listened.spent < in_hand(POLICY, listened)
    renewed = decide(POLICY, listened, grant, now=1.0)[1]
    assert renewed.up_to - listened.spent >= in_hand(POLICY, listened)


def test_it_is_renewed_from_half_of_the_time_on() -> None:
    _, grant = decide(POLICY, MID, None, now=0.0)
    assert decide(POLICY, MID, grant, now=60.0)[1] is grant
    assert decide(POLICY, MID, grant, now=60.1)[1].expires_at == pytest.approx(180.1)


def test_near_the_limit_it_gets_fine() -> None:
    near = replace(MID, spent=8_500_000)
    verdict, grant = decide(POLICY, near, None, now=0.0)
    assert verdict is Verdict.GO_ON
    assert grant.up_to - near.spent == room_of(near) // 2


def test_the_last_responses_are_given_whole() -> None:
    last = replace(MID, spent=9_500_000)
    verdict, grant = decide(POLICY, last, None, now=0.0)
    assert verdict is Verdict.WRAP_UP
    assert grant.up_to == usable_of(POLICY, last)
    assert grant.up_to + grant.goodbye == last.cap


@pytest.mark.parametrize(
    ("spent", "verdict"),
    [
        (9_199_999, Verdict.GO_ON),
        (9_200_000, Verdict.WRAP_UP),
        (9_989_999, Verdict.WRAP_UP),
        (9_990_000, Verdict.END),
    ],
)
def test_the_verdict_is_graded(spent: int, verdict: Verdict) -> None:
    assert decide(POLICY, replace(MID, spent=spent), None, now=0.0)[0] is verdict


def test_the_goodbye_lies_inside_the_limit_and_comes_with_every_allowance() -> None:
    _, grant = decide(POLICY, MID, None, now=0.0)
    assert grant.goodbye == MID.goodbye
    _, first = decide(POLICY, replace(MID, goodbye=0), None, now=0.0)
    assert first.goodbye == 200_000, "nothing was reported yet"
    ended = replace(MID, spent=9_985_000, estimate=20_000)
    verdict, grant = decide(POLICY, ended, None, now=0.0)
    assert (verdict, grant.up_to, grant.goodbye) == (Verdict.END, 10_000_000, 0)


def test_a_goodbye_that_has_become_dearer_makes_a_new_allowance() -> None:
    _, grant = decide(POLICY, MID, None, now=0.0)
    dearer = replace(MID, goodbye=2 * MID.goodbye)
    _, renewed = decide(POLICY, dearer, grant, now=1.0)
    assert renewed.goodbye == dearer.goodbye


def test_a_dear_goodbye_is_not_saved_for_in_full() -> None:
    assert reserve_of(POLICY, replace(MID, goodbye=900_000)) == 900_000
    assert reserve_of(POLICY, replace(MID, goodbye=5_000_000)) == 2_500_000


def test_a_limit_of_zero_ends_at_once_with_nothing() -> None:
    verdict, grant = decide(POLICY, replace(MID, cap=0, limit=0), None, now=0.0)
    assert (verdict, grant.up_to, grant.goodbye) == (Verdict.END, 0, 0)


amounts = st.integers(0, 20_000_000)


@given(st.lists(amounts, min_size=9, max_size=9))
def test_no_allowance_goes_beyond_the_cap(drawn: list[int]) -> None:
    limit, cap, spent, estimate, risk, bye, response, busy, held = drawn
    standing = Standing(
        cap=min(cap, limit),
        limit=limit,
        spent=spent,
        estimate=estimate,
        at_risk=risk,
        goodbye=bye,
        response=response,
        minute=busy,
        busiest_minute=busy,
    )
    grant = Grant(up_to=held, expires_at=100.0, size=held)
    for before in (None, grant):
        verdict, given = decide(POLICY, standing, before, now=50.0)
        assert 0 <= given.up_to <= given.most <= standing.cap
        if verdict is not Verdict.END:
            assert spent + estimate < usable_of(POLICY, standing)
            assert given.goodbye >= min(reserve_of(POLICY, standing), standing.cap)


# A whole session


@dataclass(frozen=True, kw_only=True)
class Talk:
    """A conversation at its dearest: both speak all the time, nothing is ever cached, a response
    is created every ten seconds with all that was said before as its input.
    """

    input_micro_per_token: Fraction
    output_micro_per_token: Fraction
    user_tokens_per_s: int
    agent_tokens_per_s: int
    instructions_micro: int
    window_tokens: int

    def input_at(self, at_s: float) -> int:
        said = int(at_s * (self.user_tokens_per_s + self.agent_tokens_per_s))
        tokens = min(said, self.window_tokens)
        return self.instructions_micro + ceil(tokens * self.input_micro_per_token)

    def response_at(self, at_s: float) -> int:
        spoken = 10 * self.agent_tokens_per_s
        return self.input_at(at_s) + ceil(spoken * self.output_micro_per_token)

    def minute_at(self, at_s: float) -> int:
        """The most that the minute from then on can bring."""
        most = self.input_at(at_s + 60)
        return 6 * most + ceil(60 * self.agent_tokens_per_s * self.output_micro_per_token)

    def spent_by(self, at_s: float) -> int:
        return sum(self.response_at(10.0 * n) for n in range(1, int(at_s // 10) + 1))


TALKS = {
    "gpt-4o-realtime": Talk(
        input_micro_per_token=Fraction(40),
        output_micro_per_token=Fraction(80),
        user_tokens_per_s=10,
        agent_tokens_per_s=20,
        instructions_micro=30_000,
        window_tokens=128_000,
    ),
    "gemini-live": Talk(
        input_micro_per_token=Fraction(3),
        output_micro_per_token=Fraction(12),
        user_tokens_per_s=32,
        agent_tokens_per_s=25,
        instructions_micro=4_000,
        window_tokens=128_000,
    ),
}


@pytest.mark.parametrize("name", TALKS)
@pytest.mark.parametrize("limit", [1_000_000, 4_000_000, 10_000_000, 100_000_000])
def test_a_lease_in_mid_session_lasts_a_minute_whatever_is_said(name: str, limit: int) -> None:
    talk, grant, seen = TALKS[name], None, 0
    minutes: dict[int, int] = {}
    for at_s in range(3600):
        spent = talk.spent_by(at_s)
        minutes[at_s // 60] = minutes.get(at_s // 60, 0) + spent - talk.spent_by(at_s - 1)
        standing = Standing(
            cap=limit,
            limit=limit,
            spent=spent,
            estimate=0,
            at_risk=0,
            goodbye=talk.response_at(at_s) // 10,
            response=talk.response_at(at_s),
            minute=talk.minute_at(at_s),
            busiest_minute=max(minutes.values()),
        )
        verdict, grant = decide(POLICY, standing, grant, now=float(at_s))
        if verdict is Verdict.END:
            break
        if room_of(standing) >= 2 * in_hand(POLICY, standing):
            seen += 1
            # It is cut off now: what it holds pays for all that a minute can bring.
            assert talk.spent_by(at_s + 60) <= grant.up_to
            assert grant.expires_at >= at_s + 60
    assert seen or limit < 4_000_000
