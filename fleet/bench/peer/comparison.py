"""The whole comparison: everything started, both arms measured in turns, everything ended."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from typing import Any

import httpx
import psutil
from livekit import api

from fleet.bench.command import BenchOptions
from fleet.bench.peer import contract, judging
from fleet.bench.peer.arms import Arm, FleetArm, Notes, PeerArm
from fleet.bench.peer.found import EAGER, FLEET, PEER, Found, Scenario
from fleet.bench.peer.living import LivePlan, live, standing
from fleet.bench.peer.scenario import Place, busy_cores, dispatches, in_turns
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Judgement, Measured
from fleet.livekit_client import LiveKitClient
from fleet.local.crowd import crowd
from fleet.local.errors import LocalPartError
from fleet.local.processes import Command, running
from fleet.local.simulators import Simulator, SimulatorKind
from fleet.local.stack import LocalFleet, StackOptions, local_fleet

READY_S = 120.0
TTFA = dict.fromkeys(SimulatorKind, ("--ttfa-ms", "0"))
"""What a simulator takes before it speaks would be in both arms' figures alike, and dilute them."""

DIFFERENCES = (
    "The fleet's sessions also keep a budget, a journal and the protocol's phases.",
    "The fleet's processes include Ray, the ingress and Redis; the peer needs none of them.",
    "The fleet is asked with Prefer: respond-async, so that both participants join as soon as the "
    "dispatch is accepted, beside the agent.",
    "In the room: when the supervisor has heard from the agent (fleet), when the job's connect "
    "returns (peer).",
    "The peer's fork server preloads our agent code beside its defaults.",
)


@dataclass(frozen=True, kw_only=True)
class Form:
    """How much of it. ``live`` None: no live sessions measured."""

    repetitions: int
    sequential: int
    bursts: int
    at_once: int
    pool: int
    live: LivePlan | None
    standing_s: float
    lost_after_s: float = 20.0


FULL = Form(
    repetitions=3, sequential=20, bursts=2, at_once=10, pool=10, live=LivePlan(), standing_s=10.0
)
SMOKE = Form(
    repetitions=1,
    sequential=1,
    bursts=1,
    at_once=4,
    pool=4,
    live=None,
    standing_s=2.0,
    lost_after_s=12.0,
)


async def compare(options: BenchOptions, progress: Progress, form: Form) -> Measured:
    found = Found()
    async with _stage(form, options, progress) as stage:
        for number in range(form.repetitions):
            progress.tell(f"repetition {number + 1} of {form.repetitions}")
            found = _joined(found, await _dispatching(stage, form, number, progress))
            if form.live is not None:
                living = await _living(stage.place, stage.arms, form.live, number, progress)
                found = _joined(found, living)
    bars = judging.bars(found)
    return Measured(
        bars=tuple(_correctness_only(bars) if options.smoke else bars),
        seeds=(options.seed,),
        data={
            "form": asdict(form),
            "differences": DIFFERENCES,
            "figures": judging.table(found),
            "cpu_a_dispatch_s": {
                arm: judging.parts_a_dispatch_s(found, Scenario.SEQUENTIAL, arm)
                for arm in (FLEET, PEER)
            },
            "found": asdict(found),
        },
    )


async def _dispatching(stage: _Stage, form: Form, number: int, progress: Progress) -> Found:
    found = Found(standing=tuple(await standing(stage.arms, number, form.standing_s)))
    total = 2 * form.sequential + 3 * 2 * form.bursts * form.at_once
    with progress.steps("dispatching", total) as advance:
        turns = partial(in_turns, stage.place, repetition=number, advance=advance)
        some = await turns(stage.arms, Scenario.SEQUENTIAL, rounds=form.sequential, at_once=1)
        found = _joined(found, some)
        async with _worker(stage.fleet, stage.place.client, form, EAGER) as eager:
            await _full(eager)
            still = await standing((eager,), number, form.standing_s)
            found = _joined(found, Found(standing=tuple(still)))
            burst = partial(turns, (*stage.arms, eager), rounds=form.bursts, at_once=form.at_once)
            found = _joined(found, await burst(scenario=Scenario.BURST))
            async with busy_cores(stage.fleet.run.logs):
                found = _joined(found, await burst(scenario=Scenario.BUSY))
    return found


async def _living(
    place: Place, arms: tuple[Arm, ...], plan: LivePlan, number: int, progress: Progress
) -> Found:
    found = Found()
    with progress.steps("live sessions", len(arms)) as advance:
        for arm in arms if number % 2 == 0 else arms[::-1]:
            memory, cpu = await live(place, arm, plan, number)
            found = _joined(found, Found(memory=tuple(memory), cpu=tuple(cpu)))
            advance(1)
    return found


@dataclass(frozen=True, kw_only=True)
class _Stage:
    fleet: LocalFleet
    place: Place
    arms: tuple[Arm, ...]
    """The fleet and the worker as it comes."""


@asynccontextmanager
async def _stage(form: Form, options: BenchOptions, progress: Progress) -> AsyncIterator[_Stage]:
    """Both arms with full pools, and each used once: what is lazy in either is behind it."""
    stack_options = StackOptions(simulator_arguments=TTFA, settings={"warm_actors": str(form.pool)})
    async with AsyncExitStack() as stack:
        fleet = await stack.enter_async_context(local_fleet(stack_options, progress.tell))
        await _never_through(fleet.simulators[SimulatorKind.OPENAI])
        own = _children()
        people = await stack.enter_async_context(crowd(fleet.run))
        client = LiveKitClient.from_settings(fleet.settings)
        stack.push_async_callback(client.aclose)
        raw = api.LiveKitAPI(fleet.livekit.url, fleet.livekit.api_key, fleet.livekit.api_secret)
        stack.push_async_callback(raw.aclose)
        progress.tell("starting the livekit-agents worker ...")
        peer = await stack.enter_async_context(_worker(fleet, client, form, PEER))
        shared = {pid for pid in own if _is_shared(pid, fleet)}
        others = (_children() - own) | shared
        ours = FleetArm(fleet.settings, fleet.api_url, others, pool=form.pool)
        stack.push_async_callback(ours.aclose)
        await people.ready()
        place = Place(
            people=people, client=client, raw=raw, seed=options.seed, lost_after_s=form.lost_after_s
        )
        arms: tuple[Arm, ...] = (ours, peer)
        for arm in arms:
            await _full(arm)
        progress.tell("both are warm; one dispatch each to begin with")
        for arm in arms:
            await dispatches(place, arm, Scenario.SEQUENTIAL, 1, -1)
        yield _Stage(fleet=fleet, place=place, arms=arms)


async def _full(arm: Arm) -> None:
    if not await arm.settled(0, READY_S):
        raise LocalPartError(f"{arm.name}: its pool was not full within {READY_S:g} s")


@asynccontextmanager
async def _worker(
    fleet: LocalFleet, client: LiveKitClient, form: Form, name: str
) -> AsyncIterator[PeerArm]:
    agent_name = name.replace(" ", "-")
    notes = Notes(fleet.run.path / f"{agent_name}.jsonl")
    notes.path.write_bytes(b"")
    command = Command(
        name=agent_name,
        program=sys.executable,
        arguments=["-m", "fleet.bench.peer.worker", "start"],
        env={
            contract.NOTES_VARIABLE: str(notes.path),
            contract.IDLE_VARIABLE: str(form.pool),
            contract.AGENT_NAME_VARIABLE: agent_name,
            **({contract.UNBOUNDED_VARIABLE: "1"} if name == EAGER else {}),
        },
    )
    async with running(command, logs=fleet.run.logs) as child:
        arm = PeerArm(
            fleet.settings,
            notes,
            child.pid,
            client,
            name=name,
            agent_name=agent_name,
            pool=form.pool,
        )
        try:
            yield arm
        finally:
            await arm.aclose()


def _children() -> set[int]:
    return {child.pid for child in psutil.Process(os.getpid()).children()}


def _is_shared(pid: int, fleet: LocalFleet) -> bool:
    """LiveKit and the simulators: there for both."""
    if pid in {each.child.pid for each in fleet.simulators.values()}:
        return True
    return "livekit-server" in " ".join(psutil.Process(pid).cmdline())


async def _never_through(simulator: Simulator) -> None:
    async with httpx.AsyncClient() as http:
        body = {"match": contract.MARKER, "turns_per_phase": contract.TURNS_PER_PHASE}
        answer = await http.post(f"{simulator.control_url}/scripts", json=body)
        answer.raise_for_status()


def _correctness_only(bars: list[Bar]) -> list[Bar]:
    """Times, CPU and memory of a short run on a machine that is shared say little."""
    correctness = "dispatches lost"
    return [
        bar
        if correctness in bar.name or bar.judgement is Judgement.NOT_JUDGED
        else bar.not_judged("short form")
        for bar in bars
    ]


def _joined(one: Found, other: Found) -> Found:
    parts: dict[str, Any] = {
        name: getattr(one, name) + getattr(other, name)
        for name in ("dispatches", "rounds", "standing", "memory", "cpu")
    }
    return replace(one, **parts)
