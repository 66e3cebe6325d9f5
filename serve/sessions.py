"""/v1/sessions: ask for one, look at it, end it, erase it."""

from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from pydantic import Field
from starlette.responses import JSONResponse

from agent_actor.contract import Identifier, SessionState
from fleet.records import SessionRecord
from serve.body import read_json_object
from serve.context import MetricsDep, PortsDep, SessionIdPath, StrictQuery, TasksDep
from serve.errors import HeaderInvalid, StillEnding
from serve.models.cost import SessionCostView
from serve.models.session import CreatedSession, ErasedView, SessionDetail, SessionPage, SessionView
from serve.ports import Ports, Started
from serve.problems import responses
from serve.requests import EXAMPLE_BODY, EXAMPLE_SPLIT_BODY, parse_create

router = APIRouter(prefix="/v1/sessions", tags=["sessions"])

ERASE_WAIT_S = 15.0
_ERASED = ["journal", "transcript", "checkpoints"]

_CREATE_BODY = {
    "required": True,
    "content": {
        "application/json": {
            "schema": {"$ref": "#/components/schemas/CreateSession"},
            "examples": {
                "one_provider": {"summary": "One provider", "value": EXAMPLE_BODY},
                "split": {"summary": "A/B of two providers", "value": EXAMPLE_SPLIT_BODY},
            },
        }
    },
}

IdempotencyKey = Annotated[
    str | None,
    Header(
        description="1–255 visible ASCII characters, kept for 24 h. The same key with the same "
        "body gives the same session; with another body it is refused.",
        examples=["study-7/p-0042/visit-1"],
    ),
]
Prefer = Annotated[
    str | None,
    Header(
        description="`respond-async`: answer 202 as soon as there is a room, half a second at the "
        "latest.",
        examples=["respond-async"],
    ),
]


class ListQuery(StrictQuery):
    state: SessionState | None = None
    study_id: Identifier | None = None
    limit: int = Field(default=50, ge=1, le=200)
    live: bool = False
    """Also what each is doing this second, as `GET /v1/sessions/{id}` says it."""
    cursor: str | None = Field(default=None, max_length=400)
    """``next_cursor`` of the page before."""


class DeleteQuery(StrictQuery):
    erase: bool = False
    """The deletion request: see the route."""


@router.post(
    "",
    status_code=201,
    response_model=CreatedSession,
    openapi_extra={"requestBody": _CREATE_BODY},
    responses={
        200: {"model": CreatedSession, "description": "This Idempotency-Key's session, as it is"},
        202: {"model": CreatedSession, "description": "Accepted; the agent is not in the room yet"},
        **responses(400, 401, 408, 409, 413, 415, 422, 502, 503, 504),
    },
)
async def create_session(
    request: Request,
    ports: PortsDep,
    tasks: TasksDep,
    metrics: MetricsDep,
    idempotency_key: IdempotencyKey = None,
    prefer: Prefer = None,
) -> Response:
    """Start an interview. Answered when the agent is in the room; with `Prefer: respond-async` as
    soon as there is one, so that the participant comes in beside the agent. A caller that hangs
    up meanwhile does not stop it: ask again with the same Idempotency-Key. Full is 503 with
    Retry-After.
    """
    _check_idempotency_key(idempotency_key)
    respond_async = "respond-async" in _preferences(prefer)
    new = parse_create(
        await read_json_object(request),
        idempotency_key=idempotency_key,
        respond_async=respond_async,
        traceparent=request.state.traceparent,
    )
    started = await tasks.finish(ports.starter.start(new), name="start_session")
    if not started.existing:
        metrics.started(started.record.timings_s)
    base_url = ports.public_url or str(request.base_url)
    return _created(started, base_url=base_url, respond_async=respond_async)


@router.get("", response_model=SessionPage, responses=responses(400, 401, 422, 503))
async def list_sessions(
    query: Annotated[ListQuery, Query()], ports: PortsDep, request: Request, response: Response
) -> SessionPage:
    """One page of sessions, newest first; with `live=true` also what each is doing this second."""
    page = await ports.sessions.list(
        state=query.state, study_id=query.study_id, limit=query.limit, cursor=query.cursor
    )
    if page.next_cursor is not None:
        following = request.url.include_query_params(cursor=page.next_cursor)
        response.headers["Link"] = f'<{following.path}?{following.query}>; rel="next"'
    ids = [r.session_id for r in page.records if query.live]
    lives = dict(zip(ids, await ports.journal.live_many(ids), strict=True))
    return SessionPage(
        sessions=[SessionDetail.with_live(r, lives.get(r.session_id)) for r in page.records],
        next_cursor=page.next_cursor,
    )


@router.get("/{session_id}", response_model=SessionDetail, responses=responses(401, 404, 422, 503))
async def get_session(session_id: SessionIdPath, ports: PortsDep) -> SessionDetail:
    """One session; while it runs, also what it is doing this second (`live`)."""
    record = await ports.sessions.get(session_id)
    live = None if record.is_gone else await ports.journal.live(session_id)
    return SessionDetail.with_live(record, live)


@router.delete(
    "/{session_id}",
    status_code=202,
    response_model=SessionDetail,
    responses={
        200: {
            "model": SessionDetail | ErasedView,
            "description": "It had ended already; or, with `erase`, the data is erased",
        },
        **responses(401, 404, 422, 503),
    },
)
async def delete_session(
    session_id: SessionIdPath,
    query: Annotated[DeleteQuery, Query()],
    ports: PortsDep,
    tasks: TasksDep,
) -> Response:
    """End a session: the interviewer says goodbye, the end reason is `operator`. One that has
    ended stays as it is (200).

    With `erase=true` this is the participant's deletion request: the session is ended at once
    if it still runs, then journal, transcript and checkpoints are erased and the identity is
    taken out of the record. The money stays. Repeating it is fine.
    """
    record = await ports.sessions.get(session_id)
    if query.erase:
        erased = await tasks.finish(_erase(record, ports), name="erase_session")
        return JSONResponse(ErasedView(session=SessionView.of(erased), erased=_ERASED).model_dump())
    if record.is_gone:
        return JSONResponse(SessionDetail.of(record).model_dump())
    await tasks.finish(ports.starter.stop(session_id), name="stop_session")
    now = await ports.sessions.get(session_id)
    return JSONResponse(SessionDetail.of(now).model_dump(), status_code=202)


@router.get(
    "/{session_id}/cost", response_model=SessionCostView, responses=responses(401, 404, 422, 503)
)
async def get_session_cost(session_id: SessionIdPath, ports: PortsDep) -> SessionCostView:
    """What it has cost so far, by the budget actor's account, minute by minute."""
    record = await ports.sessions.get(session_id)
    return SessionCostView.of(record, await ports.money.cost(session_id))


def _created(started: Started, *, base_url: str, respond_async: bool) -> Response:
    record = started.record
    waiting = record.state in (SessionState.QUEUED, SessionState.ASSIGNED)
    view = CreatedSession.of_started(started, base_url=base_url)
    headers: dict[str, str] = {"Location": view.links.self}
    if respond_async:
        headers["Preference-Applied"] = "respond-async"
    if started.existing:
        headers["Idempotent-Replayed"] = "true"
    status = 202 if waiting or (respond_async and not started.existing) else 201
    if started.existing and not waiting:
        status = 200
    return JSONResponse(view.model_dump(), status_code=status, headers=headers)


async def _erase(record: SessionRecord, ports: Ports) -> SessionRecord:
    # First of all, whatever else may fail: from here on nothing more is written down either.
    await ports.journal.erase(record.session_id)
    if not record.is_gone:
        await ports.starter.stop(record.session_id, at_once=True)
        if not await ports.starter.wait_gone(record.session_id, timeout_s=ERASE_WAIT_S):
            raise StillEnding(
                f"session {record.session_id} has not ended within {ERASE_WAIT_S:g} s: its "
                "journal is erased, its record not yet; ask again",
                headers={"Retry-After": "5"},
            )
    return await ports.sessions.anonymise(record.session_id, now=ports.clock())


def _check_idempotency_key(key: str | None) -> None:
    if key is None:
        return
    if not 1 <= len(key) <= 255 or not all("!" <= c <= "~" for c in key):
        raise HeaderInvalid("Idempotency-Key must be 1 to 255 visible ASCII characters")


def _preferences(header: str | None) -> set[str]:
    """RFC 7240: tokens without their parameters."""
    parts: list[Any] = (header or "").lower().split(",")
    return {part.partition(";")[0].strip() for part in parts}
