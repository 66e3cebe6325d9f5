"""``fleet nodes``, ``drain`` and ``undrain``."""

from __future__ import annotations

import time
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from fleet.cli.client import ApiClient, ApiProblem

LOOK_EVERY_S = 1.0

console = Console()


def show_nodes(api: str | None) -> int:
    with ApiClient.find(api) as client:
        seen = client.get("/v1/nodes")
    table = Table("node", "address", "host", "state", "sessions", "ready", "until")
    for node in seen["nodes"]:
        until = node["drain"]["deadline"] if node["drain"] else ""
        table.add_row(
            node["node_id"][:12],
            node["address"],
            node["host"],
            node["state"],
            str(node["live"]),
            str(node["ready"]),
            until,
        )
    console.print(table)
    if seen["fleet_drain"]:
        console.print(f"the whole fleet drains, until {seen['fleet_drain']['deadline']}")
    return 0


def run_drain(api: str | None, node: str | None, *, deadline_s: float | None, wait: bool) -> int:
    """Ctrl-C ends the waiting, not the drain."""
    with ApiClient.find(api) as client:
        asked = {} if deadline_s is None else {"deadline_s": deadline_s}
        seen = client.post(f"{_path(node)}/drain", asked)
        console.print(_progress(seen, node))
        if wait:
            wait_drained(client, node, seen)
    return 0


def run_undrain(api: str | None, node: str | None) -> int:
    with ApiClient.find(api) as client:
        client.delete(f"{_path(node)}/drain")
    console.print(f"{node or 'the fleet'}: in use again")
    return 0


def wait_drained(client: ApiClient, node: str | None, seen: Any) -> None:
    """Prints how it goes. An API that does not answer for a moment is asked again."""
    told = _progress(seen, node)
    while not is_drained(seen, node):
        time.sleep(LOOK_EVERY_S)
        try:
            seen = client.get("/v1/nodes")
        except ApiProblem as problem:
            if problem.status is not None and problem.status < 500:
                raise
            continue
        if (progress := _progress(seen, node)) != told:
            told = progress
            console.print(told)


def is_drained(seen: Any, node: str | None) -> bool:
    """A node that is not there any more is."""
    if node is None:
        return int(seen["live"]) == 0
    found = _node(seen, node)
    return found is None or found["state"] == "drained"


def _progress(seen: Any, node: str | None) -> str:
    if node is None:
        return f"the fleet: {seen['live']} sessions under way"
    found = _node(seen, node)
    return f"{node}: gone" if found is None else f"{node}: {found['live']} sessions on it"


def _node(seen: Any, wanted: str) -> Any:
    fits = (
        n
        for n in seen["nodes"]
        if wanted in (n["address"], n["host"]) or n["node_id"].startswith(wanted)
    )
    return next(fits, None)


def _path(node: str | None) -> str:
    return "/v1/fleet" if node is None else f"/v1/nodes/{quote(node, safe='')}"
