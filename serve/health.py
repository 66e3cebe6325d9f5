"""Probes and metrics. /healthz and /readyz need no key: a kubelet has none."""

import asyncio
from collections.abc import Awaitable
from typing import TypeVar

from fastapi import APIRouter, Depends, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST

from fleet.errors import FleetError
from serve.auth import require_key
from serve.context import MetricsDep, PortsDep
from serve.errors import NotReady
from serve.metrics import FleetGauges, Summed
from serve.models.fleet import CheckView, Health, Readiness
from serve.ports import Check, Ports
from serve.problems import problem_response, responses

router = APIRouter(tags=["operation"])

CHECK_TIMEOUT_S = 2.0
_T = TypeVar("_T")


@router.get("/healthz", response_model=Health)
async def healthz() -> Health:
    """This process answers."""
    return Health()


@router.get("/readyz", response_model=Readiness, responses=responses(503))
async def readyz(request: Request, ports: PortsDep) -> Response | Readiness:
    """A session asked for now would find all it needs; else 503, and `checks` says what not."""
    checks = await asyncio.gather(*(_run(name, check) for name, check in ports.checks.items()))
    failing = [check for check in checks if not check.ready]
    if not failing:
        return Readiness(ready=True, checks=list(checks))
    return problem_response(
        request,
        status=NotReady.http_status,
        code=NotReady.code,
        detail="; ".join(f"{check.name}: {check.problem}" for check in failing),
        retryable=True,
        headers={"Retry-After": "2"},
        members={"ready": False, "checks": [check.model_dump() for check in checks]},
    )


@router.get(
    "/metrics",
    dependencies=[Depends(require_key)],
    responses={
        200: {"content": {CONTENT_TYPE_LATEST.split(";")[0]: {"schema": {"type": "string"}}}},
        **responses(401),
    },
    response_class=Response,
)
async def metrics(ports: PortsDep, metrics: MetricsDep) -> Response:
    """Prometheus exposition; see docs/api.md for the names."""
    gauges, texts = await asyncio.gather(fleet_gauges(ports), ports.expositions())
    return Response(metrics.render(gauges, Summed(texts)), media_type=CONTENT_TYPE_LATEST)


async def _run(name: str, check: Check) -> CheckView:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            problem = await check()
    except TimeoutError:
        problem = f"no answer within {CHECK_TIMEOUT_S:g} s"
    except FleetError as error:
        problem = str(error)
    except Exception as error:
        # Any failure means "not ready"; its words could hold an address or a key.
        problem = type(error).__name__
    return CheckView(name=name, ready=problem is None, problem=problem)


async def fleet_gauges(ports: Ports) -> FleetGauges:
    """One look at the fleet. Raises nothing: what could not be read is said in it."""
    crew, sessions, totals = await asyncio.gather(
        _try(ports.roster.crew()), _try(ports.sessions.counts()), _try(ports.money.totals())
    )
    return FleetGauges(crew=crew, sessions=sessions, totals=totals)


async def _try(look: Awaitable[_T]) -> _T | None:
    try:
        async with asyncio.timeout(CHECK_TIMEOUT_S):
            return await look
    except (FleetError, TimeoutError):
        return None
