"""``python -m fleet.bench.live``: what a live session costs, and how its interviewer sounds.

The same session is run with the framework's room output ("before") and with ours ("now"), taking
turns, on one LiveKit server, one simulator and one process of synthetic participants: with the
microphone muted, open with noise at -60 dBFS, talking, and interrupting. CPU is of the session's
process alone, over a window in which it is in that situation.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
from pydantic import SecretStr

from fleet.bench.command import BenchOptions, bench_main
from fleet.bench.live_session import Order
from fleet.bench.processes import cpu_s_by_thread, pss_mib, spent
from fleet.bench.progress import Progress
from fleet.bench.report import Bar, Measured, at_most, exactly, only_shown
from fleet.livekit_client import LiveKitClient
from fleet.local.crowd import Crowd, Participant, crowd
from fleet.local.livekit import LiveKitAccess, LiveKitServer
from fleet.local.processes import ChildProcess, Command, running
from fleet.local.redis import RedisServer
from fleet.local.run_dir import RunDir, run_dir
from fleet.local.simulators import Simulator, SimulatorKind, simulator

ARMS = ("before", "now")
START_S = 240.0
END_S = 20.0
QUIET_AFTER_S = 9.0
"""From the participant's coming until the greeting is over, and what it had started."""


@dataclass(frozen=True, kw_only=True)
class Situation:
    """``speech_s``: of each of the interviewer's turns; ``most``: of CPU, now/before."""

    name: str
    participant: dict[str, Any]
    speech_s: tuple[float, float] = (1.5, 2.0)
    most: float | None = None


_TALK = {"think_s": [0.3, 0.5], "answer_s": [1.5, 2.5], "noise_dbfs": -60.0}
SITUATIONS = (
    Situation(name="muted", participant={"muted": True}, most=0.75),
    Situation(name="open", participant={"silent": True, "noise_dbfs": -60.0}, most=0.8),
    Situation(name="talking", participant=_TALK, speech_s=(4.0, 6.0), most=1.0),
    Situation(
        name="interrupting",
        participant={
            **_TALK,
            "interruptions": [{"utterance": n, "after_s": 1.0} for n in (2, 3, 4, 5)],
        },
        speech_s=(6.0, 8.0),
    ),
)


@dataclass(frozen=True, kw_only=True)
class Plan:
    rounds: int
    window_s: float


PLAN = Plan(rounds=2, window_s=10.0)
SMOKE = Plan(rounds=1, window_s=8.0)


@dataclass(frozen=True, kw_only=True)
class Run:
    """One session. ``heard`` and ``cuts_s`` are what its participant measured."""

    cpu_percent: float
    threads_percent: dict[str, float]
    added_mib: float
    heard: dict[str, Any]
    cuts_s: tuple[float, ...] = ()


@dataclass
class Stage:
    run: RunDir
    livekit: LiveKitAccess
    client: LiveKitClient
    redis_url: str
    openai: Simulator
    people: Crowd
    runs: dict[tuple[str, str], list[Run]] = field(default_factory=lambda: defaultdict(list))


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A session's process and who speaks with it."""

    child: ChildProcess
    warm_pss_mib: float
    """Of the process, before it had a session."""
    participant: Participant


async def measure(options: BenchOptions, progress: Progress) -> Measured:
    plan = SMOKE if options.smoke else PLAN
    async with AsyncExitStack() as stack:
        stage = await open_stage(stack, progress)
        total = plan.rounds * len(SITUATIONS) * len(ARMS)
        with progress.steps("sessions", total) as advance:
            for number in range(plan.rounds):
                for situation in SITUATIONS:
                    # Who is first changes, so that neither always follows the other.
                    for arm in ARMS if number % 2 == 0 else ARMS[::-1]:
                        name = f"live-{situation.name}-{arm}-{number}"
                        run = await _one(stage, plan, situation, arm, name, options.seed + number)
                        stage.runs[situation.name, arm].append(run)
                        advance(1)
    bars = list(_bars(stage.runs))
    if options.smoke:
        bars = [bar.not_judged("short form") if "now/before" in bar.name else bar for bar in bars]
    return Measured(bars=tuple(bars), seeds=(options.seed,), data=_data(stage.runs))


# Measuring


async def open_stage(stack: AsyncExitStack, progress: Progress) -> Stage:
    run = stack.enter_context(run_dir())
    progress.tell("starting LiveKit, Redis, simulator, participants ...")
    livekit = (await stack.enter_async_context(LiveKitServer(run))).access
    redis = await stack.enter_async_context(RedisServer(run))
    openai = await stack.enter_async_context(simulator(run, SimulatorKind.OPENAI))
    people = await stack.enter_async_context(crowd(run))
    await people.ready()
    client = LiveKitClient(
        url=livekit.url, api_key=livekit.api_key, api_secret=SecretStr(livekit.api_secret)
    )
    stack.push_async_callback(client.aclose)
    return Stage(run, livekit, client, redis.url, openai, people)


async def _one(
    stage: Stage, plan: Plan, situation: Situation, arm: str, name: str, seed: int
) -> Run:
    async with under_way(stage, situation, name, seed, framework_output=arm == "before") as subject:
        child = subject.child
        before = cpu_s_by_thread(child.pid)
        began_s = asyncio.get_running_loop().time()
        await asyncio.sleep(plan.window_s * (2 if situation.most is None else 1))
        window_s = asyncio.get_running_loop().time() - began_s
        child.raise_if_ended()
        by_thread = spent(before, cpu_s_by_thread(child.pid))
        added_mib = pss_mib(child.pid) - subject.warm_pss_mib
        await stage.client.delete_room(name)
        summary = await subject.participant.summary(END_S) or {}
    return Run(
        cpu_percent=100 * sum(by_thread.values()) / window_s,
        threads_percent={k: round(100 * v / window_s, 2) for k, v in by_thread.items()},
        added_mib=added_mib,
        heard=summary.get("heard", {}),
        cuts_s=tuple(
            cut["stopped_after_s"]
            for cut in summary.get("interruptions", ())
            if cut["stopped_after_s"] is not None
        ),
    )


@asynccontextmanager
async def under_way(
    stage: Stage,
    situation: Situation,
    name: str,
    seed: int,
    *,
    framework_output: bool = False,
    env: Mapping[str, str] | None = None,
) -> AsyncIterator[Subject]:
    """A session whose greeting is over. ``env``: of its process."""
    await _prepare(stage, situation, name)
    order = Order(
        session_id=name,
        url=stage.livekit.url,
        token=stage.client.agent_token(room=name, identity="agent", ttl_s=600),
        redis_url=stage.redis_url,
        openai_base_url=stage.openai.base_url,
        framework_output=framework_output,
    )
    command = Command(
        name=name,
        program=sys.executable,
        arguments=["-m", "fleet.bench.live_session"],
        env={**order.as_env(), **(env or {})},
    )
    async with running(command, logs=stage.run.logs) as child:
        warm = json.loads(await child.first_line(deadline_s=START_S))
        participant = await stage.people.join(
            name,
            url=stage.livekit.url,
            token=stage.client.participant_token(room=name, identity="participant", ttl_s=600),
            script={"name": situation.name, **situation.participant},
            seed=seed,
            t0_epoch_s=0.0,
        )
        await asyncio.sleep(QUIET_AFTER_S)
        yield Subject(child=child, warm_pss_mib=warm["warm_pss_mib"], participant=participant)


async def _prepare(stage: Stage, situation: Situation, name: str) -> None:
    contract = {
        "provider": "openai_realtime",
        "instructions": f"Interview {name}.",
        "phases": [{"id": "only", "name": "Only", "duration_seconds": 600}],
        "vad_config": {"silence_duration_ms": 500},
        "budget_limit_usd": 50.0,
        "session_timeout_seconds": 600,
        "no_show_seconds": 60,
    }
    body = {
        "match": name,
        "turns_per_phase": 1_000,
        "speech_s": list(situation.speech_s),
        "ttfa_ms": [200, 200],
    }
    url = f"{stage.openai.control_url}/scripts"
    async with aiohttp.ClientSession() as http, http.post(url, json=body) as answer:
        answer.raise_for_status()
    await stage.client.create_room(name, metadata=json.dumps(contract))


# Judging

Runs = dict[tuple[str, str], list[Run]]


def _bars(runs: Runs) -> Iterator[Bar]:
    for situation in SITUATIONS:
        if situation.most is None:
            continue
        cpu = {arm: [run.cpu_percent for run in runs[situation.name, arm]] for arm in ARMS}
        yield at_most(
            f"CPU, {situation.name}, now/before",
            _ratio(cpu),
            situation.most,
            "×",
            "; ".join(f"{arm} {_spread(cpu[arm])} % of a core" for arm in ARMS),
        )
    memory = {
        arm: [run.added_mib for name in ("muted", "open") for run in runs[name, arm]]
        for arm in ARMS
    }
    yield at_most(
        "PSS added by a session, now/before",
        _ratio(memory),
        1.05,
        "×",
        "; ".join(f"{arm} {_spread(memory[arm])} MiB" for arm in ARMS),
    )
    yield from _sound_bars(runs)


def _sound_bars(runs: Runs) -> Iterator[Bar]:
    for name, unit in (("gap_share", "%"), ("arrival_jitter_ms", "ms"), ("longest_gap_ms", "ms")):
        found = {arm: [_heard(run, name) for run in runs["talking", arm]] for arm in ARMS}
        detail = "; ".join(f"{arm} {_spread(found[arm])}" for arm in ARMS)
        yield only_shown(f"talking, {name}", statistics.median(found["now"]), unit, detail)
    clipped = sum(int(run.heard.get("clipped_samples", 0)) for run in runs["talking", "now"])
    yield exactly("clipped samples, now", clipped, 0, "")
    cuts = {
        arm: [s * 1000 for run in runs["interrupting", arm] for s in run.cuts_s] for arm in ARMS
    }
    yield at_most(
        "interruption → silence, now/before",
        _ratio(cuts),
        1.1,
        "×",
        "; ".join(f"{arm} {_spread(cuts[arm])} ms (n={len(cuts[arm])})" for arm in ARMS),
    )


def _heard(run: Run, name: str) -> float:
    heard = run.heard
    if name == "gap_share":
        return 100 * float(heard.get("gap_ms", 0)) / max(1.0, 1000 * float(heard["audio_s"]))
    return float(heard.get(name) or 0.0)


def _ratio(found: dict[str, list[float]]) -> float | None:
    if not all(found[arm] for arm in ARMS):
        return None
    before, now = (statistics.median(found[arm]) for arm in ARMS)
    return now / before if before else None


def _spread(values: list[float]) -> str:
    if not values:
        return "-"
    return f"{statistics.median(values):.3g} ({min(values):.3g}–{max(values):.3g})"


def _data(runs: Runs) -> dict[str, Any]:
    return {
        f"{name}, {arm}": [
            {
                "cpu_percent": round(run.cpu_percent, 2),
                "added_mib": round(run.added_mib, 2),
                "threads_percent": dict(
                    sorted(run.threads_percent.items(), key=lambda each: -each[1])[:12]
                ),
                "heard": run.heard,
                "cuts_ms": [round(s * 1000) for s in run.cuts_s],
            }
            for run in of
        ]
        for (name, arm), of in runs.items()
    }


if __name__ == "__main__":
    sys.exit(bench_main("live", measure, about=__doc__ or ""))
