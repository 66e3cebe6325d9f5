"""``fleet up``: the whole fleet in the foreground until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal

from rich.console import Console

from fleet.control import drain_control_plane, fleet_snapshot
from fleet.errors import FleetError
from fleet.local.stack import LocalFleet, Providers, StackOptions, local_fleet
from fleet.logs import configure_logs
from fleet.settings import FleetSettings
from fleet.stopping import first_of

DRAIN_LOOK_S = 0.5

console = Console()

EXAMPLE = {
    "provider": "openai_realtime",
    "instructions": "You interview people about how they use their city's parks.",
    "phases": [
        {"id": "warmup", "name": "Warm-up", "duration_seconds": 120},
        {"id": "core", "name": "Core questions", "duration_seconds": 600},
    ],
    "budget_limit_usd": 2.0,
}


def run_up(*, providers: str, host: str, port: int, warm: int) -> int:
    """Returns 0 after an orderly stop."""
    options = StackOptions(
        providers=Providers(providers),
        api_host=host,
        api_port=port,
        settings={"warm_actors": str(warm)},
    )
    configure_logs("fleet-up", level="ERROR")
    asyncio.run(_serve(options))
    return 0


async def _serve(options: StackOptions) -> None:
    stop = stop_on_signals()
    async with local_fleet(options, lambda line: console.print(line, style="dim")) as fleet:
        stop.rearm()
        _greet(fleet)
        await stop.asked.wait()
        if not stop.hurry.is_set():
            await _drain(fleet.settings, stop)
        console.print("stopping ...")


async def _drain(settings: FleetSettings, stop: Stop) -> None:
    """Until no interview is under way; after the deadline they are being ended."""
    deadline_s = settings.drain_deadline_s
    console.print(f"draining for up to {deadline_s:g} s; Ctrl-C or SIGTERM again ends at once ...")
    try:
        await drain_control_plane(settings, deadline_s=deadline_s)
        while (await fleet_snapshot(settings)).supervisor.sessions:
            if await first_of(stop.hurry, timeout_s=DRAIN_LOOK_S):
                return
    except FleetError as error:
        console.print(f"not drained: {error}", style="red")


class Stop:
    """``asked`` is set by SIGINT or SIGTERM, once armed; before that they end what is being
    started. ``hurry``: by SIGINT, or by SIGTERM for the second time."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    def rearm(self) -> None:
        """Take the signals (again): Ray takes SIGTERM for itself while it starts."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._ask)
        loop.add_signal_handler(signal.SIGINT, self._now)

    def _ask(self) -> None:
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()

    def _now(self) -> None:
        self.hurry.set()
        self.asked.set()


def stop_on_signals() -> Stop:
    """SIGTERM while starting cancels the start, as Ctrl-C does."""
    task = asyncio.current_task()
    assert task is not None
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, task.cancel)
    return Stop()


def _greet(fleet: LocalFleet) -> None:
    console.print(f"\nAPI  [bold]{fleet.api_url}[/bold]  (docs at {fleet.api_url}/docs)")
    for kind in fleet.simulators:
        console.print(f"     {kind.value}: a simulator speaks, no real model", style="yellow")
    body = json.dumps(EXAMPLE)
    console.print("\nAsk for an interview:\n")
    console.print(
        f"curl -sS {fleet.api_url}/v1/sessions -H 'Content-Type: application/json' -d '{body}'",
        soft_wrap=True,
        highlight=False,
        markup=False,
    )
    console.print("\nfleet top | fleet status | fleet sessions | fleet stop SESSION | fleet drain")
    console.print("Ctrl-C ends it all; SIGTERM drains it first.")
