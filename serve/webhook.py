"""POST /v1/livekit/webhook: the LiveKit server's own word on its rooms.

The agent in the room learns of everything by itself and sooner; this is for what it cannot tell:
a room that was closed over a session that still counts as running.
"""

from collections import OrderedDict
from typing import Annotated

import structlog
from fastapi import APIRouter, Header, Request

from agent_actor.contract import SessionState
from fleet.errors import SessionNotFound, WebhookRejected
from fleet.livekit_client import WEBHOOK_EVENTS, WebhookEvent
from serve.body import MAX_WEBHOOK_BYTES, read_limited
from serve.context import MetricsDep, PortsDep, TasksDep
from serve.models.fleet import WebhookAnswer
from serve.ports import Ports
from serve.problems import responses

router = APIRouter(prefix="/v1/livekit", tags=["livekit"])

_log = structlog.get_logger(__name__)
_SEEN_MAX = 4096
_IN_ROOM = frozenset({SessionState.JOINED, SessionState.CONFIGURED, SessionState.LIVE})


class SeenEvents:
    """Ids of the latest events: the server delivers again what was not answered in time."""

    def __init__(self, capacity: int = _SEEN_MAX) -> None:
        self._ids: OrderedDict[str, None] = OrderedDict()
        self._capacity = capacity

    def __contains__(self, event_id: str) -> bool:
        return event_id in self._ids

    def add(self, event_id: str) -> None:
        self._ids[event_id] = None
        while len(self._ids) > self._capacity:
            self._ids.popitem(last=False)


@router.post(
    "/webhook",
    response_model=WebhookAnswer,
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                "application/webhook+json": {
                    "schema": {"type": "object"},
                    "example": {
                        "event": "room_finished",
                        "id": "EV_6Vb3kqCQKPtR",
                        "createdAt": "1795426500",
                        "room": {"name": "interview-s-8f3b21c07a9d4e66", "sid": "RM_zvUhDbdMC7mN"},
                    },
                }
            },
        }
    },
    responses=responses(401, 408, 413, 503),
)
async def livekit_webhook(
    request: Request,
    ports: PortsDep,
    tasks: TasksDep,
    metrics: MetricsDep,
    authorization: Annotated[str | None, Header(description="Signed by LiveKit.")] = None,
) -> WebhookAnswer:
    """An event of the LiveKit server, signed with the API key it shares with this fleet over
    the exact bytes of the body. It needs no bearer key. Repeated deliveries change nothing.
    """
    body = await read_limited(request, limit_bytes=MAX_WEBHOOK_BYTES)
    try:
        event = ports.webhooks.verify_webhook(body, authorization)
    except WebhookRejected:
        metrics.webhook("rejected")
        raise
    seen: SeenEvents = request.app.state.seen_events
    if event.event_id not in seen:
        # Marked only once it is dealt with: if that fails the server's retry must count.
        await tasks.finish(_take(event, ports), name="take_webhook")
        seen.add(event.event_id)
        metrics.webhook(event.event)
    return WebhookAnswer(received=event.event)


async def _take(event: WebhookEvent, ports: Ports) -> None:
    _log.info("livekit_event", kind=event.event, room=event.room)
    if event.event not in WEBHOOK_EVENTS or event.room is None:
        return
    session_id = ports.session_of_room(event.room)
    if session_id is None:
        return
    try:
        record = await ports.sessions.get(session_id)
    except SessionNotFound:
        return
    if record.room == event.room and record.state in _IN_ROOM:
        _log.warning("room_closed_under_session", session_id=session_id, state=record.state)
        await ports.starter.stop(session_id, at_once=True)
