"""Around every request: an id, one log line, metrics, and an answer even to a defect."""

from __future__ import annotations

import re
import secrets
import time

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from fleet.telemetry import (
    HTTP_METHOD,
    HTTP_REQUEST,
    HTTP_ROUTE,
    HTTP_STATUS,
    NO_TRACER,
    Span,
    Tracer,
)
from serve.metrics import IngressMetrics
from serve.problems import unexpected

_log = structlog.get_logger(__name__)
_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{8,64}")
_TRACED = ("POST", "/v1/sessions")
_QUIET = frozenset({"/healthz", "/readyz", "/metrics"})
"""Asked every few seconds by machines: logged at debug."""


class Observed:
    """ASGI middleware, outermost. A caller's own X-Request-Id is kept if it looks like one."""

    def __init__(
        self, app: ASGIApp, *, metrics: IngressMetrics, tracer: Tracer = NO_TRACER
    ) -> None:
        self._app = app
        self._metrics = metrics
        self._tracer = tracer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request_id = _request_id(scope)
        span = self._span(scope)
        state = scope.setdefault("state", {})
        state |= {"request_id": request_id, "traceparent": span.traceparent}
        answer = _Answer(send, request_id)
        try:
            await self._app(scope, receive, answer.send)
        except Exception as error:
            response = unexpected(Request(scope), error)
            if answer.status is not None:
                raise  # The answer is under way: only cutting it off says that it is not whole.
            await response(scope, receive, answer.send)
        finally:
            self._note(scope, answer, request_id)
            _end(span, answer.status)

    def _span(self, scope: Scope) -> Span:
        """Of a request for a session, as a part of what its caller traces. Others are not traced:
        pollers would bury these."""
        if (scope["method"], scope["path"]) != _TRACED:
            return NO_TRACER.start(HTTP_REQUEST)
        method, route = _TRACED
        return self._tracer.start(
            HTTP_REQUEST,
            parent=Headers(scope=scope).get("traceparent"),
            attributes={HTTP_METHOD: method, HTTP_ROUTE: route},
            serves=True,
        )

    def _note(self, scope: Scope, answer: _Answer, request_id: str) -> None:
        route = getattr(scope.get("route"), "path", None) or "unmatched"
        status = answer.status or 499
        self._metrics.answered(
            method=_method(scope), route=route, status=status, seconds=answer.seconds
        )
        log = _log.debug if route in _QUIET else _log.info
        log(
            "request_answered",
            method=_method(scope),
            route=route,
            status=status,
            ms=round(answer.seconds * 1000, 1),
            request_id=request_id,
            session_id=scope.get("path_params", {}).get("session_id"),
        )


class _Answer:
    """Sees the answer pass: its status, and how long its first byte took."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self._began = time.perf_counter()
        self._first_byte_s: float | None = None
        self.status: int | None = None

    @property
    def seconds(self) -> float:
        if self._first_byte_s is not None:
            return self._first_byte_s
        return time.perf_counter() - self._began

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._first_byte_s = time.perf_counter() - self._began
            headers = MutableHeaders(scope=message)
            headers["X-Request-Id"] = self._request_id
            headers.setdefault("X-Content-Type-Options", "nosniff")
            # Answers hold tokens and states; nothing here may be kept by a cache.
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


def _end(span: Span, status: int | None) -> None:
    if status is not None:
        span.note({HTTP_STATUS: status})
    failed = status is None or status >= 500
    span.end(str(status or "no_answer") if failed else None)


def _request_id(scope: Scope) -> str:
    given = Headers(scope=scope).get("x-request-id", "")
    return given if _REQUEST_ID.fullmatch(given) else secrets.token_hex(8)


def _method(scope: Scope) -> str:
    """Bounded: a method is the caller's own word, and metrics keep every label for ever."""
    method: str = scope["method"]
    known = ("GET", "POST", "DELETE", "HEAD", "OPTIONS", "PUT", "PATCH")
    return method if method in known else "OTHER"
