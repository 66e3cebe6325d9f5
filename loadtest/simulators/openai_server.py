"""The OpenAI Realtime simulator: the handshake at /v1/realtime, the control side at /sim."""

from __future__ import annotations

import argparse
import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from aiohttp import WSCloseCode, WSMsgType, web

from loadtest.simulators.control import World, control_app
from loadtest.simulators.faults import FaultKind
from loadtest.simulators.openai_audio import ChunkLibrary
from loadtest.simulators.openai_config import SAMPLE_RATE
from loadtest.simulators.openai_events import BETA_REFUSED, CLOSE_REFUSED, http_error, new_id
from loadtest.simulators.openai_prices import REALTIME_MODELS
from loadtest.simulators.openai_schema import ClientError
from loadtest.simulators.openai_session import OpenAISession, SessionOptions
from loadtest.simulators.runtime import listening
from loadtest.simulators.script import Script
from loadtest.simulators.speech import SpeechLibrary

PROVIDER = "openai_realtime"
INVALID_KEY = "invalid"
MAX_EVENT_BYTES = 16 * 1024 * 1024
GONE_POLL_S = 0.5
TTFA_MS = (250.0, 350.0)
SUPPORTED_FAULTS = frozenset(FaultKind) - {FaultKind.GO_AWAY, FaultKind.FORGET_HANDLE}

OPTIONS = web.AppKey("options", SessionOptions)
SIM_WORLD = web.AppKey("sim_world", World)
STOPPING = web.AppKey("stopping", asyncio.Event)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Options of this provider alone."""
    parser.add_argument("--session-limit-s", type=float, default=3600.0)
    parser.add_argument("--cache-min-tokens", type=int, default=1024)


@asynccontextmanager
async def serving(args: argparse.Namespace) -> AsyncIterator[dict[str, Any]]:
    """Listen for the length of the context; yields the fields of the ready line."""
    world = World(
        provider=PROVIDER,
        seed=args.seed,
        script=Script(
            turns_per_phase=args.turns_per_phase,
            speech_s=args.speech_s,
            ttfa_ms=args.ttfa_ms or TTFA_MS,
        ),
        faults=SUPPORTED_FAULTS,
    )
    library = SpeechLibrary(seed=args.seed, sample_rate=SAMPLE_RATE)
    options = SessionOptions(
        speed=args.speed,
        session_limit_s=args.session_limit_s,
        cache_min_tokens=args.cache_min_tokens,
        chunks=ChunkLibrary(library),
    )
    # Synthesis takes 0.1 s a take: done now, no session's first audio waits for it.
    library.warm()
    async with listening(build_app(world, options), host=args.host, port=args.port) as port:
        root = f"http://{args.host}:{port}"
        yield {"provider": PROVIDER, "base_url": f"{root}/v1", "control_url": f"{root}/sim"}


def build_app(world: World, options: SessionOptions) -> web.Application:
    """Both sides of the simulator in one application."""
    app = web.Application()
    app[SIM_WORLD], app[OPTIONS], app[STOPPING] = world, options, asyncio.Event()
    app.router.add_get("/v1/realtime", _realtime)
    app.add_subapp("/sim", control_app(world))
    app.on_shutdown.append(_close_sessions)
    return app


async def _close_sessions(app: web.Application) -> None:
    app[STOPPING].set()
    for session in list(app[SIM_WORLD].sessions.values()):
        assert isinstance(session, OpenAISession)
        session.hang_up(WSCloseCode.GOING_AWAY, "server shutdown")


async def _realtime(request: web.Request) -> web.StreamResponse:
    world = request.app[SIM_WORLD]
    model = request.query.get("model", "")
    key = request.headers.get("Authorization", "").removeprefix("Bearer ").strip()
    refusal = await _connection_fault(request, world, model, key) or _unauthorized(key)
    if refusal is not None:
        world.stats["handshakes_refused"] += 1
        return refusal
    silent = world.faults.take(FaultKind.NEVER_ANSWER, model, key)
    if silent is not None and silent.params.get("stage") != "session":
        await _until_gone(request)
        return web.Response(status=503)
    socket = web.WebSocketResponse(compress=False, max_msg_size=MAX_EVENT_BYTES, autoping=False)
    await socket.prepare(request)
    if silent is not None:
        await _ignore(socket)
    elif (error := _unacceptable(request, model)) is not None:
        await _send_refusal(socket, error)
    else:
        assert request.transport is not None
        await OpenAISession(
            world=world,
            options=request.app[OPTIONS],
            model_name=model,
            model=REALTIME_MODELS[model],
            socket=socket,
            transport=request.transport,
        ).serve()
    return socket


async def _connection_fault(
    request: web.Request, world: World, model: str, key: str
) -> web.Response | None:
    if world.faults.take(FaultKind.HTTP_429, model, key) is not None:
        body = http_error(
            "Rate limit reached for requests. Please try again later.",
            kind="requests",
            code="rate_limit_exceeded",
        )
        return web.json_response(body, status=429, headers={"Retry-After": "1"})
    if (fault := world.faults.take(FaultKind.REFUSE, model, key)) is not None:
        status = int(fault.number("status", 503))
        body = http_error("The server is overloaded.", kind="server_error", code=None)
        return web.json_response(body, status=status)
    return None


def _unauthorized(key: str) -> web.Response | None:
    if not key:
        body = http_error(
            "Missing bearer or basic authentication in header",
            kind="invalid_request_error",
            code=None,
        )
        return web.json_response(body, status=401)
    if key == INVALID_KEY:
        body = http_error(
            "Incorrect API key provided. You can find your API key at "
            "https://platform.openai.com/account/api-keys.",
            kind="invalid_request_error",
            code="invalid_api_key",
        )
        return web.json_response(body, status=401)
    return None


def _unacceptable(request: web.Request, model: str) -> ClientError | None:
    """What the service refuses only after the handshake, by an event and close code 4000."""
    if request.headers.get("OpenAI-Beta") == "realtime=v1":
        return ClientError(BETA_REFUSED, code="beta_api_shape_disabled")
    if model not in REALTIME_MODELS:
        return ClientError(
            f"The model `{model}` does not exist or you do not have access to it.",
            code="model_not_found",
        )
    return None


async def _send_refusal(socket: web.WebSocketResponse, error: ClientError) -> None:
    event = {"type": "error", "event_id": new_id("event"), "error": error.as_json(None)}
    await socket.send_str(json.dumps(event))
    await socket.close(code=CLOSE_REFUSED, message=f"invalid_request_error.{error.code}".encode())


async def _until_gone(request: web.Request) -> None:
    """Leave the handshake unanswered for as long as the client waits."""
    stopping = request.app[STOPPING]
    while request.transport is not None and not request.transport.is_closing():
        with suppress(TimeoutError):
            await asyncio.wait_for(stopping.wait(), GONE_POLL_S)
            return


async def _ignore(socket: web.WebSocketResponse) -> None:
    """Read and never answer, until the client gives up."""
    async for message in socket:
        if message.type is WSMsgType.PING:
            await socket.pong(message.data)
