"""RFC 9457 problem documents: one shape for every error, whoever raised it.

``code`` (and ``type``, which is a URN around it) is stable and meant for programs; ``title`` and
``detail`` are for people. ``errors`` names bad fields. An error nobody foresaw is answered
without a word of what is inside; the log has it under the same ``request_id``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import structlog
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from agent_actor.contract import AgentError, ContractInvalid, ContractTooLarge, FieldProblem
from fleet.errors import (
    DispatchFailed,
    FleetError,
    FleetFull,
    Unauthorized,
    WebhookRejected,
)
from serve.errors import ServeError

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:problem-type:interview-fleet:"

_log = structlog.get_logger(__name__)

_CAUSE_STATUS = {
    "metadata_timeout": 504,
    "room_unreachable": 503,
    "room_token_rejected": 502,
    "provider_refused": 502,
    "provider_unavailable": 503,
    "provider_key_missing": 503,
    "model_unpriced": 422,
    "model_retired": 422,
    "actor_busy": 503,
    "checkpoint_unavailable": 503,
    "rehearsal_refused": 503,
}
"""What the caller can do about an agent's error: change the request (4xx) or wait (5xx)."""

_HTTP_CODES = {404: "route_not_found", 405: "method_not_allowed", 406: "not_acceptable"}


class ProblemField(BaseModel):
    """One bad field, dotted ("phases.0.id"); "" is the whole document."""

    field: str
    problem: str


class Problem(BaseModel):
    """A problem document. Members beyond these may come with some codes."""

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "example": {
                "type": TYPE_PREFIX + "contract_invalid",
                "title": "Contract invalid",
                "status": 422,
                "code": "contract_invalid",
                "detail": "budget_limit_usd: Input should be greater than 0",
                "retryable": False,
                "request_id": "01JD3Z7W3C4M8Q",
                "errors": [
                    {"field": "budget_limit_usd", "problem": "Input should be greater than 0"}
                ],
            }
        },
    )

    type: str
    title: str
    status: int
    code: str
    detail: str
    retryable: bool = False
    """Whether the same request may succeed later."""
    request_id: str | None = None
    errors: list[ProblemField] = Field(default_factory=list)


def problem_response(
    request: Request,
    *,
    status: int,
    code: str,
    detail: str,
    retryable: bool = False,
    errors: tuple[FieldProblem, ...] = (),
    headers: Mapping[str, str] | None = None,
    members: Mapping[str, Any] | None = None,
) -> JSONResponse:
    problem = Problem(
        type=TYPE_PREFIX + code,
        title=code.replace("_", " ").capitalize(),
        status=status,
        code=code,
        detail=detail,
        retryable=retryable,
        request_id=getattr(request.state, "request_id", None),
        errors=[ProblemField(field=e.field, problem=e.problem) for e in errors],
        **(members or {}),
    )
    return JSONResponse(
        problem.model_dump(mode="json", exclude_none=True),
        status_code=status,
        headers=dict(headers or {}),
        media_type=MEDIA_TYPE,
    )


def install(app: FastAPI) -> None:
    """Every error of this app becomes a problem document."""
    app.add_exception_handler(ServeError, _serve_error)
    app.add_exception_handler(FleetError, _fleet_error)
    app.add_exception_handler(AgentError, _agent_error)
    app.add_exception_handler(ContractInvalid, _contract_error)
    app.add_exception_handler(ContractTooLarge, _contract_too_large)
    app.add_exception_handler(RequestValidationError, _validation_error)
    app.add_exception_handler(HTTPException, _http_error)


def _serve_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ServeError)
    return problem_response(
        request,
        status=error.http_status,
        code=error.code,
        detail=str(error),
        retryable=error.http_status == 503,
        errors=error.errors,
        headers=error.headers,
        members=error.members,
    )


def _fleet_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, FleetError)
    if error.http_status == 500:
        return unexpected(request, error)
    headers = {}
    if error.retry_after_s is not None:
        headers["Retry-After"] = str(max(1, math.ceil(error.retry_after_s)))
    if isinstance(error, (Unauthorized, WebhookRejected)):
        headers["WWW-Authenticate"] = "Bearer"
    return problem_response(
        request,
        status=_status_of(error),
        code=error.code,
        detail=str(error),
        retryable=error.retryable,
        headers=headers,
        members=_members_of(error),
    )


def _agent_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, AgentError)
    if error.code not in _CAUSE_STATUS:
        return unexpected(request, error)
    return problem_response(
        request,
        status=_CAUSE_STATUS[error.code],
        code=error.code,
        detail=str(error),
        retryable=error.retryable,
    )


def _contract_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContractInvalid)
    return problem_response(
        request,
        status=422,
        code=error.code,
        detail=str(error),
        errors=tuple(error.problems),
    )


def _contract_too_large(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, ContractTooLarge)
    return problem_response(
        request,
        status=413,
        code=error.code,
        detail=str(error),
        members={"limit_bytes": error.limit_bytes},
    )


def _validation_error(request: Request, error: Exception) -> JSONResponse:
    """Parameters of path, query and header; bodies are parsed by serve/requests.py."""
    assert isinstance(error, RequestValidationError)
    problems = tuple(
        FieldProblem(field=".".join(str(p) for p in e["loc"][1:]), problem=e["msg"])
        for e in error.errors()
    )
    return problem_response(
        request,
        status=422,
        code="request_invalid",
        detail="; ".join(str(p) for p in problems),
        errors=problems,
    )


def _http_error(request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    code = _HTTP_CODES.get(error.status_code, f"http_{error.status_code}")
    detail = {
        404: "there is no such route",
        405: "this route does not know that method",
    }.get(error.status_code, HTTPStatus(error.status_code).phrase)
    return problem_response(
        request, status=error.status_code, code=code, detail=detail, headers=error.headers
    )


def unexpected(request: Request, error: BaseException) -> JSONResponse:
    """A defect: the log gets the exception, the caller its request id and nothing else."""
    _log.error(
        "request_failed_unexpectedly",
        request_id=getattr(request.state, "request_id", None),
        exc_info=error,
    )
    return problem_response(
        request,
        status=500,
        code="internal_error",
        detail="something went wrong here; the log has it under this request_id",
    )


def responses(*codes: int) -> dict[int | str, dict[str, Any]]:
    """Problem responses for a route's OpenAPI entry."""
    return {
        code: {
            "description": HTTPStatus(code).phrase,
            "content": {MEDIA_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for code in codes
    }


def _status_of(error: FleetError) -> int:
    if isinstance(error, DispatchFailed):
        return _CAUSE_STATUS.get(error.cause_code, error.http_status)
    return error.http_status


def _members_of(error: FleetError) -> dict[str, Any]:
    names = ("session_id", "step", "cause_code", "state")
    told = {name: value for name in names if (value := getattr(error, name, None)) is not None}
    if isinstance(error, FleetFull) and error.estimated_wait_s is not None:
        told["estimated_wait_s"] = round(error.estimated_wait_s, 1)
    return told
