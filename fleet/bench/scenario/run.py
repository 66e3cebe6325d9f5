"""One run: the fleet, the scenario beside it, and what is to be said about both."""

from __future__ import annotations

import asyncio
import os
import statistics
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import httpx

from agent_actor.redis_client import open_redis
from fleet.bench.progress import Progress
from fleet.bench.report import Measured
from fleet.bench.scenario import evidence
from fleet.bench.scenario.evidence import Told
from fleet.bench.scenario.forms import DUTY_S, SETTLE_S, Form, locust_arguments
from fleet.bench.scenario.judge import Found, Remains, bars_of
from fleet.bench.scenario.probes import Prober
from fleet.bench.scenario.samples import GROUPS, Stair, as_json, duties, group_of, is_kept
from fleet.bench.scenario.sizing import ceilings, sizes
from fleet.bench.scenario.watch import Watch
from fleet.errors import FleetError
from fleet.livekit_client import LiveKitClient
from fleet.local.processes import ChildProcess, Command, running
from fleet.local.simulators import SimulatorKind
from fleet.local.stack import LocalFleet, StackOptions, local_fleet

SIMULATOR = ("--turns-per-phase", "1000", "--speech-s", "2-4")
"""Phases end by their time, so that an interview is as long as its protocol says."""
OVER_S = 120.0
POOL_FULL_S = 60.0
LOCUST_FAILED = 1
CONTROL_NICE = -5
BYTES_A_SECOND = {SimulatorKind.OPENAI: 64_000, SimulatorKind.GEMINI: 42_667}
"""Of an open microphone: 16 bits at 24 and at 16 kHz, as base64."""


class ScenarioFailed(FleetError):
    """Locust ended before its time; its log is in the message."""

    code = "scenario_failed"


@dataclass(frozen=True, kw_only=True)
class Course:
    """``files``: where Locust writes; ``first``: of the numbers that are left."""

    form: Form
    seed: int
    study: str
    files: Path
    first: int = 0

    @property
    def outcomes(self) -> Path:
        return self.files / "outcomes.jsonl"

    @property
    def events(self) -> Path:
        return self.files / "events.jsonl"


@dataclass(kw_only=True)
class _Notes:
    stairs: list[Stair] = field(default_factory=list)
    duties: list[float] = field(default_factory=list)


async def run(course: Course, progress: Progress) -> Measured:
    """Raises ScenarioFailed, LocalPartError or another FleetError."""
    form = course.form
    nice = _go_before_sessions() if form.settings.get("transport") == "memory" else 0
    arguments = dict.fromkeys(SimulatorKind, SIMULATOR)
    options = StackOptions(settings=form.settings, simulator_arguments=arguments)
    async with local_fleet(options, progress.tell) as fleet, _watch(fleet) as watch:
        before = await _remains(fleet, watch)
        began_epoch_s = time.time() - watch.now_s
        notes = _Notes()
        async with _locust(course, fleet, watch) as locust, asyncio.TaskGroup() as tasks:
            watching = tasks.create_task(watch.run())
            noting = tasks.create_task(_take_notes(course, fleet, watch, notes))
            showing = tasks.create_task(_show(course, progress, watch))
            code = await locust.wait()
            for task in (noting, showing):
                task.cancel()
            _check(locust, code, course)
            progress.tell("waiting for the last sessions to end ...")
            await evidence.end_all(fleet.api_url, course.study, OVER_S)
            watching.cancel()
        simulators = [each.control_url for each in fleet.simulators.values()]
        # What an earlier run of a resumed one left is of another study.
        lines = evidence.read_lines(course.outcomes)
        outcomes = [line for line in lines if line["number"] >= course.first]
        told = await evidence.gather(fleet.api_url, course.study, simulators, outcomes)
        after = await _remains(fleet, watch)
    found = Found(
        samples=watch.samples,
        stairs=notes.stairs,
        evidence=told,
        uplink_duty=statistics.fmean(notes.duties) if notes.duties else None,
        before=before,
        after=after,
        locust_failures=_failures(course.events),
        measures_ms=_measures(course.events),
    )
    data = _data(course, found, began_epoch_s, nice)
    return Measured(bars=bars_of(form, found), seeds=(course.seed,), data=data)


def _go_before_sessions() -> int:
    """This process, and all that it starts but for the session actors, which take the usual
    priority. Elsewhere they have machines of their own; here a hundred of them would each get as
    much of two cores as the one ingress, the one ledger or the provider."""
    with suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, CONTROL_NICE)
    return os.getpriority(os.PRIO_PROCESS, 0)


@asynccontextmanager
async def _watch(fleet: LocalFleet) -> AsyncIterator[Watch]:
    watch = Watch(fleet.api_url, fleet.settings.ray_namespace)
    try:
        yield watch
    finally:
        await watch.aclose()


@asynccontextmanager
async def _locust(course: Course, fleet: LocalFleet, watch: Watch) -> AsyncIterator[ChildProcess]:
    arguments = locust_arguments(
        course.form,
        api_url=fleet.api_url,
        study=course.study,
        seed=course.seed,
        first=course.first,
        files={"outcomes-file": str(course.outcomes), "events-file": str(course.events)},
    )
    command = Command(name="locust", program=sys.executable, arguments=["-m", "locust", *arguments])
    async with running(command, logs=fleet.run.logs, grace_s=10.0) as child:
        watch.others.add(child.pid)
        yield child


def _check(locust: ChildProcess, code: int, course: Course) -> None:
    """Locust's 1 says that requests failed; that is for the bars to judge."""
    if code not in (0, LOCUST_FAILED) or not course.outcomes.exists():
        last = locust.log.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise ScenarioFailed(f"locust ended with {code}: {last}")


async def _show(course: Course, progress: Progress, watch: Watch) -> None:
    form = course.form
    total = form.sessions or round(form.run_s + form.drain_s)
    what = f"{form.tier.value}: sessions" if form.sessions else f"{form.tier.value}: seconds"
    with progress.steps(what, total) as advance:
        done = 0
        while True:
            await asyncio.sleep(1.0)
            now = len(evidence.read_lines(course.outcomes)) if form.sessions else int(watch.now_s)
            advance(min(now, total) - done)
            done = min(now, total)


async def _take_notes(course: Course, fleet: LocalFleet, watch: Watch, notes: _Notes) -> None:
    """At each stair, once its users are there: what a session and a dispatch cost."""
    form = course.form
    if not form.probes:
        return
    began_s = watch.now_s
    for number, users in enumerate(form.stairs):
        before = form.stairs[number - 1] if number else 0
        there_s = number * form.stair_s + (users - before) / form.spawn_rate + SETTLE_S
        await asyncio.sleep(max(0.0, began_s + there_s - watch.now_s))
        prober = Prober(fleet.api_url, form, watch, study=f"{course.study}-probe", stair=number)
        # A stair at which the fleet did not answer is left out; the bars will tell.
        with suppress(httpx.HTTPError, FleetError):
            notes.stairs.append(await prober.measure())
            notes.duties += await _duty(fleet)


async def _duty(fleet: LocalFleet) -> list[float]:
    """Of each live session: which part of a minute its microphone was sent."""
    first = await _bytes_in(fleet)
    await asyncio.sleep(DUTY_S)
    second = await _bytes_in(fleet)
    open_all_the_time = {kind: rate * DUTY_S for kind, rate in BYTES_A_SECOND.items()}
    return duties(first, second, open_all_the_time)


async def _bytes_in(fleet: LocalFleet) -> dict[tuple[SimulatorKind, str], int]:
    found = {}
    async with httpx.AsyncClient(timeout=evidence.ANSWER_S) as http:
        for kind, simulator in fleet.simulators.items():
            answer = await http.get(f"{simulator.control_url}/sessions")
            for each in answer.json()["sessions"]:
                found[kind, each["session_id"]] = each["bytes_in"]
    return found


async def _remains(fleet: LocalFleet, watch: Watch) -> Remains:
    """Once the pool is full and nothing is starting."""
    target = int(fleet.settings.warm_actors)
    sample = await watch.look(memory=True)
    until_s = watch.now_s + POOL_FULL_S
    while watch.now_s < until_s and (sample.warm < target or sample.starting):
        await asyncio.sleep(1.0)
        sample = await watch.look()
    sample = await watch.look(memory=True)
    client = LiveKitClient.from_settings(fleet.settings)
    try:
        rooms = await client.list_rooms()
    finally:
        await client.aclose()
    kept_mib = sum(mib for name, mib in sample.memory_mib.items() if is_kept(name))
    return Remains(
        processes=sample.processes,
        memory_mib=sum(sample.memory_mib.values()) - kept_mib,
        kept_mib=kept_mib,
        rooms=len(rooms),
        keys=await _keys(fleet),
    )


async def _keys(fleet: LocalFleet) -> dict[str, int]:
    """Those that do not expire: the others go by themselves."""
    redis = open_redis(fleet.settings.redis_url, timeout_s=10.0)
    kinds: Counter[str] = Counter()
    try:
        async for key in redis.scan_iter(match=f"{fleet.settings.redis_namespace}:*", count=1000):
            kinds[key.split(":")[1]] += await redis.ttl(key) < 0
    finally:
        await redis.aclose()
    return {kind: count for kind, count in kinds.items() if count}


def _failures(events: Path) -> dict[str, int]:
    lines = evidence.read_lines(events)
    return dict(Counter(f"{kind} {name}: {why}" for _, kind, name, _, why in lines if why))


def _measures(events: Path) -> dict[str, list[float]]:
    found: dict[str, list[float]] = {}
    for _, kind, name, ms, failure in evidence.read_lines(events):
        if kind == "WebRTC" and failure is None:
            found.setdefault(name, []).append(ms)
    return found


def _data(course: Course, found: Found, began_epoch_s: float, nice: int) -> dict[str, Any]:
    form = course.form
    return {
        "about": _about(form, nice),
        "form": asdict(form),
        "study": course.study,
        "began_epoch_s": began_epoch_s,
        "samples": as_json(found.samples),
        "sessions": [_session(told) for told in found.evidence.sessions],
        "stairs": [_stair(each) for each in found.stairs],
        "sizes": [asdict(each) for each in sizes(found.stairs, found.samples)],
        "ceilings": [asdict(each) for each in ceilings(found.stairs)],
        "before": asdict(found.before),
        "after": asdict(found.after),
        "locust_failures": dict(found.locust_failures),
        "measures_ms": {name: list(values) for name, values in found.measures_ms.items()},
        "names": _names(found),
    }


def _about(form: Form, nice: int) -> str:
    speech = f"turns of {form.speech_s} s after {form.thinks_s} s of thought"
    microphone = "the microphone always open" if form.always_on else "sent around speech only"
    return (
        f"{form.users} users ({', '.join(map(str, form.stairs))}), interviews of "
        f"{form.interview_s:g} s, {speech}, {microphone}; {os.cpu_count()} cores carry the fleet, "
        "the simulators and Locust" + (f", all but the sessions at nice {nice}." if nice else ".")
    )


def _session(told: Told) -> dict[str, Any]:
    record, seen = told.record, told.seen or {}
    return {
        "session_id": record["session_id"],
        "provider": record["provider"],
        "fate": seen.get("fate"),
        "meant": seen.get("meant"),
        "end_reason": record["end_reason"],
        "error": record["error"],
        "attempt": record["attempt"],
        "created_at": record["created_at"],
        "joined_at": record["joined_at"],
        "ended_at": record["ended_at"],
        "asked_epoch_s": seen.get("asked_epoch_s"),
        "dispatch_s": seen.get("dispatch_s"),
        "timings_ms": record["timings_ms"],
        "limit_micro_usd": record["limit_micro_usd"],
        "ledger_micro_usd": told.ledger_micro_usd,
        "invoice_pico_usd": told.invoice_pico_usd,
        "unpriced": told.unpriced,
    }


def _stair(stair: Stair) -> dict[str, Any]:
    def by_group(of: Callable[[Sequence[str]], float | None]) -> dict[str, float | None]:
        return {group: of((group,)) for group in GROUPS}

    return {
        "live": stair.live,
        "a_dispatch_s": by_group(stair.a_dispatch_s),
        "a_session": by_group(stair.a_session_share),
        "busy": [w.busy for w in (*stair.calm, *stair.probed)],
        "windows": [asdict(w) for w in (*stair.calm, *stair.probed)],
    }


def _names(found: Found) -> dict[str, str]:
    """Which group each process's name was counted with: for whoever doubts it."""
    names = {name for sample in found.samples for name in sample.cpu_s}
    return {name: group_of(name) for name in sorted(names)}
