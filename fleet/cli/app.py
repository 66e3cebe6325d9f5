"""The commands and their options. Each does its work in a module of its own, imported only when
it is asked for: `fleet --help` is not to load Ray.
"""

from __future__ import annotations

import sys
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fleet.cli.top_rows import Order
from fleet.errors import FleetError

app = typer.Typer(
    name="fleet",
    help="Voice interviews by AI at scale.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)


class ProvidersOption(StrEnum):
    SIMULATED = "simulated"
    REAL = "real"


ApiUrl = Annotated[
    str | None,
    typer.Option("--api", envvar="FLEET_API_URL", help="Where the API is; else a local fleet."),
]
NODE_HELP = "Its Ray id (or how that begins), address or host name, as `fleet nodes` lists them."
ProvidersChoice = Annotated[
    ProvidersOption,
    typer.Option(help="real: OpenAI and Gemini themselves, with OPENAI_API_KEY, GOOGLE_API_KEY."),
]


@app.command()
def up(
    providers: ProvidersChoice = ProvidersOption.SIMULATED,
    host: Annotated[str, typer.Option(help="Address the API listens on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port of the API; 0 takes a free one.")] = 8000,
    warm: Annotated[int, typer.Option(min=0, help="Actors kept ready.")] = 2,
) -> None:
    """Run a whole fleet on this machine until Ctrl-C."""
    from fleet.cli.up import run_up

    _exit(run_up(providers=providers.value, host=host, port=port, warm=warm))


@app.command()
def demo(
    providers: ProvidersChoice = ProvidersOption.SIMULATED,
    out: Annotated[Path, typer.Option(help="Where the results go.")] = Path("out/demo.json"),
    seed: Annotated[int, typer.Option(help="Of everything that is drawn.")] = 7,
    web: Annotated[
        bool, typer.Option(help="Stay up afterwards, with an interview to take part in yourself.")
    ] = False,
) -> None:
    """Four interviews at once on this machine; fails if one does not end as it should."""
    from fleet.demo.run import run_demo

    _exit(run_demo(providers=providers.value, out=out, seed=seed, web=web))


@app.command()
def status(api: ApiUrl = None) -> None:
    """What the fleet is doing now."""
    from fleet.cli.ask import show_status

    _exit(show_status(api))


@app.command()
def sessions(
    api: ApiUrl = None,
    state: Annotated[str | None, typer.Option(help="Only those in this state.")] = None,
    study: Annotated[str | None, typer.Option(help="Only those of this study.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=200)] = 50,
) -> None:
    """List sessions, newest first."""
    from fleet.cli.ask import show_sessions

    _exit(show_sessions(api, state=state, study=study, limit=limit))


@app.command()
def top(
    api: ApiUrl = None,
    once: Annotated[bool, typer.Option("--once", help="One frame, with every session.")] = False,
    interval: Annotated[float, typer.Option(min=0.5, max=60, help="Seconds to a frame.")] = 2.0,
    sort: Annotated[
        Order, typer.Option(help="Of the sessions; the key s changes it.")
    ] = Order.SPEND,
) -> None:
    """Nodes, warm actors and sessions with what they spend, as they change; q ends it."""
    from fleet.cli.top import run_top

    _exit(run_top(api, once=once, interval_s=interval, order=sort))


@app.command()
def stop(
    session: Annotated[str, typer.Argument(help="The session's id.")], api: ApiUrl = None
) -> None:
    """End a session, after its goodbye."""
    from fleet.cli.ask import stop_session

    _exit(stop_session(api, session))


@app.command()
def nodes(api: ApiUrl = None) -> None:
    """List the nodes, and what each carries."""
    from fleet.cli.drain import show_nodes

    _exit(show_nodes(api))


@app.command()
def drain(
    node: Annotated[str | None, typer.Argument(help=NODE_HELP)] = None,
    api: ApiUrl = None,
    deadline: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that sessions may go on undisturbed."),
    ] = None,
    wait: Annotated[bool, typer.Option(help="Return only when it is empty.")] = True,
    patience: Annotated[
        float, typer.Option(min=0, help="Seconds to ask again an API that does not answer.")
    ] = 0.0,
) -> None:
    """Empty a node of interviews: the live ones move to others at the deadline, and carry on.
    Without NODE the whole fleet: they are ended then."""
    from fleet.cli.drain import run_drain

    _exit(run_drain(api, node, deadline_s=deadline, wait=wait, patience_s=patience))


@app.command()
def undrain(
    node: Annotated[str | None, typer.Argument(help=NODE_HELP)] = None, api: ApiUrl = None
) -> None:
    """Use a node, or without NODE the whole fleet, again."""
    from fleet.cli.drain import run_undrain

    _exit(run_undrain(api, node))


@app.command(context_settings={"ignore_unknown_options": True})
def node(
    command: Annotated[list[str], typer.Argument(help="What runs the node: ray start --block …")],
    api: ApiUrl = None,
    address: Annotated[
        str | None, typer.Option(help="This node's, as Ray knows it; by default its host name.")
    ] = None,
    deadline: Annotated[float | None, typer.Option(min=0, help="As of `fleet drain`.")] = None,
) -> None:
    """Run COMMAND; on SIGTERM drain this node, then pass the signal on."""
    from fleet.cli.node import run_node

    _exit(run_node(command, api=api, address=address, deadline_s=deadline))


@app.command()
def schema() -> None:
    """Print the session contract's JSON Schema."""
    import json

    from agent_actor.contract import json_schema

    sys.stdout.write(json.dumps(json_schema(), indent=2) + "\n")


def main() -> None:
    """The console script. Errors are one line on stderr; 130 after Ctrl-C."""
    try:
        app()
    except FleetError as error:
        Console(stderr=True).print(f"[red]error:[/red] {error}", highlight=False, soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)


def _exit(code: int) -> None:
    if code:
        raise typer.Exit(code)
