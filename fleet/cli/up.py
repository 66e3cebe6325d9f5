"""``fleet up``: the whole fleet in the foreground until Ctrl-C."""

from __future__ import annotations

import asyncio
import json
import signal

from rich.console import Console

from fleet.local.stack import LocalFleet, Providers, StackOptions, local_fleet
from fleet.logs import configure_logs

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
        await stop.wait()
        console.print("stopping ...")


class Stop:
    """Set by SIGINT or SIGTERM, once armed; before that they end what is being started."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def rearm(self) -> None:
        """Take the signals (again): Ray takes SIGTERM for itself while it starts."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._event.set)

    async def wait(self) -> None:
        await self._event.wait()


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
    console.print("\nfleet status | fleet sessions | fleet stop SESSION     Ctrl-C ends it all.")
