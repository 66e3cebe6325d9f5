"""The fleet, its probes, and the answer to a webhook."""

from __future__ import annotations

from pydantic import ConfigDict

from agent_actor.contract import Provider, SessionState
from serve.models.base import View
from serve.models.cost import TotalsView


class ActorsView(View):
    warm: int
    reserved: int
    live: int
    starting: int


class PreopenedView(View):
    """Connections to providers that warm actors opened ahead. ``wasted``: never used, or used by a
    session that nobody came to."""

    open: int
    opened: int
    wasted: int


class ProviderView(View):
    """imulated``: what speaks is a simulator, not the provider."""

    provider: Provider
    simulated: bool
    endpoint: str | None


class FleetView(View):
    model_config = ConfigDict(
        json_schema_extra={
            "example": {
                "actors": {"warm": 2, "reserved": 0, "live": 3, "starting": 1},
                "slots": {"total": 200, "free": 197},
                "queue": 0,
                "estimated_wait_s": 0.0,
                "preopened": {"open": 2, "opened": 9, "wasted": 1},
                "sessions": {"live": 3, "gone": 41},
                "budget": {
                    "spent_micro_usd": 18250000,
                    "spent_usd": "18.250000",
                    "estimate_micro_usd": 41000,
                    "estimate_usd": "0.041000",
                    "limit_micro_usd": 500000000,
                    "limit_usd": "500.000000",
                },
                "providers": [
                    {"provider": "openai_realtime", "simulated": False, "endpoint": None}
                ],
            }
        }
    )

    actors: ActorsView
    slots: dict[str, int]
    queue: int
    estimated_wait_s: float | None
    """Until a session asked for now has an actor. Null: not known, or none are taken."""
    preopened: PreopenedView | None
    """Null: it could not be read."""
    sessions: dict[SessionState, int]
    budget: TotalsView
    providers: list[ProviderView]


class Health(View):
    status: str = "ok"


class CheckView(View):
    name: str
    ready: bool
    problem: str | None = None


class Readiness(View):
    ready: bool
    checks: list[CheckView]


class WebhookAnswer(View):
    received: str
    """The event's kind."""
