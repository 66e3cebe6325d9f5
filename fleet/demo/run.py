"""Runs the demo: starts a fleet, four interviews at once, watches them, judges, reports."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
from rich.console import Console
from rich.live import Live

from agent_actor.contract import Provider
from fleet.cli.client import problem_of
from fleet.cli.up import Stop, stop_on_signals
from fleet.demo.plan import DemoInterview, demo_interviews, interview_for_you
from fleet.demo.results import Outcome, as_json
from fleet.demo.views import Row, live_table, summary_table
from fleet.local.crowd import Crowd, Participant, crowd
from fleet.local.simulators import Simulator, SimulatorKind
from fleet.local.stack import LocalFleet, Providers, StackOptions, local_fleet
from fleet.logs import configure_logs

POLL_S = 0.5
WARM_S = 240.0
DEADLINE_S = 170.0
INTERRUPTED = 130
SUMMARY_S = 15.0
SIMULATORS = {
    Provider.OPENAI_REALTIME: SimulatorKind.OPENAI,
    Provider.GEMINI_LIVE: SimulatorKind.GEMINI,
}

# Where nobody looks at a terminal (CI, a file) 80 columns would break every cell.
console = Console() if Console().is_terminal else Console(width=150)


def run_demo(*, providers: str, out: Path, seed: int, web: bool = False) -> int:
    """0 if every interview ended as it should, else 1."""
    configure_logs("fleet-demo", level="ERROR")
    options = StackOptions(
        providers=Providers(providers),
        settings={"warm_actors": "4", "max_starting_actors": "2"},
        simulator_arguments={
            kind: ("--seed", str(seed), "--speech-s", "1.5-3") for kind in SimulatorKind
        },
    )
    started = time.monotonic()
    outcomes = asyncio.run(_run(options, seed, web=web))
    if outcomes is None:
        return INTERRUPTED
    simulated = options.providers is Providers.SIMULATED
    report = as_json(outcomes, simulated=simulated, took_s=time.monotonic() - started)
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    console.print(summary_table(outcomes, simulated=simulated))
    console.print(f"written to {out}")
    return 0 if report["passed"] else 1


async def _run(options: StackOptions, seed: int, *, web: bool) -> list[Outcome] | None:
    """None if a signal came first."""
    stop = stop_on_signals()
    async with local_fleet(options, lambda line: console.print(line, style="dim")) as fleet:
        stop.rearm()
        interviews = asyncio.create_task(_interviews(fleet, seed))
        stopped = asyncio.create_task(stop.asked.wait())
        done, _ = await asyncio.wait({interviews, stopped}, return_when=asyncio.FIRST_COMPLETED)
        stopped.cancel()
        if interviews not in done:
            interviews.cancel()
            await asyncio.wait({interviews})
            console.print("interrupted; ending everything ...")
            return None
        if web:
            await _stay_up(fleet, stop)
        return interviews.result()


async def _interviews(fleet: LocalFleet, seed: int) -> list[Outcome]:
    async with (
        httpx.AsyncClient(base_url=fleet.api_url, timeout=30.0) as http,
        crowd(fleet.run) as people,
    ):
        await asyncio.gather(_until_warm(http), people.ready())
        console.print(f"\nresearcher's page   {fleet.api_url}/", highlight=False)
        rows = [Row(interview=interview) for interview in demo_interviews()]
        with Live(live_table(rows), console=console, refresh_per_second=4) as live:
            async with asyncio.TaskGroup() as tasks:
                running = [
                    tasks.create_task(_one(fleet, http, people, row, seed + n))
                    for n, row in enumerate(rows)
                ]
                while not all(task.done() for task in running):
                    live.update(live_table(rows))
                    await asyncio.wait(running, timeout=0.25)
            live.update(live_table(rows))
        return [task.result() for task in running]


async def _stay_up(fleet: LocalFleet, stop: Stop) -> None:
    """For looking, with an interview that waits for whoever opens its link; until a signal."""
    async with httpx.AsyncClient(base_url=fleet.api_url, timeout=30.0) as http:
        answer = await http.post("/v1/sessions", json=dict(interview_for_you()))
        if answer.is_error:
            console.print(problem_of(answer), style="red")
        else:
            _show_link(answer.json())
    console.print(f"researcher's page   {fleet.api_url}/", highlight=False)
    console.print("stays up until Ctrl-C ...")
    await stop.asked.wait()


def _show_link(session: Mapping[str, Any]) -> None:
    # In one piece, however narrow the terminal is.
    line = f"participant's page  {session['join_url']}"
    console.print(line, highlight=False, soft_wrap=True)


async def _until_warm(http: httpx.AsyncClient) -> None:
    """Wait for the actors: the demo is to show a warm dispatch."""
    with console.status("warming session actors ..."):
        async with asyncio.timeout(WARM_S):
            # Another process has no event that we could wait on.
            while await _warm(http) < len(demo_interviews()):  # noqa: ASYNC110
                await asyncio.sleep(POLL_S)


async def _warm(http: httpx.AsyncClient) -> int:
    return int((await _get(http, "/v1/fleet"))["actors"]["warm"])


async def _one(
    fleet: LocalFleet, http: httpx.AsyncClient, people: Crowd, row: Row, seed: int
) -> Outcome:
    interview = row.interview
    simulator = fleet.simulators.get(SIMULATORS[interview.provider])
    if simulator is not None:
        await _set_script(http, simulator, interview)
    asked_at, began = time.time(), time.monotonic()
    answer = await http.post("/v1/sessions", json=dict(interview.request))
    post_s = time.monotonic() - began
    if answer.is_error:
        return _not_observed(interview, post_s, problem_of(answer))
    created = answer.json()
    row.session = created
    if interview.participant is None:
        _show_link(created)
    participant = None
    if interview.participant is not None:
        participant = await people.join(
            interview.name,
            url=created["livekit_url"],
            token=created["participant_token"],
            script=interview.participant,
            seed=seed,
            t0_epoch_s=asked_at,
        )
    problem = await _watch(http, row, DEADLINE_S)
    return await _outcome(http, participant, simulator, row, post_s, problem)


async def _watch(http: httpx.AsyncClient, row: Row, deadline_s: float) -> str | None:
    """Follow a session to its end; what went wrong, if anything."""
    path = row.session["links"]["self"]
    try:
        async with asyncio.timeout(deadline_s):
            while row.session["state"] != "gone":
                await asyncio.sleep(POLL_S)  # the table is to move, whether anything ends or not
                row.session = await _get(http, path)
    except TimeoutError:
        return f"still {row.session['state']} after {deadline_s:g} s"
    return None


async def _outcome(
    http: httpx.AsyncClient,
    participant: Participant | None,
    simulator: Simulator | None,
    row: Row,
    post_s: float,
    problem: str | None,
) -> Outcome:
    links, session = row.session["links"], row.session
    cost = await _get(http, links["cost"])
    row.cost = cost
    measured = await participant.summary(SUMMARY_S) if participant else None
    return Outcome(
        interview=row.interview,
        post_s=post_s,
        record=session,
        cost=cost,
        events=(await _get(http, f"{links['events']}?limit=1000"))["events"],
        participant=measured,
        invoice_pico_usd=await _invoice(http, simulator, session["provider_sessions"]),
        problem=problem,
    )


async def _invoice(
    http: httpx.AsyncClient, simulator: Simulator | None, provider_sessions: list[str]
) -> int | None:
    if simulator is None:
        return None
    total = 0
    for provider_session in provider_sessions:
        invoice = await _get(http, f"{simulator.control_url}/invoices/{provider_session}")
        total += int(invoice["total_pico_usd"])
    return total


async def _set_script(
    http: httpx.AsyncClient, simulator: Simulator, interview: DemoInterview
) -> None:
    body = {"match": interview.marker, "turns_per_phase": interview.turns_per_phase}
    answer = await http.post(f"{simulator.control_url}/scripts", json=body)
    answer.raise_for_status()


async def _get(http: httpx.AsyncClient, path: str) -> Any:
    answer = await http.get(path)
    answer.raise_for_status()
    return answer.json()


def _not_observed(interview: DemoInterview, post_s: float, problem: str) -> Outcome:
    nothing: Mapping[str, Any] = {}
    return Outcome(
        interview=interview,
        post_s=post_s,
        record=nothing,
        cost=nothing,
        events=(),
        participant=None,
        invoice_pico_usd=None,
        problem=problem,
    )
