"""How much a session may spend before it must ask again, and when it has to end. Pure.

An allowance is a lease: up to an amount, until a time. In mid-session it covers at least a
minute at the worst burn seen or possible, also just before it is renewed at half; near a limit it
gets fine, so that little is held back from others. Mid-session is where two such minutes are
left. The goodbye's reserve lies inside the limit: until a session is told to end,
its allowance stops short of the reserve, so a session that is cut off keeps its goodbye.
"""

from __future__ import annotations

from dataclasses import dataclass

from agent_actor.messages import Verdict


@dataclass(frozen=True, kw_only=True)
class GrantPolicy:
    lease_s: float = 120.0
    """How long an allowance is good for; it is renewed from half of it on."""
    wrap_up_permille: int = 850
    """Of what the session may spend in all: from here on the interviewer closes."""
    reserve_permille: int = 20
    """Least reserve for a goodbye, as a part of the limit."""
    most_reserve_permille: int = 250
    """A goodbye that could cost more than this part of the limit is not saved for in full."""
    chunk_permille: int = 100
    """Least size of an allowance in mid-session, as a part of the limit, …"""
    least_chunk_micro_usd: int = 100_000
    """… and in money: the first answers of a session come before its first report is answered."""
    responses_a_minute: int = 6
    """The pace at which a minute of worst burn is reckoned: each of them with the whole
    conversation uncached, and ten seconds of speech."""
    growth_micro_usd: int = 72_000
    """How much dearer as input a conversation can become in a minute: a minute of the user's audio
    and one of the agent's, 10 and 20 tokens a second, at 40 dollars a million (the dearest rate).
    What is measured before cannot know it: the goodbye's bound is of the conversation until now."""
    finest_micro_usd: int = 1_000


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
    busiest_minute: int
    """The most that it spent in any minute."""


@dataclass(frozen=True, kw_only=True)
class Grant:
    """``size``: how much there was to spend when it was given."""

    up_to: int
    expires_at: float
    size: int


def reserve_of(policy: GrantPolicy, standing: Standing) -> int:
    least = standing.limit * policy.reserve_permille // 1000
    most = standing.limit * policy.most_reserve_permille // 1000
    return max(least, min(standing.goodbye, most))


def verdict_of(policy: GrantPolicy, standing: Standing) -> Verdict:
    used = standing.spent + standing.estimate
    usable = standing.cap - reserve_of(policy, standing)
    if used >= usable:
        return Verdict.END
    if used * 1000 >= standing.cap * policy.wrap_up_permille or usable - used < standing.goodbye:
        return Verdict.WRAP_UP
    return Verdict.GO_ON


def worst_minute(policy: GrantPolicy, standing: Standing) -> int:
    """The most that the next minute may cost."""
    response = standing.goodbye + policy.growth_micro_usd
    return max(standing.busiest_minute, policy.responses_a_minute * response)


def chunk_of(policy: GrantPolicy, standing: Standing, room: int) -> int:
    """The size of a new allowance where ``room`` is left before the reserve."""
    part = standing.limit * policy.chunk_permille // 1000
    chunk = max(part, policy.least_chunk_micro_usd, 2 * worst_minute(policy, standing))
    if room >= 2 * chunk:
        return chunk
    return max(room // 2, standing.goodbye, policy.finest_micro_usd)


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
    usable = standing.cap - reserve_of(policy, standing)
    chunk = chunk_of(policy, standing, max(usable - used, 0))
    if held is not None and held.up_to <= usable:
        left = held.up_to - used
        # The bound has grown since it was given: what was a minute then may not be one now.
        enough = 2 * left >= held.size and left >= min(worst_minute(policy, standing), chunk)
        if enough and held.size and 2 * (held.expires_at - now) >= policy.lease_s:
            return verdict, held
    up_to = min(used + chunk, usable)
    return verdict, Grant(up_to=up_to, expires_at=expires_at, size=max(up_to - used, 0))
