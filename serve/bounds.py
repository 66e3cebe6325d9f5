"""How large a request's head may be. Bodies are bounded where they are read (``serve.body``).

Serve's proxy has read the head by then and sets no bound of its own, so a proxy before it should;
this one keeps what is too large from every route, log and metric.
"""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from serve.errors import HeadTooLarge, ServeError, TargetTooLong
from serve.problems import problem_response

MAX_TARGET_BYTES = 8 * 1024
MAX_HEAD_BYTES = 32 * 1024
MAX_HEADERS = 100


class Bounded:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        error = _excess(scope) if scope["type"] == "http" else None
        if error is None:
            await self._app(scope, receive, send)
            return
        # Without the headers that are refused.
        request = Request({**scope, "headers": []})
        answer = problem_response(
            request, status=error.http_status, code=error.code, detail=str(error)
        )
        await answer(scope, receive, send)


def _excess(scope: Scope) -> ServeError | None:
    if len(scope.get("raw_path") or b"") + len(scope["query_string"]) > MAX_TARGET_BYTES:
        return TargetTooLong(f"the path and its query exceed {MAX_TARGET_BYTES} bytes")
    headers = scope["headers"]
    size = sum(len(name) + len(value) for name, value in headers)
    if len(headers) > MAX_HEADERS or size > MAX_HEAD_BYTES:
        return HeadTooLarge(f"more than {MAX_HEADERS} headers, or {MAX_HEAD_BYTES} bytes of them")
    return None
