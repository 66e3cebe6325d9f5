"""The fleet as a whole, a study's cost, and the contract for other languages."""

import asyncio
from dataclasses import asdict
from typing import Annotated

from fastapi import APIRouter, Header, Response

from serve.context import PortsDep, StudyIdPath
from serve.cost_csv import CSV_RESPONSE, prefers_csv, study_csv
from serve.errors import StudyNotFound
from serve.models.cost import StudyCostView, TotalsView
from serve.models.fleet import ActorsView, FleetView, PreopenedView, ProviderView
from serve.problems import responses
from serve.schema import render

router = APIRouter(prefix="/v1", tags=["fleet"])


@router.get("/fleet", response_model=FleetView, responses=responses(401, 503))
async def get_fleet(ports: PortsDep) -> FleetView:
    """Actors, slots, queue, sessions by state, money, and who speaks: `simulated` marks a
    simulator in a provider's place.
    """
    crew, sessions, totals = await asyncio.gather(
        ports.roster.crew(), ports.sessions.counts(), ports.money.totals()
    )
    return FleetView(
        actors=ActorsView(
            warm=crew.warm, reserved=crew.reserved, live=crew.live, starting=crew.starting
        ),
        slots={"total": crew.slots, "free": crew.free},
        queue=crew.queue,
        estimated_wait_s=(
            None if crew.estimated_wait_s is None else round(crew.estimated_wait_s, 1)
        ),
        preopened=crew.preopened and PreopenedView(**asdict(crew.preopened)),
        sessions=sessions,
        budget=TotalsView.of(totals),
        providers=[
            ProviderView(provider=p.provider, simulated=p.simulated, endpoint=p.endpoint)
            for p in ports.providers
        ],
    )


@router.get(
    "/studies/{study_id}/cost",
    response_model=StudyCostView,
    responses={
        200: {
            "description": "Totals and minutes; the rows of …/cost.csv for `Accept: text/csv`",
            "content": CSV_RESPONSE,
        },
        **responses(401, 404, 422, 503),
    },
)
async def get_study_cost(
    study_id: StudyIdPath,
    ports: PortsDep,
    response: Response,
    accept: Annotated[str | None, Header(include_in_schema=False)] = None,
) -> StudyCostView | Response:
    """All that a study's sessions have cost: in all, by provider, and minute by minute."""
    if prefers_csv(accept):
        return await study_csv(study_id, ports)
    response.headers["Vary"] = "Accept"
    cost = await ports.money.study_cost(study_id)
    if cost is None:
        raise StudyNotFound(f"no session of study {study_id} has an account")
    return StudyCostView.of(study_id, cost)


@router.get(
    "/contract/schema",
    responses={
        200: {"content": {"application/schema+json": {"schema": {"type": "object"}}}},
        **responses(401),
    },
    response_class=Response,
)
async def get_contract_schema() -> Response:
    """JSON Schema of the session contract, as it stands in a room's metadata."""
    return Response(render(), media_type="application/schema+json")
