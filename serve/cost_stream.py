"""A session's cost as it grows, as Server-Sent Events."""

from collections.abc import AsyncIterator

from fastapi import APIRouter, Response
from starlette.responses import StreamingResponse

from fleet.errors import FleetError
from serve.context import MetricsDep, PortsDep, SessionIdPath
from serve.events import EVENT_STREAM, HEARTBEAT_S
from serve.metrics import IngressMetrics
from serve.models.cost import SessionCostView
from serve.ports import Ports
from serve.problems import responses

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["sessions"])

POLL_S = 1.0
"""Sessions report about as often."""


@router.get(
    "/cost/stream",
    response_class=Response,
    responses={
        200: {
            "description": "Events `cost`, then `end`; data as of GET …/cost",
            "content": {EVENT_STREAM: {"schema": {"type": "string"}}},
        },
        **responses(401, 404, 422, 503),
    },
)
async def stream_cost(session_id: SessionIdPath, ports: PortsDep, metrics: MetricsDep) -> Response:
    """What it costs, live: now, and whenever it has changed, at most once a second. Ends with
    the session, by an event `end` that has its last figures.
    """
    # Looked at before the stream opens, while an error can still be a problem document.
    first = await _look(session_id, ports)
    return StreamingResponse(
        _stream(session_id, first, ports, metrics),
        media_type=EVENT_STREAM,
        headers={"X-Accel-Buffering": "no"},
    )


async def _look(session_id: str, ports: Ports) -> tuple[str, bool]:
    """The figures, and whether they are the last."""
    record = await ports.sessions.get(session_id)
    cost = await ports.money.cost(session_id)
    last = record.is_gone and (cost is None or cost.closed)
    return SessionCostView.of(record, cost).model_dump_json(), last


async def _stream(
    session_id: str, first: tuple[str, bool], ports: Ports, metrics: IngressMetrics
) -> AsyncIterator[str]:
    with metrics.event_streams.track_inprogress():
        said, quiet_since = "", ports.clock()
        data, last = first
        try:
            while not last:
                if data != said:
                    said, quiet_since = data, ports.clock()
                    yield _frame("cost", data)
                elif ports.clock() - quiet_since >= HEARTBEAT_S:
                    quiet_since = ports.clock()
                    yield ": still here\n\n"
                await ports.sleep(POLL_S)
                data, last = await _look(session_id, ports)
            yield _frame("end", data)
        except FleetError as error:
            # The status line is long gone. The client reconnects, or is told then.
            yield f": interrupted: {error.code}\n\n"


def _frame(event: str, data: str) -> str:
    return f"event: {event}\ndata: {data}\n\n"
