"""The FastAPI application over the ports. Knows neither Ray nor Redis nor LiveKit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import Any

from fastapi import Depends, FastAPI
from fastapi.openapi.utils import get_openapi
from prometheus_client.core import Metric

from fleet.telemetry import keep_sending_metrics
from serve import (
    cost_csv,
    cost_stream,
    events,
    fleet_routes,
    health,
    join,
    limits,
    nodes,
    observers,
    pages,
    problems,
    sessions,
    webhook,
)
from serve.auth import KeyRing, require_key
from serve.bounds import Bounded
from serve.feeds import routes as feeds
from serve.feeds.hub import Feeds
from serve.metrics import IngressMetrics
from serve.observe import Observed
from serve.ports import Ports
from serve.requests import body_schema
from serve.tasks import Tasks

_DESCRIPTION = """\
Ask for an interview, follow it, end it, and see what it cost. Every error is a problem document
(RFC 9457, `application/problem+json`) with a stable `code`.
"""


def create_app(
    ports: Ports, *, keys: Iterable[str] = (), web: pages.WebFiles | None = None
) -> FastAPI:
    """The whole API. ``keys`` are the bearer keys valid now; none leaves it open, which only an
    ingress on loopback may be (serve.auth.may_listen). ``web``: the pages, by default those built
    here. Its lifespan closes what it owns.
    """
    app = FastAPI(
        title="Interview Fleet",
        version="1",
        description=_DESCRIPTION,
        lifespan=_lifespan,
        redoc_url=None,
        # A bare 500 with text would come before our own problem document.
        debug=False,
    )
    app.state.ports = ports
    app.state.keys = KeyRing(keys)
    app.state.tasks = Tasks()
    app.state.feeds = Feeds(ports)
    app.state.metrics = IngressMetrics(lambda: ports.tracer.lost)
    app.state.seen_events = webhook.SeenEvents()
    app.state.web = web or pages.WebFiles.load()
    app.add_middleware(Bounded)
    app.add_middleware(Observed, metrics=app.state.metrics, tracer=ports.tracer)
    problems.install(app)
    guarded = [Depends(require_key)]
    app.include_router(sessions.router, dependencies=guarded)
    app.include_router(limits.router, dependencies=guarded)
    app.include_router(cost_csv.router, dependencies=guarded)
    app.include_router(cost_stream.router, dependencies=guarded)
    app.include_router(observers.router, dependencies=guarded)
    app.include_router(events.router, dependencies=guarded)
    app.include_router(feeds.router, dependencies=guarded)
    app.include_router(fleet_routes.router, dependencies=guarded)
    app.include_router(nodes.router, dependencies=guarded)
    app.include_router(webhook.router)
    app.include_router(health.router)
    app.include_router(join.router)
    app.include_router(pages.router)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    ports: Ports = app.state.ports
    sending = asyncio.create_task(_keep_sending_metrics(app.state.metrics, ports))
    yield
    sending.cancel()
    await asyncio.gather(sending, return_exceptions=True)
    await app.state.feeds.aclose()
    await app.state.tasks.aclose()
    if ports.aclose is not None:
        await ports.aclose()


async def _keep_sending_metrics(own: IngressMetrics, ports: Ports) -> None:
    """This replica's own, and the fleet's gauges; the control actors send theirs themselves."""

    async def look() -> list[Metric]:
        gauges = await health.fleet_gauges(ports)
        return [*own.registry.collect(), *gauges.collect()]

    await keep_sending_metrics("ingress", look)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        schema = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes
        )
        components = schema.setdefault("components", {}).setdefault("schemas", {})
        body = body_schema("#/components/schemas/")
        components |= {**body.pop("$defs"), "CreateSession": body}
        components["Problem"] = problems.Problem.model_json_schema(
            ref_template="#/components/schemas/{model}"
        )
        components |= components["Problem"].pop("$defs")
        _drop_default_422(schema)
        app.openapi_schema = schema
    return app.openapi_schema


def _drop_default_422(schema: dict[str, Any]) -> None:
    """FastAPI documents its own validation error, a shape that this API never answers."""
    for path in schema["paths"].values():
        for operation in path.values():
            content = operation["responses"].get("422", {}).get("content", {})
            content.pop("application/json", None)
            if not content:
                operation["responses"].pop("422", None)
    for name in ("HTTPValidationError", "ValidationError"):
        schema["components"]["schemas"].pop(name, None)
