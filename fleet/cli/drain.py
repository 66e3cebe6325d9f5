"""``fleet nodes``, ``drain`` and ``undrain``."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import quote

from rich.console import Console
from rich.table import Table

from fleet.cli.client import ApiClient, ApiProblem

LOOK_EVERY_S = 1.0
ANSWERS_WITHIN_S = 600.0
KNOWN_WITHIN_S = 10.0
AWAY_LOOKS = 10
"""In a row that do not show a node, and it is gone: one may be a head that was just started."""
NOT_FOUND = 404

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


def run_drain(
    api: str | None,
    node: str | None,
    *,
    deadline_s: float | None,
    wait: bool,
    patience_s: float = 0.0,
) -> int:
    """Ctrl-C ends the waiting, not the drain. ``patience_s``: how long an API that is not there is
    asked again: whoever is about to end a node must not end the interviews on it because the head
    restarts just then."""
    with ApiClient.find(api) as client:
        asked = {} if deadline_s is None else {"deadline_s": deadline_s}
        seen = _patiently(lambda: client.post(f"{_path(node)}/drain", asked), patience_s)
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
    """Prints how it goes. An API that does not answer is asked again, for ten minutes."""
    told, away = _progress(seen, node), 0
    while True:
        away = away + 1 if _is_away(seen, node) else 0
        if away >= AWAY_LOOKS or _is_drained(seen, node):
            return
        time.sleep(LOOK_EVERY_S)
        seen = _patiently(lambda: client.get("/v1/nodes"), ANSWERS_WITHIN_S)
        if (progress := _progress(seen, node)) != told:
            told = progress
            console.print(told)


def _patiently(ask: Callable[[], Any], patience_s: float) -> Any:
    """A refusal is told at once; that a node is not known may be so for a moment, as a head that
    was just started knows none."""
    now = time.monotonic()
    ends, known_by = now + patience_s, None
    while True:
        try:
            return ask()
        except ApiProblem as problem:
            now = time.monotonic()
            if problem.status == NOT_FOUND:
                known_by = known_by or now + KNOWN_WITHIN_S
            elif problem.status is not None and problem.status < 500:
                raise
            if now >= min(ends, known_by or ends):
                raise
        time.sleep(LOOK_EVERY_S)


def _is_away(seen: Any, node: str | None) -> bool:
    return node is not None and _node(seen, node) is None


def _is_drained(seen: Any, node: str | None) -> bool:
    if node is None:
        return int(seen["live"]) == 0
    found = _node(seen, node)
    return found is not None and bool(found["state"] == "drained")


def _progress(seen: Any, node: str | None) -> str:
    if node is None:
        return f"the fleet: {seen['live']} live"
    found = _node(seen, node)
    return f"{node}: gone" if found is None else f"{node}: {found['live']} live"


def _node(seen: Any, wanted: str) -> Any:
    fits = (
        n
        for n in seen["nodes"]
        if wanted in (n["address"], n["host"]) or n["node_id"].startswith(wanted)
    )
    return next(fits, None)


def _path(node: str | None) -> str:
    return "/v1/fleet" if node is None else f"/v1/nodes/{quote(node, safe='')}"
