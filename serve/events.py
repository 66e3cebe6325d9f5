"""A session's journal over HTTP: pages of JSON, a resumable event stream, the transcript."""

import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.responses import StreamingResponse

from fleet.errors import FleetError
from fleet.journal import BEGINNING
from fleet.records import SessionRecord
from serve.context import MetricsDep, PortsDep, SessionIdPath, StrictQuery
from serve.metrics import IngressMetrics
from serve.models.base import rfc3339
from serve.models.journal import EventPage, EventView, TranscriptView, TurnView
from serve.ports import Ports
from serve.problems import responses

router = APIRouter(prefix="/v1/sessions/{session_id}", tags=["sessions"])

EVENT_STREAM = "text/event-stream"
HEARTBEAT_S = 15.0
"""Below the idle timeouts of common proxies."""
_RETRY_MS = 1000

EntryId = Annotated[str, Field(pattern=r"^\d{1,20}(-\d{1,20})?$")]


class EventsQuery(StrictQuery):
    after: EntryId = BEGINNING
    """``next_after`` of the page before, or an event's id."""
    limit: int = Field(default=200, ge=1, le=1000)


@router.get(
    "/events",
    response_model=EventPage,
    responses={
        200: {
            "description": "A page; or a stream, for `Accept: text/event-stream`",
            "content": {
                EVENT_STREAM: {
                    "schema": {"type": "string"},
                    "example": "id: 1795426200120-0\nevent: phase\n"
                    'data: {"id": "1795426200120-0", "kind": "phase", "attempt": 1}\n\n',
                }
            },
        },
        204: {"description": "A stream resumed where it ended: do not reconnect"},
        **responses(401, 404, 422, 503),
    },
)
async def get_events(
    request: Request,
    session_id: SessionIdPath,
    query: Annotated[EventsQuery, Query()],
    ports: PortsDep,
    metrics: MetricsDep,
    accept: Annotated[str, Header()] = "*/*",
    last_event_id: Annotated[EntryId | None, Header()] = None,
) -> Response | EventPage:
    """The journal, oldest first. As a stream it follows the session to its end, marked by an
    event `end`; a reconnecting client resumes with `Last-Event-ID` and misses nothing.
    """
    if _wants_stream(accept):
        return await _open_stream(session_id, last_event_id or query.after, ports, metrics)
    record = await ports.sessions.get(session_id)
    entries = await ports.journal.read(session_id, after_id=query.after, limit=query.limit)
    return EventPage(
        events=[EventView.of(e) for e in entries],
        next_after=entries[-1].id if entries else query.after,
        complete=record.is_gone and len(entries) < query.limit,
    )


@router.get("/transcript", response_model=TranscriptView, responses=responses(401, 404, 422, 503))
async def get_transcript(session_id: SessionIdPath, ports: PortsDep) -> TranscriptView:
    """Who said what, as far as the session has come. Empty once erased or expired."""
    record = await ports.sessions.get(session_id)
    turns = [TurnView.of(turn) for turn in await ports.journal.transcript(session_id)]
    return TranscriptView(session_id=session_id, state=record.state, turns=turns)


async def _open_stream(
    session_id: str, after: str, ports: Ports, metrics: IngressMetrics
) -> Response:
    # Looked at before the stream opens, while an error can still be a problem document.
    record = await ports.sessions.get(session_id)
    if record.is_gone and after != BEGINNING:
        rest = await ports.journal.read(session_id, after_id=after, limit=1)
        if not rest:
            return Response(status_code=204)
    return StreamingResponse(
        _counted(_stream(session_id, after, ports), metrics),
        media_type=EVENT_STREAM,
        headers={"X-Accel-Buffering": "no"},
    )


async def _counted(stream: AsyncIterator[str], metrics: IngressMetrics) -> AsyncIterator[str]:
    with metrics.event_streams.track_inprogress():
        async for part in stream:
            yield part


async def _stream(session_id: str, after: str, ports: Ports) -> AsyncIterator[str]:
    record: SessionRecord | None = None

    async def is_gone() -> bool:
        nonlocal record
        record = await ports.sessions.get(session_id)
        return record.is_gone

    yield f"retry: {_RETRY_MS}\n\n"
    quiet_since = ports.clock()
    try:
        entries = ports.journal.follow(session_id, after_id=after, until=is_gone)
        async with _closing(entries):
            async for entry in entries:
                now = ports.clock()
                if entry is not None:
                    quiet_since = now
                    yield _frame(entry.event.kind, EventView.of(entry).model_dump_json(), entry.id)
                elif now - quiet_since >= HEARTBEAT_S:
                    quiet_since = now
                    yield ": still here\n\n"
        if record is not None:
            yield _frame("end", json.dumps(_end_of(record)))
    except FleetError as error:
        # The status line is long gone. The client reconnects and resumes, or is told then.
        yield f": interrupted: {error.code}\n\n"


@asynccontextmanager
async def _closing(entries: AsyncIterator[object]) -> AsyncIterator[None]:
    """A follower holds a connection to Redis until it is closed."""
    try:
        yield
    finally:
        if isinstance(entries, AsyncGenerator):
            await entries.aclose()


def _end_of(record: SessionRecord) -> dict[str, str | None]:
    return {
        "state": record.state,
        "end_reason": record.end_reason,
        "ended_at": rfc3339(record.ended_at),
    }


def _frame(event: str, data: str, entry_id: str | None = None) -> str:
    # JSON holds no raw line break, so one data line is enough.
    head = f"id: {entry_id}\n" if entry_id else ""
    return f"{head}event: {event}\ndata: {data}\n\n"


def _wants_stream(accept: str) -> bool:
    for part in accept.lower().split(","):
        media_type, *parameters = (p.strip() for p in part.split(";"))
        if media_type == EVENT_STREAM:
            return not any(p.replace(" ", "") in ("q=0", "q=0.0") for p in parameters)
    return False
