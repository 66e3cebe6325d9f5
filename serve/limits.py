"""What a session or a study may spend, changed while it runs."""

from collections.abc import Mapping
from decimal import ROUND_DOWN, Decimal, DecimalException
from typing import Any

from fastapi import APIRouter, Request

from agent_actor.contract import FieldProblem
from serve.body import read_json_object
from serve.context import PortsDep, SessionIdPath, StudyIdPath, TasksDep
from serve.errors import RequestInvalid, SessionOver
from serve.models.cost import SessionLimitView, StudyLimitView
from serve.problems import responses

router = APIRouter(prefix="/v1", tags=["limits"])

MOST_SESSION_USD = 10_000
"""The contract's own bound."""
MOST_STUDY_USD = 100_000_000
_NAMES = ("limit_micro_usd", "limit_usd")


def _body(*, most_usd: int, nullable: bool) -> dict[str, Any]:
    null: list[dict[str, Any]] = [{"type": "null"}] if nullable else []
    micro = {"type": "integer", "minimum": 0, "maximum": most_usd * 1_000_000}
    usd = [
        {"type": "number", "minimum": 0, "maximum": most_usd},
        {"type": "string", "pattern": r"^\d+(\.\d{1,6})?$"},
    ]
    schema = {
        "type": "object",
        "description": "One of the two.",
        "properties": {
            "limit_micro_usd": {"anyOf": [micro, *null]},
            "limit_usd": {"anyOf": [*usd, *null]},
        },
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 1,
    }
    content = {"application/json": {"schema": schema, "example": {"limit_usd": "2.50"}}}
    return {"requestBody": {"required": True, "content": content}}


@router.patch(
    "/sessions/{session_id}/limit",
    response_model=SessionLimitView,
    openapi_extra=_body(most_usd=MOST_SESSION_USD, nullable=False),
    responses=responses(400, 401, 404, 408, 409, 413, 415, 422, 503),
)
async def set_session_limit(
    session_id: SessionIdPath, request: Request, ports: PortsDep, tasks: TasksDep
) -> SessionLimitView:
    """Raise or lower what a running session may spend; zero ends it now, without a goodbye.
    It acts at once. A session that was told to end already is not called back by more money.
    The same limit again changes nothing.
    """
    micro = parse_limit(await read_json_object(request), most_usd=MOST_SESSION_USD)
    assert micro is not None
    record = await ports.sessions.get(session_id)
    if record.is_gone:
        raise SessionOver(f"session {session_id} has ended: its limit cannot change any more")
    change = await tasks.finish(ports.money.set_limit(session_id, micro), name="set_limit")
    if change is None:
        raise SessionOver(
            f"session {session_id} has no account yet: ask again when it has been started",
            headers={"Retry-After": "1"},
        )
    return SessionLimitView.of(change)


@router.patch(
    "/studies/{study_id}/limit",
    response_model=StudyLimitView,
    openapi_extra=_body(most_usd=MOST_STUDY_USD, nullable=True),
    responses=responses(400, 401, 408, 413, 415, 422, 503),
)
async def set_study_limit(
    study_id: StudyIdPath, request: Request, ports: PortsDep, tasks: TasksDep
) -> StudyLimitView:
    """What all of a study's sessions may spend together; null: no limit but the fleet's. Zero
    ends all its sessions now. Stands above FLEET_STUDY_LIMITS_USD from then on, and may be
    given before the study's first session.
    """
    data = await read_json_object(request)
    micro = parse_limit(data, most_usd=MOST_STUDY_USD, nullable=True)
    change = await tasks.finish(
        ports.money.set_study_limit(study_id, micro), name="set_study_limit"
    )
    return StudyLimitView.of(study_id, micro, change)


def parse_limit(data: Mapping[str, Any], *, most_usd: int, nullable: bool = False) -> int | None:
    """Micro-dollars; a fraction of one is refused. Raises RequestInvalid."""
    problems = [
        FieldProblem(field=str(name)[:200], problem="unknown field")
        for name in data
        if name not in _NAMES
    ]
    given = [name for name in _NAMES if name in data]
    if len(given) != 1:
        problems.append(FieldProblem(field="limit_usd", problem="give it, or limit_micro_usd"))
    if problems:
        raise RequestInvalid(problems)
    name, value = given[0], data[given[0]]
    if value is None and nullable:
        return None
    micro = _micro(name, value)
    if micro is None or not 0 <= micro <= most_usd * 1_000_000:
        unit = "whole micro-dollars" if name == "limit_micro_usd" else "dollars, six decimals"
        problem = f"must be from 0 to {most_usd:,} USD, in {unit}"
        raise RequestInvalid([FieldProblem(field=name, problem=problem)])
    return micro


def _micro(name: str, value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    if name == "limit_micro_usd":
        return value if isinstance(value, int) else None
    try:
        micro = Decimal(str(value)) * 1_000_000
    except DecimalException:
        return None
    # Before it is made an integer: "1e999990" has a million digits.
    if not (micro.is_finite() and 0 <= micro <= MOST_STUDY_USD * 1_000_000):
        return None
    return int(micro) if micro == micro.to_integral_value(ROUND_DOWN) else None
