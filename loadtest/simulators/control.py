"""The HTTP side of a simulator, under /sim: invoices, faults, scripts, live sessions, counters.

GET /healthz · GET /stats · GET /invoices[?match=] · GET /invoices/{id}
GET|POST|DELETE /faults · GET|POST|DELETE /scripts
GET /sessions[?match=] · POST /sessions/{id}/drop · …/freeze · …/end {time_left_s?}
Errors are `{"error": text}` with 400 or 404. `match` is a substring of a session's instructions.
"""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterable
from typing import Any, Protocol

from aiohttp import web

from loadtest.simulators.faults import FaultBook, FaultKind
from loadtest.simulators.invoice import InvoiceBook
from loadtest.simulators.script import Script, ScriptBook


class LiveSession(Protocol):
    """A connection that is open now."""

    @property
    def session_id(self) -> str: ...

    def describe(self) -> dict[str, Any]:
        """At least: session_id, model, turns, phase, bytes_in, bytes_out."""
        ...

    def matches(self, text: str) -> bool:
        """Whether the session's instructions contain `text`."""
        ...

    def drop(self) -> None:
        """Abort the connection without a closing handshake."""
        ...

    def freeze(self) -> None:
        """Neither say nor answer anything any more, and leave the connection open."""
        ...

    def end(self, time_left_s: float | None) -> None:
        """End the connection as its longest life would, in so many seconds; None: as usual."""
        ...


class World:
    """Everything a simulator process knows, shared by its protocol side and its control side."""

    def __init__(
        self,
        *,
        provider: str,
        seed: int,
        script: Script,
        faults: Iterable[FaultKind] = FaultKind,
    ) -> None:
        self.provider = provider
        self.seed = seed
        self.invoices = InvoiceBook()
        self.faults = FaultBook(supported=faults)
        self.scripts = ScriptBook(script)
        self.stats: Counter[str] = Counter()
        self.sessions: dict[str, LiveSession] = {}
        self.started_at_s = time.time()

    def opened(self, session: LiveSession) -> int:
        """Register a live session; returns its number, counted from 1."""
        self.sessions[session.session_id] = session
        self.stats["sessions_opened"] += 1
        self.stats["sessions_peak"] = max(self.stats["sessions_peak"], len(self.sessions))
        return self.stats["sessions_opened"]

    def closed(self, session: LiveSession) -> None:
        """Unregister it; harmless when repeated."""
        if self.sessions.pop(session.session_id, None) is not None:
            self.stats["sessions_closed"] += 1


WORLD = web.AppKey("world", World)


def control_app(world: World) -> web.Application:
    """The routes above; mount with `app.add_subapp("/sim", control_app(world))`."""
    app = web.Application(middlewares=[_errors_as_json])
    app[WORLD] = world
    app.add_routes(
        [
            web.get("/healthz", _healthz),
            web.get("/stats", _stats),
            web.get("/invoices", _invoices),
            web.get("/invoices/{id}", _invoice),
            web.get("/faults", _faults),
            web.post("/faults", _add_fault),
            web.delete("/faults", _clear_faults),
            web.get("/scripts", _scripts),
            web.post("/scripts", _add_script),
            web.delete("/scripts", _clear_scripts),
            web.get("/sessions", _sessions),
            web.post("/sessions/{id}/{what:drop|freeze|end}", _strike),
        ]
    )
    return app


@web.middleware
async def _errors_as_json(request: web.Request, handler: Any) -> web.StreamResponse:
    try:
        response: web.StreamResponse = await handler(request)
    except (ValueError, TypeError, KeyError) as error:
        return web.json_response({"error": str(error)}, status=400)
    return response


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        body = await request.json()
    except json.JSONDecodeError as error:
        raise ValueError("the body is not JSON") from error
    if not isinstance(body, dict):
        raise ValueError("the body must be a JSON object")
    return body


async def _healthz(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    return web.json_response({"ok": True, "provider": world.provider})


async def _stats(request: web.Request) -> web.Response:
    world = request.app[WORLD]
    body: dict[str, Any] = {
        "provider": world.provider,
        "uptime_s": round(time.time() - world.started_at_s, 3),
        "sessions_live": len(world.sessions),
        "faults_struck": dict(world.faults.struck),
        **{name: world.stats[name] for name in ("sessions_opened", "sessions_closed", "responses")},
        **dict(world.stats),
    }
    return web.json_response(body)


async def _invoices(request: web.Request) -> web.Response:
    return web.json_response(request.app[WORLD].invoices.as_json(match=request.query.get("match")))


async def _invoice(request: web.Request) -> web.Response:
    invoice = request.app[WORLD].invoices.get(request.match_info["id"])
    if invoice is None:
        return web.json_response({"error": "no such session"}, status=404)
    return web.json_response(invoice.as_json())


async def _faults(request: web.Request) -> web.Response:
    return web.json_response({"faults": request.app[WORLD].faults.as_json()})


async def _add_fault(request: web.Request) -> web.Response:
    body = await _body(request)
    fault = request.app[WORLD].faults.add(**body)
    return web.json_response({"fault_id": fault.fault_id}, status=201)


async def _clear_faults(request: web.Request) -> web.Response:
    return web.json_response({"cleared": request.app[WORLD].faults.clear()})


async def _scripts(request: web.Request) -> web.Response:
    return web.json_response({"scripts": request.app[WORLD].scripts.as_json()})


async def _add_script(request: web.Request) -> web.Response:
    body = await _body(request)
    match = body.pop("match", None)
    if not isinstance(match, str) or not match:
        raise ValueError("match must be a text that is not empty")
    request.app[WORLD].scripts.add(match=match, changes=body)
    return web.json_response({"match": match}, status=201)


async def _clear_scripts(request: web.Request) -> web.Response:
    return web.json_response({"cleared": request.app[WORLD].scripts.clear()})


async def _sessions(request: web.Request) -> web.Response:
    match = request.query.get("match")
    live = request.app[WORLD].sessions.values()
    chosen = [s.describe() for s in live if match is None or s.matches(match)]
    return web.json_response({"sessions": chosen})


async def _strike(request: web.Request) -> web.Response:
    session = request.app[WORLD].sessions.get(request.match_info["id"])
    if session is None:
        return web.json_response({"error": "no such live session"}, status=404)
    match request.match_info["what"]:
        case "drop":
            session.drop()
            return web.json_response({"dropped": session.session_id})
        case "freeze":
            session.freeze()
            return web.json_response({"frozen": session.session_id})
    body = await _body(request) if request.can_read_body else {}
    left_s = body.get("time_left_s")
    session.end(None if left_s is None else float(left_s))
    return web.json_response({"ending": session.session_id})
