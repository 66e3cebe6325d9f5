"""``fleet status``, ``sessions`` and ``stop``: questions to a running fleet's API."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

from fleet.cli.client import ApiClient

console = Console()


def show_status(api: str | None) -> int:
    with ApiClient.find(api) as client:
        fleet = client.get("/v1/fleet")
        console.print(f"[bold]{client.url}[/bold]")
        console.print(_figures("actors", fleet["actors"]))
        console.print(_figures("slots", fleet["slots"]))
        console.print(_figures("sessions", fleet["sessions"]))
        budget = fleet["budget"]
        limit = budget["limit_usd"] or "no limit"
        console.print(f"spent     ${budget['spent_usd']} of {limit}")
        for provider in fleet["providers"]:
            what = "a simulator speaks" if provider["simulated"] else "the provider itself"
            console.print(f"provider  {provider['provider']}: {what}")
    return 0


def show_sessions(api: str | None, *, state: str | None, study: str | None, limit: int) -> int:
    asked = {"state": state, "study_id": study, "limit": limit}
    with ApiClient.find(api) as client:
        page = client.get("/v1/sessions", {k: v for k, v in asked.items() if v is not None})
    table = Table("session", "study", "provider", "state", "end", "spent $", "limit $", "created")
    for s in page["sessions"]:
        table.add_row(
            s["session_id"],
            s["study_id"],
            s["provider"],
            s["state"],
            s["end_reason"] or "",
            s["spent_usd"],
            s["limit_usd"],
            s["created_at"],
        )
    console.print(table if page["sessions"] else "no sessions")
    return 0


def stop_session(api: str | None, session: str) -> int:
    with ApiClient.find(api) as client:
        client.delete(f"/v1/sessions/{session}")
    console.print(f"{session}: asked to end")
    return 0


def _figures(name: str, values: dict[str, Any]) -> str:
    shown = ", ".join(f"{value} {key}" for key, value in values.items())
    return f"{name:<9} {shown or 'none'}"
