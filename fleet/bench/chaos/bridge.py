"""Bursts of ten rooms that LiveKit dispatches to two bridges; in every second burst one of them is
killed. Beside them one interview goes on throughout."""

from __future__ import annotations

import asyncio
import json
import statistics
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from typing import Any

from livekit import api
from livekit.protocol.room import RoomConfiguration

from fleet.bench.chaos import cluster, evidence
from fleet.bench.chaos.evidence import Money
from fleet.bench.chaos.fault import Fault, Needs, Trials
from fleet.bench.chaos.interview import Interview
from fleet.bench.chaos.stage import INTERVIEWER, PARTICIPANT, Stage
from fleet.bench.percentiles import percentile
from fleet.bench.report import Bar, Measured, at_least, at_most, exactly, only_shown
from fleet.bench.waiting import until
from fleet.dispatch_plan import room_claim
from fleet.errors import FleetError, LiveKitUnavailable
from fleet.local.crowd import Participant
from fleet.local.errors import LocalPartError
from fleet.ray_calls import RemoteActor
from fleet.records import SessionRecord

AGENT = "interviewer"
BRIDGES = ("bridge-0", "bridge-1")
BURST = 10
AGAIN_S = 3.0
"""From the kill of a bridge until a new dispatch has its agent."""
AGENTS_S = 40.0
HEARD_S = 20.0
ASKED_TIMES = 3
BACK_S = 60.0
GONE_S = 60.0
LONG_S = 3000
"""The witness's phases: longer than everything else together."""

CONTRACT = {
    "provider": "openai_realtime",
    "instructions": "You interview people about what they would not lose.",
    "study_id": "chaos",
    "vad_config": {"threshold": 0.5, "silence_duration_ms": 500, "prefix_padding_ms": 300},
    "phases": [{"id": "core", "name": "Core", "duration_seconds": 120}],
    "budget_limit_usd": 5.0,
    "session_timeout_seconds": 240,
    "no_show_seconds": 120,
}


@dataclass(frozen=True, kw_only=True)
class Plan:
    """``kills``: a bridge, ``after_s`` from the burst's beginning; None: neither."""

    number: int
    kills: str | None
    after_s: float

    @property
    def rooms(self) -> list[str]:
        return [f"theirs-{self.number}-{n}" for n in range(BURST)]

    @property
    def next_room(self) -> str:
        """Dispatched when the bridge has just been killed."""
        return f"theirs-{self.number}-next"


@dataclass(kw_only=True)
class Burst:
    """``agents``, ``sessions``: how many each room had, by LiveKit and by the registry."""

    plan: Plan
    agents: dict[str, int]
    sessions: dict[str, int]
    waited_s: list[float]
    """From the burst's beginning to the agent in its room."""
    heard: bool
    again_s: float | None = None
    back_s: float | None = None
    """From a kill until the bridge was registered again."""
    missing: dict[str, Any] = field(default_factory=dict)
    """What there is of rooms without an agent: their last session, and LiveKit's jobs."""

    def __str__(self) -> str:
        killed = f", {self.plan.kills} killed" if self.plan.kills else ""
        most_s = max(self.waited_s, default=0.0)
        return f"burst {self.plan.number}{killed}: {self.well} of {BURST} well, {most_s:.1f} s"

    @property
    def well(self) -> int:
        return sum(self.agents[r] == self.sessions[r] == 1 for r in self.plan.rooms)


@dataclass(frozen=True, kw_only=True)
class Witness:
    attempts: int
    disturbances: list[str]
    ended_before: bool
    money: Money


class Application:
    """Whoever uses LiveKit to ask for agents."""

    def __init__(self, server: api.LiveKitAPI, stage: Stage) -> None:
        self._server = server
        self._stage = stage
        self._access = stage.livekit.access

    async def dispatch(self, room: str) -> float:
        """When it was asked for, on the monotonic clock. The room is made with it."""
        at = time.monotonic()
        await self._server.agent_dispatch.create_dispatch(
            api.CreateAgentDispatchRequest(
                agent_name=AGENT, room=room, metadata=json.dumps(CONTRACT)
            )
        )
        return at

    async def join(self, room: str, seed: int) -> Participant:
        """A participant, whose token makes the room and brings the agent."""
        wanted = api.RoomAgentDispatch(agent_name=AGENT, metadata=json.dumps(CONTRACT))
        token = api.AccessToken(self._access.api_key, self._access.api_secret)
        token = token.with_identity("p-1").with_grants(api.VideoGrants(room_join=True, room=room))
        return await self._stage.people.join(
            room,
            url=self._access.url,
            token=token.with_room_config(RoomConfiguration(agents=[wanted])).to_jwt(),
            script=PARTICIPANT,
            seed=seed,
            t0_epoch_s=time.time(),
        )


@asynccontextmanager
async def application(stage: Stage) -> AsyncIterator[Application]:
    access = stage.livekit.access
    server = api.LiveKitAPI(access.url, access.api_key, access.api_secret)
    try:
        yield Application(server, stage)
    finally:
        await server.aclose()


def plans(trials: Trials) -> list[Plan]:
    dice = trials.dice("bridge")
    return [
        Plan(
            number=number,
            kills=dice.choice(BRIDGES) if number % 2 == 0 else None,
            after_s=dice.uniform(0.0, 0.6),
        )
        for number in range(trials.count)
    ]


async def run(stage: Stage, trials: Trials) -> Measured:
    witness = await stage.begin(
        contract={
            "phases": [{"id": "core", "name": "Core", "duration_seconds": LONG_S}],
            "session_timeout_seconds": LONG_S,
        },
        interviewer={**INTERVIEWER, "turns_per_phase": LONG_S},
    )
    bursts: list[Burst] = []
    with trials.progress.steps("bursts of ten", trials.count) as advance:
        async with application(stage) as user:
            for plan in plans(trials):
                bursts.append(await _burst(stage, user, plan, trials.seed))
                trials.progress.tell(str(bursts[-1]))
                advance(1)
    seen = await _end(stage, witness)
    return Measured(
        bars=tuple(bars(bursts, seen, trials)),
        seeds=(trials.seed,),
        data={"bursts": [asdict(each) for each in bursts], "witness": asdict(seen)},
    )


async def _burst(stage: Stage, user: Application, plan: Plan, seed: int) -> Burst:
    await _at_rest(stage)
    spoken_in, *others = plan.rooms
    began = time.monotonic()
    async with asyncio.TaskGroup() as group:
        joining = group.create_task(user.join(spoken_in, seed))
        for room in others:
            group.create_task(user.dispatch(room))
        killing = group.create_task(_kill(stage, user, plan))
        watching = group.create_task(_watch(stage, plan, began))
    waited_s, most = watching.result()
    heard = await joining.result().heard(HEARD_S)
    sessions = await _sessions(stage, plan)
    burst = Burst(
        plan=plan,
        agents={room: max(most[room], await _agents(stage, room)) for room in plan.rooms},
        sessions={room: len(sessions.get(room, [])) for room in plan.rooms},
        waited_s=[waited_s[room] for room in plan.rooms if room in waited_s],
        heard=heard,
    )
    for room in plan.rooms:
        if burst.agents[room] == 0:
            burst.missing[room] = await _what_is_there(stage, room)
    if (killed := killing.result()) is not None:
        killed_at, burst.back_s = killed
        if plan.next_room in waited_s:
            burst.again_s = began + waited_s[plan.next_room] - killed_at
    await stage.people.leave(spoken_in)
    await _clear(stage, [r for found in sessions.values() for r in found])
    return burst


async def _kill(stage: Stage, user: Application, plan: Plan) -> tuple[float, float] | None:
    """The bridge of the plan, and asks for another agent at once. When, and how long the bridge
    was away."""
    name = plan.kills
    if name is None:
        return None
    bridge = await cluster.find(name)
    await asyncio.sleep(plan.after_s)  # the moment that was drawn
    cluster.kill_process(bridge.pid)
    killed_at = await user.dispatch(plan.next_room)
    await until(lambda: _is_registered(stage, name), BACK_S)
    return killed_at, time.monotonic() - killed_at


async def _watch(stage: Stage, plan: Plan, began: float) -> tuple[dict[str, float], dict[str, int]]:
    """When each room had its agent, in seconds since the burst began; the most it had at once."""
    found: dict[str, float] = {}
    most: dict[str, int] = {}
    rooms = [*plan.rooms, *([plan.next_room] if plan.kills else [])]

    async def all_there() -> bool:
        for room in rooms:
            most[room] = max(most.get(room, 0), await _agents(stage, room))
            if most[room] and room not in found:
                found[room] = time.monotonic() - began
        return len(found) == len(rooms)

    await until(all_there, AGENTS_S)
    return found, most


async def _agents(stage: Stage, room: str) -> int:
    """Raises LiveKitError when the server, with all it has to do, does not answer at all."""
    for _ in range(ASKED_TIMES - 1):
        with suppress(LiveKitUnavailable):
            return await _agents_now(stage, room)
    return await _agents_now(stage, room)


async def _agents_now(stage: Stage, room: str) -> int:
    people = await stage.rooms.list_participants(room)
    return sum(person.is_agent for person in people)


async def _sessions(stage: Stage, plan: Plan) -> dict[str, list[SessionRecord]]:
    found: dict[str, list[SessionRecord]] = {}
    async for record in stage.registry.active():
        if record.room in {*plan.rooms, plan.next_room}:
            found.setdefault(record.room, []).append(record)
    return found


async def _what_is_there(stage: Stage, room: str) -> dict[str, Any]:
    [last] = await stage.registry.claimants([room_claim(room)])
    jobs = [job.id for d in await stage.rooms.dispatches(room) for job in d.jobs]
    if last is None:
        return {"jobs": jobs}
    return {"jobs": jobs, "state": last.state, "end": last.end_reason, "error": last.error}


async def _is_registered(stage: Stage, name: str) -> bool:
    bridge = RemoteActor(name, stage.fleet.settings.ray_namespace)
    try:
        return bool((await bridge.call("snapshot", deadline_s=5.0)).registered)
    except FleetError:
        return False


async def _clear(stage: Stage, records: Sequence[SessionRecord]) -> None:
    """All of a burst's sessions over."""
    for record in records:
        await stage.http.delete(f"/v1/sessions/{record.session_id}")

    async def gone() -> bool:
        found = [await stage.registry.get(record.session_id) for record in records]
        return all(record.is_gone for record in found)

    await until(gone, GONE_S)


async def _at_rest(stage: Stage) -> None:
    """Returns with every slot free but the witness's, and the pool full."""

    async def at_rest() -> bool:
        pool = await stage.pool()
        if pool is None:
            return False
        return pool["live"] <= 1 and pool["reserved"] == 0 and pool["warm"] >= FAULT.needs.warm

    if not await until(at_rest, GONE_S):
        raise LocalPartError(f"the fleet was not at rest within {GONE_S:g} s")


async def _end(stage: Stage, witness: Interview) -> Witness:
    before = await witness.record()
    await stage.end_all([witness])
    await witness.summary()
    return Witness(
        attempts=before.attempt,
        disturbances=evidence.disturbances(witness.told),
        ended_before=before.is_gone,
        money=await witness.money(),
    )


def bars(bursts: Sequence[Burst], witness: Witness, trials: Trials) -> Iterator[Bar]:
    rooms = [(b.agents[r], b.sessions[r]) for b in bursts for r in b.plan.rooms]
    kills = [b for b in bursts if b.plan.kills is not None]
    yield at_least("bursts", len(bursts), trials.count, "", f"{len(kills)} with a bridge killed")
    none = sum(agents == 0 for agents, _ in rooms)
    several = sum(agents > 1 or sessions > 1 for agents, sessions in rooms)
    yield exactly(
        "rooms with exactly one agent and one session",
        100 * sum(b.well for b in bursts) / len(rooms) if rooms else None,
        100,
        "%",
        f"{len(rooms)} rooms; {none} without, {several} with more",
    )
    waited = [w for b in bursts for w in b.waited_s]
    if waited:
        detail = f"median {statistics.median(waited):.2f} s, most {max(waited):.2f} s"
        p95 = percentile(waited, 0.95)
        yield only_shown("from the burst to the agent in its room, p95", p95, "s", detail)
    deaf = sum(not b.heard for b in bursts)
    yield exactly("participants who did not hear their interviewer", deaf, 0, "")
    yield from _again(kills, trials)
    yield exactly("disturbances of the interview beside", len(witness.disturbances), 0, "")
    kept = witness.attempts == 1 and not witness.ended_before
    yield exactly("interviews beside that were kept", int(kept), 1, "")
    yield from evidence.of_money([witness.money])


def _again(kills: Sequence[Burst], trials: Trials) -> Iterator[Bar]:
    again = [b.again_s for b in kills if b.again_s is not None]
    if not kills:
        return
    most = max(again) if len(again) == len(kills) else None
    detail = f"{len(kills)} kills, {len(kills) - len(again)} without an agent after"
    if again:
        detail += f"; median {statistics.median(again):.2f} s"
    name = "from a bridge's kill to the agent of the next dispatch, most"
    yield trials.timing(at_most(name, most, AGAIN_S, "s", detail))
    back = [b.back_s for b in kills if b.back_s is not None]
    if back:
        yield only_shown("until the killed bridge was registered again, most", max(back), "s")


FAULT = Fault(
    name="bridge",
    about="bursts of ten that LiveKit dispatches to two bridges, every second with one killed",
    trials=20,
    run=run,
    needs=Needs(
        # For all of a burst: how soon actors are warm is another matter.
        warm=BURST + 1,
        # One more after a kill, the interview beside, and what the killed bridge had promised.
        settings={"agent_name": AGENT, "agent_bridges": "2", "max_sessions": str(BURST + 4)},
    ),
)
