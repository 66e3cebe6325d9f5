"""Many sessions, one roster, one set of accounts, on a virtual clock.

It begins in full swing: as many sessions under way as there are to be at once, of which one
after the other ends and another comes in its place.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from random import Random

from agent_actor.contract import ActorId, SessionId
from fleet.budget.accounts import Accounts
from fleet.budget.policy import GrantPolicy
from fleet.budget.sums import Limits
from fleet.roster import Roster
from fleet.roster_model import Answer, Command, Grant, KillActor, RosterLimits, StartActor, TurnAway
from fleet.simulation.session import MEAN_S, Drawn, Spender, draw
from fleet.simulation.timeline import Timeline

WAIT_S = 25.0
WARM_S = (0.3, 0.9)
"""How long an actor takes to start."""
REPORT_S = 10.0
"""Between two reports of a session."""
SESSIONS_A_STUDY = 50

Clock = Callable[[], float]


@dataclass(kw_only=True)
class Cost:
    """Of one kind of decision, in seconds of the clock that was passed."""

    count: int = 0
    seconds: float = 0.0

    @property
    def mean_us(self) -> float | None:
        return 1e6 * self.seconds / self.count if self.count else None


@dataclass(kw_only=True)
class Tally:
    """What has come about so far."""

    came: int = 0
    began: int = 0
    turned_away: int = 0
    ended: Counter[str] = field(default_factory=Counter)
    over_limit: int = 0
    waits_s: list[float] = field(default_factory=list)
    costs: dict[str, Cost] = field(default_factory=dict)


class World:
    """``size``: sessions at once. ``clock``: for what decisions cost."""

    def __init__(self, size: int, *, seed: int, clock: Clock) -> None:
        self._size = size
        self._seed = seed
        self._clock = clock
        self._rng = Random(seed)
        self._studies = max(1, size // SESSIONS_A_STUDY)
        self._spenders: dict[SessionId, Spender] = {}
        self._drawn: dict[SessionId, Drawn] = {}
        self._asked_at: dict[SessionId, float] = {}
        self._number = 0
        warm = min(max(4, size // 50), 200)
        limits = RosterLimits(
            warm_target=warm,
            max_sessions=size + size // 10 + warm,
            max_starting=max(2, size // 200),
            queue_limit=max(100, size // 10),
            lease_s=30.0,
            expected_warm_s=sum(WARM_S) / 2,
            full_retry_after_s=5.0,
        )
        self.slots = limits.max_sessions
        self.tally = Tally()
        self.timeline = Timeline()
        self.roster = Roster(limits, prefix="sim")
        self.accounts = Accounts(policy=GrantPolicy(), limits=Limits())

    def fill(self) -> None:
        """As many sessions as there are to be, each at some point of its life."""
        for _ in range(self._size):
            drawn = self._next()
            self.roster.adopt(ActorId(f"old-{drawn.session_id}"), drawn.session_id, 0.0)
            self._take_up(drawn)
        self.accounts.take_changes()
        self._do(self.roster.tick(0.0))
        self._arrive_later()

    def run(self, ends: int) -> Tally:
        """Until so many more sessions have ended."""
        before = self.tally.ended.total()
        while self.tally.ended.total() - before < ends and self.timeline.step():
            pass
        return self.tally

    @property
    def waiting(self) -> int:
        """Sessions that have been asked for and not begun."""
        return len(self._asked_at)

    def adds_up(self) -> bool:
        """Whether the sums of the fleet and its studies are those of the sessions."""
        spent = sum(each.spent_micro_usd for each in self._spenders.values())
        studies = sum(sums.spent for sums in self.accounts.studies.values())
        return spent == self.accounts.fleet.spent == studies

    # -- arriving ----------------------------------------------------------------------------------

    def _next(self) -> Drawn:
        drawn = draw(self._number, self._seed, studies=self._studies)
        self._number += 1
        self._drawn[drawn.session_id] = drawn
        return drawn

    def _arrive_later(self) -> None:
        self.timeline.after(self._rng.expovariate(self._size / MEAN_S), self._arrive)

    def _arrive(self) -> None:
        drawn, now = self._next(), self.timeline.now_s
        self.tally.came += 1
        self._asked_at[drawn.session_id] = now
        with self._costing("reserve"):
            answer = self.roster.reserve(drawn.session_id, now, WAIT_S)
        self._answered([answer])
        self._arrive_later()

    def _answered(self, answers: Sequence[Answer | Command]) -> None:
        for answer in answers:
            match answer:
                case Grant():
                    self._begin(self._drawn[answer.session_id])
                case TurnAway():
                    self.tally.turned_away += 1
                    del self._asked_at[answer.session_id]
        self._tick()

    def _begin(self, drawn: Drawn) -> None:
        now = self.timeline.now_s
        with self._costing("begin"):
            actor = self.roster.begin(drawn.session_id, now)
        assert actor is not None
        self.tally.began += 1
        self.tally.waits_s.append(now - self._asked_at.pop(drawn.session_id))
        self._take_up(drawn)

    def _take_up(self, drawn: Drawn) -> None:
        now = self.timeline.now_s
        with self._costing("open an account"):
            allowance = self.accounts.open(
                session_id=drawn.session_id,
                study_id=drawn.study_id,
                provider=drawn.provider,
                limit_micro_usd=drawn.limit_micro_usd,
                now=now,
            )
        self._spenders[drawn.session_id] = Spender(drawn, allowance)
        until_s = now + drawn.duration_s
        self.timeline.after(self._rng.uniform(0, REPORT_S), lambda: self._report(drawn, until_s))

    # -- living ------------------------------------------------------------------------------------

    def _report(self, drawn: Drawn, until_s: float) -> None:
        now, spender = self.timeline.now_s, self._spenders[drawn.session_id]
        spender.respond()
        if now >= until_s or spender.over:
            self._end(drawn, "completed" if now >= until_s else "budget_exceeded")
            return
        with self._costing("report"):
            allowance = self.accounts.apply(spender.report(now), now)
            self.accounts.take_changes()
        spender.hear(allowance)
        self.timeline.after(REPORT_S, lambda: self._report(drawn, until_s))

    def _end(self, drawn: Drawn, reason: str) -> None:
        now, spender = self.timeline.now_s, self._spenders[drawn.session_id]
        spender.say_goodbye()
        with self._costing("close an account"):
            self.accounts.apply(spender.report(now, final=True), now)
            self.accounts.close(drawn.session_id, now)
            self.accounts.take_changes()
        self.tally.over_limit += spender.spent_micro_usd > drawn.limit_micro_usd
        self.tally.ended[reason] += 1
        with self._costing("release"):
            commands = self.roster.release(drawn.session_id, now)
        self._do(commands)
        self._tick()

    # -- actors ------------------------------------------------------------------------------------

    def _tick(self) -> None:
        with self._costing("tick"):
            due = self.roster.tick(self.timeline.now_s)
        self._do(due)

    def _do(self, commands: Sequence[Command]) -> None:
        answers: list[Command] = []
        for command in commands:
            match command:
                case StartActor():
                    self._start(command.actor_id)
                case KillActor():
                    self.roster.actor_gone(command.actor_id)
                case _:
                    answers.append(command)
        if answers:
            self._answered(answers)

    def _start(self, actor_id: ActorId) -> None:
        self.timeline.after(self._rng.uniform(*WARM_S), lambda: self._warm(actor_id))

    def _warm(self, actor_id: ActorId) -> None:
        with self._costing("actor warm"):
            commands = self.roster.actor_warm(actor_id, self.timeline.now_s)
        self._do(commands)
        self._tick()

    @contextmanager
    def _costing(self, what: str) -> Iterator[None]:
        cost = self.tally.costs.setdefault(what, Cost())
        began = self._clock()
        try:
            yield
        finally:
            cost.seconds += self._clock() - began
            cost.count += 1
