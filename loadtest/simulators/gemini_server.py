"""The Gemini Live simulator: BidiGenerateContent over wss, its control side over plain HTTP.

GET /ws/google.ai.generativelanguage.{v1|v1beta|v1alpha}.GenerativeService.BidiGenerateContent
with the header `x-goog-api-key`, or `?key=`. A missing key is refused with 403; the key "invalid"
is, as at the real service, let in and told with 1007 after its setup.

Faults before a session exists match by the key's last four characters.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import secrets
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from random import Random
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from loadtest.simulators.control import World, control_app
from loadtest.simulators.faults import FaultKind
from loadtest.simulators.gemini import wire
from loadtest.simulators.gemini.closing import ConnectionClosing
from loadtest.simulators.gemini.connection import QUOTA_REASON, Connection
from loadtest.simulators.gemini.frames import SpeechFrames
from loadtest.simulators.gemini.limits import DEADLINE_REASON, Limits
from loadtest.simulators.gemini.resumption import NOT_FOUND_REASON, HandleStore
from loadtest.simulators.gemini.service import Service
from loadtest.simulators.gemini.session import Session
from loadtest.simulators.gemini.setup import (
    CLOSE_INTERNAL,
    CLOSE_INVALID_ARGUMENT,
    CLOSE_POLICY,
    SessionSetup,
    SetupError,
    read_setup,
)
from loadtest.simulators.gemini.tls import make_server_context
from loadtest.simulators.gemini.usage import PRICES
from loadtest.simulators.runtime import listening
from loadtest.simulators.script import Interviewer, Script

PATH = (
    "/ws/google.ai.generativelanguage.{version:v1|v1beta|v1alpha}"
    ".GenerativeService.BidiGenerateContent"
)
SETUP_WITHIN_S = 10.0
PREDECESSOR_WITHIN_S = 1.0
MAX_REASON_BYTES = 123
MAX_FRAME_BYTES = 16 * 1024 * 1024
INVALID_KEY = "invalid"
INVALID_KEY_REASON = "API key not valid. Please pass a valid API key."


class Server:
    """The wss side. Sessions live in the service's handles; connections only while they run."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._connections: dict[str, Connection] = {}
        self._sockets: set[web.WebSocketResponse] = set()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get(PATH, self._connect)
        app.on_shutdown.append(self._shut_down)
        return app

    async def _connect(self, request: web.Request) -> web.StreamResponse:
        key = request.headers.get("x-goog-api-key") or request.query.get("key", "")
        if refusal := self._refusal(key):
            return refusal
        socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_FRAME_BYTES, autoping=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            await self._serve(request, socket, key)
        except (SetupError, ConnectionClosing) as ended:
            await socket.close(code=ended.code, message=ended.reason.encode()[:MAX_REASON_BYTES])
        finally:
            self._sockets.discard(socket)
        return socket

    def _refusal(self, key: str) -> web.Response | None:
        faults = self._service.world.faults
        if not key:
            return _error(403, "PERMISSION_DENIED", "Method doesn't allow unregistered callers.")
        if faults.take(FaultKind.HTTP_429, key[-4:]):
            return _error(429, "RESOURCE_EXHAUSTED", QUOTA_REASON)
        if faults.take(FaultKind.REFUSE, key[-4:]):
            return _error(503, "UNAVAILABLE", "The service is currently unavailable.")
        return None

    async def _serve(self, request: web.Request, socket: web.WebSocketResponse, key: str) -> None:
        raw = await self._first_frame(socket)
        if raw is None:
            return
        if key == INVALID_KEY:
            raise SetupError(CLOSE_INVALID_ARGUMENT, INVALID_KEY_REASON)
        setup = read_setup(raw, frozenset(PRICES), request.match_info["version"])
        await self._strike(socket, setup, key)
        session = await self._open(setup)
        connection = Connection(
            service=self._service,
            session=session,
            invoice=self._invoice(session),
            socket=socket,
            transport=request.transport,
        )
        await self._run(connection)

    async def _first_frame(self, socket: web.WebSocketResponse) -> Any:
        """The setup, or None when the client left. Raises SetupError."""
        try:
            async with asyncio.timeout(SETUP_WITHIN_S):
                message = await socket.receive()
                while message.type is WSMsgType.PING:
                    await socket.pong(message.data)
                    message = await socket.receive()
        except TimeoutError:
            raise SetupError(CLOSE_INTERNAL, DEADLINE_REASON) from None
        if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
            return None
        try:
            parsed = wire.parse(message.data)
        except wire.WireError:
            parsed = None
        if not isinstance(parsed, wire.Setup):
            raise SetupError(CLOSE_INVALID_ARGUMENT, "Request contains an invalid argument.")
        return parsed.raw

    async def _strike(self, socket: web.WebSocketResponse, setup: SessionSetup, key: str) -> None:
        subjects = (setup.model, setup.instructions, key[-4:])
        faults = self._service.world.faults
        if faults.take(FaultKind.INSUFFICIENT_QUOTA, *subjects):
            raise SetupError(CLOSE_INTERNAL, QUOTA_REASON)
        if faults.take(FaultKind.NEVER_ANSWER, *subjects):
            async for message in socket:
                if message.type is WSMsgType.PING:
                    await socket.pong(message.data)
            raise ConnectionClosing(WSCloseCode.OK, "")

    async def _open(self, setup: SessionSetup) -> Session:
        """A new session, or the one a handle stands for."""
        now_s = time.monotonic()
        if setup.handle is not None:
            subjects = (setup.model, setup.instructions)
            if self._service.world.faults.take(FaultKind.FORGET_HANDLE, *subjects):
                raise SetupError(CLOSE_POLICY, NOT_FOUND_REASON)
            session = self._service.handles.redeem(setup.handle, now_s=now_s).resumed(setup)
            await self._await_predecessor(session.session_id)
            return session
        world = self._service.world
        world.stats["sessions_created"] += 1
        session = Session(
            session_id=f"live_{self._service.random.getrandbits(64):016x}",
            setup=setup,
            interviewer=Interviewer(
                seed=world.seed * 100_003 + world.stats["sessions_created"],
                script=world.scripts.resolve(setup.instructions),
            ),
            started_at_s=now_s,
        )
        session.reconfigure(setup)
        return session

    async def _await_predecessor(self, session_id: str) -> None:
        """A session has one connection: a second one is refused while the first is open."""
        if (predecessor := self._connections.get(session_id)) is not None:
            try:
                async with asyncio.timeout(PREDECESSOR_WITHIN_S):
                    await predecessor.closed.wait()
            except TimeoutError:
                raise SetupError(CLOSE_INTERNAL, "Internal error encountered.") from None

    def _invoice(self, session: Session) -> Any:
        invoices = self._service.world.invoices
        invoice = invoices.get(session.session_id) or invoices.open(
            session_id=session.session_id, model=session.setup.model, now_s=time.time()
        )
        invoice.closed_at_s = None
        invoice.instructions = session.all_instructions
        return invoice

    async def _run(self, connection: Connection) -> None:
        world = self._service.world
        self._connections[connection.session_id] = connection
        world.opened(connection)
        try:
            await connection.run()
        finally:
            connection.invoice.closed_at_s = time.time()
            if self._connections.get(connection.session_id) is connection:
                del self._connections[connection.session_id]
            world.closed(connection)

    async def _shut_down(self, app: web.Application) -> None:
        for socket in list(self._sockets):
            with contextlib.suppress(ConnectionError):
                await socket.close(code=WSCloseCode.GOING_AWAY)


def _error(status: int, name: str, message: str) -> web.Response:
    body = {"error": {"code": status, "message": message, "status": name}}
    return web.json_response(body, status=status)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tls-dir", type=Path, required=True, help="ca.pem is written here")
    parser.add_argument("--control-port", type=int, default=0, help="0 picks a free one")
    parser.add_argument("--connection-limit-s", type=float, default=600.0)
    parser.add_argument("--goaway-before-s", type=float, default=60.0)
    parser.add_argument(
        "--audio-limit-s", type=float, default=900.0, help="of sessions without compression"
    )


@asynccontextmanager
async def serving(args: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Listen for the length of the context; yields the fields of the ready line."""
    world = World(
        provider="gemini_live",
        seed=args.seed,
        script=Script(
            turns_per_phase=args.turns_per_phase,
            speech_s=args.speech_s,
            ttfa_ms=args.ttfa_ms or (400.0, 600.0),
        ),
    )
    service = Service(
        world=world,
        frames=SpeechFrames(seed=args.seed),
        handles=HandleStore(secret=secrets.token_hex()),
        limits=Limits(
            connection_s=args.connection_limit_s,
            go_away_before_s=args.goaway_before_s,
            audio_s=args.audio_limit_s,
        ),
        speed=args.speed,
        random=Random(args.seed),
    )
    tls, ca_path = make_server_context(args.tls_dir, host=args.host)
    control = web.Application()
    control.add_subapp("/sim", control_app(world))
    async with (
        listening(Server(service).app(), host=args.host, port=args.port, ssl=tls) as port,
        listening(control, host=args.host, port=args.control_port) as control_port,
    ):
        yield {
            "provider": world.provider,
            "base_url": f"https://{args.host}:{port}",
            "ca_cert": str(ca_path),
            "control_url": f"http://{args.host}:{control_port}/sim",
        }
