"""What a run is: its users, its course, its interviews, and what is judged. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum

STAIRS = (10, 25, 50, 100)
SPARE = 0.15
"""Users beyond the sessions that are to be live: some of theirs have just ended or not begun, and a
no-show's never is."""
STAIR_S = 260.0
SENT_AFTER_S = 0.5
"""By a rehearsed microphone, beyond the silence that ends a turn."""
DUTY_S = 60.0
"""How long microphones are watched at each stair."""
SETTLE_S = 30.0
"""From the last user of a stair to the first window in which anything is measured."""


class Tier(StrEnum):
    LOAD = "load"
    MEDIA = "media"
    CHURN = "churn"


@dataclass(frozen=True, kw_only=True)
class Form:
    """``live``: how many sessions are to be live at once, for ``hold_s``. ``probes``: dispatches
    counted at each stair for what one costs; 0: none."""

    tier: Tier
    live: int
    stairs: tuple[int, ...]
    stair_s: float
    hold_s: float
    spawn_rate: float
    drain_s: float
    interview_s: float
    no_show_s: float
    thinks_s: str
    speech_s: str = "2-4"
    silence_s: float = 0.5
    """After which a turn is over, for the provider."""
    talk: float | None = None
    """Which part of the time a participant may speak at most, for the number of sessions to count;
    None: as it comes."""
    poll_s: float = 15.0
    arrivals: float = 0.0
    sessions: int = 0
    always_on: bool = False
    budget_bound: float = 0.10
    """Share of those; none where interviews are too short to spend their budget."""
    probes: int = 0
    probe_rate: float = 0.5
    probe_rounds: int = 2
    settings: Mapping[str, str] = field(default_factory=dict)
    """Of the fleet, FLEET_<NAME>."""

    @property
    def users(self) -> int:
        return self.stairs[-1]

    @property
    def user_class(self) -> str:
        return "Interview" if self.tier is Tier.MEDIA else "Backend"

    @property
    def spoken(self) -> float:
        """Of what a rehearsed microphone sends, which part is words: with each turn it also sends
        the silence that ends it, and half a second more."""
        low, high = map(float, self.speech_s.split("-"))
        mean_s = (low + high) / 2
        return mean_s / (mean_s + self.silence_s + SENT_AFTER_S)

    @property
    def top_at_s(self) -> float:
        """When all users are there."""
        before = self.stairs[-2] if len(self.stairs) > 1 else 0
        return self.stair_s * (len(self.stairs) - 1) + (self.users - before) / self.spawn_rate

    @property
    def windows_s(self) -> float:
        """How long counting dispatches takes at one stair."""
        return 2 * self.probe_rounds * self.probes / self.probe_rate if self.probes else 0.0

    @property
    def run_s(self) -> float:
        """Until no interview is asked for any more."""
        if self.sessions:
            return self.sessions / self.arrivals * 1.2 + 120.0
        return self.top_at_s + SETTLE_S + max(self.hold_s + SETTLE_S, self.windows_s + DUTY_S)


def load(live: int, *, hold_s: float = 600.0, always_on: bool = False) -> Form:
    users = math.ceil(live * (1 + SPARE)) + 2
    return Form(
        tier=Tier.LOAD,
        live=live,
        stairs=(*(each for each in STAIRS if each < live), users),
        stair_s=STAIR_S,
        hold_s=hold_s,
        spawn_rate=0.5,
        drain_s=120.0,
        # Few of them end in the minutes that are judged, and those not at once.
        interview_s=1200.0,
        no_show_s=60.0,
        thinks_s="30-45",
        talk=None if always_on else 0.1,
        poll_s=20.0,
        always_on=always_on,
        probes=15,
        settings=_control_tier(users),
    )


def media(live: int) -> Form:
    users = live + max(1, round(live * SPARE))
    return Form(
        tier=Tier.MEDIA,
        live=live,
        stairs=(users,),
        stair_s=STAIR_S,
        hold_s=240.0,
        spawn_rate=0.5,
        drain_s=150.0,
        interview_s=120.0,
        no_show_s=30.0,
        thinks_s="1-3",
        budget_bound=0.0,
        settings={"warm_actors": "2", "max_sessions": str(users + 4)},
    )


def churn(sessions: int) -> Form:
    return Form(
        tier=Tier.CHURN,
        live=0,
        stairs=(60,),
        stair_s=STAIR_S,
        hold_s=0.0,
        spawn_rate=5.0,
        drain_s=60.0,
        interview_s=18.0,
        no_show_s=10.0,
        thinks_s="2-4",
        speech_s="1-2",
        poll_s=4.0,
        budget_bound=0.0,
        arrivals=0.8,
        sessions=sessions,
        settings=_control_tier(64),
    )


def short(form: Form) -> Form:
    """A few minutes: whether it works, not how much it bears."""
    if form.tier is Tier.CHURN:
        return replace(form, sessions=min(form.sessions, 20), arrivals=0.4)
    return replace(
        form,
        stairs=(3, form.users) if form.users > 3 else form.stairs,
        stair_s=75.0,
        hold_s=60.0,
        drain_s=90.0,
        interview_s=60.0,
        no_show_s=15.0,
        thinks_s="3-6",
        talk=None,
        poll_s=5.0,
        budget_bound=0.0,
        probes=min(form.probes, 4),
        probe_rounds=1,
    )


def _control_tier(users: int) -> dict[str, str]:
    return {
        "transport": "memory",
        "max_response_s": "30",
        "warm_actors": "4",
        "max_sessions": str(users + 16),
        "refill_calm_s": "0.5",
    }


def locust_arguments(
    form: Form, *, api_url: str, study: str, seed: int, files: Mapping[str, str], first: int = 0
) -> list[str]:
    """What comes after ``locust``. ``files``: by option, what it writes."""
    values = {
        "--locustfile": "loadtest/locustfile.py",
        "--host": api_url,
        "--users": str(form.users),
        "--spawn-rate": f"{form.spawn_rate:g}",
        "--run-time": f"{form.run_s:.0f}s",
        "--stop-timeout": f"{form.drain_s:.0f}",
        "--shape": "stairs",
        "--stairs": ",".join(map(str, form.stairs)),
        "--stair-s": f"{form.stair_s:g}",
        "--seed": str(seed),
        "--study": study,
        "--arrivals": f"{form.arrivals:g}",
        "--sessions": str(form.sessions),
        "--first": str(first),
        "--interview-s": f"{form.interview_s:g}",
        "--no-show-s": f"{form.no_show_s:g}",
        "--speech-s": form.speech_s,
        "--thinks-s": form.thinks_s,
        "--silence-ms": f"{form.silence_s * 1000:.0f}",
        "--poll-s": f"{form.poll_s:g}",
        "--always-on": str(int(form.always_on)),
        "--budget-bound": f"{form.budget_bound:g}",
        **{f"--{name}": path for name, path in files.items()},
    }
    pairs = (word for pair in values.items() for word in pair)
    return ["--headless", "--only-summary", "--loglevel", "WARNING", *pairs, form.user_class]
