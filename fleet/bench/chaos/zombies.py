"""What lives on that should have ended: participants who never came or left, loops that stand
still, rooms, actors and accounts of nobody. Now and then the supervisor is killed meanwhile.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from random import Random
from typing import Any

import psutil

from agent_actor.contract import Provider, SessionId, SessionState, StudyId
from agent_actor.journal import LiveState
from fleet import ray_calls
from fleet.actor_shell import shell_for
from fleet.bench.chaos import cluster, evidence
from fleet.bench.chaos.evidence import Money
from fleet.bench.chaos.fault import Fault, Trials, outlived
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import INTERVIEWER, Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown
from fleet.bench.waiting import until
from fleet.clients import RayBudgetClient
from fleet.crew import SESSION_ACTOR, actor_name
from fleet.ray_calls import ActorOptions
from fleet.reaping import ReapLimits
from fleet.stopping import cancelled

AT_ONCE = 6
FROZEN_MOST = ReapLimits().stuck_most
"""Of more sessions that are frozen at once it would not be theirs."""
KILLS_APART_S = (25.0, 40.0)
"""Of the supervisor: more than a zombie may outlive its limit."""
MARGIN_S = 15.0
"""Beyond its limit, within which each has to be gone."""
NO_SHOW_S, RECONNECT_S = 12.0, 8.0
STUCK_S = ReapLimits().stuck_s
LATEST_S = 60.0
"""How long the hunt goes on for one that is over its time."""
BEGIN_S = 30.0
KEPT_S = 4.0
AGAIN_S = 45.0
SUPERVISOR = "SupervisorActor"
TALKS_ON: dict[str, Any] = {**INTERVIEWER, "turns_per_phase": 1000}
"""Until its phases are over: a zombie may have to wait for its turn to freeze."""


class Zombie(StrEnum):
    NEVER_JOINED = "never joined"
    """Its actor is frozen too: nobody in the session notices the time."""
    LEFT = "left"
    STUCK = "stuck loop"
    ORPHAN_ROOM = "orphan room"
    ORPHAN_ACTOR = "orphan actor"
    ORPHAN_ACCOUNT = "orphan account"


LIMITS_S = {
    Zombie.NEVER_JOINED: NO_SHOW_S,
    Zombie.LEFT: RECONNECT_S,
    Zombie.STUCK: STUCK_S,
    Zombie.ORPHAN_ROOM: 0.0,
    Zombie.ORPHAN_ACTOR: 0.0,
    Zombie.ORPHAN_ACCOUNT: 0.0,
}


@dataclass(frozen=True, kw_only=True)
class Laid:
    """One zombie, from ``began``, in epoch seconds. ``beyond_s``: how long beyond its limit it was
    there; None: it still was when the hunt was given up. ``carried_on``: whether a stuck session's
    interview went on. ``process_s``: how long beyond the limit its process was there, which stands
    still."""

    kind: Zombie
    began: float
    beyond_s: float | None
    end_reason: str | None = None
    carried_on: bool | None = None
    process_s: float | None = None
    money: Money | None = None

    def outlived(self, kill: float) -> bool:
        """Whether the supervisor was killed while it was there."""
        longest_s = LIMITS_S[self.kind] + (LATEST_S if self.beyond_s is None else self.beyond_s)
        return self.began <= kill <= self.began + longest_s


class Ground:
    """Where zombies are laid, and what they must not do all at once."""

    def __init__(self, stage: Stage) -> None:
        self.stage = stage
        self.kills: list[float] = []
        """Of the supervisor."""
        self.freezing = asyncio.Semaphore(FROZEN_MOST)
        """Held until the process runs again, or is gone."""

    async def keep_killing(self, dice: Random) -> None:
        while True:
            await asyncio.sleep(dice.uniform(*KILLS_APART_S))
            for actor in await cluster.living(kind=SUPERVISOR):
                with suppress(ProcessLookupError):
                    self.kills.append(cluster.kill_process(actor.pid))


async def run(stage: Stage, trials: Trials) -> Measured:
    ground = Ground(stage)
    laid: list[Laid] = []
    broken: list[str] = []
    each = [(kind, number) for number in range(trials.count) for kind in Zombie]
    gate = asyncio.Semaphore(AT_ONCE)

    async def one(kind: Zombie, number: int) -> None:
        async with gate:
            with outlived(broken, f"{kind}: "):
                laid.append(await _LAY[kind](ground, trials.dice("zombies", kind, number)))
        advance(1)

    killing = asyncio.create_task(ground.keep_killing(trials.dice("zombies", "supervisor")))
    try:
        with trials.progress.steps("zombies", len(each)) as advance:
            async with asyncio.TaskGroup() as group:
                for kind, number in each:
                    group.create_task(one(kind, number))
    finally:
        await cancelled(killing)
    return Measured(
        bars=(*bars(laid, ground.kills, trials), evidence.broken_off(broken)),
        seeds=(trials.seed,),
        data={"zombies": [asdict(each) for each in laid], "supervisor_killed": ground.kills},
    )


def bars(laid: Sequence[Laid], kills: Sequence[float], trials: Trials) -> Iterator[Bar]:
    for kind in Zombie:
        these = [each for each in laid if each.kind is kind]
        struck = sum(any(map(each.outlived, kills)) for each in these)
        detail = f"with {struck} of them the supervisor was killed meanwhile"
        yield at_least(f"{kind}: laid", len(these), trials.count, "", detail)
        beyond = [each.beyond_s for each in these if each.beyond_s is not None]
        yield exactly(f"{kind}: still there", len(these) - len(beyond), 0, "")
        limit = f"limit {LIMITS_S[kind]:g} s"
        longest = max(beyond, default=None)
        yield trials.timing(at_most(f"{kind}: gone after its limit", longest, MARGIN_S, "s", limit))
        yield only_shown(f"{kind}: p50", percentile(beyond, 0.5), "s")
    yield only_shown("supervisors killed", len(kills), "")
    stuck = [each.carried_on for each in laid if each.carried_on is not None]
    yield exactly("stuck loops whose interviews went on", stuck.count(True), len(stuck), "")
    stopped = [each.process_s for each in laid if each.process_s is not None]
    detail = "5 s of it Ray waits for a process that is stopped"
    name = "stuck loop: its process gone after its limit"
    yield only_shown(name, max(stopped, default=None), "s", detail)
    yield from evidence.of_money([each.money for each in laid if each.money is not None])


# Of each kind, one


async def _never_joined(ground: Ground, dice: Random) -> Laid:
    async with ground.freezing:
        interview = await ground.stage.begin(
            provider=dice.choice(list(Provider)),
            participant=None,
            contract={"no_show_seconds": NO_SHOW_S},
        )
        joined_at = (await interview.record()).joined_at or time.time()
        await _state(interview, lambda live: live.state == SessionState.CONFIGURED)
        # Before its first checkpoint its successor would have the whole time again.
        await asyncio.sleep(dice.uniform(KEPT_S, NO_SHOW_S / 2))
        with await _frozen(interview):
            beyond_s = await _over(ground.stage, interview, joined_at + NO_SHOW_S)
    return await _session(ground.stage, interview, Zombie.NEVER_JOINED, joined_at, beyond_s)


async def _left(ground: Ground, dice: Random) -> Laid:
    interview = await ground.stage.begin(
        provider=dice.choice(list(Provider)),
        contract={"reconnect_grace_seconds": RECONNECT_S, "no_show_seconds": 60.0},
        interviewer=TALKS_ON,
    )
    await interview.participant.heard(BEGIN_S)
    await asyncio.sleep(dice.uniform(0.0, 6.0))
    async with ground.freezing:
        await ground.stage.people.leave(interview.participant.name)
        await _state(interview, lambda live: live.away_s is not None)
        left_at = time.time()
        with await _frozen(interview):
            beyond_s = await _over(ground.stage, interview, left_at + RECONNECT_S)
    return await _session(ground.stage, interview, Zombie.LEFT, left_at, beyond_s)


async def _stuck(ground: Ground, dice: Random) -> Laid:
    interview = await ground.stage.begin(provider=dice.choice(list(Provider)), interviewer=TALKS_ON)
    await interview.participant.heard(BEGIN_S)
    await asyncio.sleep(dice.uniform(0.0, 8.0))
    async with ground.freezing:
        actor = await interview.actor()
        began = time.time()
        with await _frozen(interview):

            async def dead() -> bool:
                """By Ray's table: from then on the actor has neither name nor place. A process that
                is stopped cannot obey, Ray kills it 5 s later."""
                return all(each.name != actor.name for each in await cluster.living())

            async def no_process() -> bool:
                return not psutil.pid_exists(actor.pid)

            beyond_s = await _gone(dead, began + STUCK_S)
            process_s = await _gone(no_process, began + STUCK_S)
    carried_on = await interview.carried_on(1, AGAIN_S) is not None
    await ground.stage.end_all([interview])
    laid = await _session(ground.stage, interview, Zombie.STUCK, began, beyond_s)
    return replace(laid, carried_on=carried_on, process_s=process_s)


async def _orphan_room(ground: Ground, dice: Random) -> Laid:
    """Made again by somebody, under the name of a session that is over."""
    stage = ground.stage
    interview = await stage.begin(participant=None)
    await stage.end_all([interview])
    await asyncio.sleep(dice.uniform(0, 5))
    began = time.time()
    await stage.rooms.create_room(interview.room)

    async def gone() -> bool:
        return not await stage.rooms.list_rooms([interview.room])

    return Laid(kind=Zombie.ORPHAN_ROOM, began=began, beyond_s=await _gone(gone, began))


async def _orphan_actor(ground: Ground, dice: Random) -> Laid:
    namespace = ground.stage.fleet.settings.ray_namespace
    name = actor_name(f"stray-{dice.getrandbits(32):08x}")  # type: ignore[arg-type]
    options = ActorOptions(name=name, namespace=namespace, num_cpus=0.1)
    await asyncio.sleep(dice.uniform(0, 5))
    began = time.time()
    ray_calls.create(shell_for(SESSION_ACTOR), options, "stray")

    async def gone() -> bool:
        return name not in ray_calls.names(namespace)

    return Laid(kind=Zombie.ORPHAN_ACTOR, began=began, beyond_s=await _gone(gone, began))


async def _orphan_account(ground: Ground, dice: Random) -> Laid:
    session_id = SessionId(f"s-{dice.getrandbits(96):024x}")
    budget = RayBudgetClient(ground.stage.fleet.settings.ray_namespace)
    await asyncio.sleep(dice.uniform(0, 5))
    began = time.time()
    await budget.open(session_id, StudyId("chaos"), Provider.OPENAI_REALTIME.value, 1_000_000)

    async def gone() -> bool:
        return session_id not in await budget.open_sessions()

    return Laid(kind=Zombie.ORPHAN_ACCOUNT, began=began, beyond_s=await _gone(gone, began))


_LAY: dict[Zombie, Callable[[Ground, Random], Awaitable[Laid]]] = {
    Zombie.NEVER_JOINED: _never_joined,
    Zombie.LEFT: _left,
    Zombie.STUCK: _stuck,
    Zombie.ORPHAN_ROOM: _orphan_room,
    Zombie.ORPHAN_ACTOR: _orphan_actor,
    Zombie.ORPHAN_ACCOUNT: _orphan_account,
}

# What they have in common


class _Frozen:
    """A process that neither runs nor ends by itself. Woken at the end, if it is still there."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        os.kill(pid, signal.SIGSTOP)

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        with suppress(ProcessLookupError):
            os.kill(self._pid, signal.SIGCONT)


async def _frozen(interview: Interview) -> _Frozen:
    return _Frozen((await interview.actor()).pid)


async def _state(interview: Interview, so: Callable[[LiveState], bool]) -> None:
    async def reached() -> bool:
        live = await interview.live()
        return live is not None and so(live)

    await until(reached, BEGIN_S)


async def _over(stage: Stage, interview: Interview, limit_at: float) -> float | None:
    """Until nothing of it is there: record, account, room."""

    async def gone() -> bool:
        if not (await interview.record()).is_gone:
            return False
        accounts = await stage.ledger.accounts([SessionId(interview.id)])
        rooms = await stage.rooms.list_rooms([interview.room])
        return not rooms and all(account.closed_at is not None for account in accounts)

    return await _gone(gone, limit_at)


async def _gone(so: Callable[[], Awaitable[bool]], limit_at: float) -> float | None:
    if not await until(so, limit_at - time.time() + LATEST_S):
        return None
    return round(time.time() - limit_at, 2)


async def _session(
    stage: Stage, interview: Interview, kind: Zombie, began: float, beyond_s: float | None
) -> Laid:
    if beyond_s is None:
        await stage.end_all([interview])
    record = await interview.record()
    return Laid(
        kind=kind,
        began=began,
        beyond_s=beyond_s,
        end_reason=record.end_reason,
        money=await interview.money() if record.is_gone else None,
    )


FAULT = Fault(
    name="zombies",
    about="what should have ended and lives on, with the supervisor killed now and then",
    trials=20,
    run=run,
)
