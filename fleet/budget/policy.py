"""How much a session may spend before it must ask again, and when it has to end. Pure.

An allowance is a lease: up to an amount, until a time, and beyond that amount a goodbye. In
mid-session it covers at least a minute at the worst burn seen or possible, also just before it is
renewed at half; mid-session is where two such minutes are left. Nearer to a limit it gets fine,
so that little is held back from others; only the last responses are given whole, as a session
begins none that its allowance does not cover at its worst. The goodbye lies inside the limit.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.messages import Verdict


@dataclass(frozen=True, kw_only=True)
class GrantPolicy:
    lease_s: float = 120.0
    """How long an allowance is good for; it is renewed from half of it on."""
    wrap_up_permille: int = 920
    """Of what the session may spend in all: from here on the interviewer closes."""
    unreported_reserve_permille: int = 20
    """Of the limit, for a goodbye of which nothing has been reported yet."""
    most_reserve_permille: int = 250
    """A goodbye that could cost more than this part of the limit is not saved for in full."""
    chunk_permille: int = 100
    """Least size of an allowance in mid-session, as a part of the limit, …"""
    least_chunk_micro_usd: int = 100_000
    """… and in money: the first answers of a session come before its first report is answered."""
    covered_responses: int = 4
    """Worst cases that must always be in hand in mid-session: so many that the session never
    begins to ask before each response only because its renewal is on its way."""
    last_responses: int = 2
    """When no more of them are left than this, all that is left is given."""


@dataclass(frozen=True, kw_only=True)
class Standing:
    """A session's money at the moment of a decision, all in micro-dollars."""

    cap: int
    """The most it may ever spend: its limit, or less where study or fleet have less left."""
    limit: int
    spent: int
    estimate: int
    at_risk: int
    goodbye: int
    """The most that a goodbye can cost now; 0: not reported yet."""
    response: int
    """The most that one more response can cost now."""
    minute: int
    """The most that the next minute can cost."""
    busiest_minute: int
    """The most that it spent in any minute."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """``goodbye``: beyond ``up_to``. ``size``: how much there was to spend when it was given."""

    up_to: int
    expires_at: float
    size: int
    goodbye: int = 0

    @property
    def most(self) -> int:
        return self.up_to + self.goodbye


def reserve_of(policy: GrantPolicy, standing: Standing) -> int:
    if not standing.goodbye:
        return standing.limit * policy.unreported_reserve_permille // 1000
    return min(standing.goodbye, standing.limit * policy.most_reserve_permille // 1000)


def usable_of(policy: GrantPolicy, standing: Standing) -> int:
    """What may be spent but for the goodbye."""
    return max(standing.cap - reserve_of(policy, standing), 0)


def verdict_of(policy: GrantPolicy, standing: Standing) -> Verdict:
    used = standing.spent + standing.estimate
    if used >= usable_of(policy, standing):
        return Verdict.END
    if used * 1000 >= standing.cap * policy.wrap_up_permille:
        return Verdict.WRAP_UP
    return Verdict.GO_ON


def in_hand(policy: GrantPolicy, standing: Standing) -> int:
    """What a session must always have left of its allowance in mid-session."""
    responses = policy.covered_responses * standing.response
    return max(standing.busiest_minute, standing.minute, responses)


def chunk_of(policy: GrantPolicy, standing: Standing, room: int) -> int:
    """The size of a new allowance where ``room`` is left before the reserve."""
    part = standing.limit * policy.chunk_permille // 1000
    chunk = max(part, policy.least_chunk_micro_usd, 2 * in_hand(policy, standing))
    if room >= 2 * chunk:
        return chunk
    return room if room <= policy.last_responses * standing.response else room // 2


def decide(
    policy: GrantPolicy, standing: Standing, held: Grant | None, now: float
) -> tuple[Verdict, Grant]:
    """The verdict, and the allowance from now on: ``held`` itself while more than half is left.

    After END the allowance is all there is, the reserve included. No grant exceeds the cap.
    """
    verdict = verdict_of(policy, standing)
    expires_at = now + policy.lease_s
    if verdict is Verdict.END:
        return verdict, Grant(up_to=max(standing.cap, 0), expires_at=expires_at, size=0)
    used = standing.spent + max(standing.estimate, standing.at_risk)
    usable = usable_of(policy, standing)
    goodbye = standing.cap - usable
    chunk = chunk_of(policy, standing, max(usable - used, 0))
    if held is not None and held.most <= standing.cap and held.goodbye >= goodbye:
        left = held.up_to - used
        # The bound has grown since it was given: what was a minute then may not be one now.
        enough = 2 * left >= held.size and left >= min(in_hand(policy, standing), chunk)
        if enough and held.size and 2 * (held.expires_at - now) >= policy.lease_s:
            return verdict, held
    up_to = max(min(used + chunk, usable), 0)
    size = max(up_to - used, 0)
    return verdict, Grant(up_to=up_to, goodbye=goodbye, expires_at=expires_at, size=size)
