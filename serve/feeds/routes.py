"""The feeds as Server-Sent Events, and a study's comparison for those who ask once."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Request, Response
from starlette.responses import StreamingResponse

from serve.context import MetricsDep, PortsDep, SessionIdPath, StudyIdPath
from serve.errors import StudyNotFound
from serve.events import EVENT_STREAM
from serve.feeds.comparison import compare
from serve.feeds.feed import Feed
from serve.feeds.fleet_source import FleetSource
from serve.feeds.hub import Feeds
from serve.feeds.session_source import SessionSource
from serve.feeds.study_source import StudySource, records_of
from serve.metrics import IngressMetrics
from serve.models.comparison import ComparisonView
from serve.problems import responses

router = APIRouter(prefix="/v1")

_EXAMPLE = (
    'id: 9\nevent: changes\ndata: {"at":1795426200.5,"version":9,"drop":{"sessions":["s-2"]},'
    '"put":{"sessions":{"s-1":{"spent":431200,"speaking":"participant"}}}}\n'
)


def _streamed(*errors: int) -> dict[int | str, dict[str, object]]:
    content = {EVENT_STREAM: {"schema": {"type": "string"}, "example": _EXAMPLE}}
    told = "An event `snapshot`, then `changes`, at most two a second"
    return {200: {"description": told, "content": content}, **responses(*errors)}


def _feeds(request: Request) -> Feeds:
    feeds: Feeds = request.app.state.feeds
    return feeds


FeedsDep = Annotated[Feeds, Depends(_feeds)]


@router.get("/fleet/stream", tags=["fleet"], response_class=Response, responses=_streamed(401, 503))
async def stream_fleet(ports: PortsDep, feeds: FeedsDep, metrics: MetricsDep) -> Response:
    """Sessions that are not gone, the actors, the nodes, and the last hour by the minute."""
    return _answer(await feeds.feed("fleet", lambda: FleetSource(ports)), metrics)


@router.get(
    "/sessions/{session_id}/stream",
    tags=["sessions"],
    response_class=Response,
    responses=_streamed(401, 404, 422, 503),
)
async def stream_session(
    session_id: SessionIdPath, ports: PortsDep, feeds: FeedsDep, metrics: MetricsDep
) -> Response:
    """A session: where it stands, its journal as it is written, its cost by the minute."""
    feed = await feeds.feed(f"session {session_id}", lambda: SessionSource(ports, session_id))
    return _answer(feed, metrics)


@router.get(
    "/studies/{study_id}/stream",
    tags=["costs"],
    response_class=Response,
    responses=_streamed(401, 404, 422, 503),
)
async def stream_study(
    study_id: StudyIdPath, ports: PortsDep, feeds: FeedsDep, metrics: MetricsDep
) -> Response:
    """A study: its totals, its providers side by side, its newest sessions."""
    if not (await ports.sessions.list(study_id=study_id, limit=1)).records:
        raise _no_study(study_id)
    feed = await feeds.feed(f"study {study_id}", lambda: StudySource(ports, study_id))
    return _answer(feed, metrics)


@router.get(
    "/studies/{study_id}/comparison",
    tags=["costs"],
    response_model=ComparisonView,
    responses=responses(401, 404, 422, 503),
)
async def get_comparison(study_id: StudyIdPath, ports: PortsDep) -> ComparisonView:
    """A study's providers side by side, from the records of its sessions that have ended."""
    records = [record async for record in records_of(ports.sessions, study_id)]
    if not records:
        raise _no_study(study_id)
    return ComparisonView.of(study_id, compare(records))


def _no_study(study_id: str) -> StudyNotFound:
    return StudyNotFound(f"no session of study {study_id} is known")


def _answer(feed: Feed, metrics: IngressMetrics) -> Response:
    return StreamingResponse(
        _counted(feed, metrics), media_type=EVENT_STREAM, headers={"X-Accel-Buffering": "no"}
    )


async def _counted(feed: Feed, metrics: IngressMetrics) -> AsyncIterator[str]:
    with metrics.event_streams.track_inprogress():
        async for frame in feed.frames():
            yield frame
